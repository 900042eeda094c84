"""Every sum of a reading against plain loops over its cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import log2

import numpy as np
import pytest
from made_heads import Words, head_maps

from qkv_cli.analysis import measure as analysis_measure
from qkv_cli.analysis.measure import NAMES, Targets, concatenate, measure

TOKENS = Words().encode("the cat , the dog , the end .")
N = len(TOKENS)


def scores(*, causal: bool) -> np.ndarray:
    """Two heads; the second hides a key from everybody, and all but one from one query."""
    result = np.random.default_rng(3).normal(0, 2, (2, N, N))
    result[1, :, 4] = -np.inf
    result[1, 5, 1:] = -np.inf
    if causal:
        result[:, *np.triu_indices(N, 1)] = -np.inf
    return result


@pytest.mark.parametrize("block", [1 << 17, 50, 1])
@pytest.mark.parametrize("causal", [False, True])
def test_measure_in_blocks_of_any_size_equals_sums_over_cells(
    monkeypatch: pytest.MonkeyPatch, causal: bool, block: int
) -> None:
    monkeypatch.setattr(analysis_measure, "_CELLS", block)
    monkeypatch.setattr(analysis_measure, "_ROWS", 3)
    maps = head_maps(TOKENS, scores(causal=causal))
    wanted = Targets(TOKENS, TOKENS, one_text=True)
    result = measure(maps, wanted)
    for head, m in enumerate(maps.maps):
        rows = bits = most = distance = 0.0
        count, share, chance = (dict.fromkeys(NAMES, 0.0) for _ in range(3))
        for i in range(1, N - 1):  # neither [CLS] nor [SEP]
            seen = [j for j in range(N) if m.scores[i, j] > -np.inf]
            if len(seen) < 2:
                continue
            weights = {j: float(m.pattern[i, j]) for j in seen}
            rows += 1
            bits -= sum(w * log2(w) for w in weights.values())
            most += log2(len(seen))
            distance += sum(w * abs(i - j) for j, w in weights.items())
            for kind, name in enumerate(NAMES):
                those = [j for j in seen if wanted.block(slice(None))[kind, i, j]]
                if those and len(those) < len(seen):
                    count[name] += 1
                    share[name] += sum(weights[j] for j in those)
                    chance[name] += len(those) / len(seen)
        assert result.rows[head] == rows
        assert result.bits[head] == pytest.approx(bits)
        assert result.max_bits[head] == pytest.approx(most)
        assert result.distance[head] == pytest.approx(distance)
        for name, sums in (("targeted", count), ("share", share), ("chance", chance)):
            assert getattr(result, name)[head] == pytest.approx(list(sums.values())), name


def test_measure_chance_is_mean_over_permutations_of_row() -> None:
    row = np.array([0.7, 0.2, 0.1, 0.0])
    tokens = Words().encode("a b")
    one = np.where(row > 0, np.log(np.maximum(row, 1e-300)), -700.0)
    maps = head_maps(tokens, [np.tile(one, (4, 1))])
    result = measure(maps, Targets(tokens, tokens, one_text=True))
    ways = [np.array(way) for way in permutations(row)]
    previous = NAMES.index("previous")
    mean = np.mean([way[0] for way in ways]) + np.mean([way[1] for way in ways])
    assert result.chance[0, previous] == pytest.approx(mean)
    assert result.share[0, previous] == pytest.approx(0.7 + 0.2)  # rows a and b, keys [CLS] and a


def test_sums_add_over_readings_and_concatenate_over_layers() -> None:
    wanted = Targets(TOKENS, TOKENS, one_text=True)
    one = measure(head_maps(TOKENS, scores(causal=False)), wanted)
    two = measure(head_maps(TOKENS, scores(causal=True)), wanted)
    both, layers = one + two, concatenate([one, two])
    for name in ("rows", "bits", "max_bits", "distance", "targeted", "share", "chance"):
        a, b = getattr(one, name), getattr(two, name)
        assert np.array_equal(getattr(both, name), a + b)
        assert np.array_equal(getattr(layers, name), np.concatenate([a, b]))


def test_measure_of_cross_attention_has_nan_distance() -> None:
    result = head_maps(TOKENS, scores(causal=False))
    maps = replace(result, maps=[replace(m, block="cross") for m in result.maps])
    result = measure(maps, Targets(TOKENS, TOKENS, one_text=False))
    assert np.isnan(result.distance).all()
    assert not np.isnan(result.bits).any()
