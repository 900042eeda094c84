"""`qkv explain` on every family: its terms make what transformers computed, and a page adds up.

Rotation, ALiBi, relative positions, soft caps, norms of heads and masks are in these checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_explain import totals

from qkv_cli.analysis.explain import explain_layer
from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.cli.output import Look
from qkv_cli.core.attention import AttentionTrace, merge_heads, softmax
from qkv_cli.core.block import Attention, LayerTrace
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.model import Model
from qkv_cli.core.tokens import Token
from qkv_cli.formats.safetensors import open_tensors
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.selection import traced_head
from qkv_cli.render.terminal.explain import ExplainPage

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.npz"))
INFO = ModelInfo("made", "checkpoint", 9, 9, 16, 4, 64, "in a test")


def taken(
    model: Model, expected: np.lib.npyio.NpzFile
) -> Iterator[tuple[LayerTrace, Attention, AttentionTrace, np.ndarray]]:
    """Each attention that is explained, and its pattern as transformers has it."""
    inputs = [expected[n].tolist() for n in ("input_ids", "decoder_input_ids") if n in expected]
    types = expected["token_type_ids"].tolist() if "token_type_ids" in expected else ()
    for layer in model.layers(*inputs, types=types):
        crosses = layer.has_cross
        trace = layer.cross if crosses else layer.attn
        attn = layer.block.cross if crosses else layer.block.attn
        called = "cross" if crosses else layer.stack if len(inputs) == 2 else "attn"
        assert trace is not None and attn is not None
        yield layer, attn, trace, expected[f"{called}.{layer.index}"]


def page(layer: LayerTrace, x: object, head: int) -> str:
    trace = layer.cross if layer.cross is not None else layer.attn
    queries, keys = (
        [Token(i, f"w{i}", f"w{i}", i, 0, 0) for i in range(n)] for n in trace.pattern()[0].shape
    )
    source = None if layer.cross is None else "x"
    shown = [traced_head(layer, head)]
    maps = HeadMaps(INFO, "softmax", False, "x", source, queries, keys, shown)
    return Look(color="never", width=100).text(lambda theme: ExplainPage(maps, x, theme))


@pytest.mark.parametrize("case", CASES)
def test_explain_of_every_family_matches_transformers_and_page_adds_up(case: str) -> None:
    folder = GOLDEN / case
    model = build(
        json.loads((folder / "config.json").read_text()),
        Tensors(open_tensors(folder / "model.safetensors")),
    )
    explained = 0
    for layer, attn, trace, golden in taken(model, np.load(folder / "expected.npz")):
        n_heads, n_query, n_key = trace.pattern().shape
        out = attn.o(merge_heads(trace.z))
        for head, query in ((n_heads - 1, n_query - 1), (0, n_query // 2)):
            row = golden[head, query]
            best = int(row.argmax())
            for key in (best, min(1, n_key - 1)):
                x = explain_layer(
                    model, layer, "self", head=head, query=query, key=key, weighting="softmax"
                )
                np.testing.assert_allclose(softmax(x.scores[None])[0], row, rtol=0, atol=1e-5)
                np.testing.assert_allclose(x.weight, row[key], rtol=0, atol=1e-5)
                np.testing.assert_allclose(
                    np.sum(list(x.terms.values()), axis=0), trace.scores()[head, query], atol=1e-4
                )
                size = np.abs(out).max()
                np.testing.assert_allclose(x.output.total, out[query], atol=1e-5 * size)
                explained += 1
            if layer.index == 0 or query == n_query - 1:
                x = explain_layer(
                    model, layer, "self", head=head, query=query, key=best, weighting="softmax"
                )
                result = list(totals(page(layer, x, head)))
                assert len(result) >= 6
                for parts, total in result:
                    assert sum(parts) == total
    assert explained >= 8
