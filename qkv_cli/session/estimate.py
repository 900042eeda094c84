"""Estimates of the memory and time of one map, for `qkv models check`.

The map is that of a head of the last layer, as `qkv attend --head` draws it. Sizes follow from the
shapes of the matrices; speeds are measured on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from statistics import median
from time import perf_counter

import numpy as np

from qkv_cli.core.arrays import (
    Stored,
    float32,
    is_released,
    mapped_bytes,
    mapped_file,
    widened_bytes,
)
from qkv_cli.core.attention import BLOCK_CELLS, KEPT, AttentionTrace
from qkv_cli.core.block import Attention, Block
from qkv_cli.core.layers import Experts, Linear
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.parallel import BLOCK, N_CORES, WORTH_SHARING, matmul, parallel
from qkv_cli.errors import UsageError
from qkv_cli.session.run import LoadedModel

N_TOKENS = 128  # the default length of the text
BASE = 46 * 2**20  # bytes of Python, numpy and the code that draws, measured with one word
_PIECE = 600  # bytes of a sub-word in the vocabulary of a tokenizer
_TOKEN = 500  # bytes of a token of the text
_TOKENS_PER_START = 10_000  # tokenizing and labelling so many takes as long as the start

# Sizes of the measurements, which take some milliseconds each.
_NUMBERS = 1 << 19  # of a matrix
_COLUMNS = 512  # positions that it is multiplied by
_CELLS = 1 << 21  # of a map
_KEYS = 1 << 12
_POSITIONS = 32  # of a recurrent layer
_N_RUNS = 3  # of which the median counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The layers of a stack on a text.

    Attributes:
        n_pos: The number of tokens that the stack reads.
        n_memory: The number of tokens that its cross-attention reads.
        n_runs: How often it runs.
        is_whole: Whether all layers run to their end; otherwise the last one computes a map only.
        has_cache: Whether it reads one token at a time, with the keys and values of the others.
    """

    stack: Stack
    n_pos: int
    n_memory: int = 0
    n_runs: int = 1
    is_whole: bool = False
    has_cache: bool = False

    @property
    def predicts(self) -> bool:
        """Whether each run predicts a token."""
        return self.is_whole and self.n_memory > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Matrices that are applied together.

    Attributes:
        n_pos: The positions that each is multiplied by.
        n_times: How many such matrices there are: the experts of a mixture.
    """

    linears: Sequence[Linear]
    n_pos: int
    n_times: int = 1

    @property
    def n_numbers(self) -> int:
        """The number of weights."""
        return self.n_times * sum(linear.d_in * linear.d_out for linear in self.linears)


def n_positions(model: Model) -> int | None:
    """Return the length of the longest text that a model reads; None if it is unlimited."""
    lengths = [embeddings.n_positions for embeddings in model.positions.values()]
    return min((n for n in lengths if n is not None), default=None)


def text_length(loaded: LoadedModel, n_tokens: int | None) -> int:
    """Return the length of the text to estimate, by default 128 tokens or what the model reads.

    Raises:
        UsageError: The model has fewer positions.
    """
    longest = n_positions(loaded.model)
    if n_tokens is None:
        return N_TOKENS if longest is None else min(N_TOKENS, longest)
    if longest is not None and n_tokens > longest:
        raise UsageError(
            f"--tokens {n_tokens:,} is too long: {loaded.info.name} has {longest:,} positions."
        )
    return n_tokens


def passes(loaded: LoadedModel, n_tokens: int) -> list[Pass]:
    """Return what runs for one map.

    An encoder-decoder generates a target, which is assumed to be as long as the source.
    """
    [first, *others] = loaded.model.stacks.values()
    if not others:
        return [Pass(stack=first, n_pos=n_tokens)]
    [decoder] = others
    target = Pass(stack=decoder, n_pos=n_tokens, n_memory=n_tokens)
    n_encoder_runs, steps = 1, list[Pass]()
    if loaded.rules is not None:
        n_encoder_runs = 2  # to generate, and to draw
        has_cache = not any(block.reads_all_tokens for block in decoder.blocks)
        n_pos = 1 if has_cache else (n_tokens + 1) // 2  # on average
        steps = [replace(target, n_pos=n_pos, n_runs=n_tokens, is_whole=True, has_cache=has_cache)]
    encoder = Pass(stack=first, n_pos=n_tokens, n_runs=n_encoder_runs, is_whole=True)
    return [encoder, *steps, target]


def attentions(block: Block, part: Pass) -> list[tuple[Attention, int]]:
    """Return the attentions of a layer, each with its number of keys; the last one is drawn."""
    n_own = part.n_memory if part.has_cache else part.n_pos  # as many as have been generated
    pairs = [(block.attn, n_own), (block.cross, part.n_memory)]
    return [(attn, n_key) for attn, n_key in pairs if attn is not None]


def products(block: Block, part: Pass, *, is_map_only: bool = False) -> list[Product]:
    """Return the products of a layer with its matrices."""
    n, result = part.n_pos, list[Product]()
    if block.attn is not None:
        attn = block.attn
        result.append(Product(linears=(attn.q, attn.k, attn.v), n_pos=n))
        result.append(Product(linears=(attn.o,), n_pos=n))
    if block.cross is not None:
        attn, n_key = block.cross, 0 if part.has_cache else part.n_memory
        result.append(Product(linears=(attn.q,), n_pos=n))
        result.append(Product(linears=(attn.k, attn.v), n_pos=n_key))
        result.append(Product(linears=(attn.o,), n_pos=n))
    if is_map_only:
        return result[:-1]  # without o
    mlp, n_used = block.mlp, 1
    if isinstance(mlp, Experts):
        n_chosen, n_experts = mlp.n_chosen, mlp.router.d_out
        n_used = min(n_experts, n * n_chosen)
        mlp, n = next(mlp.mlps()), -(-n * n_chosen // n_used)
    if mlp is not None:
        linears = [mlp.up, mlp.down] if mlp.gate is None else [mlp.gate, mlp.up, mlp.down]
        result += [Product(linears=(linear,), n_pos=n, n_times=n_used) for linear in linears]
    return result


def estimate_memory(loaded: LoadedModel, n_tokens: int) -> int:
    """Estimate the peak of the resident memory, in bytes.

    It is the sum of

    - `BASE`, the vocabulary of the tokenizer, and the tokens of the text;
    - the pages of the mapped files that stay resident, see `mapped_pages`;
    - matrices that had to be transposed when they were read, of one layer;
    - the rows of a matrix that each core widens to float32;
    - the blocks of a map that is not kept, see `map_blocks`;
    - the arrays of a layer, see `layer_arrays`;
    - the unembedding as float32, and while it is widened, if a target is generated.
    """
    from qkv_cli.formats.tokenizers.words import WordTokenizer

    model, parts = loaded.model, passes(loaded, n_tokens)
    has_words = isinstance(loaded.tokenizer, WordTokenizer)  # which are mapped
    tokens = _TOKEN * n_tokens + (0 if has_words else _PIECE * loaded.info.d_vocab)
    layers = [(block, part) for part in parts for block in part.stack.blocks]
    widened = transposed = blocks = arrays = 0
    for block, part in layers:
        weights = [linear.weight for product in products(block, part) for linear in product.linears]
        widened = max(widened, *map(widened_bytes, weights))
        transposed = max(transposed, sum(map(_unmapped_bytes, weights)))
        blocks = max(blocks, map_blocks(block, part))
        arrays = max(arrays, layer_arrays(block, part))
    pages = mapped_pages(model, layers)
    generated = 0
    if loaded.rules is not None and model.unembed is not None:
        table = model.unembed.table
        n_copies = 2 - isinstance(table, np.ndarray)
        generated = 4 * n_copies * table.shape[0] * table.shape[1]
    return BASE + tokens + pages + transposed + N_CORES * widened + blocks + arrays + generated


def mapped_pages(model: Model, layers: Sequence[tuple[Block, Pass]]) -> int:
    """Return the bytes of mapped files that stay resident.

    Those are all tensors of the layers in files whose pages are kept, and of larger files the
    matrices that are applied together.
    """
    blocks = (block for stack in model.stacks.values() for block in stack.blocks)
    weights = model.weights
    tensors = [weights.tensors[name] for name in weights.names_read_by(blocks)]
    kept = sum(_stored_bytes(tensor) for tensor in tensors if not is_released(tensor))
    together = (
        sum(_stored_bytes(linear.weight) for linear in linears if is_released(linear.weight))
        for block, part in layers
        for linears in (p.linears for p in products(block, part))
    )
    return kept + max(together, default=0)


def map_blocks(block: Block, part: Pass) -> int:
    """Return the bytes of the blocks of maps that are not kept, one per core."""
    n_bytes = [
        4 * min(max(BLOCK_CELLS, n_key), part.n_pos * n_key) * N_CORES
        for attn, n_key in attentions(block, part)
        if not _is_kept(attn, part.n_pos, n_key)
    ]
    return max(n_bytes, default=0)


def layer_arrays(block: Block, part: Pass) -> int:
    """Return the bytes of the arrays of one layer, at the moment when they are most.

    Per token, a layer holds four rows of the residual stream (resid_pre, attn_in, resid_mid and
    resid_post), q, k, v and z, and the scores and patterns of all heads if they are kept. While the
    MLP runs, its input, its hidden numbers (two arrays with a gate), its output and the scaled
    output come on top. While the next layer's attention runs, its input and its own arrays do. A
    model with one layer holds two rows, q, k and v, and the maps.
    """
    n, heads, z, width = part.n_pos, 0, 0, 0
    for attn, n_key in attentions(block, part):
        width = attn.q.d_in
        heads += attn.q.d_out * n + (attn.k.d_out + attn.v.d_out) * n_key
        z += attn.q.d_out * n
        if _is_kept(attn, n, n_key):
            heads += 2 * attn.n_heads * n * n_key
    resid = n * width
    if len(part.stack.blocks) == 1 and not part.is_whole:
        return 4 * (2 * resid + heads)
    mlp = next(block.mlp.mlps()) if isinstance(block.mlp, Experts) else block.mlp
    hidden = 0 if mlp is None else n * mlp.up.d_out * (1 if mlp.gate is None else 2)
    return 4 * (4 * resid + heads + z + max(hidden + 3 * resid, heads + z + resid))


def estimate_seconds(loaded: LoadedModel, n_tokens: int, start_up: float) -> float:
    """Estimate the time of one map, from the speed of this machine.

    It is the start, the layers below the last one, and q, k and v of the last one with its map. The
    time to read the file from a disk is not included.

    Args:
        start_up: Seconds to start and to open the model.
    """
    seconds = start_up * (1 + n_tokens / _TOKENS_PER_START)
    unembed = loaded.model.unembed
    for part in passes(loaded, n_tokens):
        seconds += part.n_runs * _pass_seconds(part)
        if part.predicts and unembed is not None:
            d_vocab, d_model = unembed.table.shape
            rows = float32(unembed.table[: max(1, _NUMBERS // d_model)])
            logits = seconds_per_number(Linear(rows, None), n_pos=1, n_cores=1)
            seconds += part.n_runs * d_vocab * d_model * logits
    return seconds


def _pass_seconds(part: Pass) -> float:
    """Return the seconds that the layers of a stack take once."""
    speed, seconds = Speed(part), 0.0
    for i, block in enumerate(part.stack.blocks):
        is_map_only = i == len(part.stack.blocks) - 1 and not part.is_whole
        seconds += speed.building + part.n_pos * speed.recurrence
        for product in products(block, part, is_map_only=is_map_only):
            seconds += product.n_numbers * speed.number(product.n_pos)
        if not is_map_only:
            seconds += part.n_pos * speed.activation
        for attn, n_key in attentions(block, part):
            n_terms = 1 if attn.relative is None else 3  # with the products of relative positions
            cells = part.n_pos * n_key
            is_drawn = is_map_only and attn is (block.cross or block.attn)
            if is_drawn and not _is_kept(attn, part.n_pos, n_key):
                seconds += n_terms * cells * speed.drawn_cell
            else:
                seconds += n_terms * attn.n_heads * cells * speed.cell
    return seconds


class Speed:
    """The speed of this machine with the shapes of a stack, measured when it is needed.

    Attributes:
        part: A stack, and the text that it reads.
        block: The stack's first layer, whose matrices are measured.
    """

    def __init__(self, part: Pass) -> None:
        self.part, self.block = part, part.stack.blocks[0]
        linears = [linear for p in products(self.block, part) for linear in p.linears]
        self._largest = max(linears, key=lambda linear: linear.d_in * linear.d_out)
        self._of_number: dict[int, float] = {}

    @cached_property
    def building(self) -> float:
        """The seconds to build a layer."""
        return measure(lambda core: self.part.stack.blocks[0])

    @cached_property
    def recurrence(self) -> float:
        """The seconds per position of a recurrent layer; 0 without one."""
        recurrent = self.block.recurrent
        if recurrent is None:
            return 0.0
        x = np.ones((_POSITIONS, recurrent.forget.d_in), np.float32)
        return measure(lambda core: recurrent(x)) / _POSITIONS

    @cached_property
    def activation(self) -> float:
        """The seconds per position of the MLP's activation; 0 without an MLP."""
        mlp = self.block.mlp
        n_used = mlp.n_chosen if isinstance(mlp, Experts) else 1
        mlp = next(mlp.mlps()) if isinstance(mlp, Experts) else mlp
        if mlp is None:
            return 0.0
        act, x = mlp.act, np.ones(BLOCK, np.float32)
        return n_used * mlp.up.d_out * measure(lambda core: act(x), N_CORES) / BLOCK

    def number(self, n_pos: int) -> float:
        """Return the seconds per number of a matrix that is multiplied by `n_pos` positions."""
        if n_pos not in self._of_number:
            linear = self._largest
            shared = n_pos * linear.d_in * linear.d_out >= WORTH_SHARING
            self._of_number[n_pos] = seconds_per_number(linear, n_pos, N_CORES if shared else 1)
        return self._of_number[n_pos]

    @cached_property
    def cell(self) -> float:
        """The seconds per cell of a map, from q and k to the pattern and its part of z."""
        trace, n_rows = self._trace, self._n_rows
        if trace.is_kept:
            return measure(lambda core: replace(trace).z) / prod(trace.shape)
        z = [np.empty((1, n_rows, trace.v.shape[-1]), np.float32) for _ in range(N_CORES)]

        def attend(core: int) -> None:
            matmul(trace.pattern(rows=slice(0, n_rows)), trace.v, out=z[core])

        return measure(attend, N_CORES) / (n_rows * trace.shape[2])

    @cached_property
    def drawn_cell(self) -> float:
        """The seconds per cell of a map that is computed and drawn.

        Drawing reads a block while it is in the cache, which adds little.
        """

        def draw(core: int) -> None:
            self._trace.pattern(rows=slice(0, self._n_rows))

        return measure(draw, N_CORES) / (self._n_rows * self._trace.shape[2])

    @cached_property
    def _trace(self) -> AttentionTrace:
        """The layer's attention on made-up numbers: one head of it, if its maps are not kept."""
        attn, n_key = attentions(self.block, self.part)[-1]
        is_kept = _is_kept(attn, self.part.n_pos, n_key)
        n_heads = attn.n_heads if is_kept else 1
        n_query, n_key = (self.part.n_pos, n_key) if is_kept else 2 * (min(n_key, _KEYS),)
        stack, block = self.part.stack, self.block
        bias = None
        if attn is block.attn and n_query == n_key:
            bias = stack.bias(n_key, block.window, block.buckets, causal=False)
        k = np.full((n_heads, n_key, attn.d_head), 0.01, np.float32)
        return AttentionTrace(
            q=k[:, :n_query],
            k=k,
            v=k,
            scale=attn.scale,
            bias=bias if bias is None or is_kept else bias.of_head(0),
            softcap=attn.softcap,
            keeps_maps=is_kept,
        )

    @property
    def _n_rows(self) -> int:
        """The number of rows of a map that are measured."""
        _, n_query, n_key = self._trace.shape
        return min(n_query, max(1, _CELLS // n_key))


def seconds_per_number(linear: Linear, n_pos: int, n_cores: int) -> float:
    """Measure the product with a matrix, and return the seconds per number of the matrix.

    Args:
        n_pos: The positions that it is multiplied by.
        n_cores: The cores that share the work.
    """
    n_rows = min(linear.d_out, max(1, _NUMBERS // linear.d_in))
    n_columns = min(n_pos, _COLUMNS)
    x = np.ones((linear.d_in, n_columns), np.float32)
    numbers = float32(linear.weight[:n_rows])
    out = [np.empty((n_rows, n_columns), np.float32) for _ in range(n_cores)]
    seconds = 0.0
    if widened_bytes(linear.weight):
        seconds = measure(lambda core: float32(linear.weight[:n_rows]), n_cores)
    if n_columns:
        multiplying = measure(lambda core: matmul(numbers, x, out=out[core]), n_cores)
        seconds += multiplying * n_pos / n_columns
    return seconds / (n_rows * linear.d_in)


def measure(run: Callable[[int], object], n_cores: int = 1) -> float:
    """Return the seconds of a call, divided by the number of cores that make one at once.

    Args:
        run: Called on each core, with the core's number.
    """

    def call(core: int) -> None:
        run(core)

    seconds = []
    for _ in range(_N_RUNS):
        start = perf_counter()
        if n_cores == 1:
            call(0)
        else:
            parallel(call, range(n_cores))
        seconds.append(perf_counter() - start)
    return median(seconds) / n_cores


def _is_kept(attn: Attention, n_query: int, n_key: int) -> bool:
    return attn.n_heads * n_query * n_key <= KEPT


def _stored_bytes(x: Stored) -> int:
    data = mapped_bytes(x)
    return 0 if data is None else data.nbytes


def _unmapped_bytes(x: Stored) -> int:
    """Return the bytes of an array that is not part of a mapped file."""
    return x.nbytes if isinstance(x, np.ndarray) and mapped_file(x) is None else 0
