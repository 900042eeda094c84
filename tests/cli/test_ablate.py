"""`--ablate` from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from tokenizers import Tokenizer, models, pre_tokenizers

CHECKPOINTS = Path(__file__).parents[1] / "golden" / "checkpoints"
TEXT = "the river bank was the river"
Qkv = Callable[..., Result]


def folder(tmp_path: Path, case: str) -> Path:
    result = tmp_path / case
    shutil.copytree(CHECKPOINTS / case, result)
    words = {word: i for i, word in enumerate(["<pad>", "[UNK]", "the", "river", "bank", "was"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(result / "tokenizer.json"))
    return result


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return folder(tmp_path, "llama")


def maps(result: Result) -> dict[str, np.ndarray]:
    assert result.code == 0, result.stderr
    return {m["name"]: np.array(m["pattern"]) for m in json.loads(result.stdout)["maps"]}


def test_attend_with_ablate_changes_only_later_layers_and_names_heads(
    qkv: Qkv, llama: Path
) -> None:
    args = ("attend", "-m", llama, TEXT, "--layer", "all")
    unablated, result = qkv(*args, "--json"), qkv(*args, "--json", "--ablate", "L1H0,L1H3")
    assert json.loads(result.stdout)["ablated"] == "L1H0 L1H3"
    assert "ablated" not in json.loads(unablated.stdout)
    before, after = maps(unablated), maps(result)
    for name in before:
        assert np.array_equal(before[name], after[name]) == (not name.startswith("L2")), name
    assert result.stderr == ""
    picture = qkv(*args, "--ablate", "L1H0", "--ablate", "L1H3")
    assert "ablated: L1H0 L1H3" in picture.stdout
    assert qkv("render", "-", stdin=result.stdout).stdout == picture.stdout
    mean = qkv(*args, "--json", "--ablate", "L1H0,L1H3", "--ablate-mean")
    assert json.loads(mean.stdout)["ablated"] == "L1H0 L1H3 (mean ablation)"
    assert not np.array_equal(maps(mean)["L2H0"], after["L2H0"])


def test_every_command_with_ablate_recomputes_and_names_ablated_heads(
    qkv: Qkv, llama: Path
) -> None:
    args = ("-m", llama, TEXT, "--ablate", "L0H*")
    runs = {
        "grid": (*args, "--shuffles", "0"),
        "focus": (*args, "--query", "bank"),
        "heads": (*args, "--shuffles", "0"),
        "compare": (*args, "L2H0", "L2H1"),
    }
    for command, options in runs.items():
        result = qkv(command, *options)
        assert (result.code, "ablated: L0H*" in result.stdout) == (0, True), (command, result)
        document = qkv(command, *options, "--json").stdout
        assert '"ablated":"L0H*"' in document
        assert document != qkv(command, *options[:3], *options[5:], "--json").stdout
    figures = [
        json.loads(qkv("heads", "-m", llama, TEXT, "--shuffles", "0", "--json", *ablation).stdout)
        for ablation in ((), ("--ablate", "L0H*"))
    ]
    is_unchanged = [a == b for a, b in zip(*(f["heads"] for f in figures), strict=True)]
    assert is_unchanged == [True] * 4 + [False] * 8


def test_attend_with_ablate_of_encoder_decoder_ablates_heads_of_shown_block(
    qkv: Qkv, tmp_path: Path
) -> None:
    t5 = folder(tmp_path, "t5")
    args = ("attend", "-m", t5, TEXT, "--source", "was the bank", "--layer", "all", "--json")
    for block, n_layers in (("encoder", 2), ("decoder", 3), ("cross", 3)):
        block_args = (*args, "--block", block)
        before, after = maps(qkv(*block_args)), maps(qkv(*block_args, "--ablate", "L0H*"))
        changed = {name[:2] for name in before if not np.array_equal(before[name], after[name])}
        assert changed == {f"L{i}" for i in range(1, n_layers)}, block


def test_attend_with_ablate_of_one_layer_model_warns_that_nothing_changes(
    qkv: Qkv, tiny_glove: Path
) -> None:
    args = ("attend", "-m", tiny_glove, "she sat on the bank", "--json")
    result = qkv(*args, "--ablate", "L0H1")
    assert result.code == 0
    assert result.stderr == (
        "qkv: --ablate changes nothing here: only layers after layer 0 are recomputed.\n"
    )
    for name, pattern in maps(qkv(*args)).items():
        assert np.array_equal(pattern, maps(result)[name])
    assert "only layers after layer 0" in qkv("heads", *args[1:], "--ablate", "L0H1").stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ablate", "L0H9"], "Head 9 does not exist: this model has heads 0 to 3."),
        (["--ablate", "L4H0"], "Layer 4 does not exist: this model has only layer 0."),
        (["--ablate", "3"], "'3' is not a head name; write L0H3"),
        (["--ablate", "L0H1,"], "'' is not a head name"),
        (["--ablate-mean"], "--ablate-mean needs --ablate HEADS."),
    ],
)
def test_attend_with_invalid_ablate_option_prints_one_line_error(
    qkv: Qkv, tiny_glove: Path, args, message: str
) -> None:
    result = qkv("attend", "-m", tiny_glove, "the bank", *args)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
