"""NaN and infinity: every output refuses them in one line that names the place."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import D_MODEL, Result
from made_traces import layer_of, trace_of
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qkv_cli.core.block import Attention, Block, LayerTrace
from qkv_cli.core.finite import FiniteCheck, Weights
from qkv_cli.core.layers import Embedding, Linear
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.marian import _pack_int8
from qkv_cli.formats.safetensors import write_tensors
from qkv_cli.session.load import load

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "the", "river", "bank", "was", "muddy", "after", "rain"]
TEXT = "the river bank was muddy"
QUERY = "encoder.layer.1.attention.self.query.weight"
SAID = f"qkv: L1H1 contains NaN or infinity because tensor '{QUERY}' does.\n"
Edit = Callable[[np.ndarray], None]
_ONE = Linear(np.eye(2, dtype=np.float32), None)
ONE = Block(Attention(_ONE, _ONE, _ONE, _ONE, d_head=1, scale=1.0))  # two heads, Q = K = V = e


def damaged(case: str, place: Path, tensor: str = "", edit: Edit = lambda x: None) -> Path:
    """A golden checkpoint with one tensor edited in place."""
    folder = place / case
    shutil.copytree(GOLDEN / case, folder, dirs_exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    if tensor:
        tensors = load_file(GOLDEN / case / "model.safetensors")
        edit(tensors[tensor])
        save_file(tensors, folder / "model.safetensors")
    return folder


def nan(x: np.ndarray) -> None:
    x[...] = np.nan


def in_head_1(value: float) -> Edit:
    """Of BERT's query weight, [n_heads * d_head, d_model]: the golden has heads of 4."""

    def edit(W: np.ndarray) -> None:
        W[5] = value

    return edit


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two layers, layer 1 has one row of NaN in head 1; head 0 is unchanged."""
    return damaged("bert", tmp_path_factory.mktemp("nan"), QUERY, in_head_1(np.nan))


def refused(result: Result, message: str = SAID) -> None:
    assert (result.code, result.stdout, result.stderr) == (2, "", message)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--json",),
        ("--format", "jsonl"),
        ("--format", "csv"),
        ("--format", "svg"),
        ("--format", "html"),
        ("--mean",),
        ("--show", "scores"),
        ("--show", "contributions"),
        ("--show", "rollout"),
        ("--weighting", "hard"),
        ("--weighting", "linear"),
        ("--head", "L1H0"),  # another head of that layer
        ("--layer", "all"),
    ],
    ids=" ".join,
)
def test_attend_of_model_with_nan_names_tensor_in_every_format(
    qkv: Callable, bert: Path, args: tuple[str, ...]
) -> None:
    refused(qkv("attend", "-m", bert, TEXT, *args))


@pytest.mark.parametrize("mean", [(), ("--ablate-mean",)])
def test_attend_with_nan_in_ablated_head_names_tensor(
    qkv: Callable, bert: Path, mean: tuple
) -> None:
    result = qkv("attend", "-m", bert, TEXT, "--ablate", "L1H1", *mean)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"only layers after layer 1 are recomputed.\n{SAID}")


@pytest.mark.parametrize("suffix", ["npz", "json", "jsonl", "csv", "svg", "pdf", "png", "html"])
def test_attend_output_of_model_with_nan_writes_no_file(
    qkv: Callable, bert: Path, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    refused(qkv("attend", "-m", bert, TEXT, "-o", file))
    assert not file.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("grid", TEXT),
        ("heads", TEXT),
        ("heads", TEXT, "--json"),
        ("focus", TEXT, "--query", "bank"),
        ("compare", TEXT, "L1H0", "L1H1"),
        ("explain", TEXT, "--head", "L1H1"),
        ("explain", TEXT),
    ],
    ids=" ".join,
)
def test_every_command_on_model_with_nan_names_tensor(
    qkv: Callable, bert: Path, command: tuple[str, ...]
) -> None:
    refused(qkv(*command, "-m", bert))


def test_explain_with_nan_in_last_layer_output_names_tensor(qkv: Callable, tmp_path: Path) -> None:
    tensor = "encoder.layer.1.attention.output.dense.weight"
    model = damaged("bert", tmp_path, tensor, nan)
    assert qkv("attend", "-m", model, TEXT, "--layer", "1").code == 0
    message = f"The output of layer 1 contains NaN or infinity because tensor '{tensor}' does."
    for form in ((), ("--json",)):
        refused(qkv("explain", TEXT, "--head", "L1H1", "-m", model, *form), f"qkv: {message}\n")


def test_attend_of_layer_before_nan_succeeds(qkv: Callable, bert: Path) -> None:
    assert qkv("attend", "-m", bert, TEXT, "--layer", "0").code == 0


def test_attend_of_layer_after_nan_names_tensor(qkv: Callable, tmp_path: Path) -> None:
    name = "encoder.layer.0.attention.self.value.bias"
    folder = damaged("bert", tmp_path, name, nan)
    message = f"qkv: L0H0 contains NaN or infinity because tensor '{name}' does.\n"
    refused(qkv("attend", "-m", folder, TEXT, "--layer", "1", "--head", "1"), message)


def every_layer(folder: Path) -> None:
    """Run all layers of a model and its generation."""
    loaded = load(folder)
    for _ in loaded.read(TEXT, TEXT if loaded.is_encoder_decoder else None).layers:
        pass
    if loaded.model.unembed is not None:
        run = loaded.read(TEXT)  # an encoder-decoder generates text
        scores = np.zeros(1) if loaded.is_encoder_decoder else run.next_logits()
        assert (scores < np.inf).all()


@pytest.mark.parametrize(
    ("case", "spared"),
    [
        ("bert", ["pooler.dense.bias", "pooler.dense.weight"]),
        ("albert-groups", ["pooler.bias", "pooler.weight"]),
        (
            "mixtral",
            ["norm.weight"],
        ),  # used only for next-token scores, which this model does not have
        ("deberta-v2-p2c", []),
        ("gpt2-next", []),
        ("gemma2-next", []),
        ("t5", []),
        ("marian-writes", []),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_run_with_nan_or_infinity_in_any_used_tensor_names_it(
    case: str, spared: list[str], value: float, tmp_path: Path
) -> None:
    passed = []
    for name in load_file(GOLDEN / case / "model.safetensors"):
        folder = damaged(case, tmp_path, name, lambda x: x.fill(value))
        try:
            every_layer(folder)
            passed.append(name)
        except CheckpointError as error:
            assert f"contains NaN or infinity because tensor {name!r} does" in str(error), name
    assert sorted(set(passed) - {"encoder.conv.conv.bias"}) == spared  # tanh of infinity is 1


def test_run_with_nan_names_first_affected_head_and_block(tmp_path: Path) -> None:
    """The first head that reads the NaN, with its block if the model has several."""
    named = {
        ("bert", "encoder.layer.0.output.dense.weight"): "L1H0",
        ("bert", "encoder.layer.1.output.dense.weight"): "The output of layer 1",
        ("bert", "embeddings.LayerNorm.bias"): "L0H0",
        ("t5", "encoder.block.1.layer.0.SelfAttention.k.weight"): "L1H0 (encoder)",
        ("t5", "encoder.final_layer_norm.weight"): "L0H0 (cross)",
        ("t5", "decoder.block.1.layer.1.EncDecAttention.q.weight"): "L1H0 (cross)",
        ("t5", "decoder.block.1.layer.0.SelfAttention.q.weight"): "L1H0 (decoder)",
        ("gpt2-next", "transformer.ln_f.weight"): "The output of the unembedding",
    }
    for (case, tensor), place in named.items():
        with pytest.raises(CheckpointError) as error:
            every_layer(damaged(case, tmp_path, tensor, nan))
        message = f"{place} contains NaN or infinity because tensor {tensor!r} does."
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("tensor", "place"),
    [
        ("model.encoder.layers.1.fc2.weight", "The output of layer 1 (encoder)"),
        ("model.decoder.layers.1.self_attn.q_proj.weight", "L1H0 (decoder)"),
        ("model.decoder.layers.2.encoder_attn.k_proj.weight", "L2H0 (cross)"),
        ("model.decoder.layers.2.fc2.bias", "The output of layer 2 (decoder)"),
        ("final_logits_bias", "The output of the unembedding"),
    ],
)
def test_generation_with_nan_names_place_and_tensor(
    tmp_path: Path, tensor: str, place: str
) -> None:
    """The argmax of NaN would be token 0."""
    folder = damaged("marian-writes", tmp_path, tensor, nan)
    with pytest.raises(CheckpointError) as error:
        load(folder).read(TEXT)
    assert str(error.value).startswith(
        f"{place} contains NaN or infinity because tensor {tensor!r}"
    )


def test_next_of_model_with_nan_names_tensor(qkv: Callable, tmp_path: Path) -> None:
    for tensor, place in (
        ("transformer.ln_f.weight", "The output of the unembedding"),
        ("transformer.h.1.mlp.c_proj.bias", "L2H0"),
    ):
        folder = damaged("gpt2-next", tmp_path, tensor, nan)
        message = f"qkv: {place} contains NaN or infinity because tensor {tensor!r} does.\n"
        refused(qkv("next", "-m", folder, TEXT), message)
        refused(qkv("next", "-m", folder, TEXT, "--json"), message)


def test_run_with_nan_in_unused_embedding_rows_names_tensor_in_use(tmp_path: Path) -> None:
    folder = damaged("bert", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    nan(tensors["encoder.layer.1.attention.self.key.weight"])
    tensors["embeddings.word_embeddings.weight"][12:] = np.nan  # tokens that are not in the text
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'encoder\.layer\.1\.attention\.self\.key\.weight'"):
        every_layer(folder)


def test_attend_with_overflowing_weights_reports_float32_range(
    qkv: Callable, tmp_path: Path
) -> None:
    folder = damaged("bert", tmp_path, QUERY, in_head_1(3e38))
    message = "qkv: L1H1 contains NaN or infinity: a value exceeds the range of float32 (3.4e38).\n"
    for weighting in ("softmax", "hard", "linear"):
        refused(qkv("attend", "-m", folder, TEXT, "--weighting", weighting), message)


@pytest.mark.parametrize("sign", [1, -1])
def test_run_with_overflow_in_norm_reports_float32_range(sign: int, tmp_path: Path) -> None:
    """The square of 1e30 is beyond float32, and 1e30 over its root 0."""
    name = "embeddings.word_embeddings.weight"
    folder = damaged("bert", tmp_path, name, lambda x: x.fill(sign * 1e30) or x[:, 0].fill(0))
    with pytest.raises(
        CheckpointError, match="L0H0 contains NaN or infinity: a value exceeds the range"
    ):
        every_layer(folder)


def run(x: list[list[float]], *, offsets: np.ndarray | None = None) -> list[LayerTrace]:
    """Two heads of d_head 1, over tokens with these two numbers."""
    table = np.array(x, np.float32)
    model = Model(Embedding(table), {"encoder": Stack([ONE], offsets=offsets)})
    return [*model.layers(range(len(x)))]


def test_model_with_score_overflowing_to_minus_infinity_raises_checkpoint_error() -> None:
    """Head 1 has the score 1e20 x -1e20, which overflows to -inf; its weight is 0, z is finite."""
    with pytest.raises(CheckpointError, match=r"^L0H1 contains NaN or infinity\.$"):
        run([[1, 1e20], [2, -1e20]])
    [layer] = run([[1, 1e18], [2, -1e18]])
    assert np.isfinite(layer.attn.scores()).all()


def test_model_with_masked_score_of_minus_infinity_is_accepted() -> None:
    offsets = np.float32([[0, 0], [-np.inf, -np.inf], [0, 0]])
    [layer] = run([[1, 2], [2, 3]], offsets=offsets)
    assert np.isneginf(layer.attn.scores()).sum() == 4
    offsets[1, 1] = 0  # one head alone does not see itself
    [layer] = run([[1, 2], [2, 3]], offsets=offsets)
    assert layer.attn.mask().tolist() == [[[False, True], [True, False]], [[True, True]] * 2]


@pytest.mark.parametrize("value", [-np.inf, -3e38])
def test_finite_check_refuses_infinite_bias_but_accepts_large_finite_bias(value: float) -> None:
    q = k = v = np.ones((2, 2, 1), np.float32)
    bias = np.zeros((2, 2, 2), np.float32)
    bias[1, 0, 1] = value
    layer = layer_of(0, trace_of(q, k, v, bias=bias, visible=np.ones_like(bias, bool)))
    watch = FiniteCheck(Weights({}), {"encoder": [ONE]})
    if value == -np.inf:
        with pytest.raises(CheckpointError, match="L0H1 contains NaN or infinity"):
            watch.check_heads(layer)
    else:
        watch.check_heads(layer)  # as some models spell a mask


def test_run_with_overflow_in_float16_or_float64_tensor_names_it(tmp_path: Path) -> None:
    folder = damaged("bert", tmp_path)
    for kind, value in (("float16", np.inf), ("float64", 1e300)):
        tensors = {
            n: t.astype(kind) for n, t in load_file(GOLDEN / "bert/model.safetensors").items()
        }
        tensors[QUERY][5, 2] = value
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(
            CheckpointError, match=f"L1H1 contains NaN or infinity because tensor '{QUERY}'"
        ):
            every_layer(folder)


@pytest.mark.parametrize("name", ["attn.q.weight", "attn.offset_bias", "embed.mean", "attn.k.bias"])
def test_attend_of_word_vector_model_with_nan_names_tensor(
    qkv: Callable, tiny_glove: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_glove, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name][..., -1] = np.nan
    write_tensors(folder / "model.safetensors", tensors)
    result = qkv("attend", "-m", folder, "the river bank")
    assert (result.code, result.stdout) == (2, "")
    assert f"contains NaN or infinity because tensor '{name}' does" in result.stderr


def test_attend_with_nan_in_vector_of_used_word_names_tensor(
    qkv: Callable, tiny_glove: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_glove, folder)
    vectors = load_file(folder / "vectors.safetensors")
    vectors["embed.scale"][13] = np.nan  # river
    write_tensors(folder / "vectors.safetensors", vectors)
    assert qkv("attend", "-m", folder, "the fruits grow").code == 0
    message = "qkv: L0H0 contains NaN or infinity because tensor 'embed.scale' does.\n"
    refused(qkv("attend", "-m", folder, "the river grow"), message)
    # Between two texts, the same heads read it as a query or as a key.
    result = qkv("attend", "-m", folder, "the river", "--source", "a bank")
    refused(result, message.replace("L0H0", "L0H0 (cross)"))


def test_attend_contributions_with_overflow_reports_float32_range(
    qkv: Callable, tiny_glove: Path, tmp_path: Path
) -> None:
    """Lengths of values times W_O: the square of 1e25 is beyond float32."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny_glove, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["attn.o.weight"] *= np.float32(1e25)
    write_tensors(folder / "model.safetensors", tensors)
    args = ("attend", "-m", folder, "the river bank", "--show", "contributions")
    assert qkv("attend", "-m", folder, "the river bank").code == 0
    for form in ((), ("--json",), ("--format", "csv")):
        message = "qkv: L0H0.norms contains NaN or infinity: a value exceeds the range of float32"
        message += " (3.4e38).\n"
        refused(qkv(*args, "--head", "0", *form), message)


