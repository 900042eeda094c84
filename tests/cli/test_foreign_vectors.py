"""Vector files of other programs: `qkv models add`, then attention over their words."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result

from qkv_cli.formats.ngrams import Ngrams
from qkv_cli.session.estimate import estimate_memory
from qkv_cli.session.load import load

Qkv = Callable[..., Result]
WORDS = ["the", "river", "bank"]


@pytest.fixture
def add(tmp_path: Path, qkv: Qkv) -> Callable[..., Result]:
    """Add a file of these bytes as the model folder `out`."""

    def run(data: bytes | str, *options: object) -> Result:
        path = tmp_path / "vectors"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return qkv("models", "add", tmp_path / "out", "--vectors", path, "--force", *options)

    return run


def fasttext_bin(lengths: tuple[int, int] = (3, 5)) -> tuple[bytes, np.ndarray, Ngrams]:
    """A fastText model of three words and 20 buckets; the rows of its words, and its n-grams."""
    d_model, n_buckets = 4, 20
    matrix = np.random.default_rng(3).normal(size=(3 + n_buckets, d_model)).astype("<f4")
    data = struct.pack("<2i", 793712314, 12)
    data += struct.pack("<12id", d_model, 5, 5, 1, 5, 1, 2, 2, n_buckets, *lengths, 100, 1e-4)
    data += struct.pack("<3i2q", 3, 3, 0, 99, -1)
    data += b"".join(word.encode() + struct.pack("<bqb", 0, 9, 0) for word in WORDS)
    for part in (matrix, matrix[:3]):
        data += struct.pack("<b2q", 0, *part.shape) + part.tobytes()
    ngrams = Ngrams(matrix[3:], *lengths)
    rows = [
        np.vstack([matrix[i : i + 1], ngrams.table[ngrams.buckets(word)]]).mean(axis=0)
        for i, word in enumerate(WORDS)
    ]
    return data, np.stack(rows), ngrams


def pattern_of(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """softmax(e e.T / sqrt(d)) without the diagonal, e centred and of unit root mean square."""
    e = (rows - mean).astype(float)
    e /= np.sqrt((e**2).mean(axis=1, keepdims=True))
    scores = e @ e.T / np.sqrt(rows.shape[1])
    np.fill_diagonal(scores, -np.inf)
    exps = np.exp(scores)
    return exps / exps.sum(axis=1, keepdims=True)


def test_models_add_of_text_with_double_spaces_is_not_read_as_binary(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    text = "3 4\nthe  0.1  0.2  0.3  0.4\nriver  0.5  0.6  0.7  0.8\nbank  0.9  1.0  1.1  1.2\n"
    assert add(text, "--limit", 2).stdout.endswith(": 2 words.\n")
    result = json.loads(qkv("models", "neighbors", tmp_path / "out", "the", "--json").stdout)
    assert result["neighbors"][0]["word"] == "river"
    cosine = 0.70 / (0.30**0.5 * 1.74**0.5)
    assert result["neighbors"][0]["cosine"] == pytest.approx(cosine, abs=1e-6)


def test_models_add_with_repeated_words_reports_their_count(add: Callable[..., Result]) -> None:
    result = add("the 1 2\nriver 3 4\nthe 5 6\nbank 7 8\nthe 9 9\nbank 0 0\n")
    assert result.code == 0
    assert "2 words appear more than once" in result.stderr
    assert result.stdout.endswith(": 3 words.\n")
    assert add("the 1 2\nriver 3 4\n").stderr == ""


def test_models_add_with_one_capitalized_word_stays_case_insensitive(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    add("the 1 2\nriver 3 1\nÉ 0 1\nbank 1 1\n")
    result = qkv("attend", "-m", tmp_path / "out", "The River bank É", "--json")
    tokens = json.loads(result.stdout)["queries"]
    assert [token["id"] for token in tokens] == [0, 1, 3, 2]
    assert (result.stderr, any(token["unknown"] for token in tokens)) == ("", False)


def test_attend_finds_vocabulary_words_that_splitter_would_cut(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    words = ["the", "bank", "“", "—", "’s", "cafe\u0301", "<user>", "c++", "New York"]
    add("".join(f"{word} {i} 1\n" for i, word in enumerate(words)))
    text = "“the cafe\u0301 — bank’s <user> c++ New York"
    result = qkv("attend", "-m", tmp_path / "out", text, "--json")
    tokens = json.loads(result.stdout)["queries"]
    assert [token["id"] for token in tokens] == [2, 0, 5, 3, 1, 4, 6, 7, 8]
    assert [text[token["start"] : token["end"]] for token in tokens] == [t["text"] for t in tokens]
    near = qkv("models", "neighbors", tmp_path / "out", "New York", "--json")
    assert json.loads(near.stdout)["word"] == "New York"


def test_models_add_recognises_compressed_files_by_content(add: Callable[..., Result]) -> None:
    text = b"the 1 2\nriver 3 4\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("v.vec", text)
    for data in (gzip.compress(text), bz2.compress(text), archive.getvalue()):
        assert add(data).stdout.endswith(": 2 words.\n")
    cut = add(gzip.compress(text)[:-9])
    assert (cut.code, "Could not unpack" in cut.stderr) == (2, True)


def test_attend_with_unknown_word_builds_vector_from_ngrams_and_notes_it(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    data, rows, ngrams = fasttext_bin()
    result = add(data)
    assert "n-grams of 3 to 5 characters in 20 buckets" in result.stderr
    text = "the Rivers bank riverbank Rivers"
    result = qkv("attend", "-m", tmp_path / "out", text, "--json")
    document = json.loads(result.stdout)
    built = {word: ngrams.row(word) for word in ("Rivers", "riverbank")}
    vectors = [rows[0], built["Rivers"], rows[2], built["riverbank"], built["Rivers"]]
    expected = pattern_of(np.stack(vectors), rows.mean(axis=0))
    np.testing.assert_allclose(document["maps"][0]["pattern"], expected, atol=1e-5)
    assert [token["id"] for token in document["queries"]] == [0, 4, 2, 5, 4]
    assert not any(token["unknown"] for token in document["queries"])
    assert document["notes"] == ["built from n-grams: Rivers, riverbank"]
    assert result.stderr == ""
    assert "built from n-grams: Rivers" in qkv("attend", "-m", tmp_path / "out", text).stdout
    page = qkv("explain", "-m", tmp_path / "out", text, "--json")
    assert json.loads(page.stdout)["notes"] == document["notes"]
    rendered = qkv("render", "-", stdin=page.stdout)
    assert (rendered.code, "built from n-grams: Rivers" in rendered.stdout) == (0, True)


def test_attend_with_unknown_word_in_source_builds_vector_from_ngrams(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    data, rows, ngrams = fasttext_bin()
    add(data)
    result = qkv("attend", "-m", tmp_path / "out", "rivers", "--source", "rivers the", "--json")
    document = json.loads(result.stdout)
    e = np.stack([ngrams.row("rivers"), rows[0]]).astype(float) - rows.mean(axis=0)
    e /= np.sqrt((e**2).mean(axis=1, keepdims=True))
    exps = np.exp(e[:1] @ e.T / 2)
    np.testing.assert_allclose(document["maps"][0]["pattern"], exps / exps.sum(), atol=1e-5)
    assert document["queries"][0]["id"] == document["keys"][0]["id"] == 4


def test_attend_with_word_too_short_for_ngrams_marks_it_unknown(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    """A word too short for n-grams stays unknown: gensim's vector for it is zeros."""
    data, rows, _ = fasttext_bin(lengths=(5, 6))
    add(data)
    result = qkv("attend", "-m", tmp_path / "out", "the x bank", "--json")
    document = json.loads(result.stdout)
    assert [token["unknown"] for token in document["queries"]] == [False, True, False]
    assert "1 word is unknown" in result.stderr and "notes" not in document
    expected = pattern_of(np.stack([rows[0], np.zeros(4), rows[2]]), rows.mean(axis=0))
    np.testing.assert_allclose(document["maps"][0]["pattern"], expected, atol=1e-5)


