"""`qkv next` on a tiny decoder, against transformers' scores and recorded pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recordings import recorded
from test_ablate import folder
from test_render_documents import _damage

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.formats.safetensors import open_tensors

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = "the river bank was the river"
ABLATED = ["--ablate", "L0H1,L1H*"]


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return folder(tmp_path, "llama-next")


def scores_of(model: Path, ids: list[int], ablated: dict[int, list[int]]) -> np.ndarray:
    """Logits of the model after the rows of W_O of the ablated heads are set to zero."""
    stored = {n: np.array(x) for n, x in open_tensors(model / "model.safetensors").items()}
    for layer, heads in ablated.items():
        W = stored[f"model.layers.{layer}.self_attn.o_proj.weight"]
        for head in heads:
            W[:, head * 8 : head * 8 + 8] = 0
    built = build(json.loads((model / "config.json").read_text()), Tensors(stored))
    [*_, last] = built.layers(ids)
    hidden = built.stacks["decoder"].final_norm(last.resid_post)[-1]
    return (stored["lm_head.weight"] @ hidden).astype(np.float64)


def test_next_json_probabilities_ranks_and_divergence_match_reference(qkv, llama: Path) -> None:
    result = json.loads(qkv("next", "-m", llama, TEXT, *ABLATED, "--json").stdout)
    assert result["schema"] == "qkv.next/1" and result["ablated"] == "L0H1 L1H*"
    ids = [token["id"] for token in result["queries"]]
    p, q = (
        np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        for s in (scores_of(llama, ids, ablated) for ablated in ({}, {0: [1], 1: [0, 1, 2, 3]}))
    )
    for name, of in (("before", p), ("after", q)):
        for token in result["next"]:
            assert token[name]["probability"] == pytest.approx(of[token["id"]], rel=1e-4)
            assert token[name]["rank"] == 1 + (of > of[token["id"]]).sum()
        listed_probability = sum(token[name]["probability"] for token in result["next"])
        assert result["rest"][name] == pytest.approx(1 - listed_probability, abs=1e-9)
    assert result["divergence"] == pytest.approx((p * np.log2(p / q)).sum(), rel=1e-4)
    likeliest = {token["id"] for token in result["next"]}
    assert {*np.argsort(-p)[:10].tolist(), *np.argsort(-q)[:10].tolist()} == likeliest


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("options", [[], ABLATED], ids=["whole", "ablated"])
def test_next_picture_matches_recording_and_render_reproduces_it(
    qkv, llama: Path, width: int, options: list[str]
) -> None:
    args = ("-m", llama, TEXT, "--top", "4", *options)
    picture = qkv("next", *args, "--width", width)
    assert (picture.code, picture.stderr) == (0, "")
    name = f"{'ablated' if options else 'whole'}-{width}"
    assert picture.stdout == recorded(f"next/{name}.txt", picture.stdout)
    assert max(map(len, picture.stdout.splitlines())) <= width
    json_text = qkv("next", *args, "--json").stdout
    assert qkv("render", "-", "--width", width, stdin=json_text).stdout == picture.stdout


def test_render_of_damaged_next_document_draws_or_prints_one_line_error(qkv, llama: Path) -> None:
    json_text = qkv("next", "-m", llama, TEXT, *ABLATED, "--json").stdout
    n = 0
    while (document := _damage(json.loads(json_text), n)) is not None and n < 150:
        done = qkv("render", "-", stdin=json.dumps(document))
        assert done.code in (0, 2) and "Traceback" not in done.stderr
        assert done.code == 0 or done.stderr.count("\n") == 1
        n += 1
    assert n > 20


@pytest.mark.parametrize("name", ["a.svg", "a.pdf", "a.png", "a.html"])
def test_next_output_writes_every_picture_type(qkv, llama: Path, tmp_path: Path, name: str) -> None:
    done = qkv("next", "-m", llama, TEXT, "-o", tmp_path / name)
    assert (done.code, done.stdout) == (0, "")
    assert (tmp_path / name).stat().st_size > 500


@pytest.mark.parametrize("case", ["bert", "llama", "gemma3-both-sides"])
def test_next_of_model_without_unembedding_exits_2_and_names_model(
    qkv, tmp_path: Path, case: str
) -> None:
    done = qkv("next", "-m", folder(tmp_path, case), TEXT)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{case} cannot predict tokens: it has no unembedding" in done.stderr


def test_next_of_word_vectors_or_encoder_decoder_exits_2_and_names_model(
    qkv, tiny_glove: Path, tmp_path: Path
) -> None:
    done = qkv("next", "-m", tiny_glove, "the bank")
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "tiny cannot predict tokens: it has no unembedding" in done.stderr
    done = qkv("next", "-m", folder(tmp_path, "t5"), TEXT)
    assert done.code == 2 and "does not apply to t5, an encoder-decoder" in done.stderr


def test_next_with_ablate_mean_but_without_ablate_exits_2(qkv, llama: Path) -> None:
    done = qkv("next", "-m", llama, TEXT, "--ablate-mean")
    assert done.code == 2 and "--ablate-mean needs --ablate HEADS" in done.stderr
