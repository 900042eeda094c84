"""Head maps: the attention of chosen heads over one text, and which heads to choose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

import numpy as np

from qkv_cli.core.arrays import Array, Mask
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.errors import InputError, UsageError
from qkv_cli.names import Block, Show, Weighting

# What can be shown of a map, and the field that holds it.
FIELDS: Mapping[Show, str] = {
    "weights": "pattern",
    "scores": "scores",
    "contributions": "norms",
    "rollout": "rollout",
}
_INT = r"-?[0-9]{1,18}"  # what int() always reads, as it does not ² and 5,000 digits
NAMED = 3  # heads that the name of their average tells one by one


@dataclass(frozen=True, slots=True)
class HeadMap:
    """One head on one text, or the average of a layer's heads, which has a pattern only."""

    name: str  # L0H3
    block: Block
    layer: int
    head: int | None  # None: the average
    pattern: Array  # [n_query, n_key], what multiplies the values
    scores: Array | None = None  # [n_query, n_key], -inf where masked
    q: Array | None = None  # [n_query, d_head]
    k: Array | None = None  # [n_key, d_head]
    v: Array | None = None  # [n_key, d_head]
    z: Array | None = None  # [n_query, d_head]
    norms: Array | None = None  # [n_query, n_key], see `analysis.norms`
    rollout: Array | None = None  # [n_query, n_key], see `analysis.rollout`
    # [n_query, n_key], True where the query can see the key: everywhere, if not given
    mask: Mask = field(default_factory=lambda: np.ones((1, 1), np.bool_))

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", np.broadcast_to(self.mask, self.pattern.shape))

    def part(self, rows: slice | Sequence[int], columns: slice | Sequence[int]) -> HeadMap:
        """These queries and keys; numbers are as they were."""
        cut = {
            **dict.fromkeys((*FIELDS.values(), "mask"), (rows, columns)),
            **dict.fromkeys(("q", "z"), (rows, slice(None))),
            **dict.fromkeys(("k", "v"), (columns, slice(None))),
        }
        arrays = {name: array for name in cut if (array := getattr(self, name)) is not None}
        return replace(self, **{n: array[cut[n][0]][:, cut[n][1]] for n, array in arrays.items()})


@dataclass(frozen=True, slots=True)
class HeadMaps:
    """What was asked of one text: rows are queries (who looks), columns keys."""

    model: ModelInfo
    weighting: Weighting
    causal: bool
    text: str
    source: str | None  # None: self-attention, and keys are the queries
    queries: Sequence[Token]
    keys: Sequence[Token]
    maps: Sequence[HeadMap]
    notes: Sequence[str] = ()  # what was done to them that a reader must know
    pair: str | None = None  # a second text in the same row
    shown: Show = "weights"
    ablated: str = ""  # heads that hand nothing on, and what they leave

    def seen(self, m: HeadMap) -> Array:
        """What is shown of a map, [n_query, n_key].

        Raises:
            UsageError: The map does not have it.
        """
        array: Array | None = getattr(m, FIELDS[self.shown])
        if array is None:
            written = "--include scores" if self.shown == "scores" else f"--show {self.shown}"
            raise UsageError(
                f"{m.name} has no {FIELDS[self.shown]}: write the file with "
                f"`qkv attend ... {written} --json`."
            )
        return array

    def refuse_not_finite(self) -> None:
        """Check what was made of a model's numbers: means, sums and lengths can be too large.

        Raises:
            InputError: A weight, or what is shown, is not finite where it is not masked.
        """
        for m in self.maps:
            shown = {"pattern": m.pattern, FIELDS[self.shown]: self.seen(m)}
            for name, amounts in shown.items():
                if not (np.isfinite(amounts).all() or np.isfinite(amounts[m.mask]).all()):
                    raise InputError(
                        f"{m.name}.{name} contains NaN or infinity: a value exceeds the range of "
                        "float32 (3.4e38)."
                    )

    def showing(self, show: Show) -> HeadMaps:
        """The same maps with something else of them to see."""
        maps = replace(self, shown=show)
        for m in maps.maps:
            maps.seen(m)
        return maps


