"""Kinds of damage that the fuzzer found, one small file each: refused in one line, by name."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qkv_cli.errors import CheckpointError, InputError, QkvError
from qkv_cli.export.npz import from_npy, unpack_npz
from qkv_cli.formats.marian import open_marian
from qkv_cli.formats.tokenizers.library import library_errors, open_tokenizer_file
from qkv_cli.formats.tokenizers.sentencepiece import checked_charsmap
from qkv_cli.formats.tokenizers.vocabulary import Settings, read_vocabulary
from qkv_cli.session.load import load
from qkv_cli.training.heads import HeadShape, initial_parameters
from qkv_cli.training.learn import TrainingPlan, initial_state
from qkv_cli.training.state import read_state, state_tensors

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"


@pytest.fixture
def model(tiny_glove: Path, tmp_path: Path) -> Path:
    """A word-vector model of ours, to damage."""
    return Path(shutil.copytree(tiny_glove, tmp_path / "model"))


def refuse(model: Path, message: str, text: str = "the river bank") -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        for layer in load(model).read(text).layers:
            assert layer is not None
    assert "\n" not in str(caught.value)


def edit_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def edit_tensors(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "vectors.safetensors"
    tensors = {name: np.array(tensor) for name, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_heads", "8", "n_heads to '8'; expected a whole number"),
        ("n_heads", 10**9, "attn"),
        ("d_head", 0, "d_head to 0"),
        ("d_model", 2**63, "d_model"),
        ("n_layers", 2, "n_layers to 2; expected 1"),
        ("name", 5, "name to 5; expected a string"),
        ("origin", None, "origin to null; expected a string"),
        ("about", ["x"], "about"),
    ],
)
def test_load_of_word_vector_config_with_wrong_value_names_it(
    model: Path, name: str, value: object, message: str
) -> None:
    edit_config(model, **{name: value})
    refuse(model, message)


@pytest.mark.parametrize("name", ["name", "about", "licence"])
def test_load_with_source_json_field_that_is_not_a_string_names_it(
    tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "bert", tmp_path / "bert"))
    (folder / "source.json").write_text(json.dumps({name: {"a": 1}}))
    with pytest.raises(CheckpointError, match=rf"source.json sets {name} to .*; expected a string"):
        load(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("words.order"), "no tensor 'words.order'"),
        (lambda t: t.update({"words.starts": t["words.starts"][:-1]}), "so words.starts must have"),
        (lambda t: t.update({"words.utf8": t["words.utf8"][:3]}), r"range \(0 to 3\)"),
        (lambda t: t.update({"words.order": t["words.order"] + 7000}), "lists the word id 70"),
        (lambda t: t.update({"words.starts": t["words.starts"][::-1].copy()}), "is at bytes"),
        (lambda t: t.update({"words.order": t["words.order"].astype(np.float32)}), "float32"),
        (lambda t: t.update({"words.order": t["words.order"][None]}), "a single axis"),
    ],
)
def test_load_with_damaged_word_list_raises_checkpoint_error(
    model: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_tensors(model, edit)
    refuse(model, message)


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff", b"[" * 5000, b'{"model": 5}'])
def test_load_with_invalid_tokenizer_json_raises_one_line_error(model: Path, data: bytes) -> None:
    (model / "tokenizer.json").write_bytes(data)
    refuse(model, r"Could not read .*tokenizer\.json: ")


def test_library_errors_turns_panic_into_checkpoint_error_silently(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tokenizer = Tokenizer(models.WordPiece({"a": 0}, unk_token="[UNK]"))
    missing = pytest.raises(CheckpointError, match="cannot split: WordPiece error: Missing")
    with missing, library_errors("It cannot split"):
        tokenizer.encode("b")
    broken = Tokenizer(models.BPE({"a": 0}, []))
    broken.normalizer = normalizers.Sequence([normalizers.Precompiled(struct.pack("<3I", 8, 5, 5))])
    broken.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(CheckpointError), library_errors("It cannot split"):
        broken.encode("the river")
    assert capfd.readouterr() == ("", "")


def test_library_errors_lets_other_exceptions_pass() -> None:
    for error in (KeyboardInterrupt(), MemoryError(), KeyError("a bug of ours")):
        with pytest.raises(type(error)), library_errors("x"):
            raise error


@pytest.mark.parametrize("data", [b"\1", struct.pack("<I", 2**31), struct.pack("<2I", 6, 1)])
def test_checked_charsmap_of_truncated_bytes_raises_checkpoint_error(
    tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(CheckpointError, match="precompiled_charsmap is truncated"):
        checked_charsmap(data)


def test_open_tokenizer_file_with_invalid_charsmap_raises_checkpoint_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////fw=="}}')
    with pytest.raises(CheckpointError, match="precompiled_charsmap is truncated"):
        open_tokenizer_file(path)
    path.write_text('{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "x"}}')
    with pytest.raises(CheckpointError, match="not base64"):
        open_tokenizer_file(path)


@pytest.mark.parametrize("ids", ['{"x": "a"}', '{"x": -1}', '{"x": null}', '{"x": 1.5}'])
def test_read_settings_with_invalid_added_token_id_raises_checkpoint_error(
    tmp_path: Path, ids: str
) -> None:
    (tmp_path / "added_tokens.json").write_text(ids)
    with pytest.raises(CheckpointError, match="every value must be a token id"):
        Settings.read(tmp_path)


@pytest.mark.parametrize("id", ["Infinity", "1e999", "1.5", "null", '"1"', "true", "-1"])
def test_read_vocabulary_with_invalid_token_id_raises_checkpoint_error(
    tmp_path: Path, id: str
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "BPE", "vocab": {"a": @}, "merges": []}}'.replace("@", id))
    with pytest.raises(CheckpointError):
        read_vocabulary(path, "GPT2Tokenizer", models.BPE)


def marian(*entries: tuple[str, int, tuple[int, ...], bytes], count: int | None = None) -> bytes:
    names = b"".join(name.encode() + b"\0" for name, *_ in entries)
    data = struct.pack("<2Q", 1, len(entries) if count is None else count)
    for name, kind, shape, raw in entries:
        data += struct.pack("<4Q", len(name) + 1, kind, len(shape), len(raw))
    data += names + b"".join(struct.pack(f"<{len(s)}i", *s) for _, _, s, _ in entries)
    return data + struct.pack("<Q", 0) + b"".join(raw for *_, raw in entries)


@pytest.mark.parametrize(
    "data",
    [
        marian(("a", 0x404, (2, 2), bytes(15))),
        marian(("a", 0x404, (-1, 2), bytes(16))),
        marian(("a", 0x404, (2**30, 2**30), bytes(16))),
        marian(("a", 0x4101, (2, 2), bytes(4))),
        marian(("a", 0x404, (2, 2), bytes(16)), count=2**60),
        marian(("a", 0x404, (1,) * 9, bytes(16))),
        marian(("a", 0x404, (2, 2), bytes(16)))[:-9],
        b"",
    ],
)
def test_open_marian_of_damaged_file_raises_checkpoint_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.bin is not a Marian model"):
        open_marian(tmp_path / "model.bin")


def saved_run() -> dict[str, Any]:
    plan = TrainingPlan(HeadShape(4, 2, 3), epochs=1, seconds=None, batch=4, rate=0.01, seed=3)
    state = initial_state(plan)
    return state_tensors(replace(state, best=state.parameters), 3)


def test_read_state_of_complete_run_returns_seed_and_parameters() -> None:
    state, seed = read_state(saved_run())
    assert seed == 3
    assert state.parameters.keys() == initial_parameters(HeadShape(4, 2, 3), 0).keys()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("now.W_Q", np.zeros((4, 5), np.float32), r"now.W_Q has dtype float32 and shape \[4, 5\]"),
        ("adam.v.b_K", np.zeros((1, 6), np.float32), "adam.v.b_K"),
        ("best.offset", np.zeros((31, 2), np.float32), "best.offset"),
        ("now.offset", np.zeros((33, 0), np.float32), "expected W_O with a multiple of 0"),
        ("now.W_O", np.zeros(6, np.float32), "now.W_O"),
        ("best.c", np.full(4, np.nan, np.float32), "contains NaN"),
        ("run", np.array([-1, 3]), "step -1"),
        ("run", np.array([1.0, 3.0]), "expected integers of shape"),
        ("measured", np.array([np.inf, 0.5]), "inf seconds"),
        ("measured", np.array([1.0]), "measured"),
    ],
)
def test_read_state_with_invalid_array_names_it(name: str, array: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_state(saved_run() | {name: array})


def npy(shape: object, kind: str = "<f4", body: bytes = b"", version: int = 1) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + body


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        npy((2**40, 2**10)),
        npy((10**9,), body=bytes(8)),
        npy((2, 2), body=bytes(15)),
        npy((2, 2), "|O", bytes(32)),
        npy((2,), "<U1000000000", bytes(8)),
        npy("(" * 500),
        npy("1" * 5000),
        npy((-1,), body=bytes(4)),
        npy((1,), version=3, body=bytes(4)),
        b"\x93NUMPY",
    ],
)
def test_from_npy_with_wrong_header_raises_input_error(data: bytes) -> None:
    for read in (lambda: from_npy(data), lambda: unpack_npz(npz(pattern=data))):
        with pytest.raises(InputError, match="not a readable") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", "<>")
def test_from_npy_with_characters_beyond_unicode_raises_input_error(order: str) -> None:
    text = {0x10FFFF: npy((), f"{order}U1", struct.pack(f"{order}I", 0x10FFFF))}
    text[0x110000] = npy((), f"{order}U1", struct.pack(f"{order}I", 0x110000))
    assert str(from_npy(text[0x10FFFF])) == "\U0010ffff"
    with pytest.raises(InputError, match=r"beyond U\+10FFFF"):
        from_npy(text[0x110000])


def test_unpack_npz_with_member_that_is_not_an_array_raises_input_error() -> None:
    with pytest.raises(InputError, match="not a readable"):
        unpack_npz(npz(pattern=b"text"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("pattern.npy", npy((1,), body=bytes(4)))
    with pytest.raises(InputError, match="zip compression 14 is not implemented"):
        unpack_npz(file.getvalue())


def test_word_list_with_invalid_utf_8_raises_qkv_error(model: Path) -> None:
    edit_tensors(model, lambda t: t["words.utf8"].__setitem__(slice(0, 3), 0xFF))
    with pytest.raises(QkvError, match="is not valid UTF-8"):
        list(load(model).tokenizer.words)  # type: ignore[union-attr]
