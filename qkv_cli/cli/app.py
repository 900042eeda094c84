"""The `qkv` command, and the only place where an error becomes an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from qkv_cli import __version__
from qkv_cli.cli.group import SETTINGS, Group
from qkv_cli.cli.output import note
from qkv_cli.cli.process import check_columns, exit_code, handle_signals, open_closed_streams
from qkv_cli.cli.waiting import finish
from qkv_cli.errors import QkvError

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
    finish()
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
        from qkv_cli.placement import clean

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
