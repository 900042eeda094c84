"""Head maps as JSON, CSV and NumPy archives, and reading them; a file's suffix sets the format."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from qkv_cli.atomic_files import place_file
from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.document import TEXT_CELLS, decimals, document_pieces
from qkv_cli.export.npz import file_type, from_npz, npz_pieces, to_npz
from qkv_cli.export.parse import json_array, parse_document
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.matrix import Matrix, row_blocks
from qkv_cli.names import Show
from qkv_cli.visible import visible

SUFFIXES = (".json", ".jsonl", ".csv", ".npz")
CSV_COLUMNS = ("map", "block", "layer", "head", "query_i", "query", "key_i", "key")
CSV_AMOUNTS: dict[Show, str] = {  # the name of the last column
    "weights": "weight",
    "scores": "score",
    "contributions": "norm",
    "rollout": "rollout",
}

__all__ = [
    "SUFFIXES",
    "from_json",
    "from_npz",
    "read_maps",
    "to_csv",
    "to_json",
    "to_npz",
    "write_maps",
]


def to_json(maps: HeadMaps, include: Collection[str] = ()) -> str:
    """Return one JSON object on one line, without a line end.

    Args:
        include: Which of scores, q, k, v and z to write in addition to the pattern.

    Raises:
        UsageError: A map lacks an array to include.
    """
    return "".join(document_pieces(maps, include))


def from_json(text: str) -> HeadMaps:
    """Read a document of `to_json`, or one of the same form.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    documents = [parse_document(document, json_array) for document in _stream(text)]
    if len(documents) != 1:
        raise InputError(f"Expected one JSON object, found {len(documents)}.")
    return documents[0]


def to_csv(maps: HeadMaps, *, text: int | None = None) -> Iterator[str]:
    """Yield a header line and one line per weight, or per number of the quantity shown.

    Masked cells are empty. Unprintable characters are escaped as in Python; everything else is
    written as in the text, even if a spreadsheet would take it for a formula.

    Args:
        text: The index of the text, for a first column `text`; only text 0 gets the header line.
    """
    start = () if text is None else (text,)
    if not text:
        yield _csv_line((*["text"][: len(start)], *CSV_COLUMNS, CSV_AMOUNTS[maps.shown]))
    keys = [_csv_line((t.i, visible(t.name)))[:-1] for t in maps.keys]
    for m in maps.maps:
        map_fields = (*start, visible(m.name), m.block, m.layer, "" if m.head is None else m.head)
        rows = _decimal_rows(maps.seen(m), m.mask)
        for query, (row, sees) in zip(maps.queries, rows, strict=True):
            row_fields = _csv_line((*map_fields, query.i, visible(query.name)))[:-1]
            amounts = zip(keys, row.split(","), sees, strict=True)
            yield "".join(
                f"{row_fields},{key},{x if is_visible else ''}\n" for key, x, is_visible in amounts
            )


def _decimal_rows(matrix: Matrix, mask: Matrix) -> Iterator[tuple[str, list[bool]]]:
    """Yield the numbers of each row, and which of them are visible."""
    for rows in row_blocks(matrix, TEXT_CELLS):
        yield from zip(decimals(matrix[rows]), mask[rows].tolist(), strict=True)


def write_maps(
    path: Path,
    maps: Sequence[HeadMaps],
    include: Collection[str] = (),
    *,
    kind: str | None = None,
    numbers_texts: bool = False,
) -> None:
    """Write a file atomically; its suffix sets the format unless `kind` does.

    Raises:
        UsageError: The format is unknown, or can contain only one text.
        OSError: The file cannot be written.
    """
    kind = kind or path.suffix.lower().removeprefix(".")
    if f".{kind}" not in SUFFIXES:
        raise UsageError(f"Unknown file type of {path}: use {', '.join(SUFFIXES)}.")
    if len(maps) != 1 and kind not in ("jsonl", "csv"):
        raise UsageError(f"A .{kind} file holds one text, not {len(maps)}: use .jsonl or .csv.")
    if include and kind == "csv":
        raise UsageError("--include needs an output file of type .json, .jsonl or .npz.")
    place_file(path, encode_maps(kind, maps, include, numbers_texts=numbers_texts))


def encode_maps(
    kind: str, maps: Iterable[HeadMaps], include: Collection[str], *, numbers_texts: bool = False
) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces, one text after the other.

    Args:
        several: Number the texts of a CSV, even if there is only one.

    Raises:
        UsageError: The texts of a CSV show different quantities.
    """
    if kind == "csv":
        yield from (piece.encode() for piece in _csv_of(iter(maps), numbers_texts=numbers_texts))
        return
    for head_maps in maps:
        if kind == "npz":
            yield from npz_pieces(head_maps, include)
        else:
            yield from (piece.encode() for piece in document_pieces(head_maps, include))
            yield b"\n"


def _csv_of(maps: Iterator[HeadMaps], *, numbers_texts: bool) -> Iterator[str]:
    first_maps = next(maps, None)
    second_maps = None if first_maps is None or numbers_texts else next(maps, None)
    if first_maps is not None and not numbers_texts and second_maps is None:
        yield from to_csv(first_maps)
        return
    texts = (
        head_maps for head_maps in chain((first_maps, second_maps), maps) if head_maps is not None
    )
    for index, head_maps in enumerate(texts):
        if first_maps is not None and head_maps.shown != first_maps.shown:
            raise UsageError(
                f"A .csv file cannot contain both {first_maps.shown} and {head_maps.shown}: "
                "use .jsonl."
            )
        yield from to_csv(head_maps, text=index)


def read_maps(data: bytes) -> list[HeadMaps]:
    """Read head maps from the bytes of a file: JSON, JSON lines or NPZ, recognised by content.

    Raises:
        InputError: The contents are invalid; the error names the first invalid field.
    """
    if file_type(data) == "npz":
        return [from_npz(data)]
    return [parse_document(document, json_array) for document in documents(data)]


def documents(data: bytes) -> list[object]:
    """Return the JSON documents in the bytes of a file.

    Raises:
        InputError: The file is empty or not JSON.
    """
    if (kind := file_type(data)) is not None:
        raise InputError(
            f"this is an array (.{kind}): draw it with `qkv render FILE --tokens TOKENS`, where "
            "TOKENS is a file with a JSON list of its tokens."
        )
    try:
        text = data.decode(json.detect_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        location = f"{error.reason} at byte {error.start}"
        raise InputError(f"neither JSON nor an .npz archive: {location}.") from error
    if text.removeprefix("text,").startswith(",".join(CSV_COLUMNS)):
        raise InputError("a .csv file contains neither text nor model: use .json, .jsonl or .npz.")
    return _stream(text)


def _stream(text: str) -> list[object]:
    """Read JSON objects in sequence, with or without line breaks inside."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
    documents: list[object] = []
    at = _skip_space(text, 0)
    while at < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            location = f"line {error.lineno}, column {error.colno}"
            raise InputError(f"not valid JSON: {error.msg} at {location}.") from error
        except RecursionError as error:
            raise InputError("the JSON is nested too deeply.") from error
        except ValueError as error:
            raise InputError("the JSON contains a number with too many digits.") from error
        documents.append(document)
        at = _skip_space(text, at)
    if not documents:
        raise InputError("the file is empty.")
    return documents


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise InputError(f"duplicate key {name!r:.60}.")
    return result


def _no_number(name: str) -> float:
    raise InputError(f"{name} is not valid JSON.")


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
