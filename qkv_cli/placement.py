"""Files and folders that appear whole or not at all, whatever stops the process that writes them.

What is being written has a name of ours next to its target, and is locked as long as its writer
lives. Such a name without a lock was left by a process that was killed: `sweep` removes it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from qkv_cli.errors import QkvError, StoreError

T = TypeVar("T")
_PART = (".qkv-", ".part")  # around a random name, of a file or folder that is being written
_OLD = ".qkv-old-"  # before the name of a folder that is being replaced
_LOCK = (".qkv-", ".lock")  # around the name of a folder that one process works on
_LEFT = re.compile(r"\.qkv-(?:[a-z0-9_]{8}\.part|old-.+|.+\.lock)", re.DOTALL)


_used: set[Path] = set()  # folders in which this process has made something
_PATIENCE = 0.2  # seconds: as long as a sweep may hold a lock that it is about to delete


class _LockedError(Exception):
    """Another process has the lock."""


def place_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file next to `path`, then let it take that place; a failure leaves what was there.

    A symbolic link stays, and its target is replaced; a device or a pipe is written to.

    Raises:
        OSError: Its filename is `path`, whatever the temporary file was called.
    """
    try:
        target = resolved(path)
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                file.writelines(pieces)
            return
        sweep(target.parent)
        with scratch_file(target.parent) as temporary:
            with temporary.open("wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(_mode(target))
            temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def scratch_file(folder: Path) -> Iterator[Path]:
    """An empty, locked file in `folder` while the block lasts."""
    with _made(lambda: _new_file(folder)) as temporary:
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty, locked folder in `folder` while the block lasts."""
    with _made(lambda: _new_folder(folder)) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def placed_folder(folder: Path, may_replace: Callable[[Path], None]) -> Iterator[Path]:
    """A temporary folder, which takes the place of `folder` when the block ends well.

    Args:
        may_replace: Raises an error where what is at `folder` must stay.

    Raises:
        OSError: The disk does not take it.
    """
    target = resolved(folder)
    may_replace(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    with scratch_folder(target.parent) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        may_replace(target)
        _take_place(temporary, target)


def remove_folder(folder: Path) -> None:
    """Delete a folder: it is gone at once, or there whole, though its files take longer.

    Raises:
        OSError: It cannot be deleted.
    """
    target = resolved(folder)
    with scratch_folder(target.parent) as temporary:
        target.rename(temporary / target.name)
        if folder.is_symlink():
            folder.unlink()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process that asks write to `folder` while the block lasts.

    Raises:
        StoreError: Another process writes to it.
        OSError: The disk does not take the lock.
    """
    target = resolved(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    path, end = target.with_name(target.name.join(_LOCK)), time.monotonic() + _PATIENCE
    while True:
        try:
            with _made(lambda: _touched(path)):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
            return
        except _LockedError as error:
            if time.monotonic() > end:
                raise StoreError(
                    f"Another qkv process is writing to {folder}: wait until it has finished."
                ) from error
            time.sleep(_PATIENCE / 10)


def sweep(folder: Path) -> None:
    """Remove what killed processes of this user left in a folder; put a replaced one back.

    A folder that was being replaced in two steps is put back where the second did not happen.
    """
    if sys.platform == "win32":
        return
    try:
        with os.scandir(folder) as entries:
            left = [Path(entry.path) for entry in entries if _LEFT.fullmatch(entry.name)]
    except OSError:
        return
    for path in left:
        with suppress(OSError, _LockedError):
            if path.lstat().st_uid == os.geteuid():
                _remove_left(path)


def read_whole(folder: Path, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of a folder; read again where the folder was replaced meanwhile.

    So the files of two versions of a folder never meet. A folder counts as replaced where it, or
    the config.json in it, is another one than before.
    """
    while True:
        version = _version(folder)
        try:
            result = read(folder)
        except (QkvError, OSError):
            if version == _version(folder):
                raise
        else:
            if version == _version(folder):
                return result


def clean() -> None:
    """Remove what this process left where a signal came between two of its steps."""
    for folder in _used:
        sweep(folder)


def sync(path: Path) -> None:
    """Have the disk store a file or folder, before another name says that it is there."""
    if sys.platform == "win32":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def resolved(path: Path) -> Path:
    """A path without symbolic links.

    Raises:
        OSError: They go round in a circle.
    """
    try:
        return path.resolve()
    except RuntimeError as error:  # OSError from Python 3.13 on
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def _version(folder: Path) -> list[tuple[int, int]]:
    version = []
    for path in (folder, folder / "config.json"):
        with suppress(OSError):
            status = path.stat()
            version.append((status.st_ino, status.st_mtime_ns))
    return version


def _remove_left(path: Path) -> None:
    number = _lock(path)
    if number is None:
        return
    try:
        replaced = path.with_name(path.name.removeprefix(_OLD))
        if not _is_open_at(number, path):
            return
        if not path.is_dir():
            path.unlink()
        elif path.name.startswith(_OLD) and not os.path.lexists(replaced):
            path.rename(replaced)
        else:
            shutil.rmtree(path)
    finally:
        os.close(number)


@contextmanager
def _made(make: Callable[[], Path]) -> Iterator[Path]:
    """A new file or folder, locked; made again where a sweep came between these two steps."""
    while True:
        path = make()
        with _locked(path) as is_there:
            if is_there:
                yield path
                return


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """A lock on a file or folder while the block lasts; whether the path still leads to it.

    Where the disk has no locks, nothing is locked.

    Raises:
        _LockedError: Another process has it.
    """
    number = _lock(path)
    try:
        yield os.path.lexists(path) if number is None else _is_open_at(number, path)
    finally:
        if number is not None:
            os.close(number)


def _new_file(folder: Path) -> Path:
    _used.add(folder)
    number, name = tempfile.mkstemp(_PART[1], _PART[0], folder)
    os.close(number)
    return Path(name)


def _new_folder(folder: Path) -> Path:
    _used.add(folder)
    return Path(tempfile.mkdtemp(_PART[1], _PART[0], folder))


def _touched(path: Path) -> Path:
    _used.add(path.parent)
    path.touch()
    return path


def _lock(path: Path) -> int | None:
    """Lock a file or folder; its descriptor, None where it is gone or the disk has no locks.

    Raises:
        _LockedError: Another process has it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        if isinstance(error, BlockingIOError):
            raise _LockedError from error
        return None
    return number


def _is_open_at(number: int, path: Path) -> bool:
    """Whether a path still leads to what was opened there."""
    try:
        return os.path.samestat(os.fstat(number), path.lstat())
    except FileNotFoundError:
        return False


def _take_place(new: Path, target: Path) -> None:
    """Rename a folder to that of another, which is gone afterwards, or has its name."""
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchanged(new, target):
        with _locked(target):
            old = target.with_name(_OLD + target.name)
            target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)


def _exchanged(new: Path, target: Path) -> bool:
    """Swap two folders in one step; False where the system or the disk cannot."""
    import ctypes

    paths = os.fsencode(new), os.fsencode(target)
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*paths, 2) == 0)  # RENAME_SWAP
        here = -100  # AT_FDCWD
        return bool(system.renameat2(here, paths[0], here, paths[1], 2) == 0)  # RENAME_EXCHANGE
    except (AttributeError, OSError, TypeError):
        return False


def _mode(target: Path) -> int:
    """The mode of the file that is replaced, else what a new file gets."""
    return target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
