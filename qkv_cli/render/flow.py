"""Short statements on as few lines as hold them, none of them broken if it fits a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

DOT = " · "


def flowing(
    statements: Iterable[str], width: int, style: Style, first: Text | None = None
) -> Iterator[Text]:
    """Lines of statements with a dot between two of them.

    Args:
        width: Of the terminal, in cells; a statement that is longer is folded there.
        first: What the first line begins with; the lines below are set in by its width.
    """
    line = first or Text()
    indent = Text(" " * line.cell_len if line.cell_len <= width // 4 else "")
    fresh = True
    for statement in statements:
        needed = cell_len(statement) + (0 if fresh else len(DOT))
        if line.cell_len + needed > width and not (fresh and line.cell_len <= indent.cell_len):
            yield _whole(line)
            line, fresh = indent.copy(), True
        line.append(statement if fresh else DOT + statement, style)
        fresh = False
    yield _whole(line)


def _whole(line: Text) -> Text:
    line.rstrip()
    line.overflow = "fold"
    return line
