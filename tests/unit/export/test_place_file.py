"""Files are written whole or not at all, and the suffix chooses what they hold."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from export_examples import example, only, same, two_texts

from qkv_cli.errors import UsageError
from qkv_cli.export.attention import read, to_csv, to_json, write
from qkv_cli.export.files import place
from qkv_cli.views import average


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.npz", "A.JSON", "my maps.tar.npz"])
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [example()], ("scores",))
    [back] = read((tmp_path / name).read_bytes())
    assert same(back, only(example(), ("scores",)))


def test_each_suffix_has_its_format(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [example()])
    write(tmp_path / "a.csv", [example()])
    write(tmp_path / "a.jsonl", [example(), two_texts()], ("v",))
    assert (tmp_path / "a.json").read_bytes() == to_json(example()).encode() + b"\n"
    assert (tmp_path / "a.csv").read_bytes() == "".join(to_csv(example())).encode()
    lines = (tmp_path / "a.jsonl").read_text().split("\n")
    assert lines == [to_json(example(), ("v",)), to_json(two_texts(), ("v",)), ""]


@pytest.mark.parametrize("name", ["a.jsn", "a", "a.json.gz", ".json"])
def test_an_unknown_suffix_says_which_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"no suffix that is known: .json, .jsonl, .csv, .npz\."):
        write(tmp_path / name, [example()])


@pytest.mark.parametrize("suffix", [".json", ".csv", ".npz"])
def test_several_texts_go_into_json_lines_alone(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=f"A {suffix} file holds one text, these are 2: write .js"):
        write(tmp_path / f"a{suffix}", [example(), two_texts()])
    assert list(tmp_path.iterdir()) == []


def test_csv_holds_weights_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--include goes with "):
        write(tmp_path / "a.csv", [example()], ("scores",))


def test_a_failure_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    mean = replace(example(), maps=average(example().maps))
    with pytest.raises(UsageError, match="has no q"):
        write(path, [example(), mean], ("q",))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_ctrl_c_or_a_full_disk_leaves_nothing(tmp_path: Path, kind: BaseException) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise kind

    with pytest.raises((KeyboardInterrupt, OSError)) as error:
        place(tmp_path / "a.json", pieces())
    if isinstance(error.value, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "a.json"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        place(tmp_path / "none" / "a.json", [b""])
    assert error.value.filename == str(tmp_path / "none" / "a.json")
    with pytest.raises(IsADirectoryError):
        place(tmp_path, [b""])


def test_modes_are_those_of_any_new_file_or_of_the_one_replaced(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    before = os.umask(0o027)
    try:
        place(new, [b"1"])
    finally:
        os.umask(before)
    old.touch()
    old.chmod(0o604)
    place(old, [b"2"])
    assert (new.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o640, 0o604)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    place(link, [b"new"])
    assert link.is_symlink() and target.read_text() == "new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    place(pipe, [b"through"])
    reader.join(timeout=10)
    assert got == [b"through"] and pipe.is_fifo()


def test_place_leaves_the_umask_of_the_process_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        place(tmp_path / "new", [b"x"])
        assert os.umask(0o027) == 0o027
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
