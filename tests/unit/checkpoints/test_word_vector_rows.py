"""Additional embedding rows of one run, for words whose vectors were built from n-grams."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qkv_cli.checkpoints.adapters.word_vectors import with_rows
from qkv_cli.core.arrays import float32
from qkv_cli.session.load import load


def test_with_rows_appends_unscaled_rows_after_rows_of_model(tiny_glove: Path) -> None:
    """The folder's own rows are int8 with a scale each."""
    model = load(tiny_glove).model
    n_own, d_model = model.embed.table.shape
    rows = np.random.default_rng(0).normal(size=(2, d_model)).astype(np.float32)
    extended = with_rows(model, rows)
    ids = [3, n_own + 1, 0, n_own, n_own - 1]
    expected = model.embed([3, 0, 0, 0, n_own - 1])
    expected[[1, 3]] = rows[[1, 0]] - model.embed.mean
    np.testing.assert_array_equal(extended.embed(ids), expected)
    assert extended.between_texts is not None
    np.testing.assert_array_equal(extended.between_texts.embed(ids), expected)
    assert extended.embed.table.shape == float32(extended.embed.table).shape
    np.testing.assert_array_equal(float32(extended.embed.table)[n_own:], rows)
