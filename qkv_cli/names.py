"""Names of choices, and defaults, that the options, the mathematics and the files share.

This module imports no other of the package, so `qkv --help` can afford it.
"""

from __future__ import annotations

from typing import Literal, get_args

DEFAULT_MODEL = "glove"  # the embedded model
DEFAULT_PALETTE = "viridis"
NARROWEST, WIDEST = 20, 10_000  # minimum and maximum width of output, in columns

Weighting = Literal["softmax", "hard", "linear"]
Block = Literal["self", "encoder", "decoder", "cross"]
StackName = Literal["encoder", "decoder"]  # the stacks of layers of an encoder-decoder
BlockChoice = Literal["encoder", "decoder", "cross"]  # the values of --block
OrderName = Literal["as written", "shuffled", "twice", "sampled"]  # of the tokens of a text
Show = Literal["weights", "scores", "contributions", "rollout"]  # what a map shows of a head

ColorMode = Literal["auto", "always", "never"]
Background = Literal["dark", "light"]
BackgroundMode = Literal["auto", "dark", "light"]

PictureFormat = Literal["svg", "pdf", "png", "html"]
DataFormat = Literal["json", "jsonl", "csv", "npz"]
Format = Literal["text"] | PictureFormat | DataFormat
FormatChoice = Literal["text", "json", "jsonl", "csv", "svg", "pdf", "png", "html"]  # of --format

PICTURE_FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)
DATA_FORMATS: tuple[DataFormat, ...] = get_args(DataFormat)
