"""What can be said of each head after a study."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan

from qkv_cli.analysis.evidence import Evidence, labels, weigh
from qkv_cli.analysis.kinds import KINDS, NAMES
from qkv_cli.analysis.measure import Sums
from qkv_cli.analysis.study import Study
from qkv_cli.core.arrays import Array
from qkv_cli.errors import UsageError
from qkv_cli.views import BlockName

FIGURES = ("entropy", "entropy_share", "distance", *NAMES, "position", "content")
LABEL = "label"


@dataclass(frozen=True, slots=True)
class HeadStatistics:
    """One head. Means over rows; None where there was nothing to measure.

    Attributes:
        entropy: In bits.
        entropy_share: Which part it is of the entropy of even weights.
        distance: Tokens from query to key.
        shares: Weight on the keys of each kind.
        position, content: How much of the pattern stays with the places, and how much goes
            with the words, when these are shuffled: 0 is chance, 1 all of it.
        evidence: On each kind that could show.
        labels: The kinds whose evidence beats chance, the largest effect first.
    """

    name: str
    block: BlockName
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
        """One of `FIGURES`."""
        found: float | None = self.shares[name] if name in self.shares else getattr(self, name)
        return found


def figure_called(name: str) -> str:
    """What heads can be ranked by.

    Raises:
        UsageError: There is no such figure; the message names those there are.
    """
    if name not in (LABEL, *FIGURES):
        near = difflib.get_close_matches(name, FIGURES, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"Unknown column {name!r}.{hint} Use {LABEL}, {', '.join(FIGURES)}.")
    return name


def ranked(heads: Sequence[HeadStatistics], by: str) -> list[HeadStatistics]:
    """The largest first, those without the figure last; `label` ranks by its effect."""

    def amount(h: HeadStatistics) -> float:
        if by == LABEL:
            return h.evidence[h.labels[0]].effect if h.labels else -inf
        figure = h.figure(by)
        return -inf if figure is None else figure

    return sorted(heads, key=lambda h: -amount(h))


def statistics(study: Study) -> list[HeadStatistics]:
    """A line of the table for each head, in the order of the model."""
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
    """Kinds that need repetition are measured where it is made, the others in the texts."""
    found: dict[str, float | None] = {}
    for kind, about in enumerate(KINDS):
        sums = repeated if about.repeated else written
        found[about.name] = (
            None if sums is None else _ratio(sums.share[head, kind], sums.targeted[head, kind])
        )
    return found


def _ratio(total: Array, count: Array) -> float | None:
    ratio = float(total) / float(count) if count else float("nan")
    return None if isnan(ratio) else ratio
