"""Selection of heads and tokens: `--layer`, `--head`, `--mean`, `--window`, `--hide-special`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, Mask, Rows
from qkv_cli.core.attention import AttentionTrace
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.tokens import Token
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps, checked_rows
from qkv_cli.maps.matrix import LazyMatrix, Matrix, apply_rows, combine_rows, row_blocks, take
from qkv_cli.names import Block, Show

_INT = r"-?[0-9]{1,18}"  # always valid for int(), unlike ² or 5,000 digits
NAMED = 3  # heads that the name of a mean lists


@dataclass(frozen=True, slots=True)
class Selection:
    """Heads, in the order in which they were requested."""

    places: Sequence[tuple[int, int]]  # (layer, head)

    @property
    def heads(self) -> dict[int, list[int]]:
        """The heads by layer, with layers in the order in which they first appear."""
        by_layer: dict[int, list[int]] = {}
        for layer, head in self.places:
            by_layer.setdefault(layer, []).append(head)
        return by_layer

    @classmethod
    def parse(
        cls, layers: Sequence[str], heads: Sequence[str], *, n_layers: int, n_heads: int
    ) -> Selection:
        """Read `--layer` and `--head`.

        A layer is an index (negative: from the end), a range such as `0:4`, or `all`; the default
        is the last layer. A head is the same, or a name with its layer, `L0H3` or `L2H*`; the
        default is all heads.

        Raises:
            UsageError: There is no such layer or head; the error says what exists.
        """
        is_name = [head.startswith(("L", "l")) for head in heads]
        places: list[tuple[int, int]] = []

        def add_to_layers(items: Sequence[str]) -> None:
            head_indices = indices("head", items, n_heads)
            for layer in indices("layer", layers or ["-1"], n_layers):
                places.extend((layer, head) for head in head_indices)

        if all(is_name) and (layers or not heads):
            add_to_layers(["all"])
        for has_layer, group in groupby(zip(is_name, heads, strict=True), key=itemgetter(0)):
            items = [head for _, head in group]
            if not has_layer:
                add_to_layers(items)
                continue
            for name in items:
                layer, which = _named(name, n_layers, n_heads)
                places.extend((layer, head) for head in which)
        return cls(list(dict.fromkeys(places)))


def _named(name: str, n_layers: int, n_heads: int) -> tuple[int, list[int]]:
    """Return the layer of `L0H3` or `L0H*`, and the heads."""
    match = re.fullmatch(rf"[Ll]({_INT})[Hh](\*|{_INT})", name)
    if not match:
        raise UsageError(
            f"{name!r} is not a head name; write L0H3, or L0H* for all heads of layer 0."
        )
    [layer] = indices("layer", [match[1]], n_layers)
    return layer, indices("head", ["all" if match[2] == "*" else match[2]], n_heads)


def indices(noun: str, items: Sequence[str], count: int) -> list[int]:
    """Return the indices of layers or heads, out of `count`, for 3, -1, 0:4 or all.

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
    block: Block = "self",
    make_map: Callable[[LayerTrace, int, Block], HeadMap] | None = None,
) -> list[HeadMap]:
    """Return the maps of selected heads, in their order; later layers are not computed.

    Args:
        make_map: Makes the map of a head; `traced_head` by default.
    """
    make_map = make_map or traced_head
    maps: dict[tuple[int, int], HeadMap] = {}
    selected_heads = selection.heads
    for layer in layers:
        for head in selected_heads.get(layer.index, ()):
            maps[layer.index, head] = make_map(layer, head, block)
        if layer.index == max(selected_heads):
            break
    return [maps[place] for place in selection.places]


def traced_head(layer: LayerTrace, head: int, block: Block = "self") -> HeadMap:
    """Return the map of one head of a layer."""
    trace = layer.attention(block)
    if block == "self" and layer.is_cross(block):
        block = "cross"
    name, heads = f"L{layer.index}H{head}", slice(head, head + 1)
    place: dict[str, Any] = {"name": name, "block": block, "layer": layer.index, "head": head}
    if not trace.is_kept:
        return HeadMap(**place, **_lazy_arrays(name, trace.of_head(head)))
    kv = head // (len(trace.q) // len(trace.k))  # grouped-query attention
    return HeadMap(
        **place,
        pattern=trace.pattern(heads)[0],
        scores=trace.scores(heads)[0],
        q=trace.q[head],
        k=trace.k[kv],
        v=trace.v[kv],
        z=trace.z[head],
        mask=trace.mask(heads)[0],
    )


