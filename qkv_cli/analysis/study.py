"""Every head over many texts: statistics and labels, with one text in memory at a time."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, islice
from math import inf, isnan
from operator import add

import numpy as np

from qkv_cli.analysis.labels import (
    Evidence,
    Tally,
    labels,
    of_repeated,
    of_shuffled,
    tally,
    weigh,
    whole,
)
from qkv_cli.analysis.measure import (
    KINDS,
    NAMES,
    Mask,
    Overlap,
    Sums,
    concatenate,
    measure,
    one_text,
    overlap,
    targets,
)
from qkv_cli.core.arrays import Array
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.names import Block, OrderName

# Yields the head maps of a text in an order, one layer at a time.
Read = Callable[[str, OrderName], Iterator[HeadMaps]]


@dataclass(frozen=True, slots=True)
class Probes:
    """Sums over readings with shuffled and with repeated words."""

    n: int
    tally: Tally
    repeated: Sums
    overlap: Overlap
    words: frozenset[int]  # ids of the repeated words

    def __add__(self, other: Probes) -> Probes:
        return Probes(
            n=self.n + other.n,
            tally=self.tally + other.tally,
            repeated=self.repeated + other.repeated,
            overlap=self.overlap + other.overlap,
            words=self.words | other.words,
        )


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of texts, tokens and shuffled readings."""

    n_texts: int
    n_tokens: int
    n_shuffled: int  # shuffled readings; there are as many repeated ones


@dataclass(frozen=True, slots=True)
class Study:
    """The sums over all texts so far.

    Attributes:
        about: The model and the options of the reading, without a text.
    """

    about: HeadMaps
    heads: Sequence[tuple[str, Block, int, int]]  # name, block, layer, head
    n_texts: int
    n_tokens: int
    written: Sums
    tally: Tally  # of the texts as written
    probes: Probes | None

    @property
    def extent(self) -> Extent:
        n = 0 if self.probes is None else self.probes.n
        return Extent(self.n_texts, self.n_tokens, n)

    def __add__(self, other: Study) -> Study:
        probes = [p for p in (self.probes, other.probes) if p is not None]
        return Study(
            about=other.about,
            heads=self.heads,
            n_texts=self.n_texts + other.n_texts,
            n_tokens=self.n_tokens + other.n_tokens,
            written=self.written + other.written,
            tally=self.tally + other.tally,
            probes=reduce(add, probes) if probes else None,
        )


