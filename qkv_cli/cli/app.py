"""The `qkv` command: its subcommands, its signals, and the exit codes of its errors.

Subcommands are imported and built only when they run: Typer would import and inspect every
command at every start, which takes at least 20 ms, and `qkv --help` needs only their names and
first lines.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import IO, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from qkv_cli import __version__
from qkv_cli.cli.output import note
from qkv_cli.cli.progress import clear_progress
from qkv_cli.errors import QkvError
from qkv_cli.names import NARROWEST, WIDEST

# The modules of commands, with the first lines of their help.
COMMANDS = {
    "attend": "Show how strongly each word attends to every other word: a heatmap for each head.",
    "explain": "Explain one attention weight: every step from two word vectors to the output.",
    "focus": "Show what one word attends to, or which words attend to it.",
    "next": "Predict the next token, with all heads or with some heads ablated.",
    "grid": "Draw every head of every layer as a thumbnail, and mark heads with a known role.",
    "heads": "Measure what each head does: a table of statistics, and a label if it beats chance.",
    "compare": "Compare heads, layers, models, texts or files: two maps and their difference.",
    "render": "Draw a file that qkv wrote, without running the model, or convert it.",
    "train": "Train attention heads on a text corpus, with fixed word vectors.",
    "models": "Manage models: list, show, path, add, pull, neighbors, check, verify, rm.",
}
DRAWING = ("attend", "compare", "focus", "grid", "render")
SETTINGS: dict[str, Any] = {
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


_received: list[int] = []  # signals that asked this process to exit


class Group(TyperGroup):
    """A group of `COMMANDS` by name, of which only the one that runs is built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: TyperCommand(name, help=h) for name, h in COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, arguments = super().resolve_command(ctx, args)
        if name not in COMMANDS:
            return name, command, arguments
        return (
            name,
            build_command(name),
            update_arguments(arguments) if name in DRAWING else arguments,
        )


def update_arguments(args: Sequence[str]) -> list[str]:
    """Return the arguments with renamed options of version 0.1, and note each on stderr."""
    arguments: list[str] = []
    for arg in args:
        old, new = arg, arg
        if arg == "--values":
            new = "--numbers"
        elif arg == "--show=values":
            new = "--show=contributions"
        elif arg == "values" and arguments[-1:] == ["--show"]:
            old, new = "--show values", "contributions"
        if new != arg:
            name = f"--show {new}" if arg == "values" else new.replace("=", " ")
            note(f"{old.replace('=', ' ')} is now called {name}; the old name works in 0.2 only.")
        arguments.append(new)
    return arguments


def build_command(name: str) -> Any:
    """Return a command: a module's Typer app, or its function of the same name."""
    module = import_module(f"qkv_cli.cli.{name}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    single = typer.Typer(add_completion=False, **SETTINGS)
    single.command()(getattr(module, name))
    return typer.main.get_command(single)


app = typer.Typer(name="qkv", cls=Group, no_args_is_help=True, **SETTINGS)


def _version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"qkv {__version__}")
        raise typer.Exit


@app.callback()
def qkv(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Look inside attention from the terminal.

    In an attention head, every token has a query, a key and a value. A token's
    query is compared with all keys, softmax turns these scores into weights, and
    the head returns the weighted sum of the values. qkv shows the weights.

    Without -m, commands use glove, a small word-vector model included in qkv.

    Example: qkv attend "The mango and the apple are fruits that grow on a tree"
    """


def main() -> NoReturn:
    """Run the command line, and return or exit with its exit code.

    Exit codes: 0 success, also if the reader closes the pipe; 1 for "no" (two maps differ, a model
    does not verify); 2 for a usage error or unreadable input; 70 for a bug in qkv, with a
    traceback; 129, 130, 143 for SIGHUP, Ctrl-C, SIGTERM.
    """
    open_closed_streams()
    handle_signals()
    check_columns()
    # NaN and infinity are refused by name; numpy's warnings would repeat it.
    warnings.filterwarnings("ignore", category=RuntimeWarning, append=True)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without block characters
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except (QkvError, TyperException) as error:
        code = _say(error)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        code = 0
    except SystemExit as leaving:
        # Typer turns a closed pipe into exit code 1.
        broken = isinstance(leaving.__context__, BrokenPipeError)
        code = 0 if broken else int(leaving.code or 0)
    except MemoryError:
        code = _say("Out of memory: use a shorter text or a smaller model.")
    except OSError as error:
        code = _say(f"Could not write {error.filename or 'the output'}: {error.strerror}.")
    except Exception:
        code = _report_bug()
    clear_progress()
    _leave(exit_code() or code)


def _report_bug() -> int:
    if exit_code() is None:  # an import that a signal interrupts fails in many ways
        import traceback

        traceback.print_exc()
        note(f"This is a bug in qkv {__version__}: please report it with the traceback above.")
    return 70


def _say(error: Exception | str) -> int:
    """Print one line on stderr, and return the exit code 2."""
    message = error.format_message() if isinstance(error, TyperException) else str(error)
    try:
        if message and exit_code() is None:  # the help was shown instead of a message
            note(message)
    except OSError as broken:
        if broken.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
    return error.exit_code if isinstance(error, QkvError | TyperException) else 2


def _leave(code: int) -> NoReturn:
    """Exit without a second error from the interpreter about a closed stdout."""
    if exit_code() is not None:
        from qkv_cli.atomic_files import clean

        clean()
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if exit_code() is not None:
        # A KeyboardInterrupt that passed through exec(), which dataclasses use, makes Python end
        # itself with SIGINT even though it was caught here.
        os._exit(code)
    raise SystemExit(code)


def handle_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the program like Ctrl-C, so it cleans up.

    A signal that was ignored at the start (`nohup`) stays ignored.
    """
    _received.clear()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> int | None:
    """Return 128 plus the number of the signal that ended the program; None if none did."""
    return 128 + _received[0] if _received else None


def open_closed_streams() -> None:
    """Reopen closed standard streams, so that no other file gets their descriptors.

    Reading and writing them still fails; messages to a closed stderr are dropped.
    """
    if sys.stdin is None:
        sys.stdin = _unusable(0, os.O_WRONLY, "r")
    if sys.stdout is None:
        sys.stdout = _unusable(1, os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _unusable(2, os.O_WRONLY, "w")


def check_columns() -> None:
    """Make COLUMNS a usable width; ignore it if it is not a number.

    0, which some multiplexers and build servers export, means unknown.
    """
    text = os.environ.get("COLUMNS")
    if text is None:
        return
    if text.isascii() and text.isdigit() and text.strip("0"):
        n = int(text[:9])
        os.environ["COLUMNS"] = str(min(max(n, NARROWEST), WIDEST))
    else:
        del os.environ["COLUMNS"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _received or number == signal.SIGINT:
        _received.append(number)
        raise KeyboardInterrupt


def _unusable(descriptor: int, flags: int, mode: str) -> IO[str]:
    file_descriptor = os.open(os.devnull, flags)
    if file_descriptor != descriptor:
        os.dup2(file_descriptor, descriptor)
        os.close(file_descriptor)
    return open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False)
