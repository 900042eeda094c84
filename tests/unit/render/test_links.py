"""The lines under a picture: the strongest links of each head, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.terminal.attend import link_lines
from qkv_cli.render.weights import strongest_links

NAN = float("nan")


def head_maps(*patterns: np.ndarray) -> HeadMaps:
    tokens = [Token(i, word, word, i, i, i + 1) for i, word in enumerate("abc")]
    maps = [
        HeadMap(name=f"L0H{head}", block="self", layer=0, head=head, pattern=pattern)
        for head, pattern in enumerate(patterns)
    ]
    info = ModelInfo("made", "made", 1, len(maps), 4, 4, 10, "made in a test")
    return HeadMaps(info, "softmax", False, "a b c", None, tokens, tokens, maps)


def lines(maps: HeadMaps, shown: list[np.ndarray], links: int, width: int = 80) -> list[str]:
    by_value = maps.shown == "scores"
    strongest = [strongest_links(weights, links, by_value=by_value) for weights in shown]
    return ["".join(s.text for s in line) for line in link_lines(maps, strongest, width)]


AMOUNTS = np.array([[-9.0, 2.0, NAN], [-4.0, 0.5, -1.0], [NAN, NAN, 3.0]])


def test_link_lines_of_scores_rank_by_descending_score() -> None:
    """The most negative score is the weakest link, however far from zero it is."""
    maps = replace(head_maps(AMOUNTS), shown="scores")
    assert lines(maps, [AMOUNTS], 4) == ["L0H0  c · c 3.0   a · b 2.0   b · b .50   b · c -1.0"]


@pytest.mark.parametrize("shown", ["weights", "contributions", "rollout"])
def test_link_lines_of_other_quantities_rank_by_descending_magnitude(shown) -> None:
    arrow = "→" if shown == "weights" else "←"
    maps = replace(head_maps(AMOUNTS), shown=shown)
    expected = f"L0H0  a {arrow} a -9.0   b {arrow} a -4.0   c {arrow} c 3.0   a {arrow} b 2.0"
    assert lines(maps, [AMOUNTS], 4) == [expected]


def test_link_lines_omit_fully_masked_head() -> None:
    blind = np.full((3, 3), NAN)
    for shown in ("weights", "scores"):
        maps = replace(head_maps(blind, AMOUNTS), shown=shown)
        assert [line[:4] for line in lines(maps, [blind, AMOUNTS], 2)] == ["L0H1"]


def test_strongest_links_takes_first_of_equal_weights_and_omits_zeros() -> None:
    weights = np.array([[0.0, 0.25], [0.25, 0.5], [0.0, 0.25]])
    links = [(1, 1, 0.5), (0, 1, 0.25), (1, 0, 0.25), (2, 1, 0.25)]
    assert strongest_links(weights, 3) == links[:3]
    assert strongest_links(weights, 6) == links
