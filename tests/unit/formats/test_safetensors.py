"""Tensors of types that are not implemented: refused where their numbers are used."""

from __future__ import annotations

import json
import shutil
from math import prod
from pathlib import Path

import numpy as np
import pytest
from retyped import BITS, retype
from tokenizers import Tokenizer, models, pre_tokenizers

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.session.describe import describe
from qkv_cli.session.load import load

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
WEIGHT = "encoder.layer.1.attention.self.key.weight"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    shutil.copytree(GOLDEN / "bert", folder)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def header_and_body(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def write(path: Path, header: dict, body: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def add_tensor(path: Path, name: str, kind: str, shape: list[int]) -> None:
    """Append a tensor of ones, or of whatever these bytes are in its type."""
    header, body = header_and_body(path)
    n_bytes = prod(shape) * BITS[kind] // 8
    header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + n_bytes]}
    write(path, header, body + b"\1" * n_bytes)


def into_shards(folder: Path) -> None:
    """Each tensor in a file of its own."""
    header, body = header_and_body(folder / "model.safetensors")
    header.pop("__metadata__", None)
    places = {}
    for i, (name, entry) in enumerate(header.items()):
        start, end = entry["data_offsets"]
        places[name] = f"model-{i}.safetensors"
        shard_header = {name: {**entry, "data_offsets": [0, end - start]}}
        write(folder / places[name], shard_header, body[start:end])
    (folder / "model.safetensors").unlink()
    index = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index)


def assert_golden(folder: Path) -> None:
    expected = np.load(GOLDEN / "bert" / "expected.npz")
    model = load(folder).model
    for layer in model.layers(
        expected["input_ids"].tolist(), types=expected["token_type_ids"].tolist()
    ):
        assert layer.attn is not None
        wanted = expected[f"attn.{layer.index}"]
        np.testing.assert_allclose(layer.attn.pattern(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("in_shards", [False, True])
@pytest.mark.parametrize("kind", BITS)
def test_load_with_unread_tensor_of_unsupported_type_gives_same_patterns(
    bert: Path, kind: str, in_shards: bool
) -> None:
    # Its name must not be taken for a prefix of all names either.
    add_tensor(bert / "model.safetensors", "bert.embeddings.mask", kind, [2, 8])
    if in_shards:
        into_shards(bert)
    assert_golden(bert)
    assert describe(str(bert)).n_parameters == describe(str(GOLDEN / "bert")).n_parameters


@pytest.mark.parametrize("in_shards", [False, True])
@pytest.mark.parametrize("kind", BITS)
def test_load_with_weight_of_unsupported_type_names_tensor_and_type(
    bert: Path, kind: str, in_shards: bool
) -> None:
    retype(bert / "model.safetensors", WEIGHT, kind)
    if in_shards:
        into_shards(bert)
    with pytest.raises(CheckpointError, match=rf"{WEIGHT}' has type {kind}, which is not"):
        load(bert)


def test_read_with_embedding_of_unsupported_type_names_tensor_and_type(bert: Path) -> None:
    retype(bert / "model.safetensors", "embeddings.word_embeddings.weight", "F8_E4M3")
    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight' has type F8_E4M3"):
        next(load(bert).read("the").layers)


def test_load_ignores_integer_buffer_under_name_prefix(bert: Path) -> None:
    header, body = header_and_body(bert / "model.safetensors")
    entry = {"dtype": "I64", "shape": [1], "data_offsets": [len(body), len(body) + 8]}
    header["bert.embeddings.position_ids"] = entry
    write(bert / "model.safetensors", header, body + bytes(8))
    assert_golden(bert)


@pytest.mark.parametrize("shape", [[-1, 16], [True, 16], ["16", 16], None, 16])
def test_open_tensors_with_invalid_shape_raises_checkpoint_error(bert: Path, shape: object) -> None:
    path = bert / "model.safetensors"
    header, body = header_and_body(path)
    header[WEIGHT]["shape"] = shape
    write(path, header, body)
    with pytest.raises(CheckpointError, match="is not a valid safetensors file"):
        open_tensors(path)


def test_open_tensors_with_deeply_nested_header_raises_checkpoint_error(tmp_path: Path) -> None:
    text = b'{"a":' * 50_000
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        open_tensors(tmp_path / "a.safetensors")
