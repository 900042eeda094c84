"""Compressed files are recognised by their content, not by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from qkv_cli.errors import CheckpointError
from qkv_cli.store.unpack import unpack_file

TEXT = b"the 1 2\nbank 3 4\n" * 50


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return data.getvalue()


def content(path: Path) -> bytes:
    with unpack_file(path, path.parent) as plain:
        return plain.read_bytes()


@pytest.mark.parametrize("name", ["v", "v.txt", "v.gz", "v.zip", "v.bz2"])
@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]),
        bz2.compress(TEXT),
        zipped(vectors=TEXT),
        zipped(folder__=b"", folder__vectors=TEXT),
        gzip.compress(gzip.compress(TEXT)),
        zipped(vectors=gzip.compress(TEXT)),
    ],
    ids=[
        "plain",
        "gzip",
        "gzip twice in a row",
        "bzip2",
        "zip",
        "zip folder",
        "gzip in gzip",
        "both",
    ],
)
def test_unpack_file_recognises_compression_by_content_not_suffix(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    assert content(tmp_path / name) == TEXT
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unpack_file_ignores_macos_metadata_in_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v", "w") as archive:
        archive.writestr("v.txt", TEXT)
        archive.writestr("__MACOSX/._v.txt", b"x")
    assert content(tmp_path / "v") == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(TEXT)[:-9], "Could not unpack"),
        (gzip.compress(TEXT)[:20], "Could not unpack"),
        (gzip.compress(TEXT) + b"junk", "Could not unpack"),
        (bz2.compress(TEXT)[:-5], "Could not unpack"),
        (bz2.compress(TEXT)[:20] + b"?" * 40, "Could not unpack"),
        (zipped(v=TEXT)[:-30], "Could not unpack"),
        (zipped(a=TEXT, b=TEXT), "contains 2 files: a, b"),
        (zipped(), "contains 0 files: none"),
        (gzip.compress(gzip.compress(gzip.compress(gzip.compress(TEXT)))), "more than 3 times"),
    ],
    ids=["end", "start", "junk", "bzip2", "bzip2 junk", "zip", "two files", "no file", "deep"],
)
def test_unpack_file_of_damaged_or_ambiguous_archive_names_file(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "v.txt").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as refusal:
        content(tmp_path / "v.txt")
    assert str(tmp_path / "v.txt") in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt"]


def test_unpack_file_of_encrypted_archive_raises_checkpoint_error(tmp_path: Path) -> None:
    data = bytearray(zipped(v=TEXT))
    data[6] |= 1  # of the member's own header
    data[data.index(b"PK\1\2") + 8] |= 1  # of the list of members
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(CheckpointError, match="is encrypted"):
        content(tmp_path / "v")


def test_unpack_file_of_zip_with_invalid_utf_8_name_raises_checkpoint_error(tmp_path: Path) -> None:
    data = bytearray(zipped(v=TEXT))
    member = data.index(b"PK\1\2")
    data[member + 9] |= 8  # the name is UTF-8
    data[member + 46] = 0xAE
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"Could not unpack .*: 'utf-8' codec"):
        content(tmp_path / "v")


def test_unpack_file_of_missing_file_raises_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Could not read .*: No such file"):
        content(tmp_path / "none")
