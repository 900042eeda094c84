"""Errors a user can act on.

Code outside `cli/` raises one of these; only `cli/` prints.
"""


class QkvError(Exception):
    """Base of every error that is shown as one line, without a traceback.

    The exit code is 2. Exit code 1 is for "no" (two maps differ, a model does not verify), and 70
    for a bug in qkv.
    """

    exit_code = 2


class UsageError(QkvError):
    """An option, layer, head or token does not exist or does not apply."""


class InputError(QkvError):
    """A text or file of the user is invalid or cannot be read."""


class CheckpointError(QkvError):
    """A model lacks a file or a tensor, is corrupt, or uses something that is not implemented."""


class TrainingError(QkvError):
    """Training failed: the loss or a parameter is NaN or infinite."""


class StoreError(QkvError):
    """A model could not be found, added or stored."""