def _lazy_arrays(name: str, trace: AttentionTrace) -> dict[str, Any]:
    """Return the arrays of a head map of a long text, from the attention of one head."""
    _, *shape = trace.shape
    all_heads, v = slice(None), trace.v[0]

    def matrix(read: Callable[[slice, Rows], NDArray[Any]]) -> Matrix:
        return LazyMatrix((shape[0], shape[1]), lambda rows: read(all_heads, rows)[0])

    mask = matrix(trace.mask)
    pattern = checked_rows(f"{name}.pattern", matrix(trace.pattern), mask)
    return {
        "pattern": pattern,
        "scores": checked_rows(f"{name}.scores", matrix(trace.scores), mask),
        "q": trace.q[0],
        "k": trace.k[0],
        "v": v,
        "z": apply_rows(lambda weights: weights @ v, pattern, n_columns=v.shape[1]),
        "mask": mask,
    }


def average(maps: Sequence[HeadMap], show: Show = "weights") -> list[HeadMap]:
    """Return the mean over the heads of each layer, of the pattern and of the quantity shown.

    A key is masked in the mean if it is masked in every head.
    """
    means: list[HeadMap] = []
    for layer in dict.fromkeys(m.layer for m in maps):
        same = [m for m in maps if m.layer == layer]
        fields = {"pattern", FIELDS[show]}
        mean: dict[str, Any] = {name: _mean(name, same) for name in fields}
        named = " ".join(f"H{m.head}" for m in same) if len(same) <= NAMED else len(same)
        mask = combine_rows(lambda masks: reduce(np.logical_or, masks), [m.mask for m in same])
        name, block = f"L{layer} mean of {named}", same[0].block
        means.append(HeadMap(name=name, block=block, layer=layer, head=None, **mean, mask=mask))
    return means


def _mean(field: str, maps: Sequence[HeadMap]) -> Matrix:
    """Return the mean of a field; of scores, over the heads that can see the key."""
    matrices: list[Matrix] = [getattr(m, field) for m in maps]
    if field != "scores":
        return combine_rows(lambda rows: reduce(np.add, rows) / len(maps), matrices)

    def visible_mean(scores_and_masks: Iterator[NDArray[Any]]) -> Array:
        total, n = next(scores_and_masks), next(scores_and_masks).astype(np.int32)
        total = np.where(n > 0, total, 0)
        for scores, mask in zip(scores_and_masks, scores_and_masks, strict=True):
            total += np.where(mask, scores, 0)
            n += mask
        mean: Array = np.where(n > 0, total / np.maximum(n, 1), -np.inf).astype(total.dtype)
        return mean

    pairs = zip(matrices, (m.mask for m in maps), strict=True)
    return combine_rows(visible_mean, [matrix for pair in pairs for matrix in pair])


def windowed(maps: HeadMaps, window_range: str) -> HeadMaps:
    """Return a window START:STOP, as in a Python slice; see `window`."""
    match = re.fullmatch(r"([0-9]{0,18}):([0-9]{0,18})", window_range)
    if not match:
        raise UsageError(f"{window_range!r} is not a window; write START:STOP, such as 20:60.")
    start, stop = (int(end) if end else None for end in match.groups())
    return window(maps, start or 0, len(maps.queries) if stop is None else stop)


