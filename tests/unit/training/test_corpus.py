"""From lines to sentences of ids: no duplicates, and held-out sentences are not trained on."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from qkv_cli.errors import InputError
from qkv_cli.training.corpus import (
    HELD_OUT,
    MAX_LINE,
    MAX_WORDS,
    Corpus,
    build_corpus,
    draw_replacements,
    make_batches,
    read_lines,
)

UNKNOWN = 99


def ids(lines: list[str]) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in lines]


def sentences(corpus: Corpus) -> list[tuple[int, ...]]:
    """Every sentence again, as the ids of the vocabulary."""
    rows = [row for b in (corpus.training, corpus.held_out) for part in b.values() for row in part]
    return [tuple(corpus.types[row].tolist()) for row in rows]


def test_build_corpus_removes_duplicates_and_holds_out_one_in_twenty() -> None:
    lines = [f"{i} {i + 1} 7" for i in range(100)]
    corpus = build_corpus([*lines, *lines[:5]], ids, UNKNOWN)
    assert sorted(sentences(corpus)) == sorted(map(tuple, ids(lines)))
    assert sum(map(len, corpus.held_out.values())) == 100 // HELD_OUT
    assert corpus.n_sentences == 100 and corpus.n_words == 300
    assert len(corpus.unigrams) == 95 * 3


def test_build_corpus_counts_unknown_words() -> None:
    corpus = build_corpus(["1 2 99", "3 99 4 99"], ids, UNKNOWN)
    assert corpus.n_unknown == 3


def test_build_corpus_splits_long_line_evenly_and_drops_single_words() -> None:
    long = " ".join(str(i) for i in range(2 * MAX_WORDS + 2))
    corpus = build_corpus([long, "5", ""], ids, UNKNOWN)
    result = sentences(corpus)
    assert sorted(map(len, result)) == [32, 33, 33]
    assert sum(sorted(result), ()) == tuple(range(2 * MAX_WORDS + 2))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        (["", "1", "2"], "no line of two or more words"),
        (["99 99", "99 99 99"], "None of the corpus's 5 words"),
        (["1 2 3 4"], "sentences: 1"),
        (["1 2", "2 1"], "different words: 2"),
        (["1 2 3", "4 4"], "different words: 4"),  # of which one is learned from
    ],
)
def test_build_corpus_of_unusable_lines_raises_input_error(lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_corpus(lines, ids, UNKNOWN)


def test_batches_contain_every_sentence_once_in_any_order() -> None:
    buckets = {3: np.arange(30, dtype=np.int32).reshape(10, 3), 2: np.full((3, 2), 99, np.int32)}
    for rng in (None, np.random.default_rng(0)):
        result = make_batches(buckets, 9, rng)
        rows = [tuple(row) for batch in result for row in batch.tolist()]
        assert sorted(rows) == sorted(tuple(r) for b in buckets.values() for r in b.tolist())
        assert all(batch.size <= 9 for batch in result)


def test_with_replacements_draws_other_words_by_unigram_frequency() -> None:
    words = np.zeros((200, 5), np.int32)
    unigrams = np.array([0] * 6 + [1] * 3 + [2], np.int32)
    result = draw_replacements(words, unigrams, 4, np.random.default_rng(0))
    assert result.shape == (200, 5, 5)
    assert (result[:, 0] == words).all() and (result[:, 1:] != 0).all()
    assert (result[:, 1:] == 1).mean() == pytest.approx(0.75, abs=0.03)


def test_with_replacements_of_dominant_word_still_differ_from_it() -> None:
    words = np.array([[0, 1, 2, 3]], np.int32)  # the last word is in no training sentence
    unigrams = np.array([0] + [1] * 10**6 + [2], np.int32)
    result = draw_replacements(words, unigrams, 1000, np.random.default_rng(0))[0, 1:]
    assert (result != words).all()
    assert (result[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.06)
    assert (result[:, [0, 2, 3]] == 1).mean() > 0.99


def test_read_lines_recognises_gzip_by_content(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.gz", tmp_path / "b.txt"  # their content decides
    plain.write_text("one\ntwo\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(b"three\n"))
    lines = [line.strip() for line in read_lines([str(plain), str(packed)])]
    assert lines == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"one\xfftwo", "not valid UTF-8"),
        ("a.txt", b"one\0two", "binary"),
        ("a.txt.gz", b"\x1f\x8bno gzip", "gzip"),
        (
            "a.txt",
            b"a line\n" + b"word " * (MAX_LINE // 4),
            "line 2 is longer than 1,048,576 bytes",
        ),
        ("a.txt.gz", gzip.compress(b"a" * 10 * MAX_LINE), "line 1 is longer than 1,048,576 bytes"),
        ("a.txt.gz", gzip.compress(b"a line\n" * 500, mtime=0)[:-9], "truncated"),
    ],
)
def test_read_lines_of_damaged_file_names_file(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        list(read_lines([str(path)]))
    assert str(path) in str(error.value)


def test_read_lines_of_missing_file_names_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Could not read .*nothing\.txt: No such file"):
        list(read_lines([str(tmp_path / "nothing.txt")]))
