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
    tally,
    tally_readings,
    tally_repeated,
    tally_shuffled,
    weigh_evidence,
)
from qkv_cli.analysis.measure import (
    KINDS,
    NAMES,
    Overlap,
    Sums,
    Targets,
    concatenate,
    measure,
    one_text,
    overlap,
)
from qkv_cli.core.arrays import Array
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.matrix import LazyMatrix
from qkv_cli.names import Block, OrderName

# Given a text and an order of its tokens, yields its head maps, one layer at a time.
ReadMaps = Callable[[str, OrderName], Iterator[HeadMaps]]


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
    sums_as_written: Sums
    tally: Tally  # of the texts as written
    probes: Probes | None

    @property
    def extent(self) -> Extent:
        """The number of texts, tokens and shuffled readings so far."""
        n = 0 if self.probes is None else self.probes.n
        return Extent(self.n_texts, self.n_tokens, n)

    def __add__(self, other: Study) -> Study:
        probes = [p for p in (self.probes, other.probes) if p is not None]
        return Study(
            about=other.about,
            heads=self.heads,
            n_texts=self.n_texts + other.n_texts,
            n_tokens=self.n_tokens + other.n_tokens,
            sums_as_written=self.sums_as_written + other.sums_as_written,
            tally=self.tally + other.tally,
            probes=reduce(add, probes) if probes else None,
        )