def window(maps: HeadMaps, start: int, stop: int) -> HeadMaps:
    """Return the maps of tokens `start` to `stop`: the queries and, in self-attention, the keys.

    Weights do not change, so a row sums to its weight within the window.
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


def select_from(
    maps: HeadMaps, layers: Sequence[str], heads: Sequence[str], *, mean: bool = False
) -> HeadMaps:
    """Select maps of a file with `--layer`, `--head` and `--mean`; all of them by default.

    The options mean the same as for a model, except that ranges, `all` and `L0H*` select the heads
    that the file has, and a plain `--head` selects that head in each of its layers.

    Raises:
        UsageError: The file has no such head; the error lists its maps.
    """
    selected = _requested(maps, layers, heads) if layers or heads else list(maps.maps)
    if mean and any(m.head is not None for m in selected):
        selected = average([m for m in selected if m.head is not None], maps.shown)
    return replace(maps, maps=selected)


def _requested(maps: HeadMaps, layers: Sequence[str], heads: Sequence[str]) -> list[HeadMap]:
    if not layers and any(head[:1] not in "Ll" for head in heads):
        layers = list(dict.fromkeys(str(m.layer) for m in maps.maps))
    n_layers, n_heads = maps.model.n_layers, maps.model.n_heads
    places: list[tuple[int, int | None]]
    if heads:
        places = [*Selection.parse(layers, heads, n_layers=n_layers, n_heads=n_heads).places]
    else:  # a mean belongs to its layer, not to one of its heads
        layer_indices = indices("layer", layers, n_layers)
        places = [(at, head) for at in layer_indices for head in (*range(n_heads), None)]
    selected = [m for place in places for m in maps.maps if (m.layer, m.head) == place]
    missing = set(places) - {(m.layer, m.head) for m in selected}
    loose = not heads or any(x == "all" or ":" in x or "*" in x for x in (*layers, *heads))
    if not selected or (missing and not loose):
        layer, head = next(place for place in places if place in missing)
        name = f"layer {layer}" if head is None or not heads else f"L{layer}H{head}"
        raise UsageError(f"The file has no {name}: it has {_names(maps.maps)}.")
    return selected


def _names(maps: Sequence[HeadMap]) -> str:
    suffix = f" and {len(maps) - 12} more" if len(maps) > 12 else ""
    return ", ".join(m.name for m in maps[:12]) + suffix


_AMOUNTS: Mapping[Show, str] = {
    "weights": "weight",
    "contributions": "length",
    "rollout": "rollout",
}


def ordinary(tokens: Sequence[Token]) -> Mask:
    """Return which tokens are not special, [n_tokens]."""
    return np.array([not token.special for token in tokens])


def hide_special(maps: HeadMaps) -> HeadMaps:
    """Remove special tokens, and note the share of the weight that they had.

    Weights do not change, so a row sums to its weight on other tokens. For norms and rollout, the
    note gives the share of a row's sum; for scores, which have no sum, that of the weights.
    """
    rows = [i for i, token in enumerate(maps.queries) if not token.special]
    columns = [j for j, token in enumerate(maps.keys) if not token.special]
    if len(rows) == len(maps.queries) and len(columns) == len(maps.keys):
        return maps
    if not rows or not columns:
        raise UsageError("--hide-special would hide everything: all tokens are special tokens.")
    share, noun = special_share(maps)
    part = f"{share:.2f}".removeprefix("0")
    note = f"special tokens are hidden; on average they have {part} of each row's {noun}"
    return replace(
        maps,
        queries=[maps.queries[i] for i in rows],
        keys=[maps.keys[j] for j in columns],
        maps=[m.part(rows, columns) for m in maps.maps],
        notes=(*maps.notes, note),
    )


def special_share(maps: HeadMaps) -> tuple[float, str]:
    """Return the share of special tokens, as a mean over rows and heads, and of which quantity.

    Rows of special tokens are left out. Scores have no sum, so their weights are used.
    """
    rows = [i for i, token in enumerate(maps.queries) if not token.special]
    special = [j for j, token in enumerate(maps.keys) if token.special]
    shown_maps = maps if maps.shown != "scores" else replace(maps, shown="weights")
    noun = _AMOUNTS[shown_maps.shown]
    if not rows or not special:
        return 0.0, noun
    shares = [_share(shown_maps.seen(m), rows, special, shown_maps.shown) for m in maps.maps]
    return float(np.mean(shares)), noun


def _share(matrix: Matrix, rows: Sequence[int], columns: Sequence[int], show: Show) -> float:
    """Return the mean share of some columns in some rows."""
    matrix = take(matrix, rows, slice(None))
    shares: list[Array] = []
    for block in row_blocks(matrix):
        amounts = matrix[block]
        part = amounts[:, columns].sum(axis=1)
        if show != "weights":
            totals = amounts.sum(axis=1)
            part = part / np.where(totals == 0, 1, totals)
        shares.append(part)
    return float(np.concatenate(shares).mean())
