"""Real checkpoints from the command line: folders as transformers writes them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from retyped import retype
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qkv_cli.session.load import load

Qkv = Callable[..., Result]
GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
WORDS = ["the", "river", "bank", "was", "muddy", "after", "rain", "she", "sat", "on", "a", "boat"]


def tokenizer(*, template: str, specials: tuple[str, ...]) -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate([*specials, "[UNK]", *WORDS])}
    result = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    result.pre_tokenizer = pre_tokenizers.Whitespace()
    result.add_special_tokens(list(specials))
    result.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(s, vocabulary[s]) for s in specials if s in template]
    )
    result.enable_padding(length=50)
    result.enable_truncation(4)
    return result


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    shutil.copytree(GOLDEN / "bert", folder)
    tokenizer(template="[CLS] $A [SEP]", specials=("[PAD]", "[CLS]", "[SEP]")).save(
        str(folder / "tokenizer.json")
    )
    return folder


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    folder = tmp_path / "t5"
    shutil.copytree(GOLDEN / "t5", folder)
    tokenizer(template="$A </s>", specials=("<pad>", "</s>")).save(str(folder / "tokenizer.json"))
    return folder


def document(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_attend_of_bert_adds_special_tokens_without_padding(bert: Path, qkv: Qkv) -> None:
    result = document(qkv("attend", "-m", bert, "the muddy river bank was xyz", "--json"))
    assert [t["token"] for t in result["queries"]] == [
        "[CLS]",
        "the",
        "muddy",
        "river",
        "bank",
        "was",
        "[UNK]",
        "[SEP]",
    ]
    assert [t["special"] for t in result["queries"]] == [True, *[False] * 6, True]
    assert result["queries"][6]["unknown"]
    assert result["maps"][0]["name"] == "L1H0"  # the last layer
    rows = np.sum(result["maps"][0]["pattern"], axis=1)
    np.testing.assert_allclose(rows, 1, atol=1e-5)


def test_attend_with_layer_all_lists_heads_of_every_layer(bert: Path, qkv: Qkv) -> None:
    result = document(qkv("attend", "-m", bert, "the river", "--layer", "all", "--json"))
    names = [m["name"] for m in result["maps"]]
    assert names == [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def test_explain_of_bert_adds_up_and_matches_pattern(bert: Path, qkv: Qkv) -> None:
    args = ["explain", "-m", bert, "the river bank", "--query", "bank", "--key", "river"]
    result = document(qkv(*args, "--head", "L1H2", "--json"))
    np.testing.assert_allclose(np.dot(result["q"], result["k"]), result["dot"], atol=1e-5)
    q = np.add(result["W_Q_e"], result["b_Q"])
    np.testing.assert_allclose(result["q"], q, atol=1e-5)
    layer = [*load(bert).read("the river bank").layers][1]
    assert layer.attn is not None
    assert result["weight"] == pytest.approx(layer.attn.pattern()[2, 3, 2], abs=1e-7)


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("deberta-v3", ["c2p", "p2c"]),
        ("deberta-v2", ["c2p", "p2c"]),
        ("deberta-v3-c2p", ["c2p"]),
        ("mpnet", ["position"]),
    ],
)
def test_explain_of_model_with_position_bias_lists_its_terms(
    bert: Path, qkv: Qkv, case: str, names: list[str]
) -> None:
    shutil.copytree(GOLDEN / case, bert, dirs_exist_ok=True)
    args = ["explain", "-m", bert, "the river bank was muddy", "--query", "bank", "--key", "river"]
    result = document(qkv(*args, "--head", "L1H2", "--json"))
    layer = [*load(bert).read("the river bank was muddy").layers][1]
    assert layer.attn is not None and (layer.attn.bias or layer.attn.relative) is not None
    terms = result["terms"]
    assert [*terms] == ["content", *names]
    added = np.sum([terms[name] for name in names], axis=0)
    rest = layer.attn.scores()[2, 3] - np.array(terms["content"])
    np.testing.assert_allclose(added, rest, atol=1e-5)
    np.testing.assert_allclose(terms["content"] + added, result["scores"], atol=1e-6)
    np.testing.assert_allclose(result["scores"], layer.attn.scores()[2, 3], atol=1e-5)
    page = qkv(*args, "--head", "L1H2").stdout
    [sums] = re.findall(r"^   (-?[\d.]+(?: [+-] [\d.]+)+) = (-?[\d.]+)$", page, flags=re.M)
    parts = re.findall(r"-?[\d.]+", sums[0].replace("- ", "-"))
    assert len(parts) == 1 + len(names)
    assert sum(map(Decimal, parts)) == Decimal(sums[1])
    causal = document(qkv(*args, "--head", "L1H2", "--causal", "--json"))
    assert [*causal["terms"]] == ["content", *names] + ["mask"] * case.startswith("deberta")
    *_, layer = load(bert).read("the river bank was muddy", causal=True).layers
    assert layer.attn is not None
    expected = [None if np.isneginf(s) else s for s in layer.attn.scores()[2, 3].tolist()]
    assert expected[4:] == [None] * 3 and causal["scores"] == pytest.approx(expected, abs=1e-5)


def test_explain_of_key_outside_attention_window_states_reason(bert: Path, qkv: Qkv) -> None:
    shutil.copytree(GOLDEN / "modernbert-biased", bert, dirs_exist_ok=True)
    args = ["explain", "-m", bert, "the river bank was muddy after the rain", "--query", "muddy"]
    for key, reason in (
        ("rain", "outside the attention window"),
        ("river", "outside the attention window"),
        ("the", None),
    ):
        result = document(
            qkv(*args, "--key", key, "--head", "L0H1" if reason else "L1H1", "--json")
        )
        assert result["masked"][result["key"]] == reason
    causal = document(qkv(*args, "--key", "rain", "--head", "L1H1", "--causal", "--json"))
    assert causal["masked"][causal["key"]] == "it comes later"


def test_attend_of_encoder_decoder_shows_each_block(t5: Path, qkv: Qkv) -> None:
    args = ["attend", "-m", t5, "she sat on a boat", "--source", "the river was muddy", "--json"]
    cross = document(qkv(*args))
    assert [t["token"] for t in cross["queries"]] == ["<pad>", "she", "sat", "on", "a", "boat"]
    assert [t["token"] for t in cross["keys"]] == ["the", "river", "was", "muddy", "</s>"]
    assert {m["block"] for m in cross["maps"]} == {"cross"}
    decoder = document(qkv(*args, "--block", "decoder"))
    assert decoder["keys"] == cross["queries"]
    assert decoder["causal"]
    pattern = np.array(decoder["maps"][0]["pattern"])
    assert not np.triu(pattern, 1).any()
    encoder = document(qkv(*args, "--block", "encoder"))
    only = ["attend", "-m", t5, "the river was muddy", "--json"]
    assert encoder["maps"] == document(qkv(*only, "--block", "encoder"))["maps"]
    assert encoder["maps"][0]["block"] == "encoder"
    generated = document(qkv(*only))
    assert (generated["maps"][0]["block"], generated["source"]) == ("cross", "the river was muddy")
    assert generated["keys"] == cross["keys"]
    assert generated["queries"][0]["token"] == "<pad>"


def test_attend_with_block_or_option_that_model_lacks_is_refused(
    bert: Path, t5: Path, qkv: Qkv
) -> None:
    assert "not an encoder-decoder" in qkv("attend", "-m", bert, "river", "--block", "cross").stderr
    config = json.loads((t5 / "config.json").read_text())
    for ends in (None, []):
        (t5 / "config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
        assert "needs --source TEXT" in qkv("attend", "-m", t5, "river", "--block", "cross").stderr
    assert document(qkv("attend", "-m", t5, "river", "--json"))["maps"][0]["block"] == "encoder"
    assert qkv("attend", "-m", bert, "river", "--source", "bank").code == 2
    assert qkv("attend", "-m", bert, "river", "--random-heads", "1").code == 2


def test_attend_with_text_longer_than_positions_exits_2(bert: Path, qkv: Qkv) -> None:
    result = qkv("attend", "-m", bert, "river " * 60)
    assert (result.code, result.stdout) == (2, "")
    assert "62 tokens, but this model has 40 positions" in result.stderr


@pytest.mark.parametrize("kind", ["F16", "BF16", "shards", "old names", "prefix"])
def test_load_of_other_storage_layouts_gives_same_patterns(bert: Path, kind: str) -> None:
    expected = [*load(bert).read("the river bank").layers]
    path = bert / "model.safetensors"
    tensors = load_file(path)
    close = 1e-6
    if kind == "F16":
        save_file({n: t.astype(np.float16) for n, t in tensors.items()}, path)
        close = 5e-3
    elif kind == "BF16":
        _save_bfloat16(tensors, path)
        close = 5e-2
    elif kind == "shards":
        path.unlink()
        names = sorted(tensors)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for part, which in parts.items():
            save_file({n: tensors[n] for n in which}, bert / part)
        index = {"weight_map": {n: part for part, which in parts.items() for n in which}}
        (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    elif kind == "old names":
        renamed = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in tensors.items()
        }
        save_file(renamed, path)
    else:
        save_file({f"bert.{n}": t for n, t in tensors.items()}, path)
    result = [*load(bert).read("the river bank").layers]
    for one, other in zip(result, expected, strict=True):
        assert one.attn is not None
        assert other.attn is not None
        np.testing.assert_allclose(one.attn.pattern(), other.attn.pattern(), atol=close)


def _save_bfloat16(tensors: dict[str, Any], path: Path) -> None:
    """Write float32 tensors as bfloat16: the upper half of each number."""
    header, body, at = {}, b"", 0
    for name, tensor in tensors.items():
        data = (np.ascontiguousarray(tensor).view(np.uint32) >> 16).astype("<u2").tobytes()
        ends = [at, at + len(data)]
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": ends}
        body, at = body + data, at + len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_attend_with_pickle_or_missing_tokenizer_is_refused(bert: Path, qkv: Qkv) -> None:
    (bert / "tokenizer.json").unlink()
    assert "no tokenizer.json" in qkv("attend", "-m", bert, "river").stderr
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    result = qkv("attend", "-m", bert, "river")
    assert (result.code, "is a pickle" in result.stderr) == (2, True)
    (bert / "pytorch_model.bin").rename(bert / "pytorch_model-00001-of-00002.bin")
    assert f"cd {bert} && python -c" in qkv("models", "check", bert).stderr


def test_load_with_vocab_txt_builds_wordpiece_tokenizer(bert: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    (bert / "tokenizer.json").unlink()
    (bert / "vocab.txt").write_text("\n".join(pieces))
    tokens = load(bert).tokenizer.encode("The Rivers")
    assert [t.token for t in tokens] == ["[CLS]", "the", "river", "##s", "[SEP]"]
    assert [t.text for t in tokens] == ["", "The", "River", "s", ""]


def test_models_show_of_bert_reports_sizes_parameters_and_checksum(bert: Path, qkv: Qkv) -> None:
    info = json.loads(qkv("models", "show", bert, "--json").stdout)
    assert (info["n_layers"], info["n_heads"], info["d_head"]) == (2, 4, 4)
    assert info["type"] == "bert"
    assert info["blocks"] == {"encoder": 2}
    assert info["positions"] == "absolute embeddings, 40 positions"
    weights = (bert / "model.safetensors").read_bytes()
    assert info["sha256"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert info["n_parameters"] == sum(
        t.size for t in load_file(bert / "model.safetensors").values()
    )
    card = qkv("models", "show", bert).stdout
    assert f"parameters  {info['n_parameters']:,}" in card
    assert "licence" not in card  # no licence is given


def test_render_of_file_with_hidden_special_tokens_keeps_notes(
    bert: Path, qkv: Qkv, tmp_path: Path
) -> None:
    path = tmp_path / "maps.json"
    args = ["attend", "-m", bert, "the river bank", "--hide-special", "--words"]
    assert qkv(*args, "-o", path).code == 0
    result = json.loads(path.read_text())
    assert [t["text"] for t in result["queries"]] == ["the", "river", "bank"]
    assert "special tokens are hidden" in result["notes"][0]
    picture = qkv("render", path).stdout
    assert "special tokens are hidden" in picture.replace("\n", " ")
    assert picture == qkv(*args).stdout


def test_models_check_reports_sizes_estimate_and_ignored_settings(
    bert: Path, t5: Path, qkv: Qkv
) -> None:
    result = qkv("models", "check", bert)
    assert result.code == 0
    assert "bert, layers: 2 in the encoder; 4 heads of size 4, d_model 16" in result.stdout
    *_, estimate = result.stdout.splitlines()
    pattern = r"\d+ KiB on disk\. One map of 40 tokens: about \d+ MiB of memory and [\d.,]+ \w+ on"
    assert re.match(pattern, estimate)  # bert has 40 positions
    assert "2 in the encoder, 3 in the decoder" in qkv("models", "check", t5).stdout
    plain = (bert / "config.json").read_text()[:-3]
    (bert / "config.json").write_text(plain + ', "twist": 1}')
    noted = qkv("models", "check", bert)
    assert (noted.code, "does not use; they are ignored: twist." in noted.stderr) == (
        0,
        True,
    )
    (bert / "config.json").write_text(plain + ', "pruned_heads": {"0": [1]}}')
    refused = qkv("models", "check", bert)
    assert (refused.code, "pruned_heads to {'0': [1]}" in refused.stderr) == (2, True)


def test_models_check_tokens_sets_length_of_estimate(bert: Path, qkv: Qkv) -> None:
    assert "One map of 1 token: about" in qkv("models", "check", bert, "--tokens", "1").stdout
    long = qkv("models", "check", "glove", "--tokens", "32768").stdout
    assert "One map of 32,768 tokens: about" in long


def test_models_check_tokens_beyond_positions_exits_2(bert: Path, qkv: Qkv) -> None:
    result = qkv("models", "check", bert, "--tokens", "1041")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr == "qkv: --tokens 1,041 is too long: bert has 40 positions.\n"
    assert qkv("models", "check", bert, "--tokens", "0").code == 2


def test_models_verify_compares_with_transformers_or_asks_to_install_it(
    bert: Path, qkv: Qkv
) -> None:
    result = qkv("models", "verify", bert, "--text", "the river bank was muddy")
    if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"):
        assert result.stdout.count("largest difference") == 2
        assert result.code == 0
    else:
        assert (result.code, "pip install torch transformers" in result.stderr) == (2, True)
    assert qkv("models", "verify", "glove").code == 2


def test_models_verify_with_different_weights_exits_1(bert: Path, qkv: Qkv, monkeypatch) -> None:
    from qkv_cli.session import verify as proof

    monkeypatch.setattr(proof, "compare_with_transformers", lambda *a: iter([("layer 0", 2e-4)]))
    result = qkv("models", "verify", bert)
    assert (result.code, result.stdout) == (1, "layer 0: largest difference 2.0e-04\n")
    assert result.stderr == "qkv: The largest difference is 2.0e-04, more than 1e-04.\n"


def test_internal_error_prints_traceback_and_exits_70(bert: Path, qkv: Qkv, monkeypatch) -> None:
    from qkv_cli.session import verify as proof

    monkeypatch.setattr(proof, "compare_with_transformers", lambda *a: {}["no such name"])
    result = qkv("models", "verify", bert)
    assert (result.code, result.stdout) == (70, "")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'no such name'\n" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"qkv: This is a bug in qkv [\d.]+: please report it .*\.", last)


@pytest.mark.parametrize("command", ["attend", "grid", "heads", "explain", "focus"])
@pytest.mark.parametrize("kind", ["gguf", "marian", "bert"])
def test_command_with_random_heads_refuses_checkpoint_before_reading_it(
    qkv: Qkv, tmp_path: Path, kind: str, command: str
) -> None:
    broken = {"gguf": ("a.gguf", "GGUF"), "marian": ("model.bin", "")}
    name, content = broken.get(kind, ("config.json", '{"model_type": "bert"}'))
    (tmp_path / name).write_text(content)
    options = ["--query", "the"] if command == "focus" else []
    done = qkv(command, "-m", tmp_path, "the river", "--random-heads", "0", *options)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "qkv: --random-heads needs a word-vector model.\n"


@pytest.fixture
def bart(tmp_path: Path) -> Path:
    """An encoder of 2 layers with 4 heads of 4, a decoder of 3 layers with 2 heads of 8."""
    folder = tmp_path / "bart"
    shutil.copytree(GOLDEN / "bart", folder)
    pieces = tokenizer(template="<s> $A </s>", specials=("<s>", "<pad>", "</s>"))
    pieces.save(str(folder / "tokenizer.json"))
    return folder


SHAPES = {"encoder": (2, 4, 4), "decoder": (3, 2, 8), "cross": (3, 2, 8)}


@pytest.mark.parametrize("block", SHAPES)
@pytest.mark.parametrize("command", ["attend", "grid", "heads", "explain", "focus"])
def test_command_on_encoder_decoder_describes_shown_block(
    qkv: Qkv, bart: Path, command: str, block: str
) -> None:
    n_layers, n_heads, d_head = SHAPES[block]
    extra = ["--query", "river"] if command == "focus" else []
    extra += ["--shuffles", "0"] if command in ("grid", "heads") else []
    args = (command, "-m", bart, "the river", "--source", "a river boat", "--block", block, *extra)
    model = document(qkv(*args, "--json"))["model"]
    assert (model["layers"], model["heads"], model["d_head"]) == (n_layers, n_heads, d_head)
    if command != "explain":
        assert f"{n_layers} layers x {n_heads} heads" in qkv(*args).stdout


def test_heads_of_encoder_decoder_without_source_lists_encoder_heads(qkv: Qkv, bart: Path) -> None:
    result = document(qkv("heads", "-m", bart, "the river", "--shuffles", "0", "--json"))
    assert (result["model"]["layers"], result["model"]["heads"]) == (2, 4)
    assert len(result["heads"]) == 8


def test_models_commands_on_encoder_decoder_describe_both_stacks(
    qkv: Qkv, bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bart, tmp_path / "models" / "bart")
    shutil.copytree(GOLDEN / "t5", tmp_path / "models" / "t5")
    monkeypatch.setenv("QKV_HOME", str(tmp_path))
    stacks = {
        kind: dict(zip(("n_layers", "n_heads", "d_head"), SHAPES[kind], strict=True))
        for kind in ("encoder", "decoder")
    }
    assert document(qkv("models", "show", "bart", "--json"))["stacks"] == stacks
    listed = document(qkv("models", "list", "--json"))["models"]
    assert [row["stacks"] for row in listed if row["name"] == "bart"] == [stacks]
    text = " ".join(qkv("models", "list").stdout.split())
    assert " bart 2 x 4 + 3 x 2 16 " in text and " t5 2 + 3 x 4 16 " in text
    card = qkv("models", "show", "bart").stdout
    assert "encoder 4, decoder 2 in each layer" in card and "encoder 4, decoder 8" in card
    assert (
        "encoder 4 heads of size 4, decoder 2 heads of size 8"
        in qkv("models", "check", "bart").stdout
    )


@pytest.mark.parametrize(
    ("case", "tensor"),
    [
        ("bert", "embeddings.word_embeddings.weight"),
        ("bart-writes", "model.shared.weight"),
        ("marian-two-tables", "model.decoder.embed_tokens.weight"),
    ],
)
def test_models_check_with_unsupported_type_of_embedding_exits_2(
    qkv: Qkv, tmp_path: Path, case: str, tensor: str
) -> None:
    shutil.copytree(GOLDEN / case, tmp_path / "m")
    (tmp_path / "m" / "tokenizer_config.json").unlink(missing_ok=True)
    pieces = tokenizer(template="<s> $A </s>", specials=("<s>", "<pad>", "</s>"))
    pieces.save(str(tmp_path / "m" / "tokenizer.json"))
    assert qkv("models", "check", tmp_path / "m").code == 0
    retype(tmp_path / "m" / "model.safetensors", tensor, "F8_E4M3")
    source = [] if case == "bert" else ["--source", "a boat"]
    attend = ("attend", "-m", tmp_path / "m", "the river", *source)
    for command in (attend, ("models", "check", tmp_path / "m")):
        done = qkv(*command)
        assert (done.code, done.stdout) == (2, "")
        assert f"Tensor {tensor!r} has type F8_E4M3" in done.stderr


def test_models_check_with_token_ids_beyond_embedding_exits_2(qkv: Qkv, bert: Path) -> None:
    pieces = Tokenizer.from_file(str(bert / "tokenizer.json"))
    n_known = pieces.get_vocab_size()  # of 64 rows
    pieces.add_tokens([f"word{i}" for i in range(n_known, 66)])
    pieces.save(str(bert / "tokenizer.json"))
    assert (
        qkv("models", "check", bert).code == 0
    )  # only a text that spells out these tokens uses them
    done = qkv("attend", "-m", bert, "the word65")
    assert (done.code, "word65" in done.stderr) == (2, True)
    stored = json.loads((bert / "tokenizer.json").read_text())
    stored["model"]["vocab"] |= {f"word{i}": i for i in range(n_known, 66)}
    (bert / "tokenizer.json").write_text(json.dumps(stored))
    done = qkv("models", "check", bert)
    assert (done.code, done.stdout) == (2, "")
    assert "token 'word64' with id 64 (and 1 more), but the embedding has 64 rows" in done.stderr


def test_models_check_of_tokenizer_without_usual_word_tries_other_text(
    qkv: Qkv, bert: Path
) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (bert / "tokenizer_config.json").write_text(json.dumps(settings))
    plain = Tokenizer(models.BPE({"[CLS]": 1, "[SEP]": 2, "я": 7}, []))
    plain.add_special_tokens(["[CLS]", "[SEP]"])
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    plain.save(str(bert / "tokenizer.json"))
    assert qkv("models", "check", bert).code == 0
    plain = Tokenizer(models.BPE({"[CLS]": 1}, []))
    plain.add_special_tokens(["[CLS]"])
    plain.save(str(bert / "tokenizer.json"))
    assert "produces no tokens for 'the'" in qkv("models", "check", bert).stderr


OPENING = ["attend", "grid", "heads", "explain", "focus", "compare", "next"]


@pytest.mark.parametrize("command", [*OPENING, "models-check", "models-show"])
def test_command_on_model_with_auto_map_prints_note(qkv: Qkv, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(GOLDEN / "gpt2", folder)
    tokenizer(template="$A", specials=("<s>",)).save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    options = {"focus": ["--query", "river"], "compare": ["L0H0", "L1H1"]}.get(command, [])
    args = command.split("-")
    args += [folder] if "models" in args else ["the river", "-m", folder, *options]
    assert "auto_map" not in qkv(*args).stderr
    for auto_map in ({"AutoModel": "modeling_mine.Mine"}, {"AutoModel": "their/repo--m.Mine"}):
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
        done = qkv(*args)
        assert done.code == 0 and done.stderr.count("(auto_map)") == 1
        assert "transformers' own class for gpt2" in done.stderr
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": None}))
    assert "auto_map" not in qkv(*args).stderr
