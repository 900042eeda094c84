"""The table of commands against the help of each command."""

from __future__ import annotations

import pytest
from rich.text import Text

from qkv_cli.cli.app import COMMANDS, build_command


@pytest.mark.parametrize("name", COMMANDS)
def test_command_table_summary_equals_first_line_of_command_help(name: str) -> None:
    command = build_command(name)
    assert command.help.splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_help_contains_example(name: str) -> None:
    command = build_command(name)
    for each in getattr(command, "commands", {name: command}).values():
        assert "Example: " in each.help, each.name


@pytest.mark.parametrize("name", COMMANDS)
def test_command_help_as_markup_keeps_every_bracket(name: str) -> None:
    """Help is Rich markup: [word] is a style, and \\[word] prints the brackets."""
    command = build_command(name)
    for each in getattr(command, "commands", {name: command}).values():
        for markup in [each.help, *(getattr(p, "help", None) or "" for p in each.params)]:
            assert Text.from_markup(markup).plain == markup.replace("\\[", "["), markup


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_output_lists_file_types_and_help_of_json_mentions_format(name: str) -> None:
    command = build_command(name)
    for each in getattr(command, "commands", {name: command}).values():
        helps = {option: p.help for p in each.params for option in p.opts}
        if "--width" in helps:
            assert ".svg .pdf .png .html .txt .json" in helps["--output"]
        if "--json" in helps:
            assert ("--format" in helps["--json"]) == ("--format" in helps)
