"""Files of word vectors: those that gensim ships with its own tests, and broken ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

gensim_models = pytest.importorskip("gensim.models")

from gensim.test.utils import datapath  # noqa: E402

from qkv_cli.errors import CheckpointError  # noqa: E402
from qkv_cli.formats.vectors import nearest, read_vectors  # noqa: E402

DATA = Path(datapath(""))
FASTTEXT = [
    "crime-and-punishment.bin",
    "cp852_fasttext.bin",
    "lee_fasttext.bin",
    "lee_fasttext_new.bin",
    "non_ascii_fasttext.bin",
    "toy-model-pretrained.bin",
    "toy-model.bin",
]
WITH_COUNT = {  # whether it is binary
    "EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt": False,
    "IT.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt": False,
    "crime-and-punishment.vec": False,
    "euclidean_vectors.bin": True,
    "high_precision.kv.bin": True,
    "high_precision.kv.txt": False,
    "lee_fasttext.vec": False,
    "poincare_vectors.bin": True,
    "toy-model.vec": False,
    "word2vec_pre_kv_c": False,
}
READ = {*FASTTEXT, *WITH_COUNT, "test_glove.txt"}
# What gensim cannot read either, or reads into nothing of use, and what is said of it.
REFUSED = {
    "pang_lee_polarity_fasttext.bin": "classifier",
    "pang_lee_polarity_fasttext.vec": "not in utf-8",
    "pretrained.vec": "says 3 words, and holds 1",
    "w2v_keyedvectors_load_test.modeldata": "not in utf-8",
    "word2vec_3.3": "pickle",
    "word2vec_pre_kv_py2": "pickle",
    "word2vec_pre_kv_py3": "pickle",
    "fasttext_old": "pickle",
    "varembed_vectors.pkl": "pickle",
    "questions-words.txt": "no file of word vectors",
    "wordsim353.tsv": "no file of word vectors",
}


@pytest.mark.parametrize("name", FASTTEXT)
def test_fasttext_as_gensim_reads_it(name: str) -> None:
    expected = gensim_models.fasttext.load_facebook_vectors(str(DATA / name))
    found = read_vectors(DATA / name)
    assert list(found.words) == expected.index_to_key
    np.testing.assert_array_equal(found.rows, expected.vectors)


@pytest.mark.parametrize(("name", "binary"), WITH_COUNT.items())
def test_word2vec_as_gensim_reads_it(name: str, binary: bool) -> None:
    expected = gensim_models.KeyedVectors.load_word2vec_format(str(DATA / name), binary=binary)
    found = read_vectors(DATA / name)
    assert list(found.words) == expected.index_to_key
    np.testing.assert_array_equal(found.rows, expected.vectors)


# gensim leaves the file open after its first pass.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_glove_has_no_first_line() -> None:
    lines = (DATA / "test_glove.txt").read_text().splitlines()
    found = read_vectors(DATA / "test_glove.txt")
    assert len(found.words) == len(lines)
    word, *numbers = lines[5].split(" ")
    assert found.words[5] == word
    np.testing.assert_array_equal(found.rows[5], np.array(numbers, np.float32))


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_the_rest_is_refused_by_name(name: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as refusal:
        read_vectors(DATA / name)
    assert name in str(refusal.value)


def test_nothing_else_of_gensims_files_is_taken_for_vectors() -> None:
    others = [p for p in DATA.iterdir() if p.is_file() and p.name not in READ]
    assert len(others) > 100
    for path in others:
        with pytest.raises(CheckpointError):
            read_vectors(path)


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("word2vec_old", gensim_models.Word2Vec),
        ("compatible-hash-true.model", gensim_models.FastText),
        ("old_keyedvectors_320.dat", gensim_models.KeyedVectors),
    ],
)
def test_a_pickle_is_read_when_asked(name: str, loader: type) -> None:
    expected = loader.load(str(DATA / name))
    expected = getattr(expected, "wv", expected)
    found = read_vectors(DATA / name, allow_pickle=True)
    assert list(found.words) == expected.index_to_key
    np.testing.assert_array_equal(found.rows, expected.vectors.astype(np.float32))


def test_a_pickle_of_something_else() -> None:
    with pytest.raises(CheckpointError, match="a Dictionary has no word vectors"):
        read_vectors(DATA / "dtm_test.dict", allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3 2\na 1 0\nb 0 1\n", "says 3 words, and holds 2"),
        ("1 2\na 1 0\nb 0 1\n", "says 1 words, and holds 2"),
        ("999999999 2\na 1 0\n", "says 999,999,999 words"),
        ("2 2\na 1 0\nb 0\n", "'b' has 1 numbers, not 2"),
        ("2 2\na 1 0\nb 0 x\n", "cannot be read"),
        ("2 2\na 1 0\nb 0 nan\n", "'b' has a number that is not finite"),
        ("0 2\n", "holds 0 words"),
        ("hello world\n", "no file of word vectors"),
        ("", "is empty"),
    ],
)
def test_broken_text(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_vectors(tmp_path / "v.txt")


def test_a_binary_file_with_a_wrong_count(tmp_path: Path) -> None:
    rows = b"".join(b"w%d " % i + struct.pack("<4f", i, 1, 2, 3) for i in range(9))
    path = tmp_path / "v.bin"
    path.write_bytes(b"9 4\n" + rows)
    assert len(read_vectors(path).words) == 9
    path.write_bytes(b"5 4\n" + rows)
    with pytest.raises(CheckpointError, match="bytes more"):
        read_vectors(path)
    path.write_bytes(b"9 4\n" + rows[:-3])
    with pytest.raises(CheckpointError, match="cannot be read: unexpected end"):
        read_vectors(path)


def test_limit(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("3 2\na 1 0\nb 0 1\nc 1 1\n")
    assert list(read_vectors(path, limit=2).words) == ["a", "b"]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4, 0.7, 0.99])
@pytest.mark.parametrize("name", ["lee_fasttext_new.bin", "lee_fasttext.bin"])
def test_a_fasttext_file_that_is_cut_short(tmp_path: Path, name: str, share: float) -> None:
    """gensim alone would read its list of words for ever."""
    data = (DATA / name).read_bytes()
    (tmp_path / "v.bin").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError):
        read_vectors(tmp_path / "v.bin")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.integers(0, 200), junk=st.binary(min_size=1, max_size=6), data=st.data())
def test_damage_is_a_refusal_or_a_reading(
    tmp_path: Path, at: int, junk: bytes, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["toy-model.vec", "toy-model.bin", "high_precision.kv.bin"]))
    good = (DATA / name).read_bytes()
    path = tmp_path / "v"
    path.write_bytes(good[:at] + junk + good[at + len(junk) :])
    try:
        found = read_vectors(path)
    except CheckpointError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert len(found.words) == len(found.rows)


def test_neighbours_by_cosine() -> None:
    words = ["a", "b", "c", "d"]
    rows = np.array([[1, 0], [2, 0.2], [0, 1], [-1, 0]], np.float32)
    found = nearest(words, rows, 0, 3)
    assert [word for word, _ in found] == ["b", "c", "d"]
    assert found[0][1] == pytest.approx(2 / np.hypot(2, 0.2), abs=1e-6)
