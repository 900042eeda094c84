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
from qkv_cli.formats.vectors import nearest_words, read_vectors  # noqa: E402

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
# Files that gensim cannot read or reads as useless vectors, and part of our error.
REFUSED = {
    "pang_lee_polarity_fasttext.bin": "classifier",
    "pang_lee_polarity_fasttext.vec": "not valid utf-8",
    "pretrained.vec": "states 3 words; found 1",
    "w2v_keyedvectors_load_test.modeldata": "not valid utf-8",
    "word2vec_3.3": "pickle",
    "word2vec_pre_kv_py2": "pickle",
    "word2vec_pre_kv_py3": "pickle",
    "fasttext_old": "pickle",
    "varembed_vectors.pkl": "pickle",
    "questions-words.txt": "not a file of word vectors",
    "wordsim353.tsv": "has one number on each line",
    "similarities0-1.txt": "is a table of numbers",
}


@pytest.mark.parametrize("name", FASTTEXT)
def test_read_vectors_of_fasttext_file_matches_gensim(name: str) -> None:
    expected = gensim_models.fasttext.load_facebook_vectors(str(DATA / name))
    result = read_vectors(DATA / name)
    assert list(result.words) == expected.index_to_key
    np.testing.assert_array_equal(result.rows, expected.vectors)


@pytest.mark.parametrize(("name", "binary"), WITH_COUNT.items())
def test_read_vectors_of_word2vec_file_matches_gensim(name: str, binary: bool) -> None:
    expected = gensim_models.KeyedVectors.load_word2vec_format(str(DATA / name), binary=binary)
    result = read_vectors(DATA / name)
    assert list(result.words) == expected.index_to_key
    np.testing.assert_array_equal(result.rows, expected.vectors)


