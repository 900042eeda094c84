"""Files and folders are placed atomically; leftovers of killed processes are removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qkv_cli import atomic_files
from qkv_cli.atomic_files import folder_lock, place_file, placed_folder, remove_folder, sweep
from qkv_cli.errors import StoreError


def anything(folder: Path) -> None:
    """Every folder may be replaced."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_place_file_interrupted_or_on_full_disk_leaves_no_file(
    tmp_path: Path, kind: BaseException
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise kind

    with pytest.raises((KeyboardInterrupt, OSError)) as error:
        place_file(tmp_path / "a.json", pieces())
    if isinstance(error.value, OSError):
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "a.json"))
    assert list(tmp_path.iterdir()) == []


def test_place_file_error_names_requested_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        place_file(tmp_path / "none" / "a.json", [b""])
    assert error.value.filename == str(tmp_path / "none" / "a.json")
    with pytest.raises(IsADirectoryError):
        place_file(tmp_path, [b""])


def test_place_file_mode_follows_umask_or_replaced_file(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old_umask = os.umask(0o027)
    try:
        place_file(new, [b"1"])
    finally:
        os.umask(old_umask)
    old.touch()
    old.chmod(0o604)
    place_file(old, [b"2"])
    assert (new.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o640, 0o604)


def test_place_file_on_symbolic_link_replaces_target(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    place_file(link, [b"new"])
    assert link.is_symlink() and target.read_text() == "new"


def test_place_file_on_named_pipe_writes_into_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    place_file(pipe, [b"through"])
    reader.join(timeout=10)
    assert received == [b"through"] and pipe.is_fifo()


def test_place_file_does_not_change_umask(tmp_path: Path) -> None:
    old_umask = os.umask(0o027)
    try:
        place_file(tmp_path / "new", [b"x"])
        assert os.umask(0o027) == 0o027
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old_umask)


def test_place_file_on_circular_link_raises_error_with_requested_path(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as error:
        place_file(tmp_path / "a", [b"x"])
    assert (error.value.errno, error.value.filename) == (errno.ELOOP, str(tmp_path / "a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("swaps", [True, False])
def test_placed_folder_replaces_existing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:
        monkeypatch.setattr(atomic_files, "_exchanged", lambda new, target: False)
    for content in ("first", "second"):
        with placed_folder(tmp_path / "new" / "m", anything) as temporary:
            (temporary / "file").write_text(content)
        assert (tmp_path / "new" / "m" / "file").read_text() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m"]


def test_placed_and_remove_folder_on_symbolic_link_act_on_target(tmp_path: Path) -> None:
    (tmp_path / "disk" / "m").mkdir(parents=True)
    (tmp_path / "m").symlink_to("disk/m")
    with placed_folder(tmp_path / "m", anything) as temporary:
        (temporary / "file").touch()
    assert (tmp_path / "m").is_symlink() and (tmp_path / "disk" / "m" / "file").is_file()
    remove_folder(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
    assert list((tmp_path / "disk").iterdir()) == []


def test_placed_folder_checks_target_created_meanwhile(tmp_path: Path) -> None:
    def forbid(folder: Path) -> None:
        if folder.exists():
            raise StoreError("not this one")

    with pytest.raises(StoreError), placed_folder(tmp_path / "m", forbid) as temporary:
        (temporary / "file").touch()
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "mine").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m", "mine"]


def test_sweep_removes_only_abandoned_temporary_files(tmp_path: Path) -> None:
    names = (".qkv-abcdefgh.part", ".qkv-m.lock", ".qkv-abcdefgh.parts", "a.part", ".qkv-abc.part")
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".qkv-01234567.part" / "deep").mkdir(parents=True)
    (tmp_path / "target").write_text("mine")
    (tmp_path / ".qkv-link1234.part").symlink_to("target")
    sweep(tmp_path)
    remaining = [".qkv-abc.part", ".qkv-abcdefgh.parts", ".qkv-link1234.part", "a.part", "target"]
    assert sorted(path.name for path in tmp_path.iterdir()) == remaining
    sweep(tmp_path / "nowhere")


def test_sweep_keeps_files_and_locks_in_use(tmp_path: Path) -> None:
    with placed_folder(tmp_path / "m", anything) as temporary, folder_lock(tmp_path / "other"):
        (temporary / "file").touch()
        sweep(tmp_path)
        assert (temporary / "file").is_file()
        assert (tmp_path / ".qkv-other.lock").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_sweep_restores_folder_whose_replacement_failed(tmp_path: Path) -> None:
    (tmp_path / ".qkv-old-m").mkdir()
    (tmp_path / ".qkv-old-m" / "file").write_text("old")
    sweep(tmp_path)
    assert (tmp_path / "m" / "file").read_text() == "old"
    (tmp_path / ".qkv-old-m").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_folder_lock_held_elsewhere_raises_store_error(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "m"
    with folder_lock(folder):
        began = time.monotonic()
        with (
            pytest.raises(StoreError, match="Another qkv process is writing to"),
            folder_lock(folder),
        ):
            pass
        assert time.monotonic() - began < 2
    with folder_lock(folder):
        pass
    assert list(folder.parent.iterdir()) == []


def test_folder_lock_of_killed_process_is_released(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from qkv_cli.atomic_files import *\n"
        "with folder_lock(Path(sys.argv[1])), scratch_folder(Path(sys.argv[1]).parent):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "m"], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with folder_lock(tmp_path / "m"):
        pass
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
