"""Marian's own models with an SSRU decoder: Mozilla's and Bergamot's translators.

The decoder's first step is no attention but a simple recurrent unit (Kim et al. 2019, "From
Research to Production and Back: Ludicrously Fast Neural Machine Translation", section 3.1);
cross-attention and the encoder are Vaswani's. Activations, which Marian rounds to int8 as it
multiplies, stay float32.
"""

from __future__ import annotations

import numpy as np

from qkv_cli.core.arrays import relu
from qkv_cli.core.blocks import Attention, Block, Blocks, Norms
from qkv_cli.core.checkpoint import Tensors
from qkv_cli.core.config import Config
from qkv_cli.core.layers import MLP, SSRU, Embedding, Linear, Norm, Places, Unembedding
from qkv_cli.core.model import Model, Stack
from qkv_cli.core.positions import sinusoids

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
MAX_PLACES = 1024


def marian_binary(config: Config, tensors: Tensors) -> Model:
    for name, value in _IMPLEMENTED.items():
        config.one_of(name, (value,))
    config.read.update(config.values)  # the rest is of other architectures or of training
    t, d_model, n_heads = tensors, config["dim-emb"], config["transformer-heads"]
    d_head = d_model // n_heads

    def linear(name: str, bias: str) -> Linear:
        return Linear(t[name], t[bias].reshape(-1))

    def norm(name: str) -> Norm:
        return Norm(t[f"{name}_ln_scale"].reshape(-1), t[f"{name}_ln_bias"].reshape(-1), _EPS, True)

    def attention(name: str) -> Attention:
        q, k, v, o = (linear(f"{name}_W{part}", f"{name}_b{part}") for part in "qkvo")
        return Attention(q, k, v, o, d_head, d_head**-0.5)

    def mlp(name: str) -> MLP:
        up, down = (linear(f"{name}_ffn_W{i}", f"{name}_ffn_b{i}") for i in (1, 2))
        return MLP(up, down, relu)

    def encoder(i: int) -> Block:
        name = f"encoder_l{i + 1}"
        norms = Norms(resid_mid=norm(f"{name}_self_Wo"), resid_post=norm(f"{name}_ffn_ffn"))
        return Block(attn=attention(f"{name}_self"), mlp=mlp(name), norms=norms)

    def decoder(i: int) -> Block:
        name = f"decoder_l{i + 1}"
        return Block(
            recurrent=SSRU(
                Linear(t[f"{name}_rnn_W"], None), linear(f"{name}_rnn_Wf", f"{name}_rnn_bf")
            ),
            cross=attention(f"{name}_context"),
            mlp=mlp(name),
            norms=Norms(
                resid_mid=norm(f"{name}_rnn_ffn"),
                cross_out=norm(f"{name}_context_Wo"),
                resid_post=norm(f"{name}_ffn_ffn"),
            ),
        )

    half = d_model // 2
    rate = np.exp(np.arange(half) * -(np.log(10_000) / (half - 1)))
    places = Places(sinusoids(MAX_PLACES, rate))
    return Model(
        embed=Embedding(t.stored("Wemb"), blank=True),
        embed_scale=d_model**0.5,
        places={"encoder": places, "decoder": places},
        stacks={
            "encoder": Stack(Blocks(config["enc-depth"], encoder)),
            "decoder": Stack(Blocks(config["dec-depth"], decoder), causal=True),
        },
        unembed=Unembedding(t.stored("Wemb"), t.stored("decoder_ff_logit_out_b")),
    )
