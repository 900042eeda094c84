"""The steps of `qkv explain`, from two words to the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from qkv_cli.analysis.explain import Explanation
from qkv_cli.core.arrays import float64
from qkv_cli.figures import count, number
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.terminal import explain_numbers
from qkv_cli.render.terminal.columns import (
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
from qkv_cli.render.terminal.explain_numbers import ZERO, KeyRow, Projected, printed, totals
from qkv_cli.render.text import aligned, distinct_words
from qkv_cli.render.theme import Theme

LONGEST_WORD = 14


@dataclass(frozen=True, slots=True)
class Step:
    """A formula, its numbers, and what it means."""

    title: str
    formula: str
    lines: Sequence[Text]
    meaning: str


@dataclass(frozen=True)
class Lesson:
    maps: HeadMaps
    x: Explanation
    theme: Theme
    width: int
    products: int  # the maximum number of products
    words: int  # and of keys

    @property
    def name(self) -> str:
        return self.maps.maps[0].name  # L0H3

    @cached_property
    def b(self) -> str:
        """The name of the query."""
        return distinct_words(self.maps.queries, LONGEST_WORD)[self.x.query]

    @cached_property
    def a(self) -> str:
        """The name of the key."""
        return self.key_names[self.x.key]

    @cached_property
    def key_names(self) -> list[str]:
        return distinct_words(self.maps.keys, LONGEST_WORD)

    @property
    def content(self) -> str:
        """The formula from the dot product to the first part of a score."""
        return "Q · K / √d" if self.x.divides_by_root else "scale × Q · K"

    @cached_property
    def q(self) -> explain_numbers.Projected:
        return explain_numbers.projected(self.x.q)

    @cached_property
    def k(self) -> explain_numbers.Projected:
        return explain_numbers.projected(self.x.k)

    @cached_property
    def v(self) -> explain_numbers.Projected:
        return explain_numbers.projected(self.x.v)

    @cached_property
    def match(self) -> explain_numbers.Match:
        return explain_numbers.match(self.x, self.q.result, self.k.result, self.products)

    @cached_property
    def row(self) -> explain_numbers.RowOfScores:
        return explain_numbers.row_of_scores(self.x, self.match, self.v.result, self.words)

    @cached_property
    def v_order(self) -> list[int]:
        """The dimensions of the value, the largest first."""
        return sorted(range(self.x.d_head), key=lambda d: -abs(self.v.result[d]))


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
    rows = [Row(name, row[:n]) for name, row in zip(vectors, numbers, strict=True)]
    lines = number_rows([f"e{m}" for m in range(n)], rows, s.theme)
    lines.append(_more(d_model - n, f"of {d_model}"))
    for name, e in vectors.items():
        line = Text(f"{INDENT}{name[:3]}  ")
        lines.append(line.append_text(sparkline([*map(float, e)], s.theme, s.width - 9)))
    lengths = [float(np.linalg.norm(float64(e))) for e in vectors.values()]
    cosine = float(float64(s.x.e_query) @ float64(s.x.e_key)) / max(lengths[0] * lengths[1], 1e-12)
    layer = s.maps.maps[0].layer
    return Step(
        title=(
            f"Two words, as layer {layer} receives them"
            if layer
            else "Two words become two vectors"
        ),
        formula=f"e_B = vector of {s.b}     e_A = vector of {s.a}",
        lines=lines,
        meaning=(
            "Words used in similar contexts have similar vectors: "
            f"the cosine of these two is {number(cosine)}. "
            f"Their lengths are {number(lengths[0])} and {number(lengths[1])}. "
            "The vectors are all that attention knows about the words."
        ),
    )


def query_step(s: Lesson) -> Step:
    return Step(
        title=f"The query: what {s.b} looks for",
        formula=_formula(s, "Q = W_Q e_B", s.q),
        lines=_projection(s, s.q, "W_Q e_B", "b_Q", "Q", s.match.order),
        meaning=(
            f"W_Q turns the vector of {s.b} into a query: a question to the other words. The "
            "dimensions that count most in the match below come first; d0, d1, ... only number "
            "them."
        ),
    )


def key_step(s: Lesson) -> Step:
    return Step(
        title=f"The key: how {s.a} can be found",
        formula=_formula(s, "K = W_K e_A", s.k),
        lines=_projection(s, s.k, "W_K e_A", "b_K", "K", s.match.order),
        meaning=(
            f"W_K turns the vector of {s.a} into a key: a label that queries are compared with. "
            "Every word has one."
        ),
    )


def value_step(s: Lesson) -> Step:
    return Step(
        title=f"The value: what {s.a} passes on",
        formula=_formula(s, "V = W_V e_A", s.v),
        lines=_projection(s, s.v, "W_V e_A", "b_V", "V", s.v_order),
        meaning=(
            f"W_V turns the vector of {s.a} into a value: what it passes on to a query that "
            "matches its key. The key is used to find a word, the value is what the query receives."
        ),
    )


def product_step(s: Lesson) -> Step:
    m = s.match
    names = [f"d{d}" for d in m.shown]
    hidden = s.x.d_head - len(m.shown)
    rest_name = f"the other {hidden} dimensions"
    q, k = ([p.result[d] for d in m.shown] for p in (s.q, s.k))
    products = [m.products[d] for d in m.shown]
    cell = max(len(figure(n)) for n in [*q, *k, *products, m.rest, m.dot])
    wide = max(map(len, names))
    left_width = wide + 2 * cell + 5  # name, q, k, and the operator
    if hidden:
        left_width = max(left_width, len(rest_name))
    room = min(LONGEST_BAR, s.width - len(INDENT) - left_width - cell - 5)
    top = max(map(abs, [*products, m.rest]))
    lines = []
    for name, q_d, k_d, product in zip(names, q, k, products, strict=True):
        text = f"{name:<{wide}}  {figure(q_d):>{cell}} × {figure(k_d):>{cell}}".rjust(left_width)
        lines.append(_sum_line(s, text, product, cell, top, room))
    if hidden:
        lines.append(_sum_line(s, rest_name.ljust(left_width), m.rest, cell, top, room))
    lines.append(Text(INDENT + " " * (left_width + 3) + "─" * cell, DIM))
    lines.append(Text(f"{INDENT}{'Q · K':<{left_width}} = {figure(m.dot):>{cell}}", BOLD))
    return Step(
        title="Do they match? Multiply and add",
        formula="Q · K = Σ_d q_d k_d",
        lines=lines,
        meaning=(
            "Where both numbers are large and have the same sign, the match becomes stronger; "
            "opposite signs make it weaker."
        ),
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
    return Step(
        title="Scale the score",
        formula=formula,
        lines=[line.append(figure(m.content), BOLD)],
        meaning=meaning,
    )


def position_step(s: Lesson) -> Step:
    m, title = s.match, "Add the effect of position"
    if reason := s.x.masked[s.x.key]:
        line = Text(f"{INDENT}score = -∞", BOLD)
        meaning = f"{s.b} cannot attend to {s.a}: {reason}. The weight will be 0."
        return Step(title=title, formula="score = -∞ where masked", lines=[line], meaning=meaning)
    terms_text = "".join(
        f" {'-' if value < 0 else '+'} {figure(abs(value))}" for _, value in m.terms
    )
    line = Text(
        f"{INDENT}{figure(m.content)}{terms_text} = " if terms_text else f"{INDENT}score = "
    )
    line.append(figure(m.score), BOLD)
    formula = " + ".join([f"score = {s.content}", *(f"{name} term" for name, _ in m.terms)])
    return Step(title=title, formula=formula, lines=[line], meaning=_position_in_words(s))


def _position_in_words(s: Lesson) -> str:
    terms = dict(s.match.terms)
    capped = "The soft cap keeps the score from growing without bound. " * ("soft cap" in terms)
    effects = [effect for name, effect in _MET.items() if name in terms]
    if effects:
        where = (
            f"{_place(s)} This model also has keys and queries for distances, and compares "
            f"{' and '.join(effects)}. "
            f"That {_match_in_words(terms.get('c2p', ZERO) + terms.get('p2c', ZERO))} the score."
        )
    elif "position" in terms:
        where = (
            f"{_place(s)} At that distance this head {_match_in_words(terms['position'])} the "
            "score, whatever the words are."
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
    return f"{s.a} is {count(n, 'place')} to the {side} of {s.b}."


def _match_in_words(helped: Decimal) -> str:
    return "adds to" if helped > 0 else "subtracts from" if helped < 0 else "does not change"


def _projection(
    s: Lesson, p: Projected, product: str, bias: str, result: str, order: Sequence[int]
) -> list[Text]:
    parts: list[tuple[str, Sequence[Decimal]]] = [(f"  {product}", p.product)]
    if p.bias is not None:
        parts.append((f"+ {bias}", p.bias))
    n = fitting([f"= {result}, then rotated"], [p.product, p.result], s.width)
    rows = [Row(formula, [numbers[d] for d in order[:n]]) for formula, numbers in parts]
    formula = f"= {result}" if p.is_plain else f"→ {result}"
    total = p.is_plain and p.bias is not None
    last = Row(formula, [p.result[d] for d in order[:n]], total=total, strong=True)
    lines = number_rows([f"d{d}" for d in order[:n]], [*rows, last], s.theme)
    if not p.is_plain:
        changes = ["normed"] * s.x.norms + ["rotated by the word's position"] * s.x.rotates
        lines.append(Text(f"{INDENT}→ {' and '.join(changes)}", DIM))
    return [*lines, _more(s.x.d_head - n, f"of {s.x.d_head}")]


def _sum_line(s: Lesson, text: str, number: Decimal, cell: int, top: Decimal, room: int) -> Text:
    line = Text(f"{INDENT}{text} = {aligned(figure(number), cell, right=True)}  ")
    return line.append_text(bar(number, top, room, s.theme))


def _more(n: int, noun: str) -> Text:
    return Text(f"{INDENT}and {n} more {noun}" if n else f"{INDENT}all {noun[3:]}", DIM)


def _formula(s: Lesson, product: str, p: Projected) -> str:
    """Return `Q = W_Q e_B + b_Q` with its shapes; without the bias if there is none."""
    d, m = s.x.d_head, len(s.x.e_query)
    biased = p.bias is not None
    shapes = f"[{d}] = [{d} × {m}] [{m}]" + f" + [{d}]" * biased
    return product + f" + b_{product[0]}" * biased + "     " + shapes


LONGEST_BAR = 40
Cells = list[
    tuple[str, list[str], Decimal | None, bool]
]  # name, numbers, bar, whether it is the pair


def scores_step(s: Lesson) -> Step:
    names = ["Q·K/√d" if s.x.divides_by_root else "Q·K×scale"]
    names += [f"+ {name}" for name, _ in s.match.terms]
    heads = [*names, "= score"] if len(names) > 1 else ["score"]
    rows: Cells = []
    for key in s.row.keys:
        numbers = [*(figure(t) for t in key.terms), figure(key.score)]
        if len(names) == 1:
            numbers = numbers[1:]
        rows.append((s.key_names[key.key], numbers, key.score, key.key == s.x.key))
    lines = _table(s, heads, rows, [])
    if s.row.hidden:
        lines.append(Text(f"{INDENT}{s.row.hidden} more words have lower scores", DIM))
    reasons = {key.masked for key in s.row.keys if key.masked}
    because = "; ".join(sorted(reasons))
    content = s.content.replace("K", "K_j")
    formula = " + ".join([f"score_j = {content}", *(f"{name}_j" for name, _ in s.match.terms)])
    return Step(
        title=f"{s.b} is compared with every word",
        formula=formula,
        lines=lines,
        meaning=(
            f"The query of {s.b}, compared with every key."
            + (f" -∞: masked ({because})." if because else "")
        ),
    )


def weights_step(s: Lesson) -> Step:
    if s.x.weighting == "softmax":
        return _softmax_step(s)
    rows: Cells = [
        (s.key_names[k.key], [figure(k.weight)], k.weight, k.key == s.x.key) for k in s.row.keys
    ]
    ends = [(_others(s), [figure(s.row.weight_rest)])] if s.row.hidden else []
    ends.append(("sum", [figure(s.row.weight_total)]))
    lines = _table(s, ["weight"], rows, ends)
    if s.x.weighting == "hard":
        return Step(
            title="Hard indexing: one key takes all",
            formula="weight = 1 for the best key, 0 for the others",
            lines=lines,
            meaning=(
                "This is what a dictionary does: one key matches, and its value is the answer. It "
                "is the special case of soft indexing in which one score is far above the others."
            ),
        )
    return Step(
        title="No softmax: scores are weights",
        formula="weight = score",
        lines=lines,
        meaning="Q Kᵀ / √d without softmax: weights may be negative and need not sum to 1.",
    )


def _softmax_step(s: Lesson) -> Step:
    rows: Cells = [
        (
            s.key_names[k.key],
            [figure(k.below), figure(k.exp), figure(k.weight)],
            k.weight,
            k.key == s.x.key,
        )
        for k in s.row.keys
    ]
    r = s.row
    ends = [(_others(s), ["", figure(r.exp_rest), figure(r.weight_rest)])] if r.hidden else []
    ends.append(("sum", ["", figure(r.exp_total), figure(r.weight_total)]))
    below = (
        f"score {'+' if r.top < 0 else '-'} {figure(abs(r.top))}" if r.top.is_finite() else "score"
    )
    lines = _table(s, [below, "exp", "weight"], rows, ends)
    pair = _pair(s)
    if r.exp_total:
        lines.append(Text())
        line = Text(f"{INDENT}{s.a}: {figure(pair.exp)} / {figure(r.exp_total)} = ")
        lines.append(line.append(figure(pair.weight), BOLD))
    return Step(
        title="Softmax: scores become weights",
        formula="weight_j = exp(score_j - largest) / Σ exp(score - largest)",
        lines=lines,
        meaning=(
            "Every weight is positive and they sum to 1: the query matches keys softly. The "
            "further one score is above the others, the closer its weight is to 1; in the limit, "
            "that is hard indexing."
            if r.exp_total
            else f"{s.b} cannot attend to any word, so every weight is 0."
        ),
    )


def blend_step(s: Lesson) -> Step:
    r, pair = s.row, _pair(s)
    rows = [(f"  {figure(k.weight)} × {s.key_names[k.key]}", k.share) for k in r.keys]
    if r.hidden:
        rows.append((f"  {_others(s)}", r.share_rest))
    labels = [label for label, _ in rows]
    n = fitting(labels, [*(share for _, share in rows), r.z], s.width)
    order = s.v_order[:n]
    body = [
        Row(label, [share[d] for d in order], strong=i < len(r.keys) and r.keys[i] is pair)
        for i, (label, share) in enumerate(rows)
    ]
    body.append(Row("= z", [r.z[d] for d in order], total=True, strong=True))
    lines = number_rows([f"d{d}" for d in order], body, s.theme)
    n_hidden = s.x.d_head - n
    lines.append(Text(f"{INDENT}and {n_hidden} more of {s.x.d_head}" if n_hidden else INDENT, DIM))
    return Step(
        title="The blend: a little of every value",
        formula="z = Σ_j weight_j V_j",
        lines=lines,
        meaning=(
            f"{s.b} gets a weighted mixture of all values. {s.a} has {figure(pair.weight)} of the "
            f"weight and makes up {number(float(pair.along))} of the blend (measured along z)."
            if any(k.weight for k in r.keys)
            else f"{s.b} gets nothing."
        ),
    )


def output_step(s: Lesson) -> Step:
    out = s.x.output
    n_other_heads = s.x.n_heads - 1
    parts = [
        (f"  {s.a} through {s.name}", out.pair),
        (f"+ other words through {s.name}", out.words),
    ]
    if n_other_heads:
        parts.append((f"+ the other {count(n_other_heads, 'head')}", out.heads))
    if out.bias is not None:
        parts.append(("+ b_O", out.bias))
    columns = [[printed(c) for c in part] for _, part in parts]
    sums = totals(columns, None)[1]
    n = fitting([label for label, _ in parts], [*columns, sums], s.width)
    order = sorted(range(len(sums)), key=lambda m: -abs(columns[0][m]))[:n]
    rows = [
        Row(label, [column[m] for m in order], strong=i == 0)
        for i, ((label, _), column) in enumerate(zip(parts, columns, strict=True))
    ]
    rows.append(Row("= output", [sums[m] for m in order], total=True, strong=True))
    n_hidden = len(sums) - n
    lines = [_concatenated(s), *number_rows([f"e{m}" for m in order], rows, s.theme)]
    lines.append(Text(f"{INDENT}and {n_hidden} more of {len(sums)}" if n_hidden else INDENT, DIM))
    d = s.x.d_head
    return Step(
        title="All heads together",
        formula=(
            f"output = W_O concat(z of {s.x.n_heads} heads){'' if out.bias is None else ' + b_O'}"
            f"     [{len(sums)}] = [{len(sums)} × {s.x.n_heads * d}] [{s.x.n_heads * d}]"
        ),
        lines=lines,
        meaning=(
            f"The {s.x.n_heads} blends are concatenated, and W_O mixes them into one vector: what "
            f"{s.b} learned from the other words. The dimensions in which {s.a} matters most come "
            "first."
        ),
    )


def _concatenated(s: Lesson) -> Text:
    """Return the z of every head as sparklines, this head's in brackets."""
    line = Text(f"{INDENT}concat ")
    first = max(0, s.x.head - max(0, (s.width - 14) // (s.x.d_head + 3) - 1))
    if first:
        line.append("… ", DIM)
    for h in range(first, s.x.n_heads):
        spark = sparkline([*map(float, s.x.z_heads[h])], s.theme, s.x.d_head)
        if cell_len(line.plain) + len(spark) + 4 > s.width and h != s.x.head:
            return line.append("…", DIM)
        mine = h == s.x.head
        line.append("[" if mine else " ", BOLD).append_text(spark).append(
            "]" if mine else " ", BOLD
        )
    return line


def _pair(s: Lesson) -> KeyRow:
    return next(k for k in s.row.keys if k.key == s.x.key)


def _others(s: Lesson) -> str:
    return f"the other {s.row.hidden}"


def _table(
    s: Lesson, heads: list[str], rows: Cells, ends: list[tuple[str, list[str]]]
) -> list[Text]:
    """Return lines with a word, numbers and a bar of the last number; the pair is marked."""
    wide = max(cell_len(name) for name in [*(r[0] for r in rows), *(e[0] for e in ends)])
    cells = [
        max(len(head), *(len(r[1][i]) for r in rows), *(len(e[1][i]) for e in ends), 0)
        for i, head in enumerate(heads)
    ]
    table_width = len(INDENT) + wide + sum(cells) + 2 * len(cells)
    room = min(LONGEST_BAR, s.width - table_width - 3)
    top = max(
        (abs(r[2]) for r in rows if r[2] is not None and r[2].is_finite()), default=Decimal(0)
    )

    def line(mark: str, name: str, numbers: list[str]) -> Text:
        text = mark.ljust(len(INDENT)) + aligned(name, wide)
        for text_of, cell in zip(numbers, cells, strict=True):
            text += "  " + text_of.rjust(cell)
        return Text(text)

    lines = [line("", "", heads)]
    lines[0].stylize(DIM)
    for name, numbers, amount, is_pair in rows:
        row_text = line(" →" if is_pair else "", name, numbers).append("  ")
        if is_pair:
            row_text.stylize(BOLD)
        if amount is not None:
            row_text.append_text(bar(amount, top, room, s.theme))
        lines.append(row_text)
    for i, (name, numbers) in enumerate(ends):
        if i == len(ends) - 1:
            rules = ["─" * c if n else "" for n, c in zip(numbers, cells, strict=True)]
            lines.append(line("", "", rules))
            lines[-1].stylize(DIM)
        lines.append(line("", name, numbers))
    return lines
