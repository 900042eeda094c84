"""Configurations drawn at random, each read by qkv and held against transformers.

Run by hand where torch, transformers and qkv are installed: `python tests/golden/draw.py [N]
[SEED]`. It draws a case of make_checkpoints.py, except encoder-decoders, changes what its config
has of KNOBS and its rotary settings, draws weights, and compares every layer's pattern and the
last hidden state. Prints the largest differences of each family, and every configuration that is
too far off. One that transformers itself cannot run is passed over; one that qkv refuses is
counted.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import make_checkpoints as make
import numpy as np
import torch
import transformers as tr

from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors

ACTIVATIONS = ["silu", "gelu", "gelu_new", "relu", "gelu_pytorch_tanh", "quick_gelu"]
EPS, YES_NO = [1e-1, 1e-3, 1e-6], [False, True]
KNOBS: dict[str, list[Any]] = {
    **dict.fromkeys(["hidden_act", "hidden_activation", "activation_function"], ACTIVATIONS),
    **dict.fromkeys(["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"], EPS),
    **dict.fromkeys(["attention_bias", "mlp_bias", "bias", "use_bias", "use_qkv_bias"], YES_NO),
    **dict.fromkeys(["qk_layernorm", "use_parallel_residual", "parallel_attn"], YES_NO),
    **dict.fromkeys(["multi_query", "use_sliding_window", "do_layer_norm_before"], YES_NO),
    **dict.fromkeys(["scale_attn_weights", "scale_attn_by_inverse_layer_idx"], YES_NO),
    **dict.fromkeys(["enable_bias", "layer_norm_elementwise_affine"], YES_NO),
    "activation": ACTIVATIONS,
    "attention_multiplier": [0.1, 1.0],
    "attn_logit_softcapping": [None, 3.0],
    "max_position_embeddings": [40, 64, 128],
    "max_window_layers": [0, 1, 28],
    "no_rope_layer_interval": [2, 4],
    "num_experts_per_tok": [1, 2, 4],
    "num_key_value_heads": [1, 2, 4],
    "query_pre_attn_scalar": [8, 30],
    "residual_multiplier": [0.3, 1.0],
    "rotary_dim": [2, 4, 8],
    "sliding_window": [3, 7, 100],
    "window_size": [3, 7, 100],
}
N_TOKENS = 30


def rope(draw: random.Random, settings: dict[str, Any], d_head: int) -> dict[str, Any]:
    """Rotary settings of any type, for the same share of a head."""
    share = settings.get("partial_rotary_factor", 1.0)
    pairs, original_length = int(d_head * share) // 2, draw.choice([8, 16, 64])
    of_type: dict[str, dict[str, Any]] = {
        "default": {},
        "linear": {"factor": 3.0},
        "dynamic": {"factor": 3.0},
        "yarn": {"factor": 4.0, "truncate": draw.choice(YES_NO)},
        "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "longrope": {
            "factor": draw.choice([None, 4.0]),
            "short_factor": [1 + i / 10 for i in range(pairs)],
            "long_factor": [2 + i / 2 for i in range(pairs)],
        },
    }
    kind = draw.choice(sorted(of_type))
    if kind in ("yarn", "llama3", "longrope"):
        of_type[kind]["original_max_position_embeddings"] = original_length
    drawn_settings = {
        "rope_type": kind,
        "rope_theta": draw.choice([50.0, 1e4, 1e6]),
        **of_type[kind],
    }
    return drawn_settings if share == 1.0 else drawn_settings | {"partial_rotary_factor": share}


def drawn(draw: random.Random, case: str) -> tuple[Any, Any]:
    """A config like that of a case, and its model with weights."""
    config_class, model_class, settings = make.CASES[case]
    plain = config_class(**settings)
    changed = {
        name: draw.choice(values)
        for name, values in KNOBS.items()
        if hasattr(plain, name) and draw.random() < 0.5
    }
    said = getattr(plain, "rope_parameters", None)
    if said and "rope_type" in said and draw.random() < 0.7:
        heads = plain.hidden_size // plain.num_attention_heads
        changed["rope_parameters"] = rope(draw, said, getattr(plain, "head_dim", None) or heads)
    config = config_class(**{**settings, **changed})
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    make.draw_weights(model)
    return config, model


def differences(folder: Path, ids: list[int], expected: Any) -> tuple[float, float]:
    """The largest of a weight, and of the last hidden state, in parts of its largest number."""
    config = json.loads((folder / "config.json").read_text())
    model = build(config, Tensors(open_tensors(folder / "model.safetensors")))
    of_weights = 0.0
    for layer in model.layers(ids):
        assert layer.attn is not None
        theirs = expected.attentions[layer.index][0].numpy()
        of_weights = max(of_weights, float(np.abs(layer.attn.pattern() - theirs).max()))
    norm = model.stacks[layer.stack].final_norm
    last = layer.resid_post if norm is None else norm(layer.resid_post)
    expected_array = make.last_hidden_state(expected)[0].numpy()
    return of_weights, float(np.abs(last - expected_array).max() / np.abs(expected_array).max())


def main(n: int = 300, seed: int = 0) -> None:
    tr.logging.set_verbosity_error()
    tr.logging.disable_progress_bar()
    draw, folder = random.Random(seed), Path(tempfile.mkdtemp())
    worst: dict[str, tuple[float, ...]] = {}
    refused: Counter[str] = Counter()
    cases = [name for name, (config, *_) in make.CASES.items() if not config().is_encoder_decoder]
    for i in range(n):
        torch.manual_seed(i)
        case, ids = draw.choice(cases), [draw.randrange(4, 60) for _ in range(N_TOKENS)]
        try:
            config, model = drawn(draw, case)
            make.save(model, folder)
            with torch.no_grad():
                input_ids = torch.tensor([ids])
                out = model(input_ids, output_attentions=True, output_hidden_states=True)
        except Exception:
            continue
        try:
            errors = differences(folder, ids, out)
        except CheckpointError as error:
            refused[str(error)[:90]] += 1
            continue
        kind = config.model_type
        worst[kind] = tuple(map(max, errors, worst.get(kind, (0.0, 0.0))))
        if errors[0] > 1e-5 or errors[1] > 2e-5:
            print(case, *errors, (folder / "config.json").read_text())
    for kind, (of_weights, of_last) in sorted(worst.items()):
        print(f"{kind:16} patterns {of_weights:.1e}  last hidden state {of_last:.1e}")
    for message, times in refused.most_common():
        print(f"refused {times} times: {message}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