@pytest.mark.parametrize("number", ["1e999", "1e300", "-3.5e38", "1" + "0" * 400])
@pytest.mark.parametrize("kind", ["explain", "focus", "compare"])
def test_render_of_document_with_number_beyond_float32_exits_2(
    qkv: Callable, tiny_glove: Path, tmp_path: Path, kind: str, number: str
) -> None:
    options = {"explain": (), "focus": ("--query", "bank"), "compare": ("L0H0", "L0H1")}[kind]
    json_text = qkv(kind, "the river bank", *options, "-m", tiny_glove, "--json").stdout
    name = {"explain": '"scale":', "focus": '"mean":[', "compare": '"change":'}[kind]
    at = json_text.index(name) + len(name)
    file = tmp_path / "a.json"
    end = at + min(json_text[at:].index(sign) for sign in ",]}")
    file.write_text(json_text[:at] + number + json_text[end:])
    result = qkv("render", file)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr == f"qkv: {file}: a number exceeds the range of float32 (3.4e38).\n"


@pytest.mark.parametrize(
    "args",
    [
        ("--rate", "nan"),
        ("--rate", "inf"),
        ("--epochs", "nan"),
        ("--epochs", "inf"),
        ("--epochs", "1e308"),
        ("--minutes", "nan"),
        ("--minutes", "inf"),
    ],
)
def test_train_with_nonfinite_or_huge_option_exits_2(
    qkv: Callable, tmp_path: Path, args: tuple[str, str]
) -> None:
    result = qkv("train", "-", *args, "--out", tmp_path / "mine", stdin="the river bank\n" * 50)
    assert (result.code, result.stdout) == (2, "") and result.stderr.count("\n") == 1
    maximum = {"--rate": "1", "--epochs": "1000000.0", "--minutes": "1000000.0"}[args[0]]
    assert f"Invalid value for '{args[0]}'" in result.stderr
    assert maximum in result.stderr or "to 1e+06" in result.stderr
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_compare_with_nonfinite_or_negative_fail_above_exits_2(
    qkv: Callable, tiny_glove: Path, value: str
) -> None:
    result = qkv("compare", "a bank", "L0H0", "L0H1", "-m", tiny_glove, "--fail-above", value)
    assert result.code == 2 and "Invalid value for '--fail-above'" in result.stderr


