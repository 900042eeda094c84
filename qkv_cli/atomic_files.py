"""Atomic writing of files and folders, whatever stops the process.

A file or folder is written under a temporary name next to its target, and locked while its writer
is alive. A temporary name without a lock was left by a killed process; `sweep` removes it.
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
_PART = (".qkv-", ".part")  # around a random name, for temporary files and folders
_OLD = ".qkv-old-"  # before the name of a folder that is being replaced
_LOCK = (".qkv-", ".lock")  # around the name of a locked folder
_LEFT = re.compile(r"\.qkv-(?:[a-z0-9_]{8}\.part|old-.+|.+\.lock)", re.DOTALL)


_used: set[Path] = set()  # folders in which this process has created files
_PATIENCE = 0.2  # seconds that a sweep may hold a lock that it is about to delete


class _LockedError(Exception):
    """Another process has the lock."""


def place_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file under a temporary name, then rename it; on failure, `path` is unchanged.

    The target of a symbolic link is replaced; devices and pipes are written to directly.

    Raises:
        OSError: The file cannot be written; the error's filename is `path`.
    """
    try:
        target = resolve_links(path)
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
    """Yield an empty, locked, temporary file in `folder`."""
    with _made(lambda: _new_file(folder)) as temporary:
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty, locked, temporary folder in `folder`."""
    with _made(lambda: _new_folder(folder)) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def placed_folder(folder: Path, may_replace: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a temporary folder, which replaces `folder` when the block succeeds.

    Args:
        may_replace: Raises an error if `folder` must not be replaced.

    Raises:
        OSError: The folder cannot be written.
    """
    target = resolve_links(folder)
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
    """Delete a folder atomically: it is renamed first, then its files are deleted.

    Raises:
        OSError: It cannot be deleted.
    """
    target = resolve_links(folder)
    with scratch_folder(target.parent) as temporary:
        target.rename(temporary / target.name)
        if folder.is_symlink():
            folder.unlink()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock `folder` against other writers.

    Raises:
        StoreError: Another process is writing to it.
        OSError: The lock cannot be created.
    """
    target = resolve_links(folder)
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
    """Remove the leftovers of this user's killed processes in a folder.

    A folder whose replacement was interrupted between two renames is put back.
    """
    if sys.platform == "win32":
        return
    try:
        with os.scandir(folder) as entries:
            leftovers = [Path(entry.path) for entry in entries if _LEFT.fullmatch(entry.name)]
    except OSError:
        return
    for path in leftovers:
        with suppress(OSError, _LockedError):
            if path.lstat().st_uid == os.geteuid():
                _remove_left(path)


def read_whole(folder: Path, read: Callable[[Path], T]) -> T:
    """Read a folder with `read`, again if the folder was replaced meanwhile.

    Files of two versions are therefore never mixed. A folder counts as replaced if it, or its
    config.json, is another one than before.
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
    """Remove temporary files that this process left when a signal interrupted it."""
    for folder in _used:
        sweep(folder)


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    if sys.platform == "win32":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def resolve_links(path: Path) -> Path:
    """Return a path without symbolic links.

    Raises:
        OSError: The links form a circle.
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
    """Create and lock a file or folder; again if a sweep removed it in between."""
    while True:
        path = make()
        with _locked(path) as is_there:
            if is_there:
                yield path
                return


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Lock a file or folder, and yield whether the path still leads to it.

    Nothing is locked if the file system has no locks.

    Raises:
        _LockedError: Another process has the lock.
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
    """Lock a file or folder, and return its descriptor; None if it is gone or cannot be locked.

    Raises:
        _LockedError: Another process has the lock.
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
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(number), path.lstat())
    except FileNotFoundError:
        return False


def _take_place(new: Path, target: Path) -> None:
    """Rename a folder to that of another one, which is removed or gets its name."""
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchanged(new, target):
        with _locked(target):
            old = target.with_name(_OLD + target.name)
            target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)


def _exchanged(new: Path, target: Path) -> bool:
    """Exchange two folders atomically; False if the system cannot."""
    import ctypes

    paths = os.fsencode(new), os.fsencode(target)
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*paths, 2) == 0)  # RENAME_SWAP
        cwd = -100  # AT_FDCWD
        return bool(system.renameat2(cwd, paths[0], cwd, paths[1], 2) == 0)  # RENAME_EXCHANGE
    except (AttributeError, OSError, TypeError):
        return False


def _mode(target: Path) -> int:
    """Return the mode of the replaced file, else that of a new file."""
    return target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
