"""The embedding of tokens before the first layer."""

from __future__ import annotations

import numpy as np
import pytest

from qkv_cli.core.block import Block
from qkv_cli.core.layers import Embedding
from qkv_cli.core.model import Model, Stack


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_model_layers_multiply_embeddings_by_embed_scale(scale: float) -> None:
    table = np.array([[1, -2], [3, 0.25]], np.float32)
    model = Model(Embedding(table), {"encoder": Stack([Block()])}, embed_scale=scale)
    [layer] = model.layers([1, 0])
    np.testing.assert_array_equal(layer.resid_pre, scale * table[::-1])
