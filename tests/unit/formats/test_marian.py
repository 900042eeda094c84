"""A tiny Marian model, written by hand, against the formulas written out once more."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from qkv_cli.errors import CheckpointError, UsageError
from qkv_cli.formats.marian import open_marian
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel

Arrays = dict[str, np.ndarray]
D, HEADS, FFN, VOCAB = 8, 2, 12, 6
CONFIG = """type: transformer
dec-cell: ssru
dec-depth: 1
enc-depth: 1
dim-emb: 8
dim-vocabs:
  - 6
  - 6
transformer-heads: 2
transformer-dim-ffn: 12
transformer-decoder-autoreg: rnn
transformer-postprocess: dan
transformer-postprocess-emb: d
transformer-postprocess-top: ""
transformer-preprocess: ""
transformer-ffn-activation: relu
transformer-ffn-depth: 2
transformer-no-projection: false
transformer-train-position-embeddings: false
tied-embeddings-all: true
lemma-dim-emb: 0
right-left: false
output-omit-bias: false
"""


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"Wemb": (VOCAB, D), "decoder_ff_logit_out_b": (1, VOCAB)}
    for side, name in (("encoder", "self"), ("decoder", "context")):
        for part in "qkvo":
            shapes[f"{side}_l1_{name}_W{part}"] = (D, D)
            shapes[f"{side}_l1_{name}_b{part}"] = (1, D)
        shapes |= {f"{side}_l1_ffn_W1": (D, FFN), f"{side}_l1_ffn_b1": (1, FFN)}
        shapes |= {f"{side}_l1_ffn_W2": (FFN, D), f"{side}_l1_ffn_b2": (1, D)}
        for norm in (f"{name}_Wo", "ffn_ffn"):
            shapes |= {f"{side}_l1_{norm}_ln_{p}": (1, D) for p in ("scale", "bias")}
    shapes |= {"decoder_l1_rnn_W": (D, D), "decoder_l1_rnn_Wf": (D, D)}
    shapes |= {f"decoder_l1_{name}": (1, D) for name in ("rnn_bf", "rnn_ffn_ln_scale")}
    shapes["decoder_l1_rnn_ffn_ln_bias"] = (1, D)
    return {n: rng.normal(0, 0.5, s).astype(np.float32) for n, s in shapes.items()}


def write(
    path: Path, tensors: dict[str, np.ndarray], config: str = CONFIG
) -> dict[str, np.ndarray]:
    """Write the file, with matrices as int8, and return the numbers it contains."""
    stored, entries = {}, []
    for name, tensor in tensors.items():
        if name == "Wemb" or ("_W" in name and "ln" not in name):
            times = np.float32(127 / np.abs(tensor).max())
            quantized = np.rint(tensor * times).astype(np.int8)
            stored[name] = quantized.astype(np.float32) / times
            raw = (quantized if name == "Wemb" else quantized.T).tobytes() + struct.pack(
                "<f", times
            )
            entries.append((name, 0x4101, tensor.shape, raw + bytes(252)))
        else:
            stored[name] = tensor
            entries.append((name, 0x404, tensor.shape, tensor.tobytes() + bytes(32)))
    entries.append(("special:model.yml", 0x101, (len(config) + 1,), config.encode() + b"\0"))
    out = struct.pack("<2Q", 1, len(entries))
    for name, kind, shape, raw in entries:
        out += struct.pack("<4Q", len(name) + 1, kind, len(shape), len(raw))
    out += b"".join(name.encode() + b"\0" for name, *_ in entries)
    out += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in entries)
    out += struct.pack("<Q", 24) + bytes(24) + b"".join(raw for *_, raw in entries)
    path.write_bytes(out)
    return stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pieces = [("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(p, -1.0) for p in ("▁the", "▁river", "▁bank", "s")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def normed(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-9)
    return x * w[f"{name}_ln_scale"] + w[f"{name}_ln_bias"]


def attend(
    x: np.ndarray, memory: np.ndarray, w: dict[str, np.ndarray], name: str
) -> tuple[np.ndarray, np.ndarray]:
    q, k, v = (
        y @ w[f"{name}_W{p}"] + w[f"{name}_b{p}"]
        for y, p in ((x, "q"), (memory, "k"), (memory, "v"))
    )
    out, patterns = [], []
    for h in range(HEADS):
        part = slice(h * D // HEADS, (h + 1) * D // HEADS)
        e = np.exp(q[:, part] @ k[:, part].T / np.sqrt(D / HEADS))
        patterns.append(e / e.sum(1, keepdims=True))
        out.append(patterns[-1] @ v[:, part])
    return np.concatenate(out, 1) @ w[f"{name}_Wo"] + w[f"{name}_bo"], np.stack(patterns)


def ffn(x: np.ndarray, w: dict[str, np.ndarray], side: str) -> np.ndarray:
    hidden = np.maximum(x @ w[f"{side}_l1_ffn_W1"] + w[f"{side}_l1_ffn_b1"], 0)
    return normed(
        x + hidden @ w[f"{side}_l1_ffn_W2"] + w[f"{side}_l1_ffn_b2"], w, f"{side}_l1_ffn_ffn"
    )


def embedded(rows: np.ndarray) -> np.ndarray:
    angle = np.arange(len(rows))[:, None] * 10_000.0 ** -(np.arange(4) / 3)
    return rows * np.sqrt(D) + np.concatenate([np.sin(angle), np.cos(angle)], 1)


def test_marian_model_equals_formulas_written_by_hand(folder: Path) -> None:
    w = write(folder / "model.bin", weights())
    source_ids, target_ids = [2, 3, 4, 0], [4, 2, 3]
    x = embedded(w["Wemb"][source_ids])
    out, encoder = attend(x, x, w, "encoder_l1_self")
    memory = ffn(normed(x + out, w, "encoder_l1_self_Wo"), w, "encoder")
    y = embedded(np.concatenate([np.zeros((1, D)), w["Wemb"][target_ids]]))
    forget = 1 / (1 + np.exp(-(y @ w["decoder_l1_rnn_Wf"] + w["decoder_l1_rnn_bf"])))
    new, state, states = y @ w["decoder_l1_rnn_W"], np.zeros(D), []
    for f, n in zip(forget, new, strict=True):
        state = f * state + (1 - f) * n
        states.append(np.maximum(state, 0))
    y = normed(y + np.array(states), w, "decoder_l1_rnn_ffn")
    out, cross = attend(y, memory, w, "decoder_l1_context")
    last = ffn(normed(y + out, w, "decoder_l1_context_Wo"), w, "decoder")

    model = load(folder).model
    first, second = model.layers(source_ids, [VOCAB, *target_ids])
    assert first.attn is not None
    assert second.cross is not None
    np.testing.assert_allclose(first.attn.pattern(), encoder, atol=1e-5)
    np.testing.assert_allclose(second.cross.pattern(), cross, atol=1e-5)
    np.testing.assert_allclose(second.resid_post, last, atol=1e-4)
    logits = last @ w["Wemb"].T + w["decoder_ff_logit_out_b"]
    assert model.unembed is not None
    np.testing.assert_allclose(model.unembed.linear()(second.resid_post), logits, atol=1e-3)


def greedy(loaded: LoadedModel, ids: list[int]) -> list[int]:
    """Generate token by token, running all layers on the whole text."""
    model, result = loaded.model, [VOCAB]
    while len(result) < 30:
        *_, last = model.layers(ids, result)
        assert model.unembed is not None
        token = int(model.unembed.linear()(last.resid_post[-1:]).argmax())
        if token == 0:
            break
        result.append(token)
    return result[1:]


def test_marian_read_without_target_generates_greedy_translation(folder: Path) -> None:
    write(folder / "model.bin", weights())
    loaded = load(folder)
    run = loaded.read("the river banks")
    assert [t.token for t in run.keys] == ["▁the", "▁river", "▁bank", "s", "</s>"]
    ids = greedy(loaded, [t.id for t in run.keys])[: 3 * 5 + 10]
    assert [t.id for t in run.queries] == [*ids, 0]
    assert run.source == "the river banks"
    [layer] = run.layers
    assert layer.cross is not None
    assert layer.cross.pattern().shape == (HEADS, len(ids) + 1, 5)
    forced = loaded.read("the bank", "the river")
    assert [t.token for t in forced.queries] == ["▁the", "▁bank", "</s>"]
    assert [t.text for t in forced.queries] == ["the", "bank", ""]
    with pytest.raises(UsageError, match="no self-attention"):
        loaded.read("the bank", "the river", block="decoder")


def test_marian_file_unimplemented_or_truncated_raises_checkpoint_error(folder: Path) -> None:
    write(folder / "model.bin", weights(), CONFIG.replace("ssru", "gru"))
    with pytest.raises(CheckpointError, match="dec-cell to 'gru'"):
        load(folder)
    write(folder / "model.bin", weights())
    data = (folder / "model.bin").read_bytes()
    for n in (0, 5, 40, 900, len(data) // 2):
        (folder / "cut.bin").write_bytes(data[:n])
        with pytest.raises(CheckpointError):
            open_marian(folder / "cut.bin")


@pytest.mark.parametrize("odd", ["²", "--5", "9" * 5000])
def test_marian_config_with_unreadable_number_keeps_text(folder: Path, odd: str) -> None:
    write(folder / "model.bin", weights(), f"{CONFIG}\nbeam-size: {odd}\n")
    load(folder)