def study(
    texts: Iterator[str], read_maps: ReadMaps, *, shuffles: int, seed: int
) -> Iterator[Study]:
    """Read texts one after the other, and yield the sums after each.

    Args:
        shuffles: The minimum number of shuffled readings. They are divided among the first texts;
            later texts are read only as written.
        seed: The seed of the random permutations; `read_maps` has its own.
    """
    rng = np.random.default_rng(seed)
    first_texts = list(islice(texts, max(1, shuffles)))
    so_far = None
    for index, text in enumerate(chain(first_texts, texts)):
        n_shuffles = -(-shuffles // len(first_texts)) if index < len(first_texts) else 0
        text_study = _study_text(text, read_maps, n_shuffles, rng)
        so_far = text_study if so_far is None else so_far + text_study
        yield so_far


def _study_text(text: str, read_maps: ReadMaps, shuffles: int, rng: np.random.Generator) -> Study:
    original = _read_original(text, read_maps)
    probes = [_probe(text, original, read_maps, rng) for _ in range(shuffles)]
    sums, heads = list[Sums](), list[tuple[str, Block, int, int]]()
    for maps, targets in with_targets(_joined(original)):
        sums.append(measure(maps, targets))
        heads += [(m.name, m.block, m.layer, m.head or 0) for m in maps.maps]
    sums_as_written = concatenate(sums)
    return Study(
        about=replace(maps, text="", queries=(), keys=(), maps=()),
        heads=heads,
        n_texts=1,
        n_tokens=len(maps.queries),
        sums_as_written=sums_as_written,
        tally=tally_readings(sums_as_written),
        probes=reduce(add, probes) if probes else None,
    )


@dataclass(slots=True)
class _Reread:
    """The layers of a long text, which are computed again each time, since they are not kept.

    Attributes:
        begun: The layers of a reading that has begun, for the first time.
    """

    text: str
    read_maps: ReadMaps
    begun: Iterator[HeadMaps] | None

    def __iter__(self) -> Iterator[HeadMaps]:
        begun, self.begun = self.begun, None
        return self.read_maps(self.text, "as written") if begun is None else begun


def _read_original(text: str, read_maps: ReadMaps) -> Sequence[HeadMaps] | _Reread:
    """Return the layers of a text as written."""
    layers = read_maps(text, "as written")
    first = next(layers)
    if isinstance(first.maps[0].pattern, LazyMatrix):
        return _Reread(text, read_maps, chain([first], layers))
    return [first, *layers]


def _joined(layers: Sequence[HeadMaps] | _Reread) -> Iterable[HeadMaps]:
    """Return the layers of a short text as one: the number of calls determines the time."""
    if isinstance(layers, _Reread):
        return layers
    return [replace(layers[0], maps=[m for maps in layers for m in maps.maps])]


def _probe(
    text: str, original: Iterable[HeadMaps], read_maps: ReadMaps, rng: np.random.Generator
) -> Probes:
    """Read the text shuffled, and with shuffled words repeated."""
    sums, overlaps = [], []
    shuffled = with_targets(read_maps(text, "shuffled"))
    for original_maps, (shuffled_maps, targets) in zip(original, shuffled, strict=True):
        sums.append(measure(shuffled_maps, targets))
        overlaps.append(overlap(original_maps, shuffled_maps, rng))
    repeated_sums, word_ids = [], frozenset[int]()
    for maps, targets in with_targets(read_maps(text, "twice")):
        repeated_sums.append(measure(maps, targets))
        word_ids = frozenset(token.id for token in maps.queries if not token.special)
    repeated = concatenate(repeated_sums)
    return Probes(
        n=1,
        tally=tally(concatenate(sums), repeated),
        repeated=repeated,
        overlap=concatenate(overlaps),
        words=word_ids,
    )


def with_targets(layers: Iterable[HeadMaps]) -> Iterator[tuple[HeadMaps, Targets]]:
    """Yield each layer's maps with the target keys of each kind, which all layers share."""
    targets: Targets | None = None
    for maps in layers:
        if targets is None:
            targets = Targets(maps.queries, maps.keys, one_text=one_text(maps))
        yield maps, targets


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


def column_name(name: str) -> str:
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


def rank_heads(heads: Sequence[HeadStatistics], by: str) -> list[HeadStatistics]:
    """Sort heads by a column, largest first, missing values last; `label` sorts by its effect."""

    def sort_value(h: HeadStatistics) -> float:
        if by == LABEL:
            return h.evidence[h.labels[0]].effect if h.labels else -inf
        figure = h.figure(by)
        return -inf if figure is None else figure

    return sorted(heads, key=lambda h: -sort_value(h))


def head_statistics(study: Study) -> list[HeadStatistics]:
    """Return the statistics of each head, in the order of the model."""
    sums, probes = study.sums_as_written, study.probes
    evidence_of_heads: Sequence[Mapping[str, Evidence]] = [{}] * len(study.heads)
    if probes is not None:
        evidence_of_heads = weigh_evidence(study.tally + probes.tally, len(probes.words))
    return [
        HeadStatistics(
            *head,
            entropy=_ratio(sums.bits[i], sums.rows[i]),
            entropy_share=_ratio(sums.bits[i], sums.max_bits[i]),
            distance=_ratio(sums.distance[i], sums.rows[i]),
            shares=_shares(i, sums, None if probes is None else probes.repeated),
            position=None if probes is None else probes.overlap.beyond_chance(i, 0),
            content=None if probes is None else probes.overlap.beyond_chance(i, 1),
            evidence=evidence,
            labels=labels(evidence),
        )
        for i, (head, evidence) in enumerate(zip(study.heads, evidence_of_heads, strict=True))
    ]


def _shares(head: int, original_sums: Sums, repeated_sums: Sums | None) -> dict[str, float | None]:
    """Return the weight on each kind, on repeated texts for kinds that need repetition."""
    shares: dict[str, float | None] = {}
    for kind, about in enumerate(KINDS):
        sums = repeated_sums if about.repeated else original_sums
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
        """The name of the head, such as L0H3."""
        return f"L{self.layer}H{self.head}"


def find_marks(text: str, read_maps: ReadMaps, n_shuffles: int) -> list[Mark]:
    """Return the labels supported by some shuffled readings of a sample and one repeated reading.

    For kinds whose rows share their target keys (first, separators, punctuation), a reading is
    one observation, so only strong heads of these kinds are found.
    """
    if not n_shuffles:
        return []
    heads, words, repeated = _measure_reading(text, read_maps, "twice")
    total = tally_repeated(repeated)
    for _ in range(n_shuffles):
        total += tally_shuffled(_measure_reading(text, read_maps, "sampled")[2])
    return [
        Mark(kind=kind, layer=layer, head=head, effect=evidence[kind].effect)
        for (layer, head), evidence in zip(heads, weigh_evidence(total, len(words)), strict=True)
        for kind in labels(evidence)
    ]


def _measure_reading(
    text: str, read_maps: ReadMaps, order: OrderName
) -> tuple[list[tuple[int, int]], set[int], Sums]:
    """Return the heads, the ids of the words, and the sums of one reading."""
    heads: list[tuple[int, int]] = []
    sums: list[Sums] = []
    word_ids = set[int]()
    for maps, targets in with_targets(read_maps(text, order)):
        heads += [(m.layer, m.head or 0) for m in maps.maps]
        word_ids = {token.id for token in maps.queries if not token.special}
        sums.append(measure(maps, targets))
    return heads, word_ids, concatenate(sums)
