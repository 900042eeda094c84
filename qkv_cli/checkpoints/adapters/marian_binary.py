"""Marian's own models with an SSRU decoder: Mozilla's and Bergamot's translators.

Instead of self-attention, the decoder has a simple recurrent unit (Kim et al. 2019, "From
Research to Production and Back: Ludicrously Fast Neural Machine Translation", section 3.1);
cross-attention and the encoder are Vaswani's. Activations, which Marian rounds to int8 as it
multiplies, stay float32.
"""

from __future__ import annotations

import numpy as np

from qkv_cli.checkpoints.adapters.decoder import head_width
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.activations import relu
from qkv_cli.core.arrays import transposed
from qkv_cli.core.block import Attention, Block, Blocks, Norms
from qkv_cli.core.layers import MLP, SSRU, Embedding, Linear, Norm, PositionEmbeddings, Unembedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import sinusoids
from qkv_cli.errors import CheckpointError

_EPS = 1e-9
_IMPLEMENTED = {
    "type": "transformer",
    "dec-cell": "ssru",
    "transformer-decoder-autoreg": "rnn",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-preprocess": "",
    "transformer-ffn-activation": "relu",
    "transformer-ffn-depth": 2,
    "transformer-no-projection": False,
    "transformer-train-position-embeddings": False,
    "tied-embeddings-all": True,
    "lemma-dim-emb": 0,
    "right-left": False,
    "output-omit-bias": False,
}
MAX_POSITIONS = 1024


def marian_binary(config: Config, tensors: Tensors) -> Model:
    for name, value in _IMPLEMENTED.items():
        config.one_of(name, (value,))
    config.ignore(*config.values, reason="settings of other architectures, or of training")
    t, d_model, n_heads = (
        tensors,
        config.size("dim-emb", minimum=4),
        config.size("transformer-heads"),
    )
    d_head, d_mlp = head_width(config, d_model, n_heads), config.size("transformer-dim-ffn")
    depths = {"encoder": config.n_layers("enc-depth"), "decoder": config.n_layers("dec-depth")}
    for name, depth in depths.items():
        _require_layer(t, f"{name}_l{depth}_", depth)

    def linear(name: str, bias: str, d_in: int = d_model, d_out: int = d_model) -> Linear:
        return Linear(transposed(t.stored(name, d_in, d_out)), t.array(bias, 1, d_out).reshape(-1))

    def norm(name: str) -> Norm:
        w, b = (t.array(f"{name}_ln_{part}", 1, d_model).reshape(-1) for part in ("scale", "bias"))
        return Norm(w=w, b=b, eps=_EPS, centred=True)

    def attention(name: str) -> Attention:
        d_query = n_heads * d_head
        q, k, v = (linear(f"{name}_W{p}", f"{name}_b{p}", d_out=d_query) for p in "qkv")
        o = linear(f"{name}_Wo", f"{name}_bo", d_in=d_query)
        return Attention(q=q, k=k, v=v, o=o, d_head=d_head, scale=d_head**-0.5)

    def mlp(name: str) -> MLP:
        up = linear(f"{name}_ffn_W1", f"{name}_ffn_b1", d_out=d_mlp)
        return MLP(up, linear(f"{name}_ffn_W2", f"{name}_ffn_b2", d_in=d_mlp), relu)

    def encoder(i: int) -> Block:
        name = f"encoder_l{i + 1}"
        norms = Norms(resid_mid=norm(f"{name}_self_Wo"), resid_post=norm(f"{name}_ffn_ffn"))
        return Block(attn=attention(f"{name}_self"), mlp=mlp(name), norms=norms)

    def decoder(i: int) -> Block:
        name = f"decoder_l{i + 1}"
        return Block(
            recurrent=SSRU(
                Linear(transposed(t.stored(f"{name}_rnn_W", d_model, d_model)), None),
                linear(f"{name}_rnn_Wf", f"{name}_rnn_bf"),
            ),
            cross=attention(f"{name}_context"),
            mlp=mlp(name),
            norms=Norms(
                resid_mid=norm(f"{name}_rnn_ffn"),
                cross_out=norm(f"{name}_context_Wo"),
                resid_post=norm(f"{name}_ffn_ffn"),
            ),
        )

    n_rates = d_model // 2
    rate = np.exp(np.arange(n_rates) * -(np.log(10_000) / (n_rates - 1)))
    positions = PositionEmbeddings(sinusoids(MAX_POSITIONS, rate))
    table = t.stored("Wemb", None, d_model)
    return Model(
        embed=Embedding(table, blank=True),
        embed_scale=d_model**0.5,
        positions={"encoder": positions, "decoder": positions},
        stacks={
            "encoder": Stack(Blocks(depths["encoder"], encoder)),
            "decoder": Stack(Blocks(depths["decoder"], decoder), causal=True),
        },
        unembed=Unembedding(table, t.stored("decoder_ff_logit_out_b", 1, table.shape[0])),
    )


def _require_layer(t: Tensors, prefix: str, depth: int) -> None:
    if not any(name.startswith(prefix) for name in t.by_name):
        raise CheckpointError(
            f"The model's settings imply {depth:,} layers, but it has no tensor {prefix}*."
        )