@dataclass(frozen=True, slots=True)
class Selection:
    """Heads, in the order they were asked for."""

    places: Sequence[tuple[int, int]]  # (layer, head)

    @property
    def heads(self) -> dict[int, list[int]]:
        """The same by layer: the layers in the order they first appear, and the heads of each."""
        by_layer: dict[int, list[int]] = {}
        for layer, head in self.places:
            by_layer.setdefault(layer, []).append(head)
        return by_layer

    @classmethod
    def parse(
        cls, layers: Sequence[str], heads: Sequence[str], *, n_layers: int, n_heads: int
    ) -> Selection:
        """Read `--layer` and `--head`.

        A layer is an index, negative from the end, a range `0:4` as Python slices, or
        `all`; the default is the last. A head is the same, or a name, `L0H3`, `L2H*`,
        that brings its own layer; the default is every head.

        Raises:
            UsageError: It says what was asked for and what exists.
        """
        is_name = [head.startswith(("L", "l")) for head in heads]
        places: list[tuple[int, int]] = []

        def add_to_layers(items: Sequence[str]) -> None:
            head_indices = indices("head", items, n_heads)
            for layer in indices("layer", layers or ["-1"], n_layers):
                places.extend((layer, head) for head in head_indices)

        if all(is_name) and (layers or not heads):
            add_to_layers(["all"])
        for named, group in groupby(zip(is_name, heads, strict=True), key=itemgetter(0)):
            items = [head for _, head in group]
            if not named:
                add_to_layers(items)
                continue
            for name in items:
                layer, which = _named(name, n_layers, n_heads)
                places.extend((layer, head) for head in which)
        return cls(list(dict.fromkeys(places)))


def _named(name: str, n_layers: int, n_heads: int) -> tuple[int, list[int]]:
    """The layer of `L0H3` or `L0H*`, and its heads."""
    match = re.fullmatch(rf"[Ll]({_INT})[Hh](\*|{_INT})", name)
    if not match:
        raise UsageError(
            f"{name!r} is not a head name; write L0H3, or L0H* for all heads of layer 0."
        )
    [layer] = indices("layer", [match[1]], n_layers)
    return layer, indices("head", ["all" if match[2] == "*" else match[2]], n_heads)


def indices(noun: str, items: Sequence[str], count: int) -> list[int]:
    """Which of `count` layers or heads are asked for: 3, -1, 0:4 or all.

    Raises:
        UsageError: There is no such layer or head.
    """
    selected: list[int] = []
    for item in items:
        if item == "all":
            selected += range(count)
        elif match := re.fullmatch(rf"({_INT})?:({_INT})?", item):
            part = range(count)[slice(*(int(end) if end else None for end in match.groups()))]
            if not part:
                raise UsageError(
                    f"{noun.capitalize()} range {item} is empty: {_valid(noun, count)}."
                )
            selected += part
        elif re.fullmatch(_INT, item):
            index = int(item)
            if not -count <= index < count:
                raise UsageError(
                    f"{noun.capitalize()} {index} does not exist: {_valid(noun, count)}."
                )
            selected.append(index % count)
        else:
            raise UsageError(
                f"{item!r} is not a {noun}; write 3, -1, 0:4 or all: {_valid(noun, count)}."
            )
    return list(dict.fromkeys(selected))


def _valid(noun: str, count: int) -> str:
    return f"this model has {f'{noun}s 0 to {count - 1}' if count > 1 else f'only {noun} 0'}"


def select(
    layers: Iterable[LayerTrace],
    selection: Selection,
    block: Block | None = None,
    make_map: Callable[[LayerTrace, int, Block | None], HeadMap] | None = None,
) -> list[HeadMap]:
    """The chosen heads' maps, in their order; layers after the last chosen are not computed.

    Args:
        made: How a head's map is made, if not by `traced_head`.
    """
    make_map = make_map or traced_head
    maps: dict[tuple[int, int], HeadMap] = {}
    chosen = selection.heads
    for layer in layers:
        for head in chosen.get(layer.index, ()):
            maps[layer.index, head] = make_map(layer, head, block)
        if layer.index == max(chosen):
            break
    return [maps[place] for place in selection.places]


def _trace(layer: LayerTrace) -> tuple[Block, AttentionTrace]:
    if layer.cross is not None:
        return "cross", layer.cross
    if layer.attn is None:
        raise ValueError(f"layer {layer.index} has no attention")
    return "self", layer.attn


def traced_head(layer: LayerTrace, head: int, block: Block | None = None) -> HeadMap:
    """One head of what a layer computed; `block` is what it is called, if not by itself."""
    called, trace = _trace(layer)
    kv = head // (len(trace.q) // len(trace.k))  # grouped-query attention: several heads share
    return HeadMap(
        name=f"L{layer.index}H{head}",
        block=called if block in (None, "self") else block,
        layer=layer.index,
        head=head,
        pattern=trace.pattern[head],
        scores=trace.scores[head],
        q=trace.q[head],
        k=trace.k[kv],
        v=trace.v[kv],
        z=trace.z[head],
        mask=trace.mask[head % len(trace.mask)],
    )