def study(texts: Iterator[str], read: Read, *, shuffles: int, seed: int) -> Iterator[Study]:
    """Read texts one after the other, and yield the sums after each.

    Args:
        shuffles: The minimum number of shuffled readings. They are divided among the first texts;
            later texts are read only as written.
        seed: The seed of the random permutations; `read` has its own.
    """
    rng = np.random.default_rng(seed)
    ahead = list(islice(texts, max(1, shuffles)))
    so_far = None
    for index, text in enumerate(chain(ahead, texts)):
        n_each = -(-shuffles // len(ahead)) if index < len(ahead) else 0
        new = _reading(text, read, n_each, rng)
        so_far = new if so_far is None else so_far + new
        yield so_far


def _reading(text: str, read: Read, shuffles: int, rng: np.random.Generator) -> Study:
    written = list(read(text, "as written"))
    probes = [_probe(text, written, read, rng) for _ in range(shuffles)]
    # All layers at once: for one sentence, the number of calls determines the time.
    every = replace(written[0], maps=[m for maps in written for m in maps.maps])
    sums = measure(every, targets(every.queries, every.keys, one_text=one_text(every)))
    return Study(
        about=replace(written[0], text="", queries=(), keys=(), maps=()),
        heads=[(m.name, m.block, m.layer, m.head or 0) for m in every.maps],
        n_texts=1,
        n_tokens=len(written[0].queries),
        written=sums,
        tally=whole(sums),
        probes=reduce(add, probes) if probes else None,
    )


def _probe(text: str, written: Sequence[HeadMaps], read: Read, rng: np.random.Generator) -> Probes:
    """Read the text shuffled, and with shuffled words repeated."""
    sums, overlaps = [], []
    shuffled = with_targets(read(text, "shuffled"))
    for before, (after, masks) in zip(written, shuffled, strict=True):
        sums.append(measure(after, masks))
        overlaps.append(overlap(before, after, rng))
    twice, words = [], frozenset[int]()
    for maps, masks in with_targets(read(text, "twice")):
        twice.append(measure(maps, masks))
        words = frozenset(token.id for token in maps.queries if not token.special)
    repeated = concatenate(twice)
    return Probes(
        n=1,
        tally=tally(concatenate(sums), repeated),
        repeated=repeated,
        overlap=concatenate(overlaps),
        words=words,
    )


def with_targets(layers: Iterable[HeadMaps]) -> Iterator[tuple[HeadMaps, Mask]]:
    """Yield each layer's maps with the target keys of each kind, which all layers share."""
    masks: Mask | None = None
    for maps in layers:
        if masks is None:
            masks = targets(maps.queries, maps.keys, one_text=one_text(maps))
        yield maps, masks


FIGURES = ("entropy", "entropy_share", "distance", *NAMES, "position", "content")
LABEL = "label"
HEADINGS = {  # in the table; the others are headed by their names
    "bits": "entropy",
    "max": "entropy_share",
    "dist": "distance",
    "prev": "previous",
    "1st": "first",
    "sep": "separators",
    "punc": "punctuation",
    "dup": "duplicate",
    "ind": "induction",
    "pos": "position",
    "cont": "content",
}


@dataclass(frozen=True, slots=True)
class HeadStatistics:
    """The statistics of one head: means over rows; None if there are no observations.

    Attributes:
        entropy: In bits.
        entropy_share: Divided by the entropy of uniform weights.
        distance: From query to key, in tokens.
        shares: The weight on the keys of each kind.
        position, content: The share of the pattern that stays in place, and that moves with the
            words, when words are shuffled: 0 is chance, 1 is the maximum.
        evidence: For each kind with observations.
        labels: The kinds whose evidence beats chance, the largest effect first.
    """

    name: str
    block: Block
    layer: int
    head: int
    entropy: float | None
    entropy_share: float | None
    distance: float | None
    shares: Mapping[str, float | None]
    position: float | None
    content: float | None
    evidence: Mapping[str, Evidence]
    labels: Sequence[str]

    def figure(self, name: str) -> float | None:
        """Return the value of one of `FIGURES`."""
        value: float | None = self.shares[name] if name in self.shares else getattr(self, name)
        return value


def figure_called(name: str) -> str:
    """Return the name of a column, given its name or its heading in the table.

    Raises:
        UsageError: There is no such column; the message lists the names.
    """
    name = HEADINGS.get(name, name)
    if name not in (LABEL, *FIGURES):
        suggestions = difflib.get_close_matches(name, FIGURES, n=1)
        hint = f" Did you mean {suggestions[0]}?" if suggestions else ""
        raise UsageError(f"Unknown column {name!r}.{hint} Use {LABEL}, {', '.join(FIGURES)}.")
    return name


def ranked(heads: Sequence[HeadStatistics], by: str) -> list[HeadStatistics]:
    """Sort heads by a column, largest first, missing values last; `label` sorts by its effect."""

    def amount(h: HeadStatistics) -> float:
        if by == LABEL:
            return h.evidence[h.labels[0]].effect if h.labels else -inf
        figure = h.figure(by)
        return -inf if figure is None else figure

    return sorted(heads, key=lambda h: -amount(h))


def statistics(study: Study) -> list[HeadStatistics]:
    """Return the statistics of each head, in the order of the model."""
    written, probes = study.written, study.probes
    weighed: Sequence[Mapping[str, Evidence]] = [{}] * len(study.heads)
    if probes is not None:
        weighed = weigh(study.tally + probes.tally, len(probes.words))
    return [
        HeadStatistics(
            *head,
            entropy=_ratio(written.bits[i], written.rows[i]),
            entropy_share=_ratio(written.bits[i], written.most_bits[i]),
            distance=_ratio(written.distance[i], written.rows[i]),
            shares=_shares(i, written, None if probes is None else probes.repeated),
            position=None if probes is None else probes.overlap.beyond_chance(i, 0),
            content=None if probes is None else probes.overlap.beyond_chance(i, 1),
            evidence=evidence,
            labels=labels(evidence),
        )
        for i, (head, evidence) in enumerate(zip(study.heads, weighed, strict=True))
    ]


def _shares(head: int, written: Sums, repeated: Sums | None) -> dict[str, float | None]:
    """Return the weight on each kind, on repeated texts for kinds that need repetition."""
    shares: dict[str, float | None] = {}
    for kind, about in enumerate(KINDS):
        sums = repeated if about.repeated else written
        shares[about.name] = (
            None if sums is None else _ratio(sums.share[head, kind], sums.targeted[head, kind])
        )
    return shares


def _ratio(total: Array, count: Array) -> float | None:
    ratio = float(total) / float(count) if count else float("nan")
    return None if isnan(ratio) else ratio


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of a head, and its effect size."""

    kind: str  # one of `NAMES`
    layer: int
    head: int
    effect: float

    @property
    def name(self) -> str:
        return f"L{self.layer}H{self.head}"


def marks(text: str, read: Read, n_shuffles: int) -> list[Mark]:
    """Return the labels supported by some shuffled readings of a sample and one repeated reading.

    For kinds whose rows share their target keys (first, separators, punctuation), a reading is
    one observation, so only strong heads of these kinds are found.
    """
    if not n_shuffles:
        return []
    heads, words, repeated = _measured(text, read, "twice")
    total = of_repeated(repeated)
    for _ in range(n_shuffles):
        total += of_shuffled(_measured(text, read, "sampled")[2])
    return [
        Mark(kind=kind, layer=layer, head=head, effect=evidence[kind].effect)
        for (layer, head), evidence in zip(heads, weigh(total, len(words)), strict=True)
        for kind in labels(evidence)
    ]


def _measured(
    text: str, read: Read, order: OrderName
) -> tuple[list[tuple[int, int]], set[int], Sums]:
    """Return the heads, the ids of the words, and the sums of one reading."""
    heads: list[tuple[int, int]] = []
    sums: list[Sums] = []
    words = set[int]()
    for maps, masks in with_targets(read(text, order)):
        heads += [(m.layer, m.head or 0) for m in maps.maps]
        words = {token.id for token in maps.queries if not token.special}
        sums.append(measure(maps, masks))
    return heads, words, concatenate(sums)
