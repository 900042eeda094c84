"""Heads that follow a kind get its label; random heads get none."""

from __future__ import annotations

import numpy as np
import pytest
from made_heads import Rule, causal, looking, of_kind, reader

from qkv_cli.analysis.measure import NAMES, Targets, measure
from qkv_cli.analysis.study import HeadStatistics, head_statistics, study
from qkv_cli.maps.compute import OrderedReader
from qkv_cli.names import DEFAULT_MODEL
from qkv_cli.session.load import load
from qkv_cli.session.run import Reading
from qkv_cli.store.catalogue import find

TEXTS = ["the cat , the dog and a bird sat on the mat .", "one , two or three ."]


def study_rules(
    rules: list[Rule], texts: list[str] = TEXTS, shuffles: int = 24
) -> list[HeadStatistics]:
    result = list(study(iter(texts), reader([rules]), shuffles=shuffles, seed=0))
    return head_statistics(result[-1])


@pytest.mark.parametrize("name", NAMES)
def test_study_of_head_of_known_kind_gives_only_that_label(name: str) -> None:
    [head] = study_rules([of_kind(name)])
    assert list(head.labels) == [name]
    assert head.evidence[name].effect > 0.5
    assert head.shares[name] > 0.6


@pytest.mark.parametrize("name", ["previous", "first", "duplicate", "induction"])
def test_study_of_causal_head_of_known_kind_gives_that_label(name: str) -> None:
    [head] = study_rules([causal(of_kind(name))])
    assert name in head.labels
    assert "next" not in head.evidence  # it is masked for all queries


def test_study_of_uniform_or_random_heads_gives_no_labels() -> None:
    rng = np.random.default_rng(0)
    even = looking(lambda t, i, j: False)
    noise: Rule = lambda t: rng.normal(0, 3, (len(t), len(t)))  # noqa: E731
    for head in study_rules([even, noise, noise, causal(even), causal(noise)]):
        assert head.labels == []


def test_study_of_head_on_one_word_is_not_labelled_first_token() -> None:
    """All rows attend to one word at any place, so its position is not evidence."""
    [head] = study_rules(
        [looking(lambda t, i, j: t[j].text == "cat")], ["cat and dog and bird and fish"]
    )
    assert "first" not in head.labels and "previous" not in head.labels
    assert head.content > 0.9
    assert abs(head.position) < 0.2


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weighting", ["softmax", "hard"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_study_of_random_projections_gives_no_labels(seed: int, weighting, is_causal: bool) -> None:
    """Of real word vectors, on texts with repetition and punctuation."""
    loaded = load(find(DEFAULT_MODEL), random_heads=seed)
    read = OrderedReader(loaded, Reading(weighting=weighting, causal=is_causal), ["all"], [])
    for text in (
        "She said, no, the river bank was muddy, and the bank of the river was, too.",
        "the river bank",
    ):
        *_, last = study(iter([text]), read, shuffles=16, seed=0)
        for head in head_statistics(last):
            assert head.labels == [], (text, head)
            if weighting == "softmax" and text.endswith("."):
                # Without offset biases, weights depend only on content.
                assert head.content == pytest.approx(1.0, abs=1e-5)
                assert abs(head.position) < 0.1


def test_study_averages_statistics_over_rows_of_all_texts() -> None:
    rules = [[of_kind("previous"), of_kind("punctuation")], [of_kind("first")]]
    read = reader(rules)
    *_, last = study(iter(TEXTS), read, shuffles=0, seed=0)
    assert (last.n_texts, last.n_tokens, last.probes) == (2, 15 + 8, None)
    rows = np.zeros(3)
    bits = np.zeros(3)
    for text in TEXTS:
        at = 0
        for maps in read(text, "as written"):
            sums = measure(maps, Targets(maps.queries, maps.keys, one_text=True))
            for head in range(len(maps.maps)):
                rows[at] += sums.rows[head]
                bits[at] += sums.bits[head]
                at += 1
    heads = head_statistics(last)
    assert [h.name for h in heads] == ["L0H0", "L0H1", "L1H0"]
    assert [h.entropy for h in heads] == pytest.approx(list(bits / rows))


def test_study_without_shuffles_has_no_labels_or_evidence() -> None:
    *_, last = study(iter(TEXTS), reader([[of_kind("previous")]]), shuffles=0, seed=0)
    [head] = head_statistics(last)
    assert (head.labels, head.evidence, head.position, head.content) == ([], {}, None, None)
    assert head.shares["duplicate"] is None
    assert head.shares["previous"] > 0.8


def test_study_of_many_texts_labels_weak_head() -> None:
    """A weak head of separators: one reading of each text is a piece of evidence."""
    weak = looking(lambda t, i, j: t[j].token == "[SEP]", strength=2.5)
    texts = [f"{TEXTS[0]} {i}" for i in range(80)]
    assert study_rules([weak], texts[:1], shuffles=1)[0].labels == []
    [head] = study_rules([weak], texts, shuffles=1)
    assert head.labels == ["separators"]
    assert head.evidence["separators"].n == 81


@pytest.mark.parametrize(
    ("n_texts", "shuffles", "expected"), [(1, 16, 16), (3, 16, 18), (40, 16, 16), (5, 2, 2)]
)
def test_study_divides_shuffles_among_first_texts(
    n_texts: int, shuffles: int, expected: int
) -> None:
    orders: list[str] = []
    read = reader([[of_kind("first")]])

    def counted(text: str, order: str):
        orders.append(order)
        return read(text, order)

    texts = (f"a b c{i}" for i in range(n_texts))
    *_, last = study(texts, counted, shuffles=shuffles, seed=0)
    assert last.probes.n == orders.count("shuffled") == orders.count("twice") == expected
    assert orders.count("as written") == n_texts


def test_study_reads_later_texts_lazily() -> None:
    """The stream is not read further than the texts that are shuffled."""
    n_taken = 0

    def texts():
        nonlocal n_taken
        for i in range(100):
            n_taken += 1
            yield f"a b c{i}"

    progress = study(texts(), reader([[of_kind("first")]]), shuffles=4, seed=0)
    assert next(progress).n_texts == 1
    assert n_taken == 4
    for _ in range(4):
        last = next(progress)
    assert (n_taken, last.n_texts) == (5, 5)
