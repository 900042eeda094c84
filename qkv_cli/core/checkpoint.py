"""A checkpoint's tensors by name, with errors that say what was missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fnmatch

import numpy as np

from qkv_cli.core.arrays import Array, Stored, Unreadable, float32, is_buffer
from qkv_cli.core.layers import Linear, Norm
from qkv_cli.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Tensors:
    """Tensors under one prefix. `t / "attn"` looks one level further in.

    `read` collects what was asked for, so that a load can refuse a tensor that nobody read.
    """

    by_name: Mapping[str, Stored]
    prefix: str = ""
    read: set[str] = field(default_factory=set)

    def __truediv__(self, name: str) -> Tensors:
        return Tensors(self.by_name, f"{self.prefix}{name}.", self.read)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.by_name

    def __getitem__(self, name: str) -> Array:
        """The tensor as float32."""
        return float32(self.stored(name))

    def stored(self, name: str) -> Stored:
        """The tensor as the file has it: any type, perhaps memory-mapped."""
        full = self.prefix + name
        if full not in self.by_name:
            near = difflib.get_close_matches(full, self.by_name, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CheckpointError(f"The checkpoint has no tensor {full!r}.{hint}")
        self.read.add(full)
        return self.by_name[full]

    def without_numbers(self) -> Tensors:
        """The same names and shapes, nothing behind them: to see what an adapter reads."""
        zero = np.zeros((), np.float32)
        return Tensors(
            {
                name: t if is_buffer(t) else np.broadcast_to(zero, t.shape)
                for name, t in self.by_name.items()
            }
        )

    def optional(self, name: str) -> Array | None:
        if name not in self:
            return None
        return self[name]

    def linear(self, name: str) -> Linear:
        """A torch Linear stores [d_out, d_in]; the transpose is a view."""
        return Linear(self[f"{name}.weight"].T, self.optional(f"{name}.bias"))

    def conv1d(self, name: str) -> Linear:
        """GPT-2's Conv1D stores [d_in, d_out]."""
        return Linear(self[f"{name}.weight"], self.optional(f"{name}.bias"))

    def layer_norm(self, name: str, eps: float) -> Norm:
        return Norm(self[f"{name}.weight"], self.optional(f"{name}.bias"), eps, True)

    def rms_norm(self, name: str, eps: float, *, offset: float = 0.0) -> Norm:
        """`offset` is what the checkpoint leaves out of its weights: 1 in Gemma."""
        w = self[f"{name}.weight"]
        return Norm(w + np.float32(offset) if offset else w, None, eps, False)

    def inner(self, *prefixes: str) -> Tensors:
        """Under the first of these prefixes that weights of the checkpoint have, or as it is."""
        for prefix in prefixes:
            start = f"{self.prefix}{prefix}."
            if any(n.startswith(start) and not is_buffer(t) for n, t in self.by_name.items()):
                return self / prefix
        return self

    def pass_over(self, *patterns: str) -> None:
        """Tensors that change no attention and no residual: heads, buffers, tied copies."""
        self.read.update(n for n in self.by_name if any(fnmatch(n, p) for p in patterns))

    def refuse_unread(self) -> None:
        """A tensor that nobody read would have changed the numbers: name it and stop.

        One of a type that is not implemented is a buffer, such as a mask.
        """
        unread = set(self.by_name) - self.read
        left = sorted(n for n in unread if not isinstance(self.by_name[n], Unreadable))
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise CheckpointError(
                f"Nothing reads the checkpoint's tensor {', '.join(left[:3])}{more}."
            )


def split_linear(fused: Linear, widths: Sequence[int]) -> list[Linear]:
    """Cut a fused projection along its outputs."""
    cuts = np.cumsum(widths)[:-1].tolist()
    W = np.split(fused.W, cuts, axis=1)
    b = [None] * len(widths) if fused.b is None else np.split(fused.b, cuts)
    return [Linear(w, bias) for w, bias in zip(W, b, strict=True)]


def split_interleaved(fused: Linear, n_kv_heads: int, group: int = 1) -> list[Linear]:
    """Undo an interleave by key head, [q0 k0 v0 q1 k1 v1 ...] -> q, k, v.

    Args:
        group: How many query heads stand before each key and share it.
    """
    d_in = len(fused.W)
    W = fused.W.reshape(d_in, n_kv_heads, group + 2, -1)
    b = None if fused.b is None else fused.b.reshape(n_kv_heads, group + 2, -1)
    return [
        Linear(W[:, :, cut].reshape(d_in, -1), None if b is None else b[:, cut].reshape(-1))
        for cut in (slice(group), slice(group, group + 1), slice(group + 1, None))
    ]


@contextmanager
def fitting() -> Iterator[None]:
    """A config that says what its tensors are not is found out where the two meet."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(f"config.json and the tensors do not fit: {said}.") from error
