"""fastText's .bin files and their n-grams, against gensim's readings of the same bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

fasttext = pytest.importorskip("gensim.models.fasttext")

from gensim.test.utils import datapath  # noqa: E402

from qkv_cli.core.arrays import Array  # noqa: E402
from qkv_cli.errors import CheckpointError  # noqa: E402
from qkv_cli.formats.ngrams import Ngrams, pack_ngrams, unpack_ngrams  # noqa: E402
from qkv_cli.formats.vectors import read_vectors  # noqa: E402

WORDS = ["the", "bank", "café", "река", "</s>"]
OTHER = ["banks", "Bank", "a", "", "İstanbul", "中文字", "👍🏽", "cafe\u0301", "c++", "ß" * 9]


def write_bin(
    path: Path,
    words: list[str] = WORDS,
    labels: tuple[str, ...] = (),
    *,
    model: int = 2,
    n_buckets: int = 40,
    lengths: tuple[int, int] = (3, 6),
    is_new: bool = True,
    rows_of_labels: bool = False,
    quantised: bool = False,
) -> Array:
    """A file as fastText's own code writes it; returns its matrix."""
    d_model = 3
    settings = (d_model, 5, 5, 1, 5, 1, 2, model, n_buckets, *lengths, 100, 1e-4)
    data = struct.pack("<2i", 793712314, 12) if is_new else b""
    data += struct.pack("<12id", *settings)
    data += struct.pack("<3iq", len(words) + len(labels), len(words), len(labels), 99)
    data += struct.pack("<q", -1) if is_new else b""
    for kind, entries in enumerate((words, labels)):
        data += b"".join(entry.encode() + struct.pack("<bqb", 0, 9, kind) for entry in entries)
    n_rows = len(words) + len(labels) * rows_of_labels + n_buckets
    matrix = np.random.default_rng(0).normal(size=(n_rows, d_model)).astype("<f4")
    flag = bytes([quantised]) if is_new else b""
    for part in (matrix, matrix[: len(words)]):
        data += flag + struct.pack("<2q", *part.shape) + part.tobytes()
    path.write_bytes(data)
    return matrix


@pytest.mark.parametrize("lengths", [(3, 6), (5, 5), (1, 2), (9, 12)])
@pytest.mark.parametrize("is_new", [True, False])
def test_read_vectors_of_fasttext_bin_matches_gensim_for_any_word(
    tmp_path: Path, lengths: tuple[int, int], is_new: bool
) -> None:
    path = tmp_path / "v.bin"
    write_bin(path, lengths=lengths, is_new=is_new)
    expected = fasttext.load_facebook_vectors(str(path))
    result = read_vectors(path)
    assert list(result.words) == expected.index_to_key == WORDS
    np.testing.assert_array_equal(result.rows, expected.vectors)
    assert result.ngrams is not None
    for word in OTHER:
        np.testing.assert_array_equal(result.ngrams.row(word), expected.get_vector(word))


def test_ngrams_row_with_published_file_matches_gensim() -> None:
    path = datapath("lee_fasttext_new.bin")
    expected = fasttext.load_facebook_vectors(path)
    ngrams = read_vectors(Path(path)).ngrams
    assert ngrams is not None and len(ngrams.table) == 1000
    unknown = [word for word in OTHER if word not in expected.key_to_index]
    assert len(unknown) > 5
    for word in unknown:
        np.testing.assert_array_equal(ngrams.row(word), expected.get_vector(word))


def test_ngrams_row_is_mean_of_bucket_rows() -> None:
    """<a> has the n-grams <a, <a>, a, a> of 1 to 3 characters; < and > alone do not count."""
    ngrams = Ngrams(np.arange(14, dtype=np.float32).reshape(7, 2), 1, 3)

    def fnv(text: bytes) -> int:
        code = 0x811C9DC5
        for byte in text:
            code = ((code ^ byte) * 0x01000193) % 2**32
        return code

    buckets = [fnv(part) % 7 for part in (b"<a", b"<a>", b"a", b"a>")]
    assert ngrams.buckets("a") == buckets
    np.testing.assert_allclose(ngrams.row("a"), ngrams.table[buckets].mean(axis=0), rtol=1e-6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=12), st.integers(0, 7), st.integers(0, 7), st.integers(1, 10**6))
def test_ngrams_buckets_of_any_word_match_gensim(
    word: str, min_n: int, max_n: int, n_buckets: int
) -> None:
    ngrams = Ngrams(np.broadcast_to(np.float32(0), (n_buckets, 1)), min_n, max_n)
    assert ngrams.buckets(word) == fasttext.ft_ngram_hashes(word, min_n, max_n, n_buckets)


def test_ngrams_row_of_word_shorter_than_ngrams_is_zero() -> None:
    assert not Ngrams(np.ones((5, 2), np.float32), 4, 6).row("a").any()


