"""The suffix of a file selects its format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from export_examples import example, only, same, two_texts

from qkv_cli.errors import UsageError
from qkv_cli.export.attention import read_maps, to_csv, to_json, write_maps
from qkv_cli.maps.selection import average


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.npz", "A.JSON", "my maps.tar.npz"])
def test_write_maps_in_readable_format_is_read_back_unchanged(tmp_path: Path, name: str) -> None:
    write_maps(tmp_path / name, [example()], ("scores",))
    [back] = read_maps((tmp_path / name).read_bytes())
    assert same(back, only(example(), ("scores",)))


def test_write_maps_chooses_format_by_suffix(tmp_path: Path) -> None:
    write_maps(tmp_path / "a.json", [example()])
    write_maps(tmp_path / "a.csv", [example()])
    write_maps(tmp_path / "a.jsonl", [example(), two_texts()], ("v",))
    assert (tmp_path / "a.json").read_bytes() == to_json(example()).encode() + b"\n"
    assert (tmp_path / "a.csv").read_bytes() == "".join(to_csv(example())).encode()
    lines = (tmp_path / "a.jsonl").read_text().split("\n")
    assert lines == [to_json(example(), ("v",)), to_json(two_texts(), ("v",)), ""]


@pytest.mark.parametrize("name", ["a.jsn", "a", "a.json.gz", ".json"])
def test_write_maps_with_unknown_suffix_lists_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match=r"Unknown file type of .*: use .json, .jsonl, .csv, .npz\."
    ):
        write_maps(tmp_path / name, [example()])


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_write_maps_of_several_texts_to_json_or_npz_raises_usage_error(
    tmp_path: Path, suffix: str
) -> None:
    with pytest.raises(UsageError, match=f"A {suffix} file holds one text, not 2: use .jsonl"):
        write_maps(tmp_path / f"a{suffix}", [example(), two_texts()])
    assert list(tmp_path.iterdir()) == []


def test_write_maps_to_csv_with_include_raises_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--include needs an output file of type "):
        write_maps(tmp_path / "a.csv", [example()], ("scores",))


def test_write_maps_that_fails_keeps_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    mean = replace(example(), maps=average(example().maps))
    with pytest.raises(UsageError, match="has no q"):
        write_maps(path, [example(), mean], ("q",))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
