"""The parts of blocks: matrices, norms, embeddings, MLPs and experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.activations import Activation, relu, sigmoid
from qkv_cli.core.arrays import Array, Stored, as_float, float32, float_type, release, row_blocks
from qkv_cli.core.attention import softmax
from qkv_cli.core.parallel import BLOCK, N_CORES, WORTH_SHARING, parallel, parts
from qkv_cli.errors import InputError

_ROWS = 2**13  # of an unembedding, unpacked at once


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """A bias for each bucket of distances; see `bucket_bias`."""

    table: Array  # [n_buckets, n_heads]
    max_distance: int


@dataclass(frozen=True, slots=True)
class Linear:
    """An affine map: x @ W + b.

    The matrix stays as its file stores it: bfloat16, float16 and quantized numbers become float32
    a few rows at a time, when they are multiplied.
    """

    weight: Stored  # [d_out, d_in], W transposed, as torch stores it
    b: Array | None  # [d_out]

    def matrix(self) -> Array:
        """Return the whole of W, [d_in, d_out]."""
        return as_float(self.weight).T

    def columns(self, outputs: slice) -> Array:
        """Return the columns of W for some outputs, [d_in, n_outputs]."""
        return as_float(self.weight[outputs]).T

    @property
    def d_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def d_out(self) -> int:
        return int(self.weight.shape[0])

    def __call__(self, x: Array, act: Activation | None = None) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out], after `act` if it is given."""
        [y] = apply_linears((self, x), act=act)
        return y

    def write_rows(self, out: Array, x: Array, rows: slice, act: Activation | None = None) -> None:
        """Compute some rows of `out`, [d_out, n_pos], on this core.

        `out` is W.T @ x.T, so weights in torch's layout are read in file order. Positions are
        adjacent in memory, and remain so in what is computed from `out`.
        """
        y = out[rows]
        # Some BLAS kernels set the flag for lanes that they discard.
        with np.errstate(invalid="ignore"):
            for block in row_blocks(self.weight, rows):
                np.matmul(as_float(self.weight[block]), x.T, out=out[block])
        if self.b is not None:
            y += self.b[rows, None]
        if act is not None:
            for block in parts(len(y), y.size // BLOCK):
                y[block] = act(y[block])

    def empty_output(self, x: Array) -> Array:
        """Return an empty array for the result, [d_out, n_pos]."""
        return np.empty((self.d_out, len(x)), np.result_type(x, float_type(self.weight)))


def apply_linears(*products: tuple[Linear, Array], act: Activation | None = None) -> list[Array]:
    """Apply several matrices, each to its own input, with the work shared between the cores.

    Args:
        products: Matrices and their inputs, [n_pos, d_in].
        act: Applied to every result, [n_pos, d_out].
    """
    outputs = [linear.empty_output(x) for linear, x in products]
    work = sum(len(x) * linear.d_in * linear.d_out for linear, x in products)
    n_parts = 1 if work < WORTH_SHARING else N_CORES
    tasks = [
        (linear, x, out, rows)
        for (linear, x), out in zip(products, outputs, strict=True)
        for rows in parts(len(out), n_parts)
    ]

    def run(task: int) -> None:
        linear, x, out, rows = tasks[task]
        linear.write_rows(out, x, rows, act)

    all_tasks = range(len(tasks))
    if n_parts == 1:
        for task in all_tasks:
            run(task)
    else:
        parallel(run, all_tasks)
    for linear, _ in products:
        release(linear.weight)
    return [out.T for out in outputs]


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm if it is centred, otherwise RMSNorm; without `w` there is no scaling."""

    w: Array | None  # [width], or [n_heads, 1, d_head] for a weight per head
    b: Array | None  # the same
    eps: float
    centred: bool

    def __call__(self, x: Array) -> Array:
        """Normalize the last axis of x, [..., width]."""
        if self.centred:
            x = x - x.mean(axis=-1, keepdims=True)
        mean_square = np.einsum("...d,...d->...", x, x)[..., None] / x.dtype.type(x.shape[-1])
        inv_rms = 1 / np.sqrt(mean_square + x.dtype.type(self.eps))
        inv_rms[np.isinf(mean_square)] = (
            np.nan
        )  # the square of a large number would overflow float32
        y: Array = x * inv_rms
        if self.w is not None:
            y *= self.w
        if self.b is not None:
            y += self.b
        return y


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token vectors. The table may be memory-mapped: only the requested rows are read."""

    table: Stored  # [d_vocab, d_model], float, or int8 with a scale per row
    row_scale: Stored | None = None  # [d_vocab]
    mean: Array | None = None  # [d_model], subtracted from every row
    blank: bool = False  # whether the id after the last row is valid, with a vector of zeros
    project: Linear | None = None  # to d_model, before positions are added

    def __call__(self, ids: Sequence[int]) -> Array:
        """Return the vectors of the ids, [n_pos, d_model], float32."""
        rows = np.asarray(ids, dtype=np.intp)
        is_blank = (rows >= len(self.table))[:, None] if self.blank else None
        if is_blank is not None:
            rows = np.minimum(rows, len(self.table) - 1)
        x: Array = float32(self.table[rows])
        release(self.table)
        if is_blank is not None:
            x = np.where(is_blank, np.float32(0), x)
        if self.row_scale is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # refused when it is used
                x = x * float32(self.row_scale[rows])[:, None]
        x = x if self.mean is None else x - self.mean
        return x if self.project is None else self.project(x)


@dataclass(frozen=True, slots=True)
class Unembedding:
    """Map the last hidden state to the logits of the next token."""

    table: Stored  # [d_vocab, d_model], or [d_vocab, d_embed] if there is a projection
    b: Stored | None = None  # [d_vocab], or [1, d_vocab]
    scale: float = 1.0  # of the hidden state
    project: Linear | None = None  # applied to the hidden state first
    softcap: float | None = None  # c tanh(logit / c)

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_model] -> [n_pos, d_vocab]. The table is unpacked in parts."""
        x = x if self.project is None else self.project(x)
        x = x * np.float32(self.scale)
        logits = np.empty((len(x), len(self.table)), np.float32)
        for rows in parts(len(self.table), -(-len(self.table) // _ROWS)):
            logits[:, rows] = x @ float32(self.table[rows]).T
        release(self.table)
        if self.b is not None:
            logits += float32(self.b).reshape(-1)
        if self.softcap is not None:
            logits = np.tanh(logits / np.float32(self.softcap)) * np.float32(self.softcap)
        return logits

    def linear(self) -> Linear:
        """Return the table and bias as float32; `project` and `softcap` are not included."""
        weight = float32(self.table)
        b = None if self.b is None else float32(self.b).reshape(-1)
        return Linear(weight if self.scale == 1.0 else weight * np.float32(self.scale), b)


@dataclass(frozen=True, slots=True)
class PositionEmbeddings:
    """Position embeddings and token-type embeddings, which are added to token vectors."""

    positions: Array | None = None  # [n_ctx, d_model]
    # Returns a table of n rows, for a text of any length.
    computed: Callable[[int], Array] | None = None
    types: Array | None = None  # [n_types, d_model]
    padding: int | None = None  # as in RoBERTa: the first token has the row after the padding id

    def __call__(self, x: Array, ids: Sequence[int], types: Sequence[int]) -> Array:
        """Add the embeddings of positions and token types to x, [n_pos, d_model]."""
        if self.computed is not None:
            rows = self._rows(ids)
            x = x + self.computed(int(rows.max()) + 1)[rows]
        elif self.positions is not None:
            x = x + self.positions[self._rows(ids)]
        if self.types is not None:
            x = x + self.types[list(types) or [0] * len(ids)]
        return x

    @property
    def n_positions(self) -> int | None:
        """The maximum number of positions; None if it is unlimited."""
        if self.positions is None:
            return None
        return len(self.positions) - (0 if self.padding is None else self.padding + 1)

    def _rows(self, ids: Sequence[int]) -> NDArray[np.intp]:
        """Return the row of the table for each token, [n_pos]."""
        if self.n_positions is not None and len(ids) > self.n_positions:
            raise InputError(
                f"The text has {len(ids):,} tokens, but this model has {self.n_positions:,} "
                "positions: use a shorter text, or --lines to read each line as a separate text."
            )
        if self.padding is None:
            return np.arange(len(ids))
        is_token = np.asarray(ids) != self.padding
        rows: NDArray[np.intp] = self.padding + is_token.cumsum() * is_token
        return rows


@dataclass(frozen=True, slots=True)
class SSRU:
    """Simpler simple recurrent unit, in place of self-attention (Kim et al. 2019).

    f_t = sigmoid(W_f x_t + b_f); c_t = f_t c_(t-1) + (1 - f_t) W x_t; the output is relu(c_t).
    """

    candidate: Linear
    forget: Linear

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_model] -> [n_pos, d_model], one position after the other."""
        candidates, forget_gate = self.candidate(x), sigmoid(self.forget(x))
        states = np.empty_like(candidates)
        state = np.zeros_like(candidates[0])
        for i in range(len(x)):
            state = forget_gate[i] * state + (1 - forget_gate[i]) * candidates[i]
            states[i] = state
        return relu(states)


