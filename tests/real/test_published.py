"""Published checkpoints, fetched by `qkv models pull`: run with `pytest -m real`.

What transformers and Mozilla's own engine make of the same texts was noted by hand once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.real
ANIMAL = "The animal didn't cross the street because it was too tired"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store, or the folder QKV_REAL_HOME, which avoids downloading twice."""
    if folder := os.environ.get("QKV_REAL_HOME"):
        return Path(folder)
    return tmp_path_factory.mktemp("home")


def qkv(home: Path, *args: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "qkv_cli", *args],
        env=os.environ | {"QKV_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.fixture
def pulled(home: Path, request: pytest.FixtureRequest) -> str:
    if not (home / "models" / request.param).is_dir():
        qkv(home, "models", "pull", request.param)
    return str(request.param)


def maps(home: Path, *args: str) -> tuple[dict[str, np.ndarray], list[str], dict[str, Any]]:
    document = json.loads(qkv(home, "attend", *args, "--json"))
    patterns = {m["name"]: np.array(m["pattern"]) for m in document["maps"]}
    return patterns, [t["token"] for t in document["keys"]], document


@pytest.mark.parametrize("pulled", ["minilm"], indirect=True)
def test_attend_on_minilm_links_pronoun_as_published(home: Path, pulled: str) -> None:
    result, keys, _ = maps(home, "-m", pulled, "--layer", "2", "--head", "0", ANIMAL)
    row = result["L2H0"][keys.index("it")]
    assert row[keys.index("because")] == pytest.approx(0.4481, abs=1e-4)
    assert row[keys.index("[CLS]")] == pytest.approx(0.4126, abs=1e-4)


@pytest.mark.parametrize("pulled", ["minilm"], indirect=True)
def test_attend_on_minilm_with_pair_matches_transformers(home: Path, pulled: str) -> None:
    pair = ("The river bank was muddy.", "--pair", "Money lay in the vault.")
    result, keys, document = maps(home, "-m", pulled, "--layer", "all", *pair)
    assert [t["segment"] for t in document["queries"]] == [0] * 8 + [1] * 7
    lay = keys.index("lay")
    for name, row in ROWS_OF_LAY.items():
        np.testing.assert_allclose(result[name][lay], row, atol=1e-5)


@pytest.mark.parametrize("pulled", ["smollm2"], indirect=True)
def test_attend_on_smollm2_gguf_matches_transformers(home: Path, pulled: str) -> None:
    pytest.importorskip("gguf")
    result, _, document = maps(home, "-m", pulled, "--layer", "all", "The capital of France is")
    assert [t["id"] for t in document["queries"]] == [504, 3575, 282, 4649, 314]
    assert document["causal"]
    assert len(result) == 270
    for name, row in LAST_ROWS.items():
        np.testing.assert_allclose(result[name][-1], row, atol=1e-4)


@pytest.mark.parametrize("pulled", ["translate-en-pt"], indirect=True)
def test_attend_on_translation_model_aligns_margem_with_bank(home: Path, pulled: str) -> None:
    result, keys, document = maps(home, "-m", pulled, "The river bank was muddy after the rain.")
    assert document["text"] == "A margem do rio ficou enlameada após a chuva."
    margem = [t["text"] for t in document["queries"]].index("margem")
    assert keys[result["L1H0"][margem].argmax()] == "▁bank"
    assert result["L1H0"][margem].max() > 0.9


# By transformers 5.24, eager, float32, with the token types of its tokenizer.
# fmt: off
ROWS_OF_LAY: dict[str, list[float]] = {
    "L0H3": [0.013981, 0.004123, 0.064222, 0.033256, 0.057682, 0.1224, 0.014786, 0.050829,
             0.188856, 0.026281, 0.02795, 0.014654, 0.251877, 0.037271, 0.091832],
    "L2H0": [0.544544, 0.002916, 0.004692, 0.002042, 0.029256, 0.01891, 0.135417, 0.127335,
             0.095314, 0.02808, 0.003864, 0.001635, 0.001276, 0.002755, 0.001965],
    "L5H11": [0.100728, 0.007125, 0.043959, 0.191995, 0.006211, 0.37286, 0.008055, 0.00941,
              0.06478, 0.04453, 0.004635, 0.007025, 0.120082, 0.008123, 0.010483],
}
# fmt: on
# By transformers 5.24 from the same file, float32.
LAST_ROWS: dict[str, list[float]] = {
    "L0H0": [0.285305, 0.245642, 0.047903, 0.125614, 0.295536],
    "L7H4": [0.826293, 0.018182, 0.034054, 0.010675, 0.110797],
    "L15H8": [0.903054, 0.015474, 0.03687, 0.029468, 0.015134],
    "L29H2": [0.611616, 0.040099, 0.069406, 0.043478, 0.2354],
}


@pytest.mark.parametrize("pulled", ["minilm"], indirect=True)
def test_heads_on_minilm_have_labels_reported_by_clark_et_al(home: Path, pulled: str) -> None:
    """Heads for next, previous, and a special token without other targets: here [CLS]."""
    texts = sorted((Path(__file__).parents[2] / "sample_texts").glob("*.txt"))
    files = [part for text in texts for part in ("--file", str(text))]
    heads = json.loads(qkv(home, "heads", "-m", pulled, *files, "--lines", "--json"))["heads"]
    labels = {head["name"]: head["labels"] for head in heads}
    assert labels["L0H2"][0] == labels["L2H11"][0] == "previous"
    assert labels["L1H8"][0] == labels["L1H4"][0] == "next"
    assert sum("first" in of_head for of_head in labels.values()) > len(heads) / 2
    assert max(head["separators"] for head in heads) < 0.1


@pytest.mark.parametrize("pulled", ["minilm"], indirect=True)
def test_grid_on_minilm_marks_previous_and_next_token_heads(home: Path, pulled: str) -> None:
    result = qkv(home, "grid", "-m", pulled, ANIMAL, "--width", "80")
    assert len([line for line in result.splitlines() if line.startswith("L")]) == 6
    assert "H2 <" in result and "H8 >" in result
    assert "< previous  L0H2 " in result and "> next  L1H8 " in result


@pytest.mark.parametrize("pulled", ["minilm"], indirect=True)
def test_compare_of_models_with_different_tokenizers_merges_words(home: Path, pulled: str) -> None:
    """The embedded model splits *didn't* in two, minilm in three; both in one word here."""
    document = json.loads(qkv(home, "compare", "-m", pulled, "-m", "glove", ANIMAL, "--json"))
    [result] = document["comparisons"]
    words = ANIMAL.split()
    assert [row["text"] for row in result["rows"]] == words
    assert [column["text"] for column in result["columns"]] == ["-[CLS]", *words, "-[SEP]"]
    self_comparison = json.loads(
        qkv(home, "compare", "-m", pulled, ANIMAL, "L1H8", "L1H8", "--json")
    )
    assert self_comparison["comparisons"][0]["divergence"] == 0
