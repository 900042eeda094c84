"""A checkpoint's tensors by name, checked against the shapes that its config implies."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fnmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import (
    Array,
    BFloat16,
    Packed,
    Stored,
    Unreadable,
    float32,
    is_buffer,
    select_rows,
    single_precision,
    transposed,
)
from qkv_cli.core.layers import Linear, Norm
from qkv_cli.errors import CheckpointError

# The names of the tensors of a weight quantized by GPTQ or AWQ.
_GPTQ = (".qweight", ".qzeros", ".g_idx")


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors under a prefix; `t / "attn"` returns those one level deeper.

    Each read states the shape that the config implies, so a config that does not match the tensors
    is refused before anything is computed. `names_read` records the names, so a tensor that was
    never read can be refused.
    """

    by_name: Mapping[str, Stored]
    prefix: str = ""
    names_read: set[str] = field(default_factory=set)

    def __truediv__(self, name: str) -> Tensors:
        return Tensors(self.by_name, f"{self.prefix}{name}.", self.names_read)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.by_name

    def array(self, name: str, *shape: int | None) -> Array:
        """Return a tensor as float32; see `stored`."""
        return float32(self.stored(name, *shape))

    def stored(self, name: str, *shape: int | None) -> Stored:
        """Return a tensor as stored: any float type, possibly memory-mapped.

        Args:
            shape: The expected shape, with None for any length.

        Raises:
            CheckpointError: It is missing, has another shape, contains integers, or has a type
                that is not implemented.
        """
        tensor = self.stored_any_type(name, *shape)
        if isinstance(tensor, Unreadable):
            tensor.unpack()
        if (dtype := _integer_type(tensor)) is not None:
            raise CheckpointError(
                f"Tensor {self.prefix + name!r} has dtype {dtype}; quantized weights without "
                "scales are not implemented."
            )
        return tensor

    def stored_any_type(self, name: str, *shape: int | None) -> Stored:
        """Return a tensor of any type, integers included."""
        full_name = self.prefix + name
        if full_name not in self.by_name:
            raise self._missing_tensor(full_name)
        self.names_read.add(full_name)
        tensor = self.by_name[full_name]
        if len(tensor.shape) != len(shape) or any(
            expected_size not in (None, size)
            for expected_size, size in zip(shape, tensor.shape, strict=True)
        ):
            raise CheckpointError(
                f"Tensor {full_name!r} has shape {_shape(tensor.shape)}; config.json implies "
                f"{_shape(shape)}."
            )
        return tensor

    def _missing_tensor(self, full_name: str) -> CheckpointError:
        stem = full_name.removesuffix(".weight")
        if any(stem + end in self.by_name for end in _GPTQ):
            return CheckpointError(
                f"The checkpoint has {stem + _GPTQ[0]!r} instead of {full_name!r}: it is quantized "
                "by GPTQ or AWQ, which is not implemented; use the original model, or a GGUF file "
                "of it."
            )
        suggestions = difflib.get_close_matches(full_name, self.by_name, n=1)
        hint = f" Did you mean {suggestions[0]!r}?" if suggestions else ""
        return CheckpointError(f"The checkpoint has no tensor {full_name!r}.{hint}")

    def without_numbers(self) -> Tensors:
        """Return the same names, shapes and types without numbers, to see what is read."""
        return Tensors({name: _without_numbers(t) for name, t in self.by_name.items()})

    def optional(self, name: str, *shape: int | None) -> Array | None:
        """Return a tensor as float32, or None if it is missing."""
        return self.array(name, *shape) if name in self else None

    def linear(self, name: str, d_in: int, d_out: int, *, has_bias: bool = True) -> Linear:
        """Return a torch Linear, which stores [d_out, d_in]."""
        weight = self.stored(f"{name}.weight", d_out, d_in)
        return Linear(
            single_precision(weight), self.array(f"{name}.bias", d_out) if has_bias else None
        )

    def conv1d(self, name: str, d_in: int, d_out: int) -> Linear:
        """Return a GPT-2 Conv1D, which stores [d_in, d_out]."""
        weight = transposed(self.stored(f"{name}.weight", d_in, d_out))
        return Linear(single_precision(weight), self.array(f"{name}.bias", d_out))

    def layer_norm(self, name: str, width: int, eps: float, *, has_bias: bool = True) -> Norm:
        """Return a LayerNorm."""
        w = self.array(f"{name}.weight", width)
        return Norm(
            w=w, b=self.array(f"{name}.bias", width) if has_bias else None, eps=eps, centred=True
        )

    def rms_norm(self, name: str, width: int, eps: float, *, offset: float = 0.0) -> Norm:
        """Return an RMSNorm; `offset` is added to its weights (1 in Gemma)."""
        w = self.array(f"{name}.weight", width)
        return Norm(w=w + np.float32(offset) if offset else w, b=None, eps=eps, centred=False)

    def inner(self, *prefixes: str) -> Tensors:
        """Return the tensors under the first of these prefixes that exists, or all tensors."""
        for prefix in prefixes:
            start = f"{self.prefix}{prefix}."
            if any(n.startswith(start) and not is_buffer(t) for n, t in self.by_name.items()):
                return self / prefix
        return self

    def require_layer(self, name: str, n_layers: int) -> None:
        """Refuse a config with more layers than the checkpoint has.

        Args:
            name: The prefix of the last layer's tensors.
        """
        full_prefix = f"{self.prefix}{name}."
        if not any(tensor.startswith(full_prefix) for tensor in self.by_name):
            raise CheckpointError(
                f"config.json implies {n_layers:,} layers, but the checkpoint has no tensor "
                f"{full_prefix}*."
            )

    def skip(self, *patterns: str) -> None:
        """Skip tensors without effect on attention or the residual stream, such as task heads."""
        self.names_read.update(n for n in self.by_name if any(fnmatch(n, p) for p in patterns))

    def refuse_unread(self) -> None:
        """Refuse tensors that were never read, since they might change the results.

        A tensor of a type that is not implemented is a buffer, such as a mask.
        """
        names = set(self.by_name) - self.names_read
        unread = sorted(n for n in names if not isinstance(self.by_name[n], Unreadable))
        if unread:
            suffix = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
            raise CheckpointError(
                "The checkpoint has tensors that the model does not use: "
                f"{', '.join(unread[:3])}{suffix}."
            )


