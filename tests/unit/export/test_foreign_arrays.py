"""Head maps from arrays of other programs: checks at their limits, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.foreign_arrays import choose_array, maps_of_arrays
from qkv_cli.maps.head_maps import HeadMaps


def maps_from(weights: list, tokens: object) -> HeadMaps:
    return maps_of_arrays("theirs", np.array(weights, np.float32), json.dumps(tokens).encode())


@pytest.mark.parametrize(
    ("weights", "is_causal"),
    [
        ([[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]], True),
        ([[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]], False),  # just above the diagonal
        ([[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5]], False),  # in the far corner
    ],
)
def test_maps_of_arrays_are_causal_only_if_no_query_sees_later_key(
    weights: list, is_causal: bool
) -> None:
    assert maps_from([weights], ["a", "b", "c"]).causal is is_causal
    # One head that looks ahead is enough.
    assert maps_from([np.eye(3).tolist(), weights], ["a", "b", "c"]).causal is is_causal


def test_maps_of_arrays_of_two_texts_or_one_word_are_not_causal() -> None:
    assert not maps_from([[[1, 0], [0, 1]]], {"queries": ["a", "b"], "keys": ["x", "y"]}).causal
    assert not maps_from([[[1]]], ["a"]).causal


def test_maps_of_arrays_counts_and_names_layers_and_heads() -> None:
    head = [[1, 0], [0.5, 0.5]]
    maps = maps_from([[head, head, head], [head, head, head]], ["a", "b"])
    assert [m.name for m in maps.maps] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert (maps.model.n_layers, maps.model.n_heads) == (2, 3)
    assert [(m.layer, m.head) for m in maps.maps][3:] == [(1, 0), (1, 1), (1, 2)]


def test_maps_of_arrays_with_row_sum_above_1_01_raises_input_error() -> None:
    assert len(maps_from([[[0.5, 0.509], [0, 1]]], ["a", "b"]).maps) == 1  # 1.009
    with pytest.raises(InputError, match=r"^row 1 of L0H1 sums to 1\.011, more than 1"):
        maps_from([[[1, 0], [0, 1]], [[1, 0], [0.5, 0.511]]], ["a", "b"])


def test_maps_of_arrays_keeps_row_of_zeros() -> None:
    maps = maps_from([[[0, 0], [0.5, 0.5]]], ["a", "b"])
    assert maps.maps[0].pattern.tolist() == [[0, 0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("pieces", "text", "places"),
    [
        # WordPiece: ## joins, all else has a space before it.
        (
            ["[CLS]", "riv", "##er", "bank", "[SEP]"],
            "river bank",
            [("", 0, 0), ("riv", 0, 3), ("er", 3, 5), ("bank", 6, 10), ("", 10, 10)],
        ),
        # SentencePiece: the space is in the piece.
        (
            ["\u2581riv", "er", "\u2581bank", "."],
            "river bank.",
            [("riv", 0, 3), ("er", 3, 5), ("bank", 6, 10), (".", 10, 11)],
        ),
        # Byte pairs spell it in another way, and ## is then an ordinary text.
        (
            ["<|endoftext|>", "\u0120a", "##b", "<s>"],
            "a##b",
            [("", 0, 0), ("a", 0, 1), ("##b", 1, 4), ("", 4, 4)],
        ),
    ],
)
def test_maps_of_arrays_restores_text_and_offsets_from_tokens(
    pieces: list[str], text: str, places: list[tuple[str, int, int]]
) -> None:
    maps = maps_from([np.eye(len(pieces)).tolist()], pieces)
    assert maps.text == text
    assert [(t.text, t.start, t.end) for t in maps.queries] == places
    assert [t.i for t in maps.queries] == list(range(len(pieces)))
    assert [t.special for t in maps.queries] == [not plain for plain, _, _ in places]


def test_one_of_selects_named_array_or_default_name() -> None:
    a, b, ids = np.zeros(1), np.ones(2), np.arange(3)
    assert choose_array({"b": b}, None) is b
    assert choose_array({"a": a, "b": b}, "a") is a
    for name in ("attention", "attentions", "pattern"):
        assert choose_array({"ids": ids, name: b}, None) is b
    for arrays in ({"a": a, "b": b}, {"attention": a, "pattern": b}, {}):
        with pytest.raises(UsageError, match="Choose an array with --array NAME"):
            choose_array(arrays, None)
