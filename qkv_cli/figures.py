"""How numbers and counts are written, in pictures and in messages."""

from __future__ import annotations


def number(weight: float) -> str:
    """Write a number with two digits: .62, 1.0, -.31, 12; below a tenth three decimals: .031."""
    return cell_number(weight) if abs(weight) >= 0.0995 else _bare(f"{weight:.3f}")


def cell_number(weight: float) -> str:
    """Write a number with at most two decimals, for a cell of a map; above 999 as 1e3."""
    amount = abs(weight)
    if amount >= 999.5:
        digit, exponent = f"{weight:.0e}".split("e")
        return f"{digit}e{int(exponent)}"
    if amount >= 0.995:
        return f"{weight:.1f}" if amount < 9.95 else f"{weight:.0f}"
    return _bare(f"{weight:.2f}")


def probability(p: float) -> str:
    """Write a probability like `number`, but <.001 if that would be 0."""
    return "<.001" if 0 < p < 0.0005 else number(p)


def thousandths(share: float) -> str:
    """Write an accuracy or a loss with three decimals: .728."""
    return _bare(f"{share:.3f}")


def _bare(decimal: str) -> str:
    """Remove the zero before the point, and all decimals if they are zeros."""
    return "0" if not decimal.strip("-0.") else decimal.replace("0.", ".", 1)


def count(n: int, noun: str) -> str:
    """Write a number of things: 1 head, 8 heads, 1,024 tokens."""
    return f"{n:,} {noun}" + "s" * (n != 1)
