"""Errors a user can act on.

Everything below `commands/` raises one of these; only `commands/` prints.
"""


class QkvError(Exception):
    """Base of every error that is shown as one line, without a traceback.

    The exit code is 2: usage, or an input that cannot be read. 1 is reserved for the answer "no"
    (two maps differ, a model does not verify), 70 for a bug of our own.
    """

    exit_code = 2


class UsageError(QkvError):
    """An option, a layer, a head or a token that does not exist, or does not apply."""


class InputError(QkvError):
    """A text or a file from the user cannot be read as what it should be."""


class CheckpointError(QkvError):
    """A model folder lacks a file or a tensor, or holds what is not implemented."""


class TrainingError(QkvError):
    """Learning ended without heads that could be kept."""


class StoreError(QkvError):
    """A model could not be found, added or stored."""