def average(maps: Sequence[HeadMap], show: Show = "weights") -> list[HeadMap]:
    """The mean of each layer's chosen heads: of their patterns, and of what is shown.

    Its queries see what any of the heads sees.
    """
    means: list[HeadMap] = []
    for layer in dict.fromkeys(m.layer for m in maps):
        same = [m for m in maps if m.layer == layer]
        fields = {"pattern", FIELDS[show]}
        mean = {name: _mean(name, same) for name in fields}
        named = " ".join(f"H{m.head}" for m in same) if len(same) <= NAMED else len(same)
        mask = np.any([m.mask for m in same], axis=0)
        name, block = f"L{layer} mean of {named}", same[0].block
        means.append(HeadMap(name, block, layer, None, **mean, mask=mask))
    return means


def _mean(field: str, maps: Sequence[HeadMap]) -> Array:
    """Of a field of maps; of scores, over the heads that can see the key."""
    arrays = np.stack([getattr(m, field) for m in maps])
    if field != "scores":
        mean: Array = np.mean(arrays, axis=0)
        return mean
    masks = np.stack([m.mask for m in maps])
    n = masks.sum(axis=0, dtype=arrays.dtype)
    total = np.where(masks, arrays, 0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), -np.inf).astype(arrays.dtype)


def windowed(maps: HeadMaps, window_range: str) -> HeadMaps:
    """What `--window` asks for: START:STOP as in a Python slice; see `window`."""
    match = re.fullmatch(r"([0-9]{0,18}):([0-9]{0,18})", window_range)
    if not match:
        raise UsageError(f"{window_range!r} is not a window; write START:STOP, such as 20:60.")
    start, stop = (int(end) if end else None for end in match.groups())
    return window(maps, start or 0, len(maps.queries) if stop is None else stop)


def window(maps: HeadMaps, start: int, stop: int) -> HeadMaps:
    """Only the tokens from `start` to before `stop`, of queries and, in one text, of keys.

    Weights are as they were: a row's sum is what the row gives to the window.
    """
    n = len(maps.queries)
    if not 0 <= start < stop <= n:
        raise UsageError(
            f"Window {start}:{stop} is empty or out of range: the text has tokens 0 to {n - 1}."
        )
    q = slice(start, stop)
    k = q if maps.source is None else slice(None)
    return replace(
        maps, queries=maps.queries[q], keys=maps.keys[k], maps=[m.part(q, k) for m in maps.maps]
    )


def choose(
    maps: HeadMaps, layers: Sequence[str], heads: Sequence[str], *, mean: bool = False
) -> HeadMaps:
    """What `--layer`, `--head` and `--mean` ask of a file; without them, all that it has.

    They mean what they mean to a model, but that a range, `all` and `L0H*` stand for the
    heads that the file has, and a plain `--head` for that head of each of its layers.

    Raises:
        UsageError: The model or the file has no such head; it says which the file has.
    """
    chosen = _asked_for(maps, layers, heads) if layers or heads else list(maps.maps)
    if mean and any(m.head is not None for m in chosen):
        chosen = average([m for m in chosen if m.head is not None], maps.shown)
    return replace(maps, maps=chosen)


def _asked_for(maps: HeadMaps, layers: Sequence[str], heads: Sequence[str]) -> list[HeadMap]:
    if not layers and any(head[:1] not in "Ll" for head in heads):
        layers = list(dict.fromkeys(str(m.layer) for m in maps.maps))
    n_layers, n_heads = maps.model.n_layers, maps.model.n_heads
    places: list[tuple[int, int | None]]
    if heads:
        places = [*Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads).places]
    else:  # an average belongs to its layer, and to no head of it
        chosen = indices("layer", layers, n_layers)
        places = [(at, head) for at in chosen for head in (*range(n_heads), None)]
    selected = [m for place in places for m in maps.maps if (m.layer, m.head) == place]
    missing = set(places) - {(m.layer, m.head) for m in selected}
    loose = not heads or any(x == "all" or ":" in x or "*" in x for x in (*layers, *heads))
    if not selected or (missing and not loose):
        layer, head = next(place for place in places if place in missing)
        name = f"layer {layer}" if head is None or not heads else f"L{layer}H{head}"
        raise UsageError(f"The file has no {name}: it has {_names(maps.maps)}.")
    return selected


def _names(maps: Sequence[HeadMap]) -> str:
    more = f" and {len(maps) - 12} more" if len(maps) > 12 else ""
    return ", ".join(m.name for m in maps[:12]) + more
