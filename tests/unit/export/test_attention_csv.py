"""Head maps to CSV: long form, exact, quoted."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from export_examples import any_text, example, head_maps, quick, two_texts
from hypothesis import given

from qkv_cli.export.attention import CSV_AMOUNTS, to_csv
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.maps.selection import average
from qkv_cli.visible import visible

GOLDEN = Path(__file__).parents[2] / "golden" / "export"


def _rows(maps: HeadMaps) -> list[dict[str, str]]:
    return list(csv.DictReader("".join(to_csv(maps)).splitlines(keepends=True)))


def test_to_csv_matches_golden_table() -> None:
    assert "".join(to_csv(example())).encode() == (GOLDEN / "zzyx.csv").read_bytes()


@quick
@given(head_maps())
def test_to_csv_writes_every_weight_exactly_once(maps: HeadMaps) -> None:
    rows = iter(_rows(maps))
    for m in maps.maps:
        for i, query in enumerate(maps.queries):
            for j, key in enumerate(maps.keys):
                row = next(rows)
                assert (row["map"], row["layer"], row["head"]) == (m.name, "1", str(m.head))
                assert (row["query_i"], row["key_i"]) == (str(query.i), str(key.i))
                amount = row[CSV_AMOUNTS[maps.shown]]
                assert (amount != "") == m.mask[i, j]
                assert not amount or np.float32(amount) == maps.seen(m)[i, j]
    assert next(rows, None) is None


def test_to_csv_of_average_has_empty_head_column() -> None:
    mean = _rows(replace(two_texts(), maps=average(two_texts().maps)))
    assert [(row["query"], row["key"]) for row in mean[:3]] == [
        ("The", "a"), ("The", "tree"), ("Zzyx", "a"),
    ]  # fmt: skip
    assert (mean[0]["map"], mean[0]["block"], mean[0]["head"]) == ("L0 mean of H3", "cross", "")


def test_to_csv_quotes_text_and_escapes_control_characters() -> None:
    words = ['a "b", c', "x\x1b[31m", "\u202edcba", "=1+1", "\udc80", "naïve 😀"]
    token = example().queries[0]
    tokens = [replace(token, i=i, text=word) for i, word in enumerate(words)]
    m = HeadMap("L0H3", "self", 0, 3, np.eye(len(words), dtype=np.float32))
    rows = _rows(replace(example(), queries=tokens, keys=tokens, maps=[m]))
    escaped = ['a "b", c', "x\\x1b[31m", "\\u202edcba", "=1+1", "\\udc80", "naïve 😀"]
    assert [row["key"] for row in rows[: len(words)]] == escaped
    assert [row["query"] for row in rows[:: len(words)]] == escaped


@quick
@given(any_text)
def test_to_csv_of_any_token_is_one_line_of_visible_utf_8(text: str) -> None:
    token = replace(example().queries[0], text=text)
    m = HeadMap("L0H3", "self", 0, 3, np.ones((1, 1), np.float32))
    table = "".join(to_csv(replace(example(), queries=[token], keys=[token], maps=[m])))
    header, line, end = table.split("\n")
    assert header.count(",") == 8 and end == ""
    assert visible(line) == line and line.encode()


def test_to_csv_writes_names_of_special_tokens_and_separators() -> None:
    maps = example()
    tokens = [
        replace(maps.queries[0], text="", token="[CLS]", end=0, special=True),
        replace(maps.queries[1], text="", token="\u2581", end=4),
        maps.queries[2],
    ]
    rows = _rows(replace(maps, queries=tokens, keys=tokens))
    assert [row["key"] for row in rows[:3]] == ["[CLS]", "\u2581", "bank"]
    assert [row["query"] for row in rows[:9:3]] == ["[CLS]", "\u2581", "bank"]
