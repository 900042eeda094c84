"""The steps of an explanation from the row of scores to the output."""

from __future__ import annotations

from decimal import Decimal

from rich.cells import cell_len
from rich.text import Text

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
from qkv_cli.render.figures import KeyRow, totals
from qkv_cli.render.lesson import Lesson, Step
from qkv_cli.render.sums import printed
from qkv_cli.render.weights import number

LONGEST_BAR = 40
Cells = list[tuple[str, list[str], Decimal | None, bool]]  # name, numbers, bar, is it the pair


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
        f"{s.b} is compared with every word",
        formula,
        lines,
        f"The query of {s.b}, compared with every key."
        + (f" -∞: masked ({because})." if because else ""),
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
            "Hard indexing: one key takes all",
            "weight = 1 for the best key, 0 for the others",
            lines,
            "This is what a dictionary does: one key matches, and its value is the answer. It is "
            "the special case of soft indexing in which one score is far above the others.",
        )
    return Step(
        "No softmax: scores are weights",
        "weight = score",
        lines,
        "Q Kᵀ / √d without softmax: weights may be negative and need not sum to 1.",
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
        "Softmax: scores become weights",
        "weight_j = exp(score_j - largest) / Σ exp(score - largest)",
        lines,
        "Every weight is positive and they sum to 1: the query matches keys softly. The "
        "further one score is above the others, the closer its weight is to 1; in the limit, "
        "that is hard indexing."
        if r.exp_total
        else f"{s.b} cannot attend to any word, so every weight is 0.",
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
    more = s.x.d_head - n
    lines.append(Text(f"{INDENT}and {more} more of {s.x.d_head}" if more else INDENT, DIM))
    return Step(
        "The blend: a little of every value",
        "z = Σ_j weight_j V_j",
        lines,
        f"{s.b} gets a weighted mixture of all values. {s.a} has {figure(pair.weight)} of the "
        f"weight and makes up {number(float(pair.along))} of the blend (measured along z)."
        if any(k.weight for k in r.keys)
        else f"{s.b} gets nothing.",
    )


def output_step(s: Lesson) -> Step:
    out = s.x.output
    others = s.x.n_heads - 1
    parts = [
        (f"  {s.a} through {s.name}", out.pair),
        (f"+ other words through {s.name}", out.words),
    ]
    if others:
        parts.append((f"+ the other {others} head{'s' * (others > 1)}", out.heads))
    if out.bias is not None:
        parts.append(("+ b_O", out.bias))
    columns = [[printed(c) for c in part] for _, part in parts]
    whole = totals(columns, None)[1]
    n = fitting([label for label, _ in parts], [*columns, whole], s.width)
    order = sorted(range(len(whole)), key=lambda m: -abs(columns[0][m]))[:n]
    rows = [
        Row(label, [column[m] for m in order], strong=i == 0)
        for i, ((label, _), column) in enumerate(zip(parts, columns, strict=True))
    ]
    rows.append(Row("= output", [whole[m] for m in order], total=True, strong=True))
    more = len(whole) - n
    lines = [_concatenated(s), *number_rows([f"e{m}" for m in order], rows, s.theme)]
    lines.append(Text(f"{INDENT}and {more} more of {len(whole)}" if more else INDENT, DIM))
    d = s.x.d_head
    return Step(
        "All heads together",
        f"output = W_O concat(z of {s.x.n_heads} heads){'' if out.bias is None else ' + b_O'}"
        f"     [{len(whole)}] = [{len(whole)} × {s.x.n_heads * d}] [{s.x.n_heads * d}]",
        lines,
        f"The {s.x.n_heads} blends are concatenated, and W_O mixes them into one vector: what "
        f"{s.b} learned from the other words. The dimensions in which {s.a} matters most come "
        "first.",
    )


def _concatenated(s: Lesson) -> Text:
    """The z of every head as little bars, this head's in brackets."""
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
    """Words down the side, columns of numbers, a bar for the last; the pair is marked."""
    wide = max(cell_len(name) for name in [*(r[0] for r in rows), *(e[0] for e in ends)])
    cells = [
        max(len(head), *(len(r[1][i]) for r in rows), *(len(e[1][i]) for e in ends), 0)
        for i, head in enumerate(heads)
    ]
    left = len(INDENT) + wide + sum(cells) + 2 * len(cells)
    room = min(LONGEST_BAR, s.width - left - 3)
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
        here = line(" →" if is_pair else "", name, numbers).append("  ")
        if is_pair:
            here.stylize(BOLD)
        if amount is not None:
            here.append_text(bar(amount, top, room, s.theme))
        lines.append(here)
    for i, (name, numbers) in enumerate(ends):
        if i == len(ends) - 1:
            rules = ["─" * c if n else "" for n, c in zip(numbers, cells, strict=True)]
            lines.append(line("", "", rules))
            lines[-1].stylize(DIM)
        lines.append(line("", name, numbers))
    return lines
