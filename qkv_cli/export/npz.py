"""Head maps as a NumPy archive, without pickle in either direction."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.lib.format import write_array, write_array_header_1_0
from numpy.typing import NDArray

from qkv_cli import strict_json
from qkv_cli.errors import InputError
from qkv_cli.export.document import MATRICES, arrays, dumps, head, map_head
from qkv_cli.export.parse import parse_document, to_float32
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.matrix import Matrix, row_blocks

_RATIO, _SMALL = 200, 400 * 2**20


def file_type(data: bytes) -> Literal["npz", "npy", "safetensors"] | None:
    """Return the type of an array file from its first bytes; None if it is another file."""
    if data.startswith(b"PK"):
        return "npz"
    if data.startswith(b"\x93NUMPY"):
        return "npy"
    # The length of the header, 64 bits whose upper half is 0, and the start of its JSON.
    return "safetensors" if data[4:9] == b"\0\0\0\0{" else None


def npz_pieces(maps: HeadMaps, include: Collection[str] = ()) -> Iterator[bytes]:
    """Yield an archive with `pattern`, [n_maps, n_query, n_key], and other stacked arrays.

    `meta` is the JSON document without its arrays, as a string. Masked scores are -inf; `mask` is
    present if anything is masked. Long texts are read in blocks of rows.
    """
    selected = [arrays(m, include, maps.shown) for m in maps.maps]
    meta = dumps({**head(maps), "maps": [map_head(m) for m in maps.maps]})
    stacks: dict[str, list[Matrix]] = {name: [a[name] for a in selected] for name in selected[0]}
    masks = [m.mask for m in maps.maps]
    if not all(mask[rows].all() for mask in masks for rows in row_blocks(mask)):
        stacks["mask"] = masks
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("meta.npy", "w") as member:
            write_array(member, np.array(meta))
        for name, matrices in stacks.items():
            dtype = np.dtype("?" if name == "mask" else "<f4")
            shape = (len(matrices), *matrices[0].shape)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                layout = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                write_array_header_1_0(member, layout)
                for matrix in matrices:
                    for rows in row_blocks(matrix):
                        member.write(np.ascontiguousarray(matrix[rows], dtype).data)
                        yield from pieces.taken()
    yield from pieces.taken()


def to_npz(maps: HeadMaps, include: Collection[str] = ()) -> bytes:
    """Return an archive of `npz_pieces`."""
    return b"".join(npz_pieces(maps, include))


class _Pieces(io.RawIOBase):
    """A file that is written to, and whose bytes are taken out piece by piece."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.written.append(piece)
        return len(piece)

    def taken(self) -> list[bytes]:
        """Return what was written since the last time."""
        taken, self.written = self.written, []
        return taken


def from_npz(data: bytes) -> HeadMaps:
    """Read an archive of `npz_pieces`.

    Raises:
        InputError: The document is invalid; the error names the first invalid field.
    """
    members = _members(data)
    if "meta" not in members or "pattern" not in members:
        raise InputError(
            'the archive was not written by qkv: it has no "meta" or no "pattern". To draw '
            "weights computed elsewhere, add --tokens FILE."
        )
    try:
        document = strict_json.parse(str(members.pop("meta")), allow_surrogates=True)
        n_maps = len(document["maps"])
        for index, m in enumerate(document["maps"]):
            m |= {name: (array, index, n_maps) for name, array in members.items()}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError('"meta" in the archive is not a qkv document.') from error
    return parse_document(document, _row_of)


def _row_of(path: str, value: object, n_rows: int, n_columns: int) -> NDArray[Any]:
    if not isinstance(value, tuple):
        raise InputError(f"{path} is missing.")
    array, index, n_maps = value
    name, expected = path.rpartition(".")[2], (n_maps, n_rows, n_columns)
    if array.shape != expected:
        raise InputError(f'"{name}" has shape {list(array.shape)}; expected {list(expected)}.')
    return array[index] if name == "mask" else to_float32(path, array[index])


def _members(data: bytes) -> dict[str, NDArray[Any]]:
    members = unpack_npz(data, ("meta", "pattern", *MATRICES, "mask"))
    kinds: dict[str, type[np.generic]] = {"meta": np.str_, "mask": np.bool_}
    for name, array in members.items():
        if not np.issubdtype(array.dtype, kinds.get(name, np.floating)):
            expected = {"meta": "a string", "mask": "bool"}.get(name, "a float")
            raise InputError(f'"{name}" has dtype {array.dtype}; expected {expected}.')
    return members


def unpack_npz(data: bytes, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz archive by name, all or some; nothing is unpickled.

    Raises:
        InputError: It is corrupt, unpacks to too many bytes, or contains Python objects.
    """
    with _reading("npz archive"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise InputError("the archive has two members of the same name.")
        members = {n: m for n, m in members.items() if names is None or n in names}
        size, limit = sum(m.file_size for m in members.values()), _limit(len(data))
        if size > limit:
            raise InputError(f"the archive unpacks to {size:,} bytes; the maximum is {limit:,}.")
        return {name: _array(archive, member) for name, member in members.items()}


def _limit(n_bytes: int) -> int:
    """Return the maximum unpacked size of an archive, so a small file cannot fill the memory."""
    return max(_SMALL, _RATIO * n_bytes)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"zip compression {member.compress_type} is not implemented")
    return _read_array(archive.read(member))


def from_npy(data: bytes) -> NDArray[Any]:
    """Return the array of a .npy file; nothing is unpickled.

    Raises:
        InputError: It is corrupt, or contains Python objects.
    """
    with _reading("npy array"):
        return _read_array(data)


def _read_array(data: bytes) -> NDArray[Any]:
    """Read an array; its shape is compared with the bytes before memory is allocated."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"format version {version[0]} is not implemented; implemented: 1, 2")
    shape, _, kind = readers[version](file)
    n_bytes = len(file.getbuffer()) - file.tell()
    if kind.hasobject:
        raise ValueError("it contains Python objects, which qkv does not unpickle")
    if prod(shape) * kind.itemsize != n_bytes:
        n_needed = prod(shape) * kind.itemsize
        raise ValueError(f"shape {list(shape)} of {kind} needs {n_needed:,} bytes, not {n_bytes:,}")
    if kind.kind == "U" and _largest_character(file.getbuffer()[file.tell() :], kind) > 0x10FFFF:
        raise ValueError("its text contains characters beyond U+10FFFF")
    file.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _largest_character(data: memoryview, kind: np.dtype[Any]) -> int:
    """Return the largest code point in an array of text, which numpy does not check."""
    return int(np.frombuffer(data, np.dtype(np.uint32).newbyteorder(kind.byteorder)).max(initial=0))


@contextmanager
def _reading(kind: str) -> Iterator[None]:
    """Turn the exceptions and numpy's warnings about corrupt bytes into InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except InputError:
        raise
    # zipfile, zlib and numpy's header parser raise a dozen kinds for corrupt bytes.
    except Exception as error:
        reason = str(error).rstrip(".")[:100] or type(error).__name__
        raise InputError(f"not a readable .{kind}: {reason}.") from error
