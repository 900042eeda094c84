"""The edits that edit_configs.py makes: the keys of a config, and other values for each."""

from __future__ import annotations

import copy
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import transformers as tr

from qkv_cli.checkpoints.config import IGNORED

Edit = dict[tuple[str, ...], Any]  # values by the path of their key
ABSENT = object()
OF_CODE = {
    "to_dict",
    "get_text_config",
    "is_heterogeneous",
    "architectures",
    "transformers_version",
}
ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_10"]
ACTIVATIONS += ["quick_gelu", "relu", "relu2", "relu6", "silu", "swish", "tanh", "mish", "linear"]
ACTIVATIONS += ["sigmoid", "leaky_relu", "laplace", "GELU"]
ROPE_TYPES = ["default", "linear", "dynamic", "yarn", "llama3", "longrope", "su", "mrope"]
ROPE_TYPES += ["proportional", "axial"]
FORWARD = ["relu", "gelu", "silu", "gated-gelu", "gated-silu", "gated-relu", "gated-gelu_new"]
CHOICES: dict[str, list[Any]] = {
    **dict.fromkeys(["hidden_act", "hidden_activation", "activation_function"], ACTIVATIONS),
    **dict.fromkeys(["activation", "conv_act", "dense_act_fn"], ACTIVATIONS),
    **dict.fromkeys(["rope_type", "type"], ROPE_TYPES),
    "feed_forward_proj": [*FORWARD, "gated-gelu-x", "gelu-gated"],
    "position_embedding_type": ["absolute", "relative_key", "relative_key_query", "sans_pos"],
    "pos_att_type": ["c2p", "p2c", "p2c|c2p", ["p2c"], ["c2p", "p2c"], "C2P", "c2p|p2p", ""],
    "norm_rel_ebd": ["none", "layer_norm", "layer_norm|x", "LAYER_NORM"],
    "layer_types": [["full_attention"] * n for n in (2, 3, 4)]
    + [["sliding_attention"] * n for n in (2, 3, 4)]
    + [["sliding_attention", "full_attention", "sliding_attention"]]
    + [["full_attention", "sliding_attention"]]
    + [["attention", "attention", "sliding_attention"]]
    + [["chunked_attention"] * 3],
    "attention_types": [[[["global"], 3]], [[["local"], 3]], [[["global", "local"], 2]]],
    "attention_layers": [["global"] * 3, ["local"] * 3, ["local", "global", "local"], ["local"]],
    "no_rope_layers": [[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1], [0, 1, 0, 1], []],
    "mlp_type": ["default", "gated"],
    "norm_type": ["layer_norm", "rms_norm"],
    "quantization_config": [{}, {"quant_method": "gptq", "bits": 4}, {"load_in_8bit": False}],
    "pruned_heads": [{}, {"0": [0]}, {"0": []}],
    "per_layer_config": [{}, {"0": {"num_attention_heads": 2}}, {"1": {"sliding_window": 3}}],
    "torch_dtype": ["float16", "bfloat16"],
    "dtype": ["float16", "bfloat16"],
    "attn_implementation": ["eager", "sdpa"],
    "sliding_window": [1, 2, 3, 7, 100],
    "max_window_layers": [0, 1, 2, 28],
    "sliding_window_pattern": [1, 2, 3, 6],
    "_sliding_window_pattern": [1, 2, 3, 6],
    "global_attn_every_n_layers": [1, 2, 3],
    "model_type": [
        *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "phi3", "smollm3"),
        *("gemma3_text", "olmo2", "gpt2", "bert", "roberta", "camembert", "xlm-roberta", "mpnet"),
        *("electra", "bart", "mbart", "marian", "pegasus", "t5", "mt5", "umt5"),
    ],
}
# Read through keyword arguments, in older files or by the classes that all configs have in common.
LEGACY: dict[str, Any] = {
    **dict.fromkeys(
        ["rope_theta", "rotary_emb_base", "local_rope_theta", "global_rope_theta"], 50.0
    ),
    **dict.fromkeys(["rope_local_base_freq"], 50.0),
    **dict.fromkeys(["partial_rotary_factor", "rotary_pct", "rope_pct"], 0.5),
    **dict.fromkeys(["rotary_dim", "sliding_window", "local_attention", "max_window_layers"], 4),
    **dict.fromkeys(["n_embed", "n_embd", "hidden_size", "d_model", "n_head", "n_layer"], 16),
    **dict.fromkeys(["num_attention_heads", "num_heads", "n_heads", "head_dim"], 4),
    **dict.fromkeys(["num_hidden_layers", "num_layers", "n_layers", "n_inner"], 2),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads", "n_head_kv", "d_kv"], 2),
    **dict.fromkeys(["sliding_window_pattern", "global_attn_every_n_layers"], 6),
    **dict.fromkeys(["use_sliding_window", "is_decoder", "add_cross_attention", "alibi"], False),
    **dict.fromkeys(["attention_bias", "mlp_bias", "use_bias", "bias", "qkv_bias"], False),
    **dict.fromkeys(["tie_word_embeddings", "tie_last_hidden_states", "use_mrope"], False),
    **dict.fromkeys(["is_causal", "use_bidirectional_attention", "rope_interleaved"], False),
    **dict.fromkeys(["use_cache", "return_dict", "output_hidden_states"], True),
    **dict.fromkeys(["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"], 1e-5),
    **dict.fromkeys(["norm_eps", "norm_epsilon"], 1e-5),
    **dict.fromkeys(["layer_types", "no_rope_layers", "attention_types", "attention_layers"]),
    **dict.fromkeys(["position_embedding_type", "quantization_config", "pruned_heads"]),
    **dict.fromkeys(["per_layer_config", "torch_dtype", "attn_implementation", "max_length"]),
    **dict.fromkeys(["original_max_position_embeddings", "final_logit_softcapping"]),
    **dict.fromkeys(["attn_logit_softcapping", "a_key_that_nobody_knows"]),
    **dict.fromkeys(["hidden_act", "hidden_activation", "activation_function"], "gelu"),
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 64,
    "num_labels": 2,
}
# What rotary settings may hold, one level further in.
ROPE_KEYS: dict[str, Any] = {
    **dict.fromkeys(["rope_type", "type"]),
    **dict.fromkeys(["factor", "partial_rotary_factor", "attention_factor"], 0.5),
    **dict.fromkeys(["rope_theta", "mscale", "mscale_all_dim", "beta_fast", "beta_slow"], 2.0),
    **dict.fromkeys(["original_max_position_embeddings"], 16),
    **dict.fromkeys(["truncate"], True),
    **dict.fromkeys(["mrope_section", "alpha"]),
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LONG = {"original_max_position_embeddings": 16}
N_SPELLED = 14  # so many of these are also tried as `rope_scaling`
ROPES: list[Any] = [
    {},
    {"rope_theta": 50.0},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": 2.0},
    {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
    {"rope_type": "linear", "factor": 0.5, "rope_theta": 50.0},
    {"type": "dynamic", "factor": 2.0},
    {"type": "yarn", "factor": 4.0},
    _YARN,
    _YARN | {"truncate": False},
    {"rope_type": "llama3", **_LLAMA3, **_LONG},
    {"type": "su", "short_factor": [1.1, 1.3, 1.5, 1.7], "long_factor": [2.0, 3.0, 4.0, 5.0]},
    {"rope_type": None, "factor": 2.0},
    "linear",
    {"factor": 2.0},
    {"rope_type": "default", "partial_rotary_factor": 1.0, "factor": 3.0},
    {"rope_type": "linear", "factor": None},
    {"rope_type": "linear"},
    {"rope_type": "linear", "type": "dynamic", "factor": 2.0},
    {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
    {"rope_type": "linear", "factor": 2.0, "unknown": 1},
    {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 8},
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16},
    _YARN | {"attention_factor": 0},
    _YARN | {"beta_fast": 4.0, "beta_slow": 0.5},
    _YARN | {"beta_fast": 0, "beta_slow": 0},
    _YARN | {"mscale": 0.8, "mscale_all_dim": 0.6},
    _YARN | {"mscale": 0.8},
    {"rope_type": "llama3", **_LLAMA3},
    {"rope_type": "llama3", "factor": 8.0},
    *(
        {"rope_type": "longrope", "short_factor": short[:n], "long_factor": short[:n][::-1], **more}
        for short in ([1.1, 1.3, 1.5, 1.7],)
        for n in (2, 3, 4)
        for more in ({}, _LONG, _LONG | {"factor": 4.0}, _LONG | {"attention_factor": 0.5})
    ),
    {"rope_type": "proportional", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
    {"type": "mrope", "mrope_section": [1, 1, 2]},
    {"type": "unknown"},
    [],
]
# Keys that mean something together.
PAIRS: list[dict[tuple[str, ...], Any]] = [
    {("use_sliding_window",): slides, ("max_window_layers",): first, ("sliding_window",): window}
    for slides in (True, False)
    for first in (0, 1, 28, None)
    for window in (3, None)
]
PAIRS += [pair | {("layer_types",): ABSENT} for pair in PAIRS]
PAIRS += [
    {("layer_types",): ["sliding_attention"] * n, ("sliding_window",): window}
    for n in (2, 3, 4)
    for window in (3, None)
]
PAIRS += [
    {
        ("layer_types",): ["sliding_attention"] * n,
        ("use_sliding_window",): True,
        ("sliding_window",): 3,
    }
    for n in (2, 3, 4)
]
PAIRS += [{("is_decoder",): True, ("add_cross_attention",): cross} for cross in (True, False)]


def absent_or_other(name: str, value: Any, holder: Mapping[str, Any]) -> Iterator[Any]:
    """Other values of a key: left out, null, and values near or unlike the one it has."""
    if name in holder:
        yield ABSENT
    yield None
    of_type = others(value)
    yield from CHOICES.get(name, [])
    yield from (
        of_type[:2]
        if any(name in names for names in IGNORED.values()) and name not in CHOICES
        else of_type
    )


def others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value, int(not value), str(not value).lower()]
    if isinstance(value, int):
        near = [2 * value, value + 1, value // 2, 1, 0, -1]
        return [*dict.fromkeys(near), float(value), str(value)]
    if isinstance(value, float):
        return [2 * value, value / 2, 1, 0.0, -value, str(value)]
    if isinstance(value, str):
        return ["unknown", "", 1, [value]]
    if isinstance(value, list):
        return [[], value[:-1], value + value[-1:], value[::-1], value[:1] * len(value), 1, "x"]
    if isinstance(value, dict):
        return [{}, [], "x"]
    return [True, False, 0, 1, 4, 0.5, "x", [1, 1]]


def edited(config: dict[str, Any], edit: Edit) -> dict[str, Any]:
    result = copy.deepcopy(config)
    for path, value in edit.items():
        holder = result
        for name in path[:-1]:
            holder[name] = holder.get(name) or {}
            holder = holder[name]
        if value is ABSENT:
            holder.pop(path[-1], None)
        else:
            holder[path[-1]] = copy.deepcopy(value)
    return result


def spell(edit: Edit) -> str:
    return (
        "(as it is)"
        if not edit
        else ", ".join(
            f"{'.'.join(path)}={'(absent)' if value is ABSENT else json.dumps(value)}"
            for path, value in edit.items()
        )
    )


def keys_of_code(kind: str) -> set[str]:
    """What the code of a family reads from a config by name, declared or not."""
    config_class = tr.CONFIG_MAPPING[kind]
    module = config_class.__module__
    text = inspect.getsource(sys.modules[module])
    names = set(re.findall(r'kwargs\.(?:get|pop)\(\s*"(\w+)"', text))
    __import__(modeling := module.replace("configuration_", "modeling_"))
    text = inspect.getsource(sys.modules[modeling])
    names |= set(re.findall(r"config\.([a-z]\w+)", text))
    names |= set(re.findall(r'getattr\([\w.]*config, "(\w+)"', text))
    return {name for name in names if not callable(getattr(config_class, name, None))} - OF_CODE


def declared(config_class: type) -> dict[str, Any]:
    """What a config class declares, with its defaults; aliases too."""
    plain = config_class()
    names = [*(field.name for field in fields(plain)), *config_class.attribute_map]
    return {name: getattr(plain, name, None) for name in names}


def single_edits(config: dict[str, Any], *, everything: bool) -> Iterator[Edit]:
    """Each key changed alone, and rotary settings as a whole.

    Args:
        everything: Also keys that the config does not have.
    """
    holders: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
        ((), config, config["model_type"])
    ]
    if inner := config.get("text_config"):
        holders.append((("text_config",), inner, inner["model_type"]))
    for path, holder, kind in holders:
        config_class = tr.CONFIG_MAPPING[kind]
        defaults = declared(config_class)
        known_keys = {name: LEGACY.get(name) for name in keys_of_code(kind)} | defaults
        for name in holder | known_keys if everything else holder:
            if name not in ("text_config", "vision_config"):
                for value in absent_or_other(name, holder.get(name, known_keys.get(name)), holder):
                    yield {(*path, name): value}
        # Of a key that another family has, a value or two show what becomes of it.
        for name, value in LEGACY.items() if everything else ():
            if name not in holder | known_keys:
                yield {(*path, name): value}
                yield {(*path, name): CHOICES.get(name, [not value])[-1]}
        if "rope_parameters" in defaults or "rope_scaling" in holder:
            yield from rope_edits(path, holder, everything=everything)
        for pair in PAIRS if everything else ():
            yield {(*path, *name): value for name, value in pair.items()}


def rope_edits(
    path: tuple[str, ...], holder: dict[str, Any], *, everything: bool
) -> Iterator[Edit]:
    """Rotary settings: each inner key, each type as a whole, in either spelling and in both."""
    new, old = (*path, "rope_parameters"), (*path, "rope_scaling")
    settings = holder.get("rope_parameters") or {}
    nested = [key for key, value in settings.items() if isinstance(value, dict)]
    for inner in [(*new, key) for key in nested] or [new]:
        rope_settings = settings.get(inner[-1], {}) if nested else settings
        for name in {**ROPE_KEYS, **rope_settings}:
            for value in absent_or_other(
                name, rope_settings.get(name, ROPE_KEYS.get(name)), rope_settings
            ):
                yield {(*inner, name): value}
        yield from ({inner: rope} for rope in ROPES)
    for rope in ROPES[:N_SPELLED] if everything else ():
        yield {old: rope}
        yield {new: ABSENT, old: rope, (*path, "rope_theta"): 500.0}
        yield {new: {"full_attention": rope, "sliding_attention": {"rope_type": "default"}}}


def omissions(config: dict[str, Any]) -> Iterator[Edit]:
    """Each key left out alone, and all that have transformers' default left out together."""
    for path, holder in ((), config), (("text_config",), config.get("text_config", {})):
        if not holder:
            continue
        names = [name for name in holder if name not in ("model_type", "text_config")]
        yield from ({(*path, name): ABSENT} for name in names)
        defaults = declared(tr.CONFIG_MAPPING[holder["model_type"]])
        yield {(*path, n): ABSENT for n in names if n not in defaults or defaults[n] == holder[n]}
