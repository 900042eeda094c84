"""A checkpoint's tensors by name, with errors that say what was missing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array
from qkv_cli.core.model import Linear
from qkv_cli.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Tensors:
    """Tensors under one prefix. `t / "attn"` looks one level further in.

    `read` collects what was asked for, so that a load can refuse a tensor that nobody read.
    """

    by_name: Mapping[str, NDArray[Any]]
    prefix: str = ""
    read: set[str] = field(default_factory=set)

    def __truediv__(self, name: str) -> Tensors:
        return Tensors(self.by_name, f"{self.prefix}{name}.", self.read)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.by_name

    def __getitem__(self, name: str) -> Array:
        """The tensor as float32."""
        return np.asarray(self.stored(name), dtype=np.float32)

    def stored(self, name: str) -> NDArray[Any]:
        """The tensor as the file has it: any type, perhaps memory-mapped."""
        full = self.prefix + name
        if full not in self.by_name:
            near = difflib.get_close_matches(full, self.by_name, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CheckpointError(f"The checkpoint has no tensor {full!r}.{hint}")
        self.read.add(full)
        return self.by_name[full]

    def optional(self, name: str) -> Array | None:
        if name not in self:
            return None
        return self[name]

    def linear(self, name: str) -> Linear:
        """A torch Linear stores [d_out, d_in]; the transpose is a view."""
        return Linear(self[f"{name}.weight"].T, self.optional(f"{name}.bias"))

    def refuse_unread(self) -> None:
        """A tensor that nobody read would have changed the numbers: name it and stop."""
        left = sorted(set(self.by_name) - self.read)
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise CheckpointError(
                f"Nothing reads the checkpoint's tensor {', '.join(left[:3])}{more}."
            )
