"""Golden checkpoints under edited configs: what transformers makes of settings that are easy to
read otherwise.

Run by hand where torch and transformers are installed: `python tests/golden/config_edits.py` writes
config_edits.npz, the last hidden state under each edit, against which
tests/unit/checkpoints/test_config_edits.py holds ours.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ABSENT = "(absent)"
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
NESTED_YARN = {
    kind: {"rope_type": "yarn", "rope_theta": 50.0, **YARN}
    for kind in ("full_attention", "sliding_attention")
}
# A name, the checkpoint, and what is changed in its config.
EDITS: list[tuple[str, dict[str, Any]]] = [
    # An old rope_scaling replaces the whole of rope_parameters, theta included.
    ("llama-yarn", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    ("llama-yarn", {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 77.0}),
    ("llama-yarn", {"rope_scaling": {"type": "linear", "factor": 2.0, "rope_theta": 33}}),
    ("llama-yarn", {"rope_scaling": {}, "rope_theta": 77.0}),
    ("llama-yarn", {"rope_scaling": None}),
    ("llama", {"rope_parameters": ABSENT, "rope_theta": 33.0}),
    ("llama", {"rope_parameters": ABSENT}),
    ("llama", {"rope_parameters": {"rope_type": "yarn", **YARN, "truncate": False}}),
    ("llama", {"rope_parameters": {"type": "yarn", **YARN, "rope_theta": 50.0}}),
    ("llama", {"original_max_position_embeddings": 8, "rope_scaling": {"type": "yarn", **YARN}}),
    ("qwen2", {"rope_scaling": {"type": "yarn", **YARN}}),
    ("qwen3", {"rope_scaling": {"rope_type": "yarn", **YARN}, "rope_theta": 1e6}),
    ("gpt_neox", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("gpt_neox", {"rope_parameters": ABSENT, "rotary_pct": 0.5, "rotary_emb_base": 50}),
    ("gpt_neox", {"rope_theta": 7.0, "partial_rotary_factor": 1.0}),
    ("phi", {"rope_parameters": ABSENT}),
    ("phi", {"rope_parameters": ABSENT, "partial_rotary_factor": 0.25, "rope_theta": 50.0}),
    ("stablelm", {"rope_parameters": ABSENT}),
    ("phi3-long", {"original_max_position_embeddings": ABSENT}),
    ("phi3-long", {"original_max_position_embeddings": 32}),
    ("gemma3_text", {"rope_parameters": ABSENT, "rope_scaling": {"type": "linear", "factor": 8.0}}),
    ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ("gemma3_text", {"rope_scaling": {"type": "linear", "factor": 8.0}}),
    ("gemma3_text", {"rope_parameters": NESTED_YARN}),
    ("gemma3_text", {"rope_parameters": NESTED_YARN | {"truncate": False}}),
    (
        "gemma3_text",
        {"rope_parameters": {kind: {**v, "truncate": False} for kind, v in NESTED_YARN.items()}},
    ),
    ("modernbert", {"rope_parameters": ABSENT, "rope_scaling": {"type": "linear", "factor": 8.0}}),
    ("modernbert", {"rope_scaling": {"type": "linear", "factor": 8.0}}),
    ("modernbert", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ("modernbert", {"partial_rotary_factor": 0.5}),
    ("modernbert", {"sliding_window": 3}),
    ("modernbert", {"layer_types": ABSENT, "global_attn_every_n_layers": 2}),
    *(
        (case, {"partial_rotary_factor": 0.5})
        for case in ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "falcon")
    ),
    ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
    # Windows.
    ("mistral", {"use_sliding_window": False}),
    ("mistral", {"max_window_layers": 2}),
    ("mistral", {"sliding_window": None}),
    ("mistral", {"sliding_window": ABSENT}),
    ("mistral", {"layer_types": ["full_attention"] * 3}),
    ("llama", {"use_sliding_window": True, "sliding_window": 4}),
    ("qwen2", {"layer_types": ABSENT, "max_window_layers": 2}),
    ("qwen2", {"layer_types": ABSENT, "use_sliding_window": False}),
    ("smollm3", {"no_rope_layers": ABSENT, "layer_types": ABSENT}),
    ("smollm3", {"no_rope_layers": [1, 1, 0]}),
    ("gemma2", {"layer_types": ABSENT}),
    ("gpt_neo", {"attention_layers": ["local", "local", "global"]}),
    ("gpt_neo", {"attention_layers": ABSENT}),
    # Other names of a setting, which win.
    ("gpt2", {"num_hidden_layers": 3, "n_layer": ABSENT}),
    ("bloom", {"n_embed": 24, "hidden_size": 48}),
    # Settings that are left out.
    ("bert", {"layer_norm_eps": ABSENT, "hidden_act": ABSENT}),
    ("roberta", {"layer_norm_eps": ABSENT, "pad_token_id": ABSENT}),
    ("albert", {"inner_group_num": ABSENT, "num_hidden_groups": ABSENT, "hidden_act": ABSENT}),
    ("electra", {"layer_norm_eps": ABSENT}),
    ("deberta-v3", {"layer_norm_eps": ABSENT, "type_vocab_size": ABSENT}),
    ("distilbert", {"activation": ABSENT}),
    ("gpt2", {"layer_norm_epsilon": ABSENT, "activation_function": ABSENT, "n_inner": ABSENT}),
    ("gptj", {"layer_norm_epsilon": ABSENT, "activation_function": ABSENT}),
    ("opt", {"enable_bias": ABSENT, "do_layer_norm_before": ABSENT}),
    ("llama-plain", {"rms_norm_eps": ABSENT, "hidden_act": ABSENT, "attention_bias": ABSENT}),
    ("mixtral", {"rms_norm_eps": ABSENT, "num_experts_per_tok": ABSENT}),
    ("olmo2", {"rms_norm_eps": ABSENT}),
    ("phi", {"layer_norm_eps": ABSENT, "qk_layernorm": ABSENT}),
    ("starcoder2", {"norm_epsilon": ABSENT, "hidden_act": ABSENT}),
    ("gemma", {"hidden_act": "relu"}),
    *(
        ("llama", {"hidden_act": name})
        for name in ("gelu_python", "leaky_relu", "linear", "mish", "relu6", "sigmoid")
    ),
    ("llama", {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": None}}),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention", "attention"]}),
    ("gemma", {"hidden_act": "gelu"}),
    ("t5", {"feed_forward_proj": ABSENT, "layer_norm_epsilon": ABSENT}),
    ("t5", {"relative_attention_max_distance": ABSENT}),
    ("m2m_100", {"scale_embedding": ABSENT, "activation_function": ABSENT}),
    ("marian", {"scale_embedding": True}),
]

# A text longer than max_position_embeddings, where positions are computed.
LONG = [(11 * i * i + 5 * i + 1) % 58 + 4 for i in range(57)]


def edited(case: str, changes: dict[str, Any]) -> dict[str, Any]:
    config = json.loads((HERE / "checkpoints" / case / "config.json").read_text()) | changes
    return {name: value for name, value in config.items() if value != ABSENT}


def last_hidden(
    case: str, changes: dict[str, Any], inputs: dict[str, Any] | None = None
) -> np.ndarray:
    """[n, d_model] by transformers.

    Args:
        inputs: Token ids; those of the golden checkpoint if not given.
    """
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / case
        shutil.copytree(HERE / "checkpoints" / case, folder)
        (folder / "config.json").write_text(json.dumps(edited(case, changes)))
        model, about = transformers.AutoModel.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
    assert not about["missing_keys"] and not about["mismatched_keys"], (case, changes, about)
    token_ids = inputs or np.load(HERE / "checkpoints" / case / "expected.npz")
    names = ("input_ids", "decoder_input_ids", "token_type_ids")
    with torch.no_grad():
        out = model.eval()(**{n: torch.tensor(token_ids[n])[None] for n in names if n in token_ids})
    return out.last_hidden_state[0].numpy()


def main() -> None:
    arrays = {}
    for i, (case, changes) in enumerate(EDITS):
        try:
            arrays[str(i)] = last_hidden(case, changes)
        except Exception as error:
            sys.stdout.write(f"{case} {changes}: {type(error).__name__} {error}\n")
    arrays["long"] = last_hidden(
        "m2m_100", {}, {"input_ids": LONG, "decoder_input_ids": LONG[::-1]}
    )
    np.savez_compressed(HERE / "config_edits.npz", **arrays)
    sys.stdout.write(f"{len(arrays) - 1} of {len(EDITS)}\n")


if __name__ == "__main__":
    main()
