"""Marks from a few readings are the labels that many readings give."""

from __future__ import annotations

import numpy as np
import pytest
from made_heads import Rule, causal, looking, of_kind, reader

from qkv_cli.analysis.measure import KINDS
from qkv_cli.analysis.study import Mark, find_marks, head_statistics, study
from qkv_cli.maps.compute import OrderedReader
from qkv_cli.names import DEFAULT_MODEL
from qkv_cli.session.load import load
from qkv_cli.session.run import Reading
from qkv_cli.store.catalogue import find

TEXT = "one cat , two dogs and a bird sat on the mat with three old mice ."


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_marks_of_head_of_known_kind_contain_only_that_kind(kind) -> None:
    result = find_marks(TEXT, reader([[looking(lambda t, i, j: False)], [of_kind(kind.name)]]), 8)
    assert [(m.kind, m.name) for m in result] == [(kind.name, "L1H0")]
    assert result[0].effect > 0.5


def test_marks_effect_equals_effect_of_study() -> None:
    """The score of these heads is the same in every order of the words."""
    layers = [[of_kind("previous"), causal(of_kind("previous"))]]
    *_, last = study(iter([TEXT]), reader(layers), shuffles=8, seed=0)
    expected = [h.evidence["previous"].effect for h in head_statistics(last)]
    result = [m.effect for m in find_marks(TEXT, reader(layers), 4) if m.kind == "previous"]
    assert result == pytest.approx(expected, rel=1e-6)


def test_marks_of_random_scores_are_empty() -> None:
    rng = np.random.default_rng(0)
    noise: Rule = lambda t: rng.normal(0, 3, (len(t), len(t)))  # noqa: E731
    assert find_marks(TEXT, reader([[noise, causal(noise)]]), 4) == []


@pytest.mark.parametrize("seed", range(10))
def test_marks_of_random_projections_are_empty(seed: int) -> None:
    loaded = load(find(DEFAULT_MODEL), random_heads=seed)
    assert find_marks(TEXT, OrderedReader(loaded, Reading(), ["all"], []), 4) == []


def test_marks_with_zero_shuffles_are_empty() -> None:
    assert find_marks(TEXT, reader([[of_kind("next")]]), 0) == []


def test_marks_of_text_without_words_are_empty() -> None:
    assert find_marks("", reader([[of_kind("next")]]), 2) == []


def test_mark_name_contains_layer_and_head() -> None:
    assert Mark("next", 11, 3, 0.5).name == "L11H3"
