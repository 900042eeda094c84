"""Errors a user can act on.

Everything below `commands/` raises one of these; only `commands/` prints.
"""


class QkvError(Exception):
    """Base of every error that is shown as one line, without a traceback."""

    exit_code = 1


class UsageError(QkvError):
    """What was asked for cannot be: an option, a layer, a head or a token that does not exist."""

    exit_code = 2


class InputError(QkvError):
    """A text or a file that was handed in cannot be read as what it should be."""


class CheckpointError(QkvError):
    """A model folder lacks a file or a tensor, or holds what is not implemented."""


class StoreError(QkvError):
    """A model could not be found, added or placed."""
