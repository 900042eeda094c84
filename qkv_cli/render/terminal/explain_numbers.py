"""The numbers of an explanation as printed, rounded so that printed sums add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from itertools import starmap
from math import exp, isfinite

import numpy as np

from qkv_cli.analysis.explain import Explanation, Projection
from qkv_cli.core.arrays import Array

PLACES = 4
UNIT = Decimal(1).scaleb(-PLACES)
_ENOUGH = Context(prec=100)  # digits of the largest product of two float32
ZERO = Decimal(0).quantize(UNIT)
ONE = Decimal(1).quantize(UNIT)


def printed(x: float | Decimal) -> Decimal:
    """Round a number to the decimals shown; -inf is kept."""
    number = Decimal(x)
    if not number.is_finite():
        return number
    return number.quantize(UNIT, context=_ENOUGH) + ZERO  # + 0: no "-0.0000"


def decimal_product(a: Decimal, b: Decimal) -> Decimal:
    """Return the rounded product of two printed numbers."""
    return printed(a * b)


def decimal_quotient(a: Decimal, b: Decimal) -> Decimal:
    return printed(a / b)


def decimal_column(shown: Sequence[Decimal], total: float) -> tuple[Decimal, Decimal]:
    """Return the sum of the hidden parts, and a printed total that is exactly the sum of all."""
    printed_total = printed(total)
    return printed_total - sum(shown, ZERO), printed_total


def exponentials(scores: Sequence[Decimal]) -> list[Decimal]:
    """Return exp(score - largest) of printed scores; 0 where masked."""
    top = max(scores)
    if not isfinite(top):
        return [ZERO for _ in scores]
    return [printed(exp(score - top)) for score in scores]


def apportion(parts: Sequence[Decimal], pinned: int) -> list[Decimal]:
    """Divide parts by their sum and round them so that they sum to exactly 1.

    The largest-remainder method decides which parts are rounded up.

    Args:
        parts: [n] non-negative numbers; if all are 0, the result is 0.
        pinned: The index of a part that is rounded to the nearest number in any case.

    Returns:
        [n] printed numbers that sum to 1.
    """
    total = sum(parts, ZERO)
    if not total:
        return [ZERO for _ in parts]
    exact = [part / total for part in parts]
    shares = [q.quantize(UNIT, ROUND_FLOOR) for q in exact]
    shares[pinned] = printed(exact[pinned])
    missing = int((ONE - sum(shares, ZERO)) / UNIT)
    others = [i for i in range(len(parts)) if i != pinned]
    by_remainder = sorted(others, key=lambda i: shares[i] - exact[i])
    for i in by_remainder[:missing]:
        shares[i] += UNIT
    return shares


def decimal_dot(a: Sequence[Decimal], b: Sequence[Decimal]) -> list[Decimal]:
    """Return the rounded products of a dot product, one per dimension."""
    return list(starmap(decimal_product, zip(a, b, strict=True)))


Numbers = Sequence[Decimal]


@dataclass(frozen=True, slots=True)
class Projected:
    """W e + b by component; `result` is the sum, unless a norm or rotation follows."""

    product: Numbers
    bias: Numbers | None
    result: Numbers
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Match:
    """The numbers from q_d k_d to the score of the pair."""

    order: Sequence[int]  # every dimension, the largest product first
    shown: Sequence[int]  # the dimensions that are listed
    products: Numbers  # [d_head]
    rest: Decimal  # the sum of the other dimensions
    dot: Decimal
    factor: Decimal  # sqrt(d_head), or the scale if it differs
    content: Decimal  # dot / factor, or dot * factor
    terms: Sequence[tuple[str, Decimal]]  # the added terms
    score: Decimal


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key in the row of scores."""

    key: int
    terms: Numbers  # content first
    score: Decimal
    below: Decimal  # score - largest score
    exp: Decimal
    weight: Decimal
    share: Numbers  # [d_head], weight times value
    along: Decimal
    masked: str | None


@dataclass(frozen=True, slots=True)
class RowOfScores:
    """The keys shown, in the order of the text, and the sum of the others."""

    keys: Sequence[KeyRow]
    hidden: int
    top: Decimal  # the largest score
    exp_rest: Decimal
    exp_total: Decimal
    weight_rest: Decimal
    weight_total: Decimal
    share_rest: Numbers
    z: Numbers
    along_rest: Decimal
    along_total: Decimal


def projected(p: Projection) -> Projected:
    product = [printed(x) for x in p.product]
    bias = None if p.bias is None else [printed(x) for x in p.bias]
    if not p.is_plain:
        result = [printed(x) for x in p.result]
    elif bias is None:
        result = product
    else:
        result = [a + b for a, b in zip(product, bias, strict=True)]
    return Projected(product=product, bias=bias, result=result, is_plain=p.is_plain)


