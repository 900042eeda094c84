"""The subcommands of `qkv`, each imported and built only when it runs.

Typer would import and inspect every command at every start, which takes at least 20 ms;
`qkv --help` needs only their names and first lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from qkv_cli.cli.output import note

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


class Group(TyperGroup):
    """A group of `COMMANDS` by name, of which only the one that runs is built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: TyperCommand(name, help=h) for name, h in COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name not in COMMANDS:
            return name, command, rest
        return name, built(name), renamed(rest) if name in DRAWING else rest


def renamed(args: Sequence[str]) -> list[str]:
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


def built(name: str) -> Any:
    """Return a command: a module's Typer app, or its function of the same name."""
    module = import_module(f"qkv_cli.cli.{name}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    alone = typer.Typer(add_completion=False, **SETTINGS)
    alone.command()(getattr(module, name))
    return typer.main.get_command(alone)
