"""Every term of a pair of words, against loops over the weights of the model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qkv_cli.analysis.explain import explain_layer
from qkv_cli.core.block import Attention, Block
from qkv_cli.core.layers import Embedding, Linear
from qkv_cli.core.model import Model, Stack

D_MODEL, D_HEAD, N_HEADS, N_KV_HEADS = 5, 3, 4, 2
IDS = [4, 0, 2, 5]
HEAD, QUERY, KEY = 3, 2, 1


def matrix(seed: int, n_rows: int, n_columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns)).astype(np.float32)


def linear(seed: int, d_in: int, d_out: int) -> Linear:
    return Linear(matrix(seed, d_out, d_in), matrix(seed + 100, 1, d_out)[0])


ATTN = Attention(
    q=linear(1, D_MODEL, N_HEADS * D_HEAD),
    k=linear(2, D_MODEL, N_KV_HEADS * D_HEAD),
    v=linear(3, D_MODEL, N_KV_HEADS * D_HEAD),
    o=linear(4, N_HEADS * D_HEAD, D_MODEL),
    d_head=D_HEAD,
    scale=D_HEAD**-0.5,
)
TABLE = matrix(5, 6, D_MODEL)


def explained(head: int = HEAD, query: int = QUERY, key: int = KEY, weighting="softmax", **stack):
    model = Model(Embedding(TABLE), {"encoder": Stack([Block(attn=ATTN)], **stack)})
    [layer] = model.layers(IDS, weighting=weighting)
    x = explain_layer(model, layer, "self", head=head, query=query, key=key, weighting=weighting)
    return x, layer


def columns(of: Linear, head: int) -> tuple[np.ndarray, np.ndarray]:
    """One head's part of W and b, in double precision."""
    part = slice(head * D_HEAD, (head + 1) * D_HEAD)
    return of.matrix()[:, part].astype(float), of.b[part].astype(float)


def by_hand(head: int, query: int) -> tuple[list[float], list[float], list[np.ndarray]]:
    """Scores, weights and values of a query in a head, key by key; two heads share a key."""
    kv = head // 2
    (W_q, b_q), (W_k, b_k) = columns(ATTN.q, head), columns(ATTN.k, kv)
    W_v, b_v = columns(ATTN.v, kv)
    e = [TABLE[i].astype(float) for i in IDS]
    q = e[query] @ W_q + b_q
    scores = [float(q @ (e[j] @ W_k + b_k)) / math.sqrt(D_HEAD) for j in range(len(IDS))]
    total = sum(math.exp(s) for s in scores)
    return scores, [math.exp(s) / total for s in scores], [x @ W_v + b_v for x in e]


def close(a: object, b: object) -> None:
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_explain_layer_projections_use_columns_of_head() -> None:
    x, _ = explained()
    close(x.e_query, TABLE[IDS[QUERY]])
    close(x.e_key, TABLE[IDS[KEY]])
    for projection, of, head, e in (
        (x.q, ATTN.q, 3, x.e_query),
        (x.k, ATTN.k, 1, x.e_key),
        (x.v, ATTN.v, 1, x.e_key),
    ):
        W, b = columns(of, head)
        close(projection.product, e @ W)
        close(projection.bias, b)
        close(projection.result, e @ W + b)
        assert projection.is_plain


@pytest.mark.parametrize("head", range(N_HEADS))
def test_explain_layer_scores_weights_and_shares_match_reference(head: int) -> None:
    x, _ = explained(head)
    scores, weights, values = by_hand(head, QUERY)
    close(x.scores, scores)
    close(x.dot * x.scale, scores[KEY])
    assert x.divides_by_root and x.d_head == D_HEAD
    assert list(x.terms) == ["content"] and x.masked == [None] * 4
    close(x.pattern, weights)
    close(x.weight, weights[KEY])
    close(x.exps, [math.exp(s - max(scores)) for s in scores])
    close(x.shares, [w * v for w, v in zip(weights, values, strict=True)])
    z = sum(w * v for w, v in zip(weights, values, strict=True))
    close(x.z, z)
    close(x.along, [w * float(v @ z) / float(z @ z) for w, v in zip(weights, values, strict=True)])
    close(x.along.sum(), 1)


def test_explain_layer_output_is_sum_of_pair_words_heads_and_bias() -> None:
    x, layer = explained()
    W_O = ATTN.o.matrix().astype(float)
    z_heads: list[np.ndarray] = []
    for head in range(N_HEADS):
        _, weights, values = by_hand(head, QUERY)
        z_heads.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    _, weights, values = by_hand(HEAD, QUERY)
    rows = W_O[HEAD * D_HEAD : (HEAD + 1) * D_HEAD]
    pair = weights[KEY] * values[KEY] @ rows
    close(x.z_heads, z_heads)
    close(x.output.pair, pair)
    close(x.output.words, z_heads[HEAD] @ rows - pair)
    other_heads = sum(
        z @ W_O[h * D_HEAD : (h + 1) * D_HEAD] for h, z in enumerate(z_heads) if h != HEAD
    )
    close(x.output.heads, other_heads)
    close(x.output.bias, ATTN.o.b)
    close(x.output.total, np.concatenate(z_heads) @ W_O + ATTN.o.b)
    # The model adds it to the residual stream.
    close(x.output.total, layer.resid_post[QUERY] - TABLE[IDS[QUERY]])


def test_explain_layer_states_why_key_is_masked() -> None:
    causal, _ = explained(query=1, key=3, causal=True)
    assert causal.masked == [None, None, "it comes later", "it comes later"]
    assert causal.weight == 0 and causal.exps.tolist()[2:] == [0, 0]
    assert list(causal.terms) == ["content", "mask"]
    # Offsets -1 to 1; a word cannot attend to itself or to its left neighbour.
    offsets = np.array([[-np.inf], [-np.inf], [0.5]], np.float32)
    ahead, _ = explained(query=1, key=2, offsets=offsets)
    assert ahead.masked == [
        "outside the attention window",
        "a word cannot attend to itself",
        None,
        None,
    ]
    assert list(ahead.terms) == ["content", "position"]
    close(ahead.scores[2:], ahead.terms["content"][2:] + 0.5)


def test_explain_layer_of_query_without_visible_keys_has_zero_weights() -> None:
    offsets = np.array([[-np.inf], [-np.inf], [0.5]], np.float32)
    x, _ = explained(query=3, key=0, offsets=offsets)
    assert x.exps.tolist() == x.pattern.tolist() == x.along.tolist() == [0] * 4


def test_explain_layer_with_linear_weighting_uses_scores_as_weights() -> None:
    x, _ = explained(weighting="linear")
    scores, _, values = by_hand(HEAD, QUERY)
    close(x.pattern, scores)
    close(x.z, sum(s * v for s, v in zip(scores, values, strict=True)))
