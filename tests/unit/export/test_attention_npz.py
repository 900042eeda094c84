"""Head maps to a NumPy archive and back; archives that are not ours."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from export_examples import ARRAYS, VALID, example, head_maps, only, quick, same, two_texts
from hypothesis import given

from qkv_cli.errors import InputError, UsageError
from qkv_cli.export.attention import from_npz, read_maps, to_json, to_npz
from qkv_cli.maps.selection import average


@pytest.mark.parametrize("include", [(), ("scores",), ARRAYS[1:]])
@pytest.mark.parametrize("maps", [example(), two_texts()])
def test_from_npz_restores_maps_with_included_arrays(maps, include) -> None:
    assert same(from_npz(to_npz(maps, include)), only(maps, include))


@quick
@given(head_maps())
def test_read_maps_of_npz_restores_arbitrary_maps(maps) -> None:
    [back] = read_maps(to_npz(maps, ARRAYS[1:]))
    assert same(back, maps)


def test_to_npz_writes_one_array_per_field_and_document_as_string() -> None:
    with np.load(io.BytesIO(to_npz(two_texts(), ("scores", "k"))), allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive}
        meta, scores = json.loads(str(archive["meta"])), archive["scores"]
        assert archive["pattern"].dtype == np.float32
    matrices = dict.fromkeys(("pattern", "scores", "mask"), (1, 3, 2))
    assert shapes == {"meta": (), **matrices, "k": (1, 2, 2)}
    assert np.array_equal(scores[0], two_texts().maps[0].scores)
    expected = json.loads(to_json(two_texts()))
    del expected["maps"][0]["pattern"], expected["maps"][0]["mask"]
    assert meta == expected
    VALID.validate(meta | {"maps": [m | {"pattern": [[0]]} for m in meta["maps"]]})


def test_to_npz_of_average_with_include_raises_usage_error() -> None:
    mean = replace(example(), maps=average(example().maps))
    assert same(from_npz(to_npz(mean)), mean)
    with pytest.raises(UsageError, match="L0 mean of H3 H5 has no z"):
        to_npz(mean, ("z",))


def _archive(**changes: Any) -> bytes:
    """The example's members, changed; None leaves one out."""
    with np.load(io.BytesIO(to_npz(example(), ARRAYS[1:]))) as archive:
        members = dict(archive) | changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in members.items() if array is not None})
    return file.getvalue()


def _meta(change: Callable[[dict[str, Any]], object]) -> np.ndarray:
    document = json.loads(to_json(example()))
    change(document)
    return np.array(json.dumps(document))


nan = np.full((2, 3, 3), np.nan)
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"meta": None}, 'no "meta"'),
    ({"pattern": None}, 'no "pattern"'),
    ({"meta": np.array("{")}, '"meta" in the archive is not a qkv document'),
    ({"meta": np.array("[" * 100_000)}, '"meta" in the archive is not a qkv document'),
    ({"meta": np.array("[]")}, '"meta" in the archive is not a qkv document'),
    ({"meta": np.array('{"maps":[1]}')}, '"meta" in the archive is not a qkv document'),
    ({"meta": np.array(3)}, '"meta" has dtype int64; expected a string'),
    ({"meta": _meta(lambda d: d.update(schema="x"))}, "\"schema\" is 'x'"),
    ({"meta": _meta(lambda d: d["maps"].pop())}, 'has shape [2, 3, 3]; expected [1, 3,'),
    ({"pattern": np.zeros((2, 3, 4), np.float32)}, '"pattern" has shape [2, 3, 4]; expected'),
    ({"pattern": np.zeros((), np.float32)}, '"pattern" has shape []; expected [2, 3, 3]'),
    ({"pattern": np.zeros((2, 3, 3), int)}, '"pattern" has dtype int64; expected a float'),
    ({"pattern": np.array([["a"]])}, '"pattern" has dtype <U1; expected a float'),
    ({"pattern": nan}, "maps[0].pattern contains NaN, or exceeds"),
    ({"scores": nan}, "maps[0].scores contains NaN, or exceeds"),
    ({"pattern": np.full((2, 3, 3), 1e300)}, "maps[0].pattern contains NaN, or exceeds"),
    ({"v": np.full((2, 3, 2), -np.inf)}, "maps[0].v contains NaN, or exceeds"),
    ({"z": np.array([{}], dtype=object)}, "readable .npz archive: it contains Python objects"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_read_maps_of_invalid_archive_states_problem(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        read_maps(_archive(**changes))
    assert message in str(error.value)


def test_from_npz_accepts_float64_and_ignores_other_arrays() -> None:
    """An archive saved again by somebody's own numpy."""
    wide = example().maps[0].pattern[None].repeat(2, 0).astype(np.float64)
    back = from_npz(_archive(pattern=wide, mine=np.arange(3)))
    assert np.array_equal(back.maps[1].pattern, example().maps[0].pattern)


def test_read_maps_of_archive_with_pickle_refuses_without_unpickling(tmp_path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, Any]:
            return (tmp_path.joinpath("sprung").touch, ())

    with pytest.raises(InputError, match="it contains Python objects"):
        read_maps(_archive(meta=np.array(Trap(), dtype=object)))
    assert not tmp_path.joinpath("sprung").exists()


def test_read_maps_of_archive_above_size_limit_raises_input_error() -> None:
    data = bytearray(to_npz(example()))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (2**32 - 2).to_bytes(4, "little")
    with pytest.raises(
        InputError, match=r"unpacks to 4,294,97\d,\d+ bytes; the maximum is 419,430,400"
    ):
        read_maps(bytes(data))


def test_read_maps_of_archive_with_wrong_array_shape_raises_input_error() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(to_npz(example()))) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            shape = b"(2, 3, 3)" if name == "pattern.npy" else b"nothing"
            new.writestr(name, old.read(name).replace(shape, b"(2, 3, 9)"))
    with pytest.raises(InputError, match=r"not a readable \.npz archive"):
        read_maps(file.getvalue())


@pytest.mark.parametrize("data", [b"PK", b"PK\x03\x04" + bytes(40), b"PK\x05\x06" + bytes(18)])
def test_read_maps_of_truncated_archive_raises_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match="archive"):
        read_maps(data)


def test_read_maps_of_damaged_archive_raises_short_input_error() -> None:
    data = to_npz(example()).replace(b"meta.npy", b"\xff" * 8, 1)
    data = data[:26] + (1000).to_bytes(2, "little") + data[28:]  # the name is 1000 bytes long
    with pytest.raises(InputError, match=r"not a readable \.npz archive: File name in") as error:
        read_maps(data)
    assert len(str(error.value)) < 160