@pytest.mark.parametrize("rows_of_labels", [False, True])
def test_read_vectors_of_fasttext_bin_with_label_skips_label(
    tmp_path: Path, rows_of_labels: bool
) -> None:
    """fastText has no row for a label; gensim writes one for each entry."""
    path = tmp_path / "v.bin"
    matrix = write_bin(path, labels=("__label__x",), rows_of_labels=rows_of_labels)
    result = read_vectors(path)
    assert list(result.words) == WORDS
    assert result.ngrams is not None
    np.testing.assert_array_equal(result.ngrams.table, matrix[-40:])
    expected_rows = [matrix[0], *result.ngrams.table[result.ngrams.buckets("the")]]
    np.testing.assert_allclose(result.rows[0], np.mean(expected_rows, axis=0), rtol=1e-5)


def test_read_vectors_of_fasttext_classifier_raises_checkpoint_error(tmp_path: Path) -> None:
    write_bin(tmp_path / "v.bin", model=3)
    with pytest.raises(CheckpointError, match="is a fastText classifier"):
        read_vectors(tmp_path / "v.bin")


def test_ngrams_of_more_than_30_characters_raise_checkpoint_error(tmp_path: Path) -> None:
    write_bin(tmp_path / "v.bin", lengths=(3, 30))
    assert read_vectors(tmp_path / "v.bin").ngrams is not None
    write_bin(tmp_path / "v.bin", lengths=(3, 31))
    model = fasttext.FastText([WORDS], vector_size=4, min_count=1, bucket=30, epochs=1, max_n=31)
    model.save(str(tmp_path / "v.model"))
    for name in ("v.bin", "v.model"):
        with pytest.raises(CheckpointError, match=f"{name} has n-grams of up to 31 characters"):
            read_vectors(tmp_path / name, allow_pickle=True)
    tensors = pack_ngrams(Ngrams(np.ones((5, 2), np.float32), 3, 31))
    with pytest.raises(CheckpointError, match="up to 31 characters; the maximum is 30"):
        unpack_ngrams(tensors, 2)


def test_read_vectors_of_quantized_fasttext_raises_checkpoint_error(tmp_path: Path) -> None:
    write_bin(tmp_path / "v.ftz", quantised=True)
    with pytest.raises(CheckpointError, match="quantized"):
        read_vectors(tmp_path / "v.ftz")


@pytest.mark.parametrize("settings", [{"n_buckets": 0}, {"lengths": (0, 0)}])
def test_read_vectors_of_fasttext_without_buckets_has_no_ngrams(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    matrix = write_bin(tmp_path / "v.bin", **settings)  # type: ignore[arg-type]
    result = read_vectors(tmp_path / "v.bin")
    assert result.ngrams is None
    np.testing.assert_array_equal(result.rows, matrix[: len(WORDS)])


def test_read_vectors_of_gensim_fasttext_pickle_keeps_ngrams(tmp_path: Path) -> None:
    path = tmp_path / "v.model"
    model = fasttext.FastText([WORDS], vector_size=4, min_count=1, bucket=30, epochs=1)
    model.save(str(path))
    ngrams = read_vectors(path, allow_pickle=True).ngrams
    assert ngrams is not None
    for word in OTHER:
        np.testing.assert_array_equal(ngrams.row(word), model.wv.get_vector(word))
    # In this one gensim itself finds no rows for its buckets.
    broken = Path(datapath("compatible-hash-true.model"))
    assert read_vectors(broken, allow_pickle=True).ngrams is None


def test_unpack_ngrams_restores_packed_ngrams_and_names_wrong_tensors() -> None:
    ngrams = Ngrams(np.ones((5, 2), np.float32), 3, 6)
    tensors = pack_ngrams(ngrams)
    assert unpack_ngrams(tensors, 2).buckets("bank") == ngrams.buckets("bank")
    with pytest.raises(CheckpointError, match=r"expected \[n_buckets, 3\] and \[2\]"):
        unpack_ngrams(tensors, 3)
    del tensors["ngrams.lengths"]
    with pytest.raises(CheckpointError, match=r"no tensor 'ngrams\.lengths'"):
        unpack_ngrams(tensors, 2)


@pytest.mark.parametrize("lengths", [[3, np.inf], [3.0, 6.0], [6, 3], [0, 0], [-2, -1]])
def test_unpack_ngrams_with_invalid_lengths_raises_checkpoint_error(lengths: list[float]) -> None:
    tensors = pack_ngrams(Ngrams(np.ones((5, 2), np.float32), 3, 6))
    with pytest.raises(CheckpointError, match=r"ngrams\.lengths is .* expected two whole numbers"):
        unpack_ngrams(tensors | {"ngrams.lengths": np.array(lengths)}, 2)