def test_models_add_with_no_ngrams_stores_no_ngrams(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    assert add(fasttext_bin()[0], "--no-ngrams").stderr == ""
    assert not (tmp_path / "out" / "ngrams.safetensors").exists()
    assert "unknown" in qkv("attend", "-m", tmp_path / "out", "the rivers").stderr
    assert qkv("models", "neighbors", tmp_path / "out", "rivers").code == 2


def test_models_neighbors_of_unknown_word_uses_ngram_vector(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    data, rows, ngrams = fasttext_bin()
    add(data)
    result = json.loads(qkv("models", "neighbors", tmp_path / "out", "rivers", "--json").stdout)
    v = ngrams.row("rivers")
    cosines = rows @ v / np.linalg.norm(rows, axis=1) / np.linalg.norm(v)
    assert [hit["word"] for hit in result["neighbors"]] == [WORDS[i] for i in np.argsort(-cosines)]
    assert result["neighbors"][0]["cosine"] == pytest.approx(cosines.max(), abs=1e-6)


def test_train_keeps_ngrams_of_vectors(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    add(fasttext_bin()[0])
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the river bank\nthe bank\nriver bank the\nbank the river the\n")
    vectors, mine = tmp_path / "out", tmp_path / "mine"
    result = qkv("train", corpus, "--vectors", vectors, "--out", mine, "--epochs", 1)
    assert result.code == 0, result.stderr
    document = json.loads(qkv("attend", "-m", mine, "the rivers", "--json").stdout)
    assert document["notes"] == ["built from n-grams: rivers"]


def test_models_show_and_check_of_model_with_ngrams_describe_them(
    add: Callable[..., Result], qkv: Qkv, tmp_path: Path
) -> None:
    add(fasttext_bin()[0])
    card = json.loads(qkv("models", "show", tmp_path / "out", "--json").stdout)
    assert "built from n-grams of 3 to 5 characters" in card["about"]
    assert "ngrams.safetensors" in card["sha256"]
    assert qkv("models", "check", tmp_path / "out").code == 0
    memory = estimate_memory(load(tmp_path / "out"), 8)
    add(fasttext_bin()[0], "--no-ngrams")
    assert estimate_memory(load(tmp_path / "out"), 8) == memory  # the file is not read completely


def test_models_add_with_nan_in_ngrams_exits_2(add: Callable[..., Result]) -> None:
    data = bytearray(fasttext_bin()[0])
    at = data.index(struct.pack("<2q", 23, 4)) + 16 + 4 * 4 * 5  # the third bucket
    data[at : at + 4] = struct.pack("<f", np.nan)
    result = add(bytes(data), "--limit", 1)
    assert (result.code, "contains NaN or infinity" in result.stderr) == (2, True)
