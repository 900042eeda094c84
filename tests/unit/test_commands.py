"""The table of commands says of each what it says of itself."""

from __future__ import annotations

import pytest

from qkv_cli.commands.group import COMMANDS, built


@pytest.mark.parametrize("name", COMMANDS)
def test_its_line_is_its_own(name: str) -> None:
    command = built(name)
    assert command.help.splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_has_an_example(name: str) -> None:
    command = built(name)
    for each in getattr(command, "commands", {name: command}).values():
        assert "Example: " in each.help, each.name
