"""Every head over many texts: sums over readings, one text in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, islice
from operator import add
from typing import Literal

import numpy as np

from qkv_cli.analysis.evidence import Tally, tally, whole
from qkv_cli.analysis.kinds import Mask, targets
from qkv_cli.analysis.measure import Sums, joined, measure, one_text
from qkv_cli.analysis.shuffled import Overlap, overlap
from qkv_cli.views import BlockName, HeadMaps

Order = Literal["as written", "shuffled", "twice", "sampled"]
# A text in an order, as the head maps of one layer after the other.
Read = Callable[[str, Order], Iterator[HeadMaps]]


@dataclass(frozen=True, slots=True)
class Probes:
    """What readings in another order add up to."""

    n: int
    tally: Tally
    repeated: Sums
    overlap: Overlap
    words: frozenset[int]  # ids of those that were read twice

    def __add__(self, other: Probes) -> Probes:
        return Probes(
            self.n + other.n,
            self.tally + other.tally,
            self.repeated + other.repeated,
            self.overlap + other.overlap,
            self.words | other.words,
        )


@dataclass(frozen=True, slots=True)
class Extent:
    """How much was read."""

    n_texts: int
    n_tokens: int
    n_shuffled: int  # readings with the words in another order; as many had them twice


@dataclass(frozen=True, slots=True)
class Study:
    """What has been read so far."""

    heads: Sequence[tuple[str, BlockName, int, int]]  # name, block, layer, head
    n_texts: int
    n_tokens: int
    written: Sums
    tally: Tally  # of the texts as they are written
    probes: Probes | None

    @property
    def extent(self) -> Extent:
        n = 0 if self.probes is None else self.probes.n
        return Extent(self.n_texts, self.n_tokens, n)

    def __add__(self, other: Study) -> Study:
        probes = [p for p in (self.probes, other.probes) if p is not None]
        return Study(
            self.heads,
            self.n_texts + other.n_texts,
            self.n_tokens + other.n_tokens,
            self.written + other.written,
            self.tally + other.tally,
            reduce(add, probes) if probes else None,
        )


def study(texts: Iterator[str], read: Read, *, shuffles: int, seed: int) -> Iterator[Study]:
    """Read texts one after the other; after each, what all of them add up to.

    Args:
        shuffles: How many readings in another order, at least; the first texts share them,
            and later ones are read only as they are written.
        seed: Of what is dealt here; the orders are `read`'s.
    """
    rng = np.random.default_rng(seed)
    ahead = list(islice(texts, max(1, shuffles)))
    so_far = None
    for index, text in enumerate(chain(ahead, texts)):
        each = -(-shuffles // len(ahead)) if index < len(ahead) else 0
        new = _reading(text, read, each, rng)
        so_far = new if so_far is None else so_far + new
        yield so_far


def _reading(text: str, read: Read, shuffles: int, rng: np.random.Generator) -> Study:
    written = list(read(text, "as written"))
    probes = [_probe(text, written, read, rng) for _ in range(shuffles)]
    # All layers at once: for a sentence it is calls that take time, not numbers.
    every = replace(written[0], maps=[m for maps in written for m in maps.maps])
    sums = measure(every, targets(every.queries, every.keys, one_text=one_text(every)))
    return Study(
        heads=[(m.name, m.block, m.layer, m.head or 0) for m in every.maps],
        n_texts=1,
        n_tokens=len(written[0].queries),
        written=sums,
        tally=whole(sums),
        probes=reduce(add, probes) if probes else None,
    )


def _probe(text: str, written: Sequence[HeadMaps], read: Read, rng: np.random.Generator) -> Probes:
    """One reading of the words in another order, and one in which they stand twice."""
    sums, overlaps = [], []
    shuffled = with_targets(read(text, "shuffled"))
    for before, (after, wanted) in zip(written, shuffled, strict=True):
        sums.append(measure(after, wanted))
        overlaps.append(overlap(before, after, rng))
    twice, words = [], frozenset[int]()
    for maps, wanted in with_targets(read(text, "twice")):
        twice.append(measure(maps, wanted))
        words = frozenset(token.id for token in maps.queries if not token.special)
    repeated = joined(twice)
    return Probes(1, tally(joined(sums), repeated), repeated, joined(overlaps), words)


def with_targets(layers: Iterable[HeadMaps]) -> Iterator[tuple[HeadMaps, Mask]]:
    """Each layer's maps, and which keys are of which kind: the same in every layer."""
    wanted: Mask | None = None
    for maps in layers:
        if wanted is None:
            wanted = targets(maps.queries, maps.keys, one_text=one_text(maps))
        yield maps, wanted
