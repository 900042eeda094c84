"""`qkv render ARRAY --tokens FILE`: weights computed by other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

WEIGHTS = np.random.default_rng(0).dirichlet(np.full(6, 0.4), size=(2, 3, 6)).astype(np.float32)
TOKENS = ["[CLS]", "the", "riv", "##er", "bank", "[SEP]"]


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def safetensors_of_type(kind: str, **arrays: np.ndarray) -> bytes:
    """A safetensors file whose tensor `a` has this type, with other tensors."""
    data = save({"a": np.ones((6, 6), np.uint8), **arrays}).replace(b'"U8"', f'"{kind}"'.encode())
    n_more = len(kind) - len("U8")
    return (int.from_bytes(data[:8], "little") + n_more).to_bytes(8, "little") + data[8:]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def render(qkv: Callable, tmp_path: Path) -> Callable:
    """Run `qkv render - --tokens TOKENS ARGS` on these bytes."""

    def run(data: bytes, *args: str, tokens: Any = TOKENS) -> Any:
        file = tmp_path / "tokens.json"
        file.write_text(json.dumps(tokens))
        return qkv("render", "-", "--tokens", file, *args, stdin=data)

    return run


@pytest.mark.parametrize(
    "data", [npz(a=WEIGHTS), npz(attention=WEIGHTS, ids=np.arange(6))], ids=["one", "called"]
)
def test_render_array_json_keeps_every_weight_and_token(render: Callable, data: bytes) -> None:
    document = json.loads(render(data, "--json").stdout)
    assert [m["name"] for m in document["maps"]] == [f"L{i}H{j}" for i in (0, 1) for j in (0, 1, 2)]
    result = np.float32([m["pattern"] for m in document["maps"]]).reshape(WEIGHTS.shape)
    assert (result == WEIGHTS).all()
    assert document["text"] == "the river bank"
    assert [t["text"] for t in document["keys"]] == ["", "the", "riv", "er", "bank", ""]
    assert [t["special"] for t in document["keys"]] == [True, False, False, False, False, True]
    assert document["model"]["origin"] == "computed elsewhere" and not document["causal"]


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_render_array_in_safetensors_reads_every_float_type(render: Callable, kind: str) -> None:
    if kind == "bfloat16":  # the upper half of a float32; numpy has no such type
        bits = (WEIGHTS.view(np.uint32) >> 16).astype(np.uint16)
        data = save({"attention": bits}).replace(b'"U16"', b'"BF16"')
        data = (int.from_bytes(data[:8], "little") + 1).to_bytes(8, "little") + data[8:]
    else:
        data = save({"attention": WEIGHTS.astype(kind)})
    document = json.loads(render(data, "--json", "--head", "L1H2").stdout)
    assert np.abs(np.float32(document["maps"][0]["pattern"]) - WEIGHTS[1, 2]).max() < 4e-3


@pytest.mark.parametrize(
    "array",
    [
        WEIGHTS[1, 2],
        WEIGHTS[1],
        WEIGHTS,
        WEIGHTS[:, None],
        np.asfortranarray(WEIGHTS).astype(">f8"),
    ],
    ids=["map", "heads", "layers", "batch of one", "big-endian columns"],
)
@pytest.mark.parametrize("of", [npy, lambda array: npz(attention=array)], ids=["npy", "npz"])
def test_render_array_of_any_rank_keeps_every_weight(
    render: Callable, array: np.ndarray, of: Callable
) -> None:
    document = json.loads(render(of(array), "--json").stdout)
    result = np.float32([m["pattern"] for m in document["maps"]])
    assert (result == array.astype(np.float32).reshape(-1, 6, 6)).all()
    n_layers, n_heads = WEIGHTS[: len(array)].shape[:2] if array.ndim > 3 else (1, len(result))
    assert (document["model"]["layers"], document["model"]["heads"]) == (n_layers, n_heads)


def test_render_array_with_wrong_suffix_is_recognised_by_content(
    qkv: Callable, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(json.dumps(TOKENS))
    contents = {"a.npz": npy(WEIGHTS), "b.npy": npz(a=WEIGHTS), "c.json": save({"a": WEIGHTS})}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        done = qkv("render", tmp_path / name, "--tokens", tmp_path / "tokens", "--json")
        maps = json.loads(done.stdout)["maps"]
        assert (np.float32([m["pattern"] for m in maps]) == WEIGHTS.reshape(6, 6, 6)).all()


@pytest.mark.parametrize("data", [npy(WEIGHTS), save({"a": WEIGHTS})])
def test_render_array_without_tokens_exits_2_and_names_option(qkv: Callable, data: bytes) -> None:
    done = qkv("render", "-", stdin=data)
    assert done.code == 2 and "--tokens" in done.stderr and done.stderr.count("\n") == 1


def test_render_array_ignores_unread_tensor_of_unsupported_type(render: Callable) -> None:
    data = safetensors_of_type("BOOL", attention=WEIGHTS)
    document = json.loads(render(data, "--json").stdout)
    assert np.float32(document["maps"][5]["pattern"]).tolist() == WEIGHTS[1, 2].tolist()


def test_render_array_of_one_layer_with_words_merges_sub_words(render: Callable) -> None:
    result = render(npz(a=WEIGHTS[1]), "--head", "2", "--words", "--width", "60")
    assert result.code == 0 and "river bank" in result.stdout and "L0H2" in result.stdout


def test_render_array_with_metaspace_tokens_restores_text(render: Callable) -> None:
    tokens = ["<s>", "\u2581the", "\u2581riv", "er", "\u2581bank", "."]
    assert json.loads(render(npz(a=WEIGHTS), "--json", tokens=tokens).stdout)["text"] == (
        "the river bank."
    )


def test_render_array_recognises_cross_attention_and_causal_mask(render: Callable) -> None:
    two = {"queries": TOKENS, "keys": TOKENS[:3]}
    weights = np.zeros((1, 6, 3), np.float32)
    weights[0, 1:, 2] = 1  # every key of the first row is masked
    document = json.loads(render(npz(a=weights), "--json", tokens=two).stdout)
    assert document["source"] == "the riv" and document["maps"][0]["block"] == "cross"
    causal = np.tril(np.ones((1, 6, 6), np.float32))
    causal /= causal.sum(axis=-1, keepdims=True)
    assert json.loads(render(npz(a=causal), "--json").stdout)["causal"]


@pytest.mark.parametrize(
    ("data", "tokens", "message"),
    [
        (npz(a=WEIGHTS[None]), TOKENS, "has shape [1, 2, 3, 6, 6]"),
        (npy(WEIGHTS[:, None].repeat(2, axis=1)), TOKENS, "has shape [2, 2, 3, 6, 6]"),
        (npy(WEIGHTS[0, 0, 0]), TOKENS, "has shape [6]"),
        (
            npy(np.array([{}], object)),
            TOKENS,
            "it contains Python objects, which qkv does not unpickle",
        ),
        (npy(np.arange(36).reshape(6, 6)), TOKENS, "array 'array' has dtype int64"),
        (npy(WEIGHTS.astype([("a", "<f4")])), TOKENS, "expected floating-point weights"),
        (npy(WEIGHTS)[:99], TOKENS, "not a readable .npy array"),
        (npy(WEIGHTS)[:-1], TOKENS, "not a readable .npy array"),
        (npy(WEIGHTS).replace(b"(2, 3, 6", b"(2, 3,9**9"), TOKENS, "not a readable .npy array"),
        (
            npy(WEIGHTS).replace(b"(2, 3, 6, 6), }  ", b"(2, 3, 6, 10**15),"),
            TOKENS,
            "readable .npy",
        ),
        (b"\x93NUMPY\x09\x00", TOKENS, "not a readable .npy array"),
        (safetensors_of_type("F8_E4M3"), TOKENS, "'a' has type F8_E4M3, which is not impl"),
        (safetensors_of_type("BOOL"), TOKENS, "'a' has type BOOL, which is not implemented"),
        (npz(a=WEIGHTS[:, :, :5]), TOKENS, "--tokens implies 6 rows and 6 columns"),
        (npz(a=WEIGHTS * 2), TOKENS, "row 0 of L0H0 sums to 2, more than 1"),
        (npz(a=-WEIGHTS), TOKENS, "expected weights"),
        (npz(a=WEIGHTS + np.float32("nan")), TOKENS, "contains NaN, infinity"),
        (npz(a=np.arange(6)), TOKENS, "array 'a' has dtype int64"),
        (npz(a=WEIGHTS, b=WEIGHTS), TOKENS, "Choose an array with --array NAME: a, b"),
        (npz(a=np.array([{}], object)), TOKENS, "not a readable .npz archive: it contains Python"),
        (npz(a=WEIGHTS), {"a": 1}, '"queries" and "keys"'),
        (npz(a=WEIGHTS), [1, 2], "expected an array of strings"),
        (npz(a=WEIGHTS)[:99], TOKENS, "not a readable .npz archive"),
        (save({"a": WEIGHTS})[:99], TOKENS, "it is truncated"),
        (b"text", TOKENS, "not an .npz archive, a .npy array or a safetensors file"),
        (b"", TOKENS, "not an .npz archive"),
    ],
    ids=range(26),
)
def test_render_array_with_invalid_input_prints_one_line_error(
    render, data: bytes, tokens: Any, message: str
) -> None:
    done = render(data, tokens=tokens)
    assert done.code in (1, 2) and done.stdout == "" and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_render_array_with_rows_below_1_adds_note_about_attention_sink(render: Callable) -> None:
    """Like the patterns of GPT-OSS, whose last column is dropped after the softmax."""
    weights = np.array([[[1, 0, 0, 0], [0.125, 0.25, 0, 0.625], [0.25, 0.25, 0.5, 0]]], np.float32)
    done = render(npz(a=weights[:, :, :3]), "--json", tokens=["a", "b", "c"])
    [note] = json.loads(done.stdout)["notes"]
    assert "sum to less than 1, by at most .62: an attention sink has the rest" in note
    assert json.loads(done.stdout)["maps"][0]["pattern"] == weights[0, :, :3].tolist()
    page = render(npz(a=weights[:, :, :3]), tokens=["a", "b", "c"]).stdout
    assert "by at most" in " ".join(page.split())
    rounded = (weights[:, :, :3] + np.float32([[0], [0.625], [0]]) * [1, 0, 0]).astype(np.float16)
    assert "notes" not in json.loads(
        render(npz(a=rounded), "--json", tokens=["a", "b", "c"]).stdout
    )


def test_render_array_option_selects_array_and_refuses_unknown_name(render: Callable) -> None:
    assert render(npz(a=WEIGHTS, b=WEIGHTS[::-1]), "--array", "b").code == 0
    assert "The file has no array 'c'" in render(npz(a=WEIGHTS), "--array", "c").stderr