def _integer_type(tensor: Stored) -> np.dtype[Any] | None:
    if isinstance(tensor, Packed | BFloat16) or np.issubdtype(tensor.dtype, np.floating):
        return None
    return tensor.dtype


def _without_numbers(tensor: Stored) -> Stored:
    if isinstance(tensor, Unreadable):
        return tensor
    return np.broadcast_to(np.zeros((), _integer_type(tensor) or np.float32), tensor.shape)


def _shape(shape: Sequence[int | None]) -> str:
    """Format a shape, such as [768, 3072], with * for an axis of any length."""
    return f"[{', '.join('*' if n is None else str(n) for n in shape)}]"


def split_linear(fused: Linear, widths: Sequence[int]) -> list[Linear]:
    """Split a fused projection along its outputs."""
    ends = np.cumsum(widths).tolist()
    return [
        _select_outputs(fused, slice(end - width, end))
        for end, width in zip(ends, widths, strict=True)
    ]


def split_interleaved(fused: Linear, n_kv_heads: int, n_query_per_key: int = 1) -> list[Linear]:
    """Split a projection that is interleaved by key head, [q0 k0 v0 q1 k1 v1 ...], into q, k, v.

    Args:
        n_query_per_key: The number of query heads per key head.
    """
    outputs = np.arange(fused.d_out).reshape(n_kv_heads, n_query_per_key + 2, -1)
    parts = np.split(outputs, (n_query_per_key, n_query_per_key + 1), axis=1)
    return [_select_outputs(fused, part.ravel()) for part in parts]


def _select_outputs(linear: Linear, outputs: slice | NDArray[np.intp]) -> Linear:
    """Return a projection to some of the outputs."""
    b = None if linear.b is None else linear.b[outputs]
    return Linear(select_rows(linear.weight, outputs), b)
