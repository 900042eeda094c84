"""Numbers as they are printed, so that what is printed adds up.

Rounded parts rarely sum to the rounded total. Here every number on the page is a
decimal first: it is either rounded from the model, or computed from decimals that
stand above it, and what is summed up as "the rest" closes the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from itertools import starmap
from math import exp, isfinite

PLACES = 4
UNIT = Decimal(1).scaleb(-PLACES)
_ENOUGH = Context(prec=100)  # digits of the largest product of two float32
ZERO = Decimal(0).quantize(UNIT)
ONE = Decimal(1).quantize(UNIT)


def printed(x: float | Decimal) -> Decimal:
    """Rounded to the places that are shown; -inf stays."""
    number = Decimal(x)
    if not number.is_finite():
        return number
    return number.quantize(UNIT, context=_ENOUGH) + ZERO  # + 0: no "-0.0000"


def product(a: Decimal, b: Decimal) -> Decimal:
    """What a pocket calculator makes of two printed numbers."""
    return printed(a * b)


def quotient(a: Decimal, b: Decimal) -> Decimal:
    return printed(a / b)


def column(shown: Sequence[Decimal], total: float) -> tuple[Decimal, Decimal]:
    """What the parts that are not shown come to, and a printed total that is exactly the sum."""
    whole = printed(total)
    return whole - sum(shown, ZERO), whole


def exponentials(scores: Sequence[Decimal]) -> list[Decimal]:
    """exp(score - largest), from the printed scores; 0 where masked."""
    top = max(scores)
    if not isfinite(top):
        return [ZERO for _ in scores]
    return [printed(exp(score - top)) for score in scores]


def apportion(parts: Sequence[Decimal], pinned: int) -> list[Decimal]:
    """Parts of their sum that add up to exactly 1, by largest remainders.

    Args:
        parts: Not negative; all zero gives zeros.
        pinned: The part that is simply rounded, whatever the others must yield.
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


def dot(a: Sequence[Decimal], b: Sequence[Decimal]) -> list[Decimal]:
    """The products of a dot product, one a dimension."""
    return list(starmap(product, zip(a, b, strict=True)))
