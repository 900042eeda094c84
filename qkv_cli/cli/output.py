"""Output of results: pictures and documents, to standard output or a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qkv_cli.cli.progress import clear_progress, report_activity
from qkv_cli.errors import UsageError
from qkv_cli.figures import count
from qkv_cli.names import (
    DATA_FORMATS,
    DEFAULT_PALETTE,
    NARROWEST,
    PICTURE_FORMATS,
    BackgroundMode,
    ColorMode,
    DataFormat,
    Format,
    FormatChoice,
)
from qkv_cli.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from qkv_cli.core.info import ModelInfo
    from qkv_cli.core.tokens import Token
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.render.theme import Theme

LONGEST_MESSAGE = 1000  # characters
SHOWN = 5  # unknown words that are listed
Draw = Callable[["Theme"], "RenderableType"]
DrawMaps = Callable[["HeadMaps", "Theme"], "RenderableType"]


@dataclass(frozen=True, slots=True)
class Look:
    """The look of pictures: colour, palette, background, width."""

    color: ColorMode = "auto"
    palette: str = DEFAULT_PALETTE
    background: BackgroundMode = "auto"
    width: int | None = None

    def text(self, draw: Draw, *, to_file: bool = False) -> str:
        """Return a picture as text with terminal control codes.

        Raises:
            UsageError: There is no such palette.
        """
        from qkv_cli.render.encoding import Safe
        from qkv_cli.render.theme import Theme

        console = self._console(to_file=to_file)
        theme = Theme.detect(
            console,
            palette=self.palette,
            background=self.background,
            encoding="utf-8" if to_file else None,
        )
        with console.capture() as capture:
            # A line with "sqrt" instead of a root sign is longer: it is folded, not cut.
            console.print(Safe(draw(theme), theme.charset), crop=theme.charset.has("√"))
        # Trailing spaces are invisible, but disturb programs that read a pipe.
        return re.sub(r" +$", "", capture.get(), flags=re.MULTILINE)

    def picture(self, kind: Format, draws: Sequence[Draw]) -> bytes:
        """Return the bytes of a picture file.

        Raises:
            UsageError: There is no such palette, or the file type holds only one picture.
        """
        from qkv_cli.render.picture import COLUMNS, picture_file

        report_activity(f"drawing the .{kind}")
        return picture_file(
            kind,
            draws,
            palette=self.palette,
            background=self.background,
            columns=self.width or COLUMNS,
        )

    def _console(self, *, to_file: bool) -> Console:
        """Return a Rich console with the width and colours of the output."""
        from rich.console import Console

        always = self.color == "always"
        is_coloured = always or not (to_file or self.color == "never")
        make = partial(
            Console,
            force_terminal=True if always else None if is_coloured else False,
            no_color=False if always else None if is_coloured else True,
            width=self.width,
            highlight=False,
        )
        console = make()
        if always and console.color_system is None:  # a dumb terminal, or no TERM at all
            console = make(color_system="standard")
        if console.width < NARROWEST:
            console.width = NARROWEST
        return console


@dataclass(frozen=True, slots=True)
class Target:
    """A format, its destination, and the arrays to include."""

    kind: Format
    path: Path | None  # None: standard output
    include: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        path: Path | None,
        asked: FormatChoice | None,
        *,
        as_json: bool,
        include: Sequence[str] = (),
        data: Sequence[DataFormat] = DATA_FORMATS,
    ) -> Target:
        """Return the format of --json or --format, else that of the file's suffix, else text.

        Args:
            data: The data formats that the command can write.

        Raises:
            UsageError: --json, --format and the suffix contradict each other, the suffix is
                unknown, or the command cannot write the format.
        """
        if as_json and asked not in (None, "json", "jsonl"):
            raise UsageError(f"Use either --json or --format {asked}, not both.")
        kind: Format | None = asked or ("json" if as_json else None)
        suffixes: dict[str, Format] = {".txt": "text"}
        suffixes |= {f".{name}": name for name in (*PICTURE_FORMATS, *data)}
        if path is not None:
            suffix = suffixes.get(path.suffix.lower())
            if suffix is None and path.suffix[1:].lower() in DATA_FORMATS:
                raise UsageError(
                    f"This command cannot write {path.suffix} files: use {_listed(suffixes)}."
                )
            if suffix is None and kind is None:
                unknown = (
                    f"Unknown file type {path.suffix}"
                    if path.suffix
                    else f"{path} has no file type"
                )
                raise UsageError(f"{unknown}: use {_listed(suffixes)}.")
            if kind and suffix and suffix not in (kind, kind + "l"):
                option = f"--format {asked}" if asked else "--json"
                raise UsageError(f"Use either {option} or -o {path}, not both.")
            kind = suffix or kind
        if kind is not None and kind not in suffixes.values():
            raise UsageError(
                f"--format {kind} does not apply to this command: use {_listed(suffixes.values())}."
            )
        if kind in ("png", "pdf") and path is None and sys.stdout.isatty():
            raise UsageError(f"A terminal cannot show a {kind}: write it with -o FILE, or pipe it.")
        parts = [part.strip() for item in include for part in item.split(",")]
        if parts and kind not in ("json", "jsonl", "npz"):
            raise UsageError(
                "--include needs --json or an output file of type .json, .jsonl or .npz."
            )
        return cls(kind or "text", path, parts)

    def send(self, data: str | bytes, holds: str = "") -> None:
        """Write a result, and note on stderr that a file was written.

        Args:
            holds: The extent of the result, such as "8 heads, 13 words".
        """
        if isinstance(data, str):
            self.send_pieces([data], holds)
        elif self.path is not None:
            self._place(self.path, [data], holds)
        else:
            clear_progress()
            sys.stdout.flush()
            sys.stdout.buffer.write(data)

    def send_pieces(self, pieces: Iterable[str], holds: str = "") -> None:
        """Write a text in pieces, as they are computed; see `send`."""
        if self.path is not None:
            self._place(self.path, (piece.encode(errors="replace") for piece in pieces), holds)
        else:
            clear_progress()
            sys.stdout.writelines(pieces)

    def _place(self, path: Path, pieces: Iterable[bytes], holds: str) -> None:
        from qkv_cli.atomic_files import place_file

        clear_progress()
        place_file(path, pieces)
        self._note_written(holds)

    def draw(self, draws: Iterable[Draw], look: Look, holds: str = "") -> None:
        """Write pictures one after the other as text, or as one picture file.

        Args:
            holds: See `send`.

        Raises:
            UsageError: There is no such palette, or the file type holds only one picture.
        """
        if self.kind != "text":
            self.send(look.picture(self.kind, list(draws)), holds)
            return
        to_file = self.path is not None
        pictures = (look.text(draw, to_file=to_file) for draw in draws)
        if to_file:
            self.send("\n".join(pictures), holds)
            return
        for index, picture in enumerate(pictures):
            self.send("\n" * bool(index) + picture)
            sys.stdout.flush()

    def send_maps(
        self, results: Iterable[HeadMaps], look: Look, draw: DrawMaps, *, several: bool = False
    ) -> None:
        """Write the head maps of each text, to standard output as soon as they are computed.

        Args:
            several: Whether there may be several texts, which a CSV then numbers.
        """
        from qkv_cli.export.attention import encode_maps, write_maps

        if self.path is not None:
            results = list(results)
            holds = describe_extent(results)
        else:
            holds = ""
        if self.kind not in DATA_FORMATS:
            self.draw((partial(draw, maps) for maps in results), look, holds)
        elif self.path is not None:
            write_maps(
                self.path, list(results), self.include, kind=self.kind, numbers_texts=several
            )
            self._note_written(holds)
        else:
            sys.stdout.flush()
            clear_progress()
            for piece in encode_maps(self.kind, results, self.include, numbers_texts=several):
                sys.stdout.buffer.write(piece)

    def _note_written(self, holds: str) -> None:
        note(f"Wrote {self.path}" + f" ({holds})" * bool(holds))


def describe_extent(results: Sequence[object]) -> str:
    """Describe the extent of a result: its heads and tokens, or the number of texts."""
    from qkv_cli.maps.head_maps import HeadMaps

    if len(results) != 1:
        return f"{len(results)} texts"
    [maps] = results
    if not isinstance(maps, HeadMaps):
        return ""
    noun = "word" if maps.model.type == "word-vectors" else "token"
    kind = "head" if all(m.head is not None for m in maps.maps) else "map"
    return f"{count(len(maps.maps), kind)}, {count(len(maps.queries), noun)}"


def _listed(names: Iterable[str]) -> str:
    """Format names as alternatives: a, b or c."""
    *first_names, last = names
    return f"{', '.join(first_names)} or {last}"


def report_unknown(tokens: Iterable[Token], model: str) -> None:
    """Note on stderr which words are unknown to the model, each once."""
    words = list(dict.fromkeys(token.text for token in tokens if token.unknown))
    if not words:
        return
    suffix = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    subject = "1 word is" if len(words) == 1 else f"{len(words)} words are"
    note(f"{subject} unknown to {model}: {', '.join(words[:SHOWN])}{suffix}.")


def note_about(info: ModelInfo) -> None:
    """Write on stderr what a user of the model should know."""
    for text in info.notes:
        note(f"{info.name}: {text}")


def note_no_links() -> None:
    """Write on stderr why a picture is empty."""
    note("Nothing to show: in this model, a text of one word has no other word to attend to.")


def note(message: str) -> None:
    """Write one line on stderr, shortened in the middle if it is long."""
    clear_progress()
    print("qkv:", visible(" ".join(message.split()), LONGEST_MESSAGE), file=sys.stderr)  # noqa: T201


def say(line: str) -> None:
    """Write one line of a result to standard output."""
    clear_progress()
    print(visible(line))  # noqa: T201