def match(x: Explanation, q: Numbers, k: Numbers, top: int) -> Match:
    """Return the dot product, scaling and added terms of the printed q and k."""
    order = [int(d) for d in np.argsort(-np.abs(x.products), kind="stable")]
    listed = order if top >= x.d_head - 1 else order[:top]
    products = decimal_dot(q, k)
    visible = [products[d] for d in listed]
    if len(listed) == x.d_head:
        rest, dot = ZERO, sum(visible, ZERO)
    else:
        rest, dot = decimal_column(visible, x.dot)
    if x.divides_by_root:
        factor = Decimal(repr(round(x.d_head**0.5, 6))).normalize()
        content = decimal_quotient(dot, factor)
    else:
        factor = Decimal(f"{x.scale:.6g}")
        content = decimal_product(dot, factor)
    terms = [(name, printed(row[x.key])) for name, row in x.terms.items() if name != "content"]
    score = sum((value for _, value in terms), content)
    return Match(
        order=order,
        shown=listed,
        products=products,
        rest=rest,
        dot=dot,
        factor=factor,
        content=content,
        terms=terms,
        score=score,
    )


def row_of_scores(x: Explanation, pair: Match, v: Numbers, top: int) -> RowOfScores:
    """Return scores, weights and weighted values; the row of the pair continues `pair`."""
    listed = _shown_keys(x, top)
    hidden = np.setdiff1d(np.arange(len(x.scores)), listed)
    pair_row = listed.index(x.key)
    terms = [[printed(row[j]) for row in x.terms.values()] for j in listed]
    terms[pair_row] = [pair.content, *(value for _, value in pair.terms)]
    scores = [sum(row, ZERO) for row in terms]
    best = max(scores)
    exps = exponentials(scores)
    exp_rest = printed(float(x.exps[hidden].sum()))
    weights, weight_rest = _weights(x, listed, hidden, scores, exps, exp_rest)
    shares = [[printed(s) for s in x.shares[j]] for j in listed]
    shares[pair_row] = [decimal_product(weights[pair_row], value) for value in v]
    share_rest, z = totals(shares, x.z if len(hidden) else None)
    along, along_rest = _with_rest([printed(a) for a in x.along[listed]], x.along, hidden, pair_row)
    keys = [
        KeyRow(
            key=j,
            terms=terms[i],
            score=scores[i],
            below=_below(scores[i], best),
            exp=exps[i],
            weight=weights[i],
            share=shares[i],
            along=along[i],
            masked=x.masked[j],
        )
        for i, j in enumerate(listed)
    ]
    return RowOfScores(
        keys=keys,
        hidden=len(hidden),
        top=best,
        exp_rest=exp_rest,
        exp_total=sum(exps, exp_rest),
        weight_rest=weight_rest,
        weight_total=sum(weights, weight_rest),
        share_rest=share_rest,
        z=z,
        along_rest=along_rest,
        along_total=sum(along, along_rest),
    )


def totals(parts: Sequence[Numbers], whole: Array | None) -> tuple[Numbers, Numbers]:
    """Return, for each column, the sum of hidden parts and the total.

    Args:
        whole: The exact totals if parts are hidden; None if all are shown.
    """
    columns = list(zip(*parts, strict=True))
    if whole is None:
        return [ZERO] * len(columns), [sum(c, ZERO) for c in columns]
    pairs = [decimal_column(c, float(w)) for c, w in zip(columns, whole, strict=True)]
    return [rest for rest, _ in pairs], [total for _, total in pairs]


def _shown_keys(x: Explanation, top: int) -> list[int]:
    """Return the keys with the largest scores and that of the pair, in the order of the text."""
    n_key = len(x.scores)
    if top >= n_key - 1:
        return list(range(n_key))
    best = [int(j) for j in np.argsort(-x.scores, kind="stable")[:top]]
    if x.key not in best:
        best[-1:] = [x.key] if top > 1 else [best[0], x.key]
    return sorted(best)


def _weights(
    x: Explanation,
    listed: Sequence[int],
    hidden: Array,
    scores: Numbers,
    exps: Numbers,
    exp_rest: Decimal,
) -> tuple[list[Decimal], Decimal]:
    if x.weighting == "softmax":
        parts = apportion([*exps, exp_rest], listed.index(x.key))
        return parts[:-1], parts[-1]
    rest = printed(float(x.pattern[hidden].sum()))
    if x.weighting == "hard":
        return [printed(w) for w in x.pattern[listed]], rest
    return [s if s.is_finite() else ZERO for s in scores], rest


def _with_rest(
    shown: Numbers, values: Array, hidden: Array, pinned: int
) -> tuple[list[Decimal], Decimal]:
    """Return parts of 1, and the rest."""
    if not values.any():
        return list(shown), ZERO
    if len(hidden):
        return list(shown), ONE - sum(shown, ZERO)
    return apportion(shown, pinned), ZERO


def _below(score: Decimal, best: Decimal) -> Decimal:
    return score - best if score.is_finite() else score