def test_read_vectors_of_glove_file_without_header_reads_every_line() -> None:
    lines = (DATA / "test_glove.txt").read_text().splitlines()
    result = read_vectors(DATA / "test_glove.txt")
    assert len(result.words) == len(lines)
    word, *numbers = lines[5].split(" ")
    assert result.words[5] == word
    np.testing.assert_array_equal(result.rows[5], np.array(numbers, np.float32))


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_read_vectors_of_unsupported_file_names_file_and_reason(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_vectors(DATA / name)
    assert name in str(refusal.value)


def test_read_vectors_of_file_without_vectors_raises_checkpoint_error() -> None:
    unreadable = [p for p in DATA.iterdir() if p.is_file() and p.name not in READ]
    assert len(unreadable) > 100
    for path in unreadable:
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
def test_read_vectors_of_pickle_with_allow_pickle_matches_gensim(name: str, loader: type) -> None:
    expected = loader.load(str(DATA / name))
    expected = getattr(expected, "wv", expected)
    result = read_vectors(DATA / name, allow_pickle=True)
    assert list(result.words) == expected.index_to_key
    np.testing.assert_array_equal(result.rows, expected.vectors.astype(np.float32))


def test_read_vectors_of_pickle_without_vectors_raises_checkpoint_error() -> None:
    with pytest.raises(CheckpointError, match="a Dictionary, which has no word vectors"):
        read_vectors(DATA / "dtm_test.dict", allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 2\na 1 0\nb 0 1\n", "states 3 words; found 2"),
        ("1 2\na 1 0\nb 0 1\n", "states 1 words; found 2"),
        ("999999999 2\na 1 0\n", "states 999,999,999 words"),
        ("2 2\na 1 0\nb 0\n", "line 3: expected 2 numbers at its end, found 1 after 'b'"),
        ("2 2\na 1 0\nb 0 x\n", "line 3: expected 2 numbers at its end, found 0 after 'x'"),
        ("2 2\na 1 0\nb 0 nan\n", "'b' contains NaN, infinity or a number"),
        ("0 2\n", "states 0 words"),
        ("hello world\n", "not a file of word vectors"),
        ("", "is empty"),
    ],
)
def test_read_vectors_of_malformed_text_raises_checkpoint_error(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_vectors(tmp_path / "v.txt")


@pytest.mark.parametrize("d_model", [1, 2, 50])
def test_read_vectors_of_binary_with_numeric_words_is_not_read_as_text(
    tmp_path: Path, d_model: int
) -> None:
    """Words that look like numbers, with and without the original tool's line ends."""
    rng, words = np.random.default_rng(d_model), ["5", "1.5", "the", "река", "-1", "a.b"]
    for end in (b"", b"\n"):
        for scale in (1e-6, 1, 1e6):
            rows = (rng.normal(size=(len(words), d_model)) * scale).astype("<f4")
            pairs = zip(words, rows, strict=True)
            body = b"".join(word.encode() + b" " + row.tobytes() + end for word, row in pairs)
            (tmp_path / "v").write_bytes(f"{len(words)} {d_model}\n".encode() + body)
            result = read_vectors(tmp_path / "v")
            assert list(result.words) == words
            np.testing.assert_array_equal(result.rows, rows)


@pytest.mark.parametrize(
    "line", ["the  0.1  0.2  0.3", "the\t0.1\t0.2\t0.3", "  the 0.1 0.2 0.3 \r", "the .1 +0.2 3e-1"]
)
def test_read_vectors_of_text_accepts_any_white_space_between_numbers(
    tmp_path: Path, line: str
) -> None:
    for start in ("", "2 3\n", "\ufeff2 3\n"):
        (tmp_path / "v").write_text(f"{start}{line}\nbank 1 2 3", encoding="utf-8")
        for limit, words in ((1, ["the"]), (None, ["the", "bank"])):
            result = read_vectors(tmp_path / "v", limit=limit)
            assert list(result.words) == words
            np.testing.assert_array_equal(result.rows[0], np.float32([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 4\nthe 1 2 3 x\nb 1 2 3 4\n", "line 2: expected 4 numbers at its end, found 0"),
        ("2 4\nété 1 2 3\nœuf 1 2 3\n", "states 4 numbers per word; the first word has 3"),
        ("2 2\nété 1 2 3\nœuf 1 2 3\n", "states 2 numbers per word; the first word has 3"),
        ("2 2\nété à ç\nœuf ü ö\n", "the first word has 0"),
        ("2 2\nthe 1,5 2,5\nb 1,5 2,5\n", "the first word has 0"),
        ("2 2\nthe 1_0 2\nb 1 2\n", "found 1 after '1_0'"),
        ("10 300\nthe 5\nb 7\n", "the first word has 1"),
        ("the 5\nb 7\n", "has one number on each line"),
        ("2 2\rthe 1 2\rb 3 4\r", "carriage return"),
        ("2 2", "states 2 words; found 0"),
    ],
)
def test_read_vectors_of_malformed_text_is_not_read_as_binary(
    tmp_path: Path, text: str, message: str
) -> None:
    for encoding in ("utf-8", "latin-1"):
        (tmp_path / "v").write_bytes(text.encode(encoding, errors="replace"))
        with pytest.raises(CheckpointError, match=message):
            read_vectors(tmp_path / "v", limit=1, encoding=encoding)


def test_read_vectors_of_utf_16_names_encoding(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("1 2\nthe 1 2\n", encoding="utf-16")
    with pytest.raises(CheckpointError, match="UTF-16"):
        read_vectors(tmp_path / "v")


def test_read_vectors_reads_row_longer_than_64_kib(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 5000))
    lines = [" ".join(["wide", *(f"{x:.17f}" for x in row)]) for row in rows]
    (tmp_path / "v").write_text("2 5000\n" + "\n".join(lines))
    result = read_vectors(tmp_path / "v", limit=1)
    np.testing.assert_array_equal(result.rows, rows[:1].astype(np.float32))


@pytest.mark.parametrize("header", ["", "7 2\n"])
def test_read_vectors_takes_everything_before_numbers_as_one_word(
    tmp_path: Path, header: str
) -> None:
    words = ["the", ". . .", "to you@example.org", "New York", "1 2 3", "a\u00a0b", "to infinity"]
    lines = [f"{word} 0.5 {i}\n" for i, word in enumerate(words)]
    (tmp_path / "v").write_text(header + "".join(lines), encoding="utf-8", newline="")
    result = read_vectors(tmp_path / "v")
    assert list(result.words) == words
    np.testing.assert_array_equal(result.rows, [[0.5, i] for i in range(7)])


def test_read_vectors_does_not_split_lines_at_unicode_separators(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes("2 2\na\u2028b 1 2\nc\x85d 3 4\n".encode())
    assert list(read_vectors(tmp_path / "v").words) == ["a\u2028b", "c\x85d"]


def test_read_vectors_with_repeated_words_keeps_first(tmp_path: Path) -> None:
    path = tmp_path / "v"
    path.write_text("the 1 2\nriver 3 4\nthe 5 6\nbank 7 8\nthe 9 9\nbank 0 0\n")
    result = read_vectors(path)
    assert (list(result.words), result.n_repeated) == (["the", "river", "bank"], 2)
    np.testing.assert_array_equal(result.rows, [[1, 2], [3, 4], [7, 8]])
    rows = [("the", 1, 2), ("bank", 3, 4), ("the", 5, 6)]
    path.write_bytes(
        b"3 2\n" + b"".join(word.encode() + struct.pack("<b2f", 32, *row) for word, *row in rows)
    )
    result = read_vectors(path)
    assert (list(result.words), result.n_repeated) == (["the", "bank"], 1)
    np.testing.assert_array_equal(result.rows, [[1, 2], [3, 4]])


@pytest.mark.parametrize("word", ["]q", "(dp", "(lp", "cgensim", "BZh9", "PK"])
def test_read_vectors_with_word_like_magic_bytes_reads_text(tmp_path: Path, word: str) -> None:
    (tmp_path / "v").write_text(f"{word} 1 2\nthe 3 4\n")
    assert read_vectors(tmp_path / "v").words[0] == word


def test_read_vectors_of_binary_with_wrong_count_raises_checkpoint_error(tmp_path: Path) -> None:
    rows = b"".join(b"w%d " % i + struct.pack("<4f", i, 1, 2, 3) for i in range(9))
    path = tmp_path / "v.bin"
    path.write_bytes(b"9 4\n" + rows)
    assert len(read_vectors(path).words) == 9
    path.write_bytes(b"5 4\n" + rows)
    with pytest.raises(CheckpointError, match="76 more bytes"):
        read_vectors(path)
    path.write_bytes(b"9 4\n" + rows[:-3])
    with pytest.raises(CheckpointError, match="states 9 words, found 8"):
        read_vectors(path)


def test_read_vectors_with_limit_reads_only_first_words(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("3 2\na 1 0\nb 0 1\nc 1 1\n")
    assert list(read_vectors(path, limit=2).words) == ["a", "b"]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4, 0.7, 0.99])
@pytest.mark.parametrize("name", ["lee_fasttext_new.bin", "lee_fasttext.bin"])
def test_read_vectors_of_truncated_fasttext_raises_checkpoint_error(
    tmp_path: Path, name: str, share: float
) -> None:
    """gensim alone would read its list of words for ever."""
    data = (DATA / name).read_bytes()
    (tmp_path / "v.bin").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError):
        read_vectors(tmp_path / "v.bin")


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.integers(0, 200), junk=st.binary(min_size=1, max_size=6), data=st.data())
def test_read_vectors_of_damaged_file_reads_or_raises_one_line_error(
    tmp_path: Path, at: int, junk: bytes, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["toy-model.vec", "toy-model.bin", "high_precision.kv.bin"]))
    good = (DATA / name).read_bytes()
    path = tmp_path / "v"
    path.write_bytes(good[:at] + junk + good[at + len(junk) :])
    try:
        result = read_vectors(path)
    except CheckpointError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert len(result.words) == len(result.rows)


def test_nearest_words_ranks_by_cosine() -> None:
    words = ["a", "b", "c", "d"]
    rows = np.array([[1, 0], [2, 0.2], [0, 1], [-1, 0]], np.float32)
    result = nearest_words(words, rows, rows[0], 4)
    assert [word for word, _ in result] == ["a", "b", "c", "d"]
    assert result[1][1] == pytest.approx(2 / np.hypot(2, 0.2), abs=1e-6)
