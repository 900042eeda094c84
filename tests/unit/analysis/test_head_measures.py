"""Every sum of a reading against plain loops over its cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import log2

import numpy as np
import pytest
from made_heads import Words, head_maps

from qkv_cli.analysis.measure import NAMES, concatenate, measure, targets

TOKENS = Words().encode("the cat , the dog , the end .")
N = len(TOKENS)


def scores(*, causal: bool) -> np.ndarray:
    """Two heads; the second masks one key for all queries, and all keys but one for one query."""
    result = np.random.default_rng(3).normal(0, 2, (2, N, N))
    result[1, :, 4] = -np.inf
    result[1, 5, 1:] = -np.inf
    if causal:
        result[:, *np.triu_indices(N, 1)] = -np.inf
    return result


@pytest.mark.parametrize("causal", [False, True])
def test_sums_of_a_reading_match_hand_arithmetic(causal: bool) -> None:
    maps = head_maps(TOKENS, scores(causal=causal))
    kind_masks = targets(TOKENS, TOKENS, one_text=True)
    result = measure(maps, kind_masks)
    for head, m in enumerate(maps.maps):
        rows = bits = most_bits = distance = 0.0
        count, share, chance = (dict.fromkeys(NAMES, 0.0) for _ in range(3))
        for i in range(1, N - 1):  # neither [CLS] nor [SEP]
            visible = [j for j in range(N) if m.scores[i, j] > -np.inf]
            if len(visible) < 2:
                continue
            weights = {j: float(m.pattern[i, j]) for j in visible}
            rows += 1
            bits -= sum(w * log2(w) for w in weights.values())
            most_bits += log2(len(visible))
            distance += sum(w * abs(i - j) for j, w in weights.items())
            for kind, name in enumerate(NAMES):
                kind_keys = [j for j in visible if kind_masks[kind, i, j]]
                if kind_keys and len(kind_keys) < len(visible):
                    count[name] += 1
                    share[name] += sum(weights[j] for j in kind_keys)
                    chance[name] += len(kind_keys) / len(visible)
        assert result.rows[head] == rows
        assert result.bits[head] == pytest.approx(bits)
        assert result.most_bits[head] == pytest.approx(most_bits)
        assert result.distance[head] == pytest.approx(distance)
        for name, sums in (("targeted", count), ("share", share), ("chance", chance)):
            assert getattr(result, name)[head] == pytest.approx(list(sums.values())), name


def test_chance_is_the_mean_over_all_permutations_of_a_row() -> None:
    row = np.array([0.7, 0.2, 0.1, 0.0])
    tokens = Words().encode("a b")
    row_scores = np.where(row > 0, np.log(np.maximum(row, 1e-300)), -700.0)
    maps = head_maps(tokens, [np.tile(row_scores, (4, 1))])
    result = measure(maps, targets(tokens, tokens, one_text=True))
    ways = [np.array(way) for way in permutations(row)]
    previous = NAMES.index("previous")
    mean = np.mean([way[0] for way in ways]) + np.mean([way[1] for way in ways])
    assert result.chance[0, previous] == pytest.approx(mean)
    assert result.share[0, previous] == pytest.approx(0.7 + 0.2)  # rows a and b, keys [CLS] and a


def test_sums_of_readings_add_and_layers_concatenate() -> None:
    kind_masks = targets(TOKENS, TOKENS, one_text=True)
    first = measure(head_maps(TOKENS, scores(causal=False)), kind_masks)
    second = measure(head_maps(TOKENS, scores(causal=True)), kind_masks)
    summed, layers = first + second, concatenate([first, second])
    for name in ("rows", "bits", "most_bits", "distance", "targeted", "share", "chance"):
        a, b = getattr(first, name), getattr(second, name)
        assert np.array_equal(getattr(summed, name), a + b)
        assert np.array_equal(getattr(layers, name), np.concatenate([a, b]))


def test_sums_between_two_texts_have_no_distance() -> None:
    result = head_maps(TOKENS, scores(causal=False))
    maps = replace(result, maps=[replace(m, block="cross") for m in result.maps])
    result = measure(maps, targets(TOKENS, TOKENS, one_text=False))
    assert np.isnan(result.distance).all()
    assert not np.isnan(result.bits).any()
