"""The steps of an explanation: from two words to a score. `blend` has the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np
from rich.text import Text

from qkv_cli.core.arrays import float64
from qkv_cli.render.blend import blend_step, output_step, scores_step, weights_step
from qkv_cli.render.cells import aligned
from qkv_cli.render.columns import (
    BOLD,
    DIM,
    INDENT,
    Row,
    bar,
    figure,
    fitting,
    number_rows,
    sparkline,
)
from qkv_cli.render.figures import Projected
from qkv_cli.render.lesson import Lesson, Step
from qkv_cli.render.sums import ZERO, printed
from qkv_cli.render.weights import number

LONGEST_BAR = 40
_MET = {
    "c2p": "the query with a key for the distance (c2p)",
    "p2c": "the key with a query for the distance (p2c)",
}


def all_steps(lesson: Lesson) -> Iterator[Step]:
    for step in (
        embedding_step,
        query_step,
        key_step,
        value_step,
        product_step,
        scale_step,
        position_step,
        scores_step,
        weights_step,
        blend_step,
        output_step,
    ):
        yield step(lesson)


def embedding_step(s: Lesson) -> Step:
    vectors = {f"e_B  {s.b}": s.x.e_query, f"e_A  {s.a}": s.x.e_key}
    numbers = [[printed(c) for c in e] for e in vectors.values()]
    n = fitting([*vectors], numbers, s.width)
    d_model = len(s.x.e_query)
    rows = [Row(said, row[:n]) for said, row in zip(vectors, numbers, strict=True)]
    lines = number_rows([f"e{m}" for m in range(n)], rows, s.theme)
    lines.append(_more(d_model - n, f"of {d_model}"))
    for said, e in vectors.items():
        line = Text(f"{INDENT}{said[:3]}  ")
        lines.append(line.append_text(sparkline([*map(float, e)], s.theme, s.width - 9)))
    lengths = [float(np.linalg.norm(float64(e))) for e in vectors.values()]
    cosine = float(float64(s.x.e_query) @ float64(s.x.e_key)) / max(lengths[0] * lengths[1], 1e-12)
    layer = s.maps.maps[0].layer
    return Step(
        f"Two words, as layer {layer} receives them" if layer else "Two words become two vectors",
        f"e_B = vector of {s.b}     e_A = vector of {s.a}",
        lines,
        "Words used in similar contexts have similar vectors: "
        f"the cosine of these two is {number(cosine)}. "
        f"Their lengths are {number(lengths[0])} and {number(lengths[1])}. "
        "The vectors are all that attention knows about the words.",
    )


def query_step(s: Lesson) -> Step:
    return Step(
        f"The query: what {s.b} looks for",
        _formula(s, "Q = W_Q e_B", s.q),
        _projection(s, s.q, "W_Q e_B", "b_Q", "Q", s.match.order),
        f"W_Q turns the vector of {s.b} into a query: a question to the other words. The "
        "dimensions that count most in the match below come first; d0, d1, ... only number them.",
    )


def key_step(s: Lesson) -> Step:
    return Step(
        f"The key: how {s.a} can be found",
        _formula(s, "K = W_K e_A", s.k),
        _projection(s, s.k, "W_K e_A", "b_K", "K", s.match.order),
        f"W_K turns the vector of {s.a} into a key: a label that queries are compared with. "
        "Every word has one.",
    )


def value_step(s: Lesson) -> Step:
    return Step(
        f"The value: what {s.a} passes on",
        _formula(s, "V = W_V e_A", s.v),
        _projection(s, s.v, "W_V e_A", "b_V", "V", s.v_order),
        f"W_V turns the vector of {s.a} into a value: what it passes on to a query that matches "
        "its key. The key is used to find a word, the value is what the query receives.",
    )


def product_step(s: Lesson) -> Step:
    m = s.match
    names = [f"d{d}" for d in m.shown]
    hidden = s.x.d_head - len(m.shown)
    rest = f"the other {hidden} dimensions"
    q, k = ([p.result[d] for d in m.shown] for p in (s.q, s.k))
    products = [m.products[d] for d in m.shown]
    cell = max(len(figure(n)) for n in [*q, *k, *products, m.rest, m.dot])
    wide = max(map(len, names))
    left = wide + 2 * cell + 5  # name, q, k, and what stands between them
    if hidden:
        left = max(left, len(rest))
    room = min(LONGEST_BAR, s.width - len(INDENT) - left - cell - 5)
    top = max(map(abs, [*products, m.rest]))
    lines = []
    for name, one, two, both in zip(names, q, k, products, strict=True):
        text = f"{name:<{wide}}  {figure(one):>{cell}} × {figure(two):>{cell}}".rjust(left)
        lines.append(_sum_line(s, text, both, cell, top, room))
    if hidden:
        lines.append(_sum_line(s, rest.ljust(left), m.rest, cell, top, room))
    lines.append(Text(INDENT + " " * (left + 3) + "─" * cell, DIM))
    lines.append(Text(f"{INDENT}{'Q · K':<{left}} = {figure(m.dot):>{cell}}", BOLD))
    return Step(
        "Do they match? Multiply and add",
        "Q · K = Σ_d q_d k_d",
        lines,
        "Where both numbers are large and have the same sign, the match becomes stronger; "
        "opposite signs make it weaker.",
    )


def scale_step(s: Lesson) -> Step:
    m, d = s.match, s.x.d_head
    if s.x.divides_by_root:
        formula, sign = f"Q · K / √d     d = {d}, √d = {figure(m.factor)}", "/"
        meaning = (
            f"A sum of {d} products grows with √{d}. Dividing by it keeps the scores in the range "
            "where softmax is soft, whatever the size of the head."
        )
    else:
        formula, sign = f"scale × Q · K     scale = {figure(m.factor)}", "×"
        meaning = f"This model multiplies by {figure(m.factor)}; others divide by √{d}."
    line = Text(f"{INDENT}{figure(m.dot)} {sign} {figure(m.factor)} = ")
    return Step("Scale the score", formula, [line.append(figure(m.content), BOLD)], meaning)


def position_step(s: Lesson) -> Step:
    m, title = s.match, "Add the effect of position"
    if reason := s.x.masked[s.x.key]:
        line = Text(f"{INDENT}score = -∞", BOLD)
        meaning = f"{s.b} cannot attend to {s.a}: {reason}. The weight will be 0."
        return Step(title, "score = -∞ where masked", [line], meaning)
    added = "".join(f" {'-' if value < 0 else '+'} {figure(abs(value))}" for _, value in m.terms)
    line = Text(f"{INDENT}{figure(m.content)}{added} = " if added else f"{INDENT}score = ")
    line.append(figure(m.score), BOLD)
    formula = " + ".join([f"score = {s.content}", *(f"{name} term" for name, _ in m.terms)])
    return Step(title, formula, [line], _what_the_place_does(s))


def _what_the_place_does(s: Lesson) -> str:
    terms = dict(s.match.terms)
    capped = "The soft cap keeps the score from growing without bound. " * ("soft cap" in terms)
    met = [said for name, said in _MET.items() if name in terms]
    if met:
        where = (
            f"{_place(s)} This model also has keys and queries for distances, and compares "
            f"{' and '.join(met)}. "
            f"That {_liking(terms.get('c2p', ZERO) + terms.get('p2c', ZERO))} the score."
        )
    elif "position" in terms:
        where = (
            f"{_place(s)} At that distance this head {_liking(terms['position'])} the score, "
            "whatever the words are."
        )
    elif s.x.between_texts:
        where = "Between two texts there is no distance: only the content of the words counts."
    else:
        where = (
            "Q and K were rotated by their positions before they were compared: this is how the "
            "head knows how far apart the words are."
            if s.x.rotates
            else "This head adds nothing for the positions of the two words."
        )
    return capped + where


def _place(s: Lesson) -> str:
    offset = s.x.key - s.x.query
    if not offset:
        return f"{s.a} is compared with itself."
    n, side = abs(offset), "right" if offset > 0 else "left"
    return f"{s.a} is {n} place{'s' * (n != 1)} to the {side} of {s.b}."


def _liking(helped: Decimal) -> str:
    return "adds to" if helped > 0 else "subtracts from" if helped < 0 else "does not change"


def _projection(
    s: Lesson, p: Projected, product: str, bias: str, result: str, order: Sequence[int]
) -> list[Text]:
    parts: list[tuple[str, Sequence[Decimal]]] = [(f"  {product}", p.product)]
    if p.bias is not None:
        parts.append((f"+ {bias}", p.bias))
    n = fitting([f"= {result}, then rotated"], [p.product, p.result], s.width)
    rows = [Row(said, [numbers[d] for d in order[:n]]) for said, numbers in parts]
    said = f"= {result}" if p.is_plain else f"→ {result}"
    total = p.is_plain and p.bias is not None
    last = Row(said, [p.result[d] for d in order[:n]], total=total, strong=True)
    lines = number_rows([f"d{d}" for d in order[:n]], [*rows, last], s.theme)
    if not p.is_plain:
        how = ["normed"] * s.x.norms + ["rotated by the word's position"] * s.x.rotates
        lines.append(Text(f"{INDENT}→ {' and '.join(how)}", DIM))
    return [*lines, _more(s.x.d_head - n, f"of {s.x.d_head}")]


def _sum_line(s: Lesson, text: str, number: Decimal, cell: int, top: Decimal, room: int) -> Text:
    line = Text(f"{INDENT}{text} = {aligned(figure(number), cell, right=True)}  ")
    return line.append_text(bar(number, top, room, s.theme))


def _more(n: int, of: str) -> Text:
    return Text(f"{INDENT}and {n} more {of}" if n else f"{INDENT}all {of[3:]}", DIM)


def _formula(s: Lesson, product: str, p: Projected) -> str:
    """`Q = W_Q e_B + b_Q` and its shapes, without the bias where there is none."""
    d, m = s.x.d_head, len(s.x.e_query)
    biased = p.bias is not None
    shapes = f"[{d}] = [{d} × {m}] [{m}]" + f" + [{d}]" * biased
    return product + f" + b_{product[0]}" * biased + "     " + shapes
