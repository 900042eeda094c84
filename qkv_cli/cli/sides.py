"""The sides of a comparison, from the arguments of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qkv_cli.cli.texts import check_utf8, read_bytes, read_text, source_name
from qkv_cli.errors import InputError, UsageError
from qkv_cli.names import Weighting

if TYPE_CHECKING:
    from qkv_cli.maps.head_maps import HeadMaps
    from qkv_cli.names import Weighting
    from qkv_cli.session.run import LoadedModel, Reading

HEAD = re.compile(r"([Ll]-?\d+)([Hh](?:-?\d+|\*))?")
SAVED = (".json", ".jsonl", ".npz")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a head of a text in a model, or of a file."""

    of: str | Path  # the text, or the file
    head: str | None  # L0H3, L0 or L0H* for a layer's mean, None for that of the last layer
    model: str
    weighting: Weighting


def sides(
    items: Sequence[str],
    others: Sequence[str],
    models: Sequence[str],
    weightings: Sequence[str],
    default: str,
) -> list[Side]:
    """Pair up options that are given several times; options given once apply to every side.

    Args:
        items: A text or files, and heads.
        others: Further texts.
        default: The default model.

    Raises:
        UsageError: The numbers of options do not match, or a weighting does not exist.
    """
    if wrong := [name for name in weightings if name not in get_args(Weighting)]:
        raise UsageError(f"Unknown weighting {wrong[0]!r}: use softmax, hard or linear.")
    heads = [item for item in items if HEAD.fullmatch(item)]
    texts = _texts([item for item in items if item not in heads], others)
    if all(isinstance(text, Path) for text in texts) and (models or weightings):
        raise UsageError(
            "-m and --weighting do not apply to files: their model and weighting are fixed."
        )
    several: dict[str, Sequence[Any]] = {
        "texts": texts,
        "heads": heads or [None],
        "models": models or [default],
        "weightings": weightings or ["softmax"],
    }
    n = max(map(len, several.values()))
    if odd := [f"{len(values)} {what}" for what, values in several.items() if 1 < len(values) != n]:
        most = next(f"{n} {what}" for what, values in several.items() if len(values) == n)
        raise UsageError(f"Cannot pair {odd[0]} with {most}: give one, or the same number of each.")
    columns = [values if len(values) == n else [*values] * n for values in several.values()]
    return [Side(*row) for row in zip(*columns, strict=True)]


def _texts(items: Sequence[str], others: Sequence[str]) -> list[str | Path]:
    """Return texts and files in their order; by default, standard input."""
    texts: list[str | Path] = [Path(item) if _saved(item) else item for item in items]
    given = [item for item in texts if isinstance(item, str)]
    if len(given) > 1:
        raise UsageError(
            f"Expected one text, found {len(given)}: put quotes around it, and give a second one "
            "with --with TEXT."
        )
    if given or not texts:
        text = read_text(given, None)
        texts = [item if isinstance(item, Path) else text for item in texts or [text]]
    return [*texts, *(check_utf8(other, "--with") for other in others)]


def _saved(item: str) -> bool:
    """Whether an argument is a file that qkv wrote, and not a text."""
    path = Path(item)
    return path.suffix.lower() in SAVED and (path.is_file() or not re.search(r"\s", item))


def read_sides(compared: Sequence[Side], reading: Reading) -> list[HeadMaps]:
    """Return the map of each side. Heads of one text in one model are computed together."""
    heads: dict[Side, list[str]] = {}
    for side in compared:
        heads.setdefault(replace(side, head=None), []).append(_name(side.head))
    models: dict[str, LoadedModel] = {}
    whole = {
        side: maps_of_side(side, reading, models, heads=names) for side, names in heads.items()
    }
    return [_chosen(whole[replace(side, head=None)], side.head) for side in compared]


def maps_of_side(
    side: Side,
    reading: Reading,
    models: dict[str, LoadedModel],
    *,
    layers: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> HeadMaps:
    """Return layers and heads of a side's text, or all maps of its file.

    Args:
        models: The open models; the side's model is added.
    """
    if isinstance(side.of, Path):
        return _of_file(side.of, reading)

    from qkv_cli.cli.watch import WATCH, open_model
    from qkv_cli.maps.compute import head_maps

    if side.model not in models:
        models[side.model] = open_model(side.model)
    how = replace(reading, weighting=side.weighting)
    return head_maps(models[side.model], side.of, how, layers=layers, heads=heads, watch=WATCH)


def _of_file(path: Path, reading: Reading) -> HeadMaps:
    from qkv_cli.export.attention import read_maps as read_maps
    from qkv_cli.maps.compute import apply_reading, show_quantity

    data = read_bytes(path)
    try:
        texts = read_maps(data)
    except InputError as error:
        raise InputError(f"{source_name(path)}: {error}") from error
    if len(texts) != 1:
        raise InputError(f"{source_name(path)} contains {len(texts)} texts; expected one.")
    return apply_reading(show_quantity(texts[0], reading.show), reading)


def _name(head: str | None) -> str:
    """Return the name of the heads to compute for a head or a mean."""
    if head is None:
        return "L-1H*"
    return head if "H" in head.upper() else f"{head}H*"


def _chosen(maps: HeadMaps, head: str | None) -> HeadMaps:
    """Return the map of a head, or the mean of a layer."""
    from qkv_cli.maps.head_maps import choose

    if head is None:
        chosen = choose(maps, (), (), mean=True)
    elif (match := HEAD.fullmatch(head)) and match[2] and "*" not in head:
        chosen = choose(maps, (), (head,))
    else:
        chosen = choose(maps, (head[1:].upper().partition("H")[0],), (), mean=True)
    return replace(chosen, maps=chosen.maps[-1:])