def sentences(words: list[str]) -> str:
    """A hundred different ones."""
    rng = np.random.default_rng(0)
    return "".join(" ".join(rng.choice(words, size=6)) + "\n" for _ in range(100))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # gensim does not close its files
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_train_that_diverges_prints_error_and_writes_nothing(
    qkv: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "vectors.txt", tmp_path / "mine"
    words = ["the", "river", "bank", "was", "muddy", "a", "tree"]
    rng = np.random.default_rng(0)
    rows = ("".join(f" {x:.4f}" for x in rng.normal(size=D_MODEL)) for _ in words)
    file.write_text("".join(f"{w}{row}\n" for w, row in zip(words, rows, strict=True)))
    monkeypatch.setattr("qkv_cli.training.learn._rate", lambda plan, done: 1e38)
    args = ("train", "-", "--vectors", file, "--out", out, "--epochs", "2")
    result = qkv(*args, stdin=sentences(words))
    assert (result.code, result.stdout) == (2, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("qkv: Training diverged at step") and "--rate below 0.003" in last
    assert "Traceback" not in result.stderr and "Warning" not in result.stderr
    assert not out.exists()


def test_train_with_overflowing_vectors_exits_2_and_writes_nothing(
    qkv: Callable, tiny_glove: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(tiny_glove, folder)
    vectors = load_file(folder / "vectors.safetensors")
    vectors["embed.scale"][:] = 1e30
    write_tensors(folder / "vectors.safetensors", vectors)
    args = ("train", "-", "--vectors", folder, "--out", tmp_path / "mine")
    result = qkv(*args, stdin=sentences(["the", "river", "bank", "and", "a", "tree"]))
    assert result.code == 2 and "The vectors of tiny contain NaN or infinity" in result.stderr
    assert not (tmp_path / "mine").exists()


def test_models_neighbors_with_nonfinite_vector_names_word(
    qkv: Callable, tiny_glove: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_glove, folder)
    vectors = load_file(folder / "vectors.safetensors")
    vectors["embed.scale"][13] = np.inf
    write_tensors(folder / "vectors.safetensors", vectors)
    result = qkv("models", "neighbors", folder, "bank")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("qkv: The vector of 'river' in ")


def test_marian_tensor_with_zero_multiplier_is_named_when_used() -> None:
    """Opening the model does not warn about 1 / 0; the run that uses the number names it."""
    raw = np.frombuffer(b"\1\0\1\1" + struct.pack("<f", 0), np.uint8)
    packed = _pack_int8(raw, (2, 2), transposed=True)
    with pytest.raises(
        CheckpointError, match="L0H0 contains NaN or infinity because tensor 'Wemb' does"
    ):
        [
            *Model(Embedding(packed), {"encoder": Stack([ONE])})
            .with_weights(Weights({"Wemb": packed}))
            .layers([0, 1])
        ]
