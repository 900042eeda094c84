"""The estimates of `qkv models check`: each part of the memory, and the operations of the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from qkv_cli.core import arrays
from qkv_cli.core.arrays import BFloat16, Packed, widened_bytes
from qkv_cli.core.attention import BLOCK_CELLS
from qkv_cli.core.parallel import N_CORES
from qkv_cli.errors import UsageError
from qkv_cli.session import estimate
from qkv_cli.session.estimate import (
    BASE,
    Pass,
    estimate_memory,
    estimate_seconds,
    layer_arrays,
    map_blocks,
    mapped_pages,
    measure,
    passes,
    products,
    text_length,
)
from qkv_cli.session.load import load, read_model
from qkv_cli.session.run import LoadedModel
from qkv_cli.store.catalogue import find

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
D_MODEL, D_MLP, N_HEADS = 16, 24, 4  # of bert
PIECES: Any = None  # a tokenizer that is not a list of words; it is not called


def golden(case: str, *, generates: bool = False) -> LoadedModel:
    info, model = read_model(GOLDEN / case)
    return LoadedModel(model, PIECES, info, rules=(lambda: PIECES) if generates else None)


def layers(loaded: LoadedModel, n_tokens: int) -> list[tuple[Any, Pass]]:
    return [(block, part) for part in passes(loaded, n_tokens) for block in part.stack.blocks]


def test_mapped_pages_of_small_file_are_all_tensors_of_layers() -> None:
    bert = golden("bert")
    tensors = load_file(GOLDEN / "bert" / "model.safetensors")
    expected = sum(tensor.nbytes for name, tensor in tensors.items() if "encoder.layer" in name)
    assert mapped_pages(bert.model, layers(bert, 8)) == expected


def test_mapped_pages_of_large_file_are_matrices_applied_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "_LARGE_FILE", 1)
    bert = golden("bert")
    q_k_v, up = 4 * 3 * D_MODEL**2, 4 * D_MODEL * D_MLP
    assert mapped_pages(bert.model, layers(bert, 8)) == max(q_k_v, up)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.ones((4, 8), np.float32), 0),
        (np.ones((4, 8), np.float16), 4 * 4 * 8),
        (np.ones((4, 8), np.uint16).view(BFloat16), 4 * 4 * 8),
        (np.ones((2**10, 2**10), np.float16), 4 * 2**19),
        (Packed((4, 8), lambda: np.ones((4, 8)), lambda rows: np.ones((4, 8))), 3 * 4 * 4 * 8),
    ],
)
def test_widened_bytes_are_those_of_one_block(matrix: Any, expected: int) -> None:
    assert widened_bytes(matrix) == expected


def test_layer_arrays_of_short_text_include_kept_maps() -> None:
    [(block, part), *_] = layers(golden("bert"), 8)
    heads, maps = 8 * 4 * D_MODEL, 2 * N_HEADS * 8 * 8
    resid = 8 * D_MODEL
    during_mlp, next_heads = 8 * D_MLP + 3 * resid, heads + maps + resid
    expected = 4 * (4 * resid + heads + maps + max(during_mlp, next_heads))
    assert layer_arrays(block, part) == expected


def test_map_blocks_of_long_text_are_one_per_core() -> None:
    bert = golden("bert")
    assert {map_blocks(*layer) for layer in layers(bert, 512)} == {0}
    assert {map_blocks(*layer) for layer in layers(bert, 10_000)} == {
        4 * BLOCK_CELLS * max(N_CORES, 2)
    }


def test_estimate_memory_grows_with_long_text_and_not_with_its_square() -> None:
    glove = load(find("glove"))
    short, middle, long = (estimate_memory(glove, n) for n in (10_000, 20_000, 40_000))
    assert BASE < short < middle
    assert long - middle == 2 * (middle - short)


def test_estimate_memory_of_generating_model_adds_its_unembedding() -> None:
    given, generating = (
        golden("marian-writes", generates=generates) for generates in (False, True)
    )
    assert generating.model.unembed is not None
    added = estimate_memory(generating, 8) - estimate_memory(given, 8)
    assert added == 4 * np.prod(generating.model.unembed.table.shape)


def test_passes_of_encoder_decoder_generate_a_token_at_a_time() -> None:
    encoder, steps, target = passes(golden("marian-writes", generates=True), 8)
    assert (encoder.n_pos, encoder.n_runs) == (8, 2)
    assert (steps.n_pos, steps.n_runs, steps.has_cache, steps.predicts) == (1, 8, True, True)
    assert (target.n_pos, target.n_memory, target.n_runs, target.predicts) == (8, 8, 1, False)
    encoder, target = passes(golden("marian-writes"), 8)
    assert (encoder.n_runs, target.n_runs) == (1, 1)


def test_products_of_layer_with_map_only_are_q_k_and_v() -> None:
    [(block, part), *_] = layers(golden("bert"), 8)
    shapes = [(len(p.linears), p.n_pos, p.n_numbers) for p in products(block, part)]
    q_k_v = (3, 8, 3 * D_MODEL**2)
    mlp = [(1, 8, D_MODEL * D_MLP)] * 2
    assert shapes == [q_k_v, (1, 8, D_MODEL**2), *mlp]
    [only] = products(block, part, is_map_only=True)
    assert (len(only.linears), only.n_numbers) == (3, 3 * D_MODEL**2)


def test_products_of_experts_count_those_that_tokens_choose() -> None:
    [(block, part), *_] = layers(golden("mixtral"), 100)
    *_, down = products(block, part)
    n_experts, n_chosen = block.mlp.router.d_out, block.mlp.n_chosen
    assert (down.n_times, down.n_pos) == (n_experts, -(-100 * n_chosen // n_experts))


class CountedSpeed:
    """One second for each operation of a kind, and nothing for the others."""

    kind = ""

    def __init__(self, part: Pass) -> None:
        self.building, self.recurrence, self.activation, self.cell, self.drawn_cell = (
            float(kind == self.kind)
            for kind in ("building", "recurrence", "activation", "cell", "drawn_cell")
        )

    def number(self, n_pos: int) -> float:
        return n_pos * float(self.kind == "number")


@pytest.mark.parametrize(
    ("kind", "n_tokens", "expected"),
    [
        ("building", 8, 2),
        ("activation", 8, 8),  # of the first layer alone
        ("number", 8, 8 * (7 * D_MODEL**2 + 2 * D_MODEL * D_MLP)),
        ("cell", 8, 2 * N_HEADS * 8**2),
        ("cell", 2_000, N_HEADS * 2_000**2),
        ("drawn_cell", 8, 0),
        ("drawn_cell", 2_000, 2_000**2),
    ],
)
def test_estimate_seconds_counts_operations_of_bert(
    monkeypatch: pytest.MonkeyPatch, kind: str, n_tokens: int, expected: int
) -> None:
    monkeypatch.setattr(CountedSpeed, "kind", kind)
    monkeypatch.setattr(estimate, "Speed", CountedSpeed)
    assert estimate_seconds(golden("bert"), n_tokens, 0.0) == expected


def test_estimate_seconds_includes_start_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "Speed", CountedSpeed)
    assert estimate_seconds(golden("bert"), 5_000, 2.0) == 3.0


CASES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.npz"))


@pytest.mark.parametrize("case", CASES)
def test_estimates_of_every_family_are_positive_and_finite(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_N_RUNS", 1)
    loaded = golden(case)
    if loaded.is_encoder_decoder and loaded.model.unembed is not None:
        loaded = golden(case, generates=True)
    for n_tokens in (1, 30):
        assert BASE < estimate_memory(loaded, n_tokens) < 2 * BASE
        assert 0 < estimate_seconds(loaded, n_tokens, 0.1) < np.inf


def test_measure_calls_each_core_and_divides_by_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 9.0, 10.0, 14.0, 20.0, 24.0])
    monkeypatch.setattr(estimate, "perf_counter", lambda: next(times))
    cores: list[int] = []
    assert measure(cores.append, 2) == 2.0  # the median is 4 seconds
    assert sorted(cores) == [0, 0, 0, 1, 1, 1]


def test_text_length_is_limited_by_positions() -> None:
    assert text_length(golden("llama"), None) == 128
    assert text_length(golden("llama"), 5_000) == 5_000
    assert text_length(golden("bert"), None) == 40
    assert text_length(golden("bert"), 40) == 40
    with pytest.raises(UsageError, match="--tokens 41 is too long: bert has 40 positions"):
        text_length(golden("bert"), 41)