@dataclass(frozen=True, slots=True)
class MLP:
    """down(act(up(x))), or with a gate down(act(gate(x)) * up(x)).

    The gate is that of Shazeer 2020 (arXiv 2002.05202).
    """

    up: Linear
    down: Linear
    act: Activation
    gate: Linear | None = None

    def __call__(self, x: Array) -> Array:
        if self.gate is None:
            return self.down(self.up(x, self.act))
        hidden = self.gate(x, self.act)
        hidden *= self.up(x)
        return self.down(hidden)


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: each token passes through the MLPs that a router ranks highest.

    Their outputs are summed, weighted by the router's softmax, which is normalized over the
    chosen experts: Jiang et al. 2024 (Mixtral, arXiv 2401.04088), section 2.1.
    """

    router: Linear  # [d_model, n_experts]
    make: Callable[[int], MLP]  # one at a time is in memory
    n_chosen: int

    def __call__(self, x: Array) -> Array:
        router_probs = softmax(self.router(x))  # [n_pos, n_experts]
        experts = (-router_probs).argsort(axis=-1, kind="stable")[:, : self.n_chosen]
        weight = np.take_along_axis(router_probs, experts, axis=-1)  # [n_pos, n_chosen]
        weight /= weight.sum(axis=-1, keepdims=True)
        out = np.zeros_like(x)
        for expert in np.unique(experts):
            token, rank = np.nonzero(experts == expert)
            out[token] += weight[token, rank, None] * self.make(int(expert))(x[token])
        return out

    def mlps(self) -> Iterator[MLP]:
        """Build the MLP of each expert in turn."""
        return map(self.make, range(self.router.d_out))


def apply_norm(norm: Norm | None, x: Array) -> Array:
    """Apply a norm, if there is one."""
    return x if norm is None else norm(x)
