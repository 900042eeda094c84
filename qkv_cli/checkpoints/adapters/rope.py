"""Rotary settings of configs, in old and new spellings.

They are read as in transformers 5.24 (modeling_rope_utils.py, RotaryEmbeddingConfigMixin): an old
`rope_scaling` replaces all of `rope_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from qkv_cli.checkpoints.config import Config
from qkv_cli.core import positions as rotary
from qkv_cli.core.arrays import Array
from qkv_cli.core.positions import Frequencies, Rotary
from qkv_cli.errors import CheckpointError

TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")
_MAX_FACTOR = 1_000_000_000
# Settings that some types do not read, and settings without effect.
_NOT_ALWAYS_READ = (
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "factor",
    "finetuned",
    "high_freq_factor",
    "long_factor",
    "low_freq_factor",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "short_factor",
    "truncate",
    "type",
)


def read_rotary(
    config: Config,
    d_head: int,
    *,
    n_max: int = 2048,
    theta: float = 10_000.0,
    share: float | None = None,
    n_original: int | None = None,
) -> Rotary:
    """Return the rotary embedding of a config.

    Args:
        n_max, theta, n_original: Defaults of `max_position_embeddings`, `rope_theta` and
            `original_max_position_embeddings`.
        share: The default share of d_head that is rotated; None for a family that rotates all of
            it, regardless of the config.
    """
    settings = rope_settings(config)
    settings.setdefault("rope_theta", config.get("rope_theta", theta))
    factor = config.get("partial_rotary_factor", share)
    settings.setdefault("partial_rotary_factor", 1.0 if factor is None else factor)
    n_original = config.optional_size("original_max_position_embeddings", n_original)
    return rotary_of(config, settings, d_head, n_max, share=share, n_original=n_original)


def rope_settings(config: Config) -> dict[str, Any]:
    """Return `rope_scaling`, or else `rope_parameters`."""
    scaling, parameters = config.mapping("rope_scaling"), config.mapping("rope_parameters")
    return scaling or parameters


def nested_rope_settings(config: Config, *, scaled: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the `rope_parameters` of each type of layer.

    Args:
        scaled: The types to which an old `rope_scaling` applies. It is merged into the others, so
            a `type` without a `rope_type` has no effect, as in transformers 5.24.
    """
    parameters, scaling = config.mapping("rope_parameters"), config.mapping("rope_scaling")
    shared_settings = config.part("rope_parameters", parameters)
    shared_settings.ignore(
        "rope_type", "rope_theta", reason="only the settings of each type of layer are read"
    )
    truncate = {"truncate": shared_settings.get("truncate", True)}  # read only there
    default_settings = {"rope_type": "default"}
    return {
        kind: {
            **(shared_settings.mapping(kind) or default_settings),
            **(scaling if kind in scaled else {}),
            **truncate,
        }
        for kind in ("full_attention", "sliding_attention")
    }


def rotary_of(
    config: Config,
    settings: Mapping[str, Any],
    d_head: int,
    n_max: int,
    *,
    share: float | None = None,
    n_original: int | None = None,
) -> Rotary:
    """Return the rotary embedding of settings in the new spelling."""
    rope = config.part("rope_parameters", settings)
    rope.ignore(*_NOT_ALWAYS_READ, reason="some types do not read them")
    kind = rope.one_of("rope_type", TYPES, rope.get("type", "default"))
    n_max = config.size("max_position_embeddings", n_max)
    d = _rotated_width(rope, d_head, kind, share)
    theta = rope.positive("rope_theta")
    if kind == "default":
        return Rotary(_fixed_frequencies(lambda: rotary.rope_frequencies(d, theta)))
    n_ctx_original = n_original or rope.size("original_max_position_embeddings", n_max)
    if kind == "longrope":
        return _longrope(rope, d, theta, n_ctx_original, n_max)
    factor = _scaling_factor(rope, n_max / n_ctx_original if kind == "yarn" else None)
    if kind == "linear":
        return Rotary(
            _fixed_frequencies(lambda: rotary.rope_frequencies(d, theta) / np.float32(factor))
        )
    if kind == "dynamic":
        if d <= 2:
            raise CheckpointError(
                f"{rope.place} sets rope_type to 'dynamic', which needs 4 or more rotated "
                f"dimensions in a head; found {d}."
            )
        return Rotary(lambda n: rotary.dynamic_frequencies(d, theta, factor, n, n_max))
    if kind == "llama3":
        return _llama3(rope, d, theta, factor, n_ctx_original)
    return _yarn(rope, d, theta, factor, n_ctx_original)


def _llama3(rope: Config, d: int, theta: float, factor: float, n_ctx_original: int) -> Rotary:
    low, high = rope.positive("low_freq_factor"), rope.positive("high_freq_factor")
    if low >= high:
        raise rope.invalid_value("high_freq_factor", f"a number above low_freq_factor ({low:g})")
    llama3 = partial(
        rotary.llama3_frequencies, d, theta, factor, n_ctx_original, low=low, high=high
    )
    return Rotary(_fixed_frequencies(llama3))


def _yarn(rope: Config, d: int, theta: float, factor: float, n_ctx_original: int) -> Rotary:
    if theta == 1:
        raise rope.invalid_value("rope_theta", "a number other than 1")
    yarn = partial(
        rotary.yarn_frequencies,
        d,
        theta,
        factor,
        n_ctx_original,
        beta_fast=_rotations(rope, "beta_fast", 32),
        beta_slow=_rotations(rope, "beta_slow", 1),
        truncate=rope.flag("truncate", True),
    )
    return Rotary(_fixed_frequencies(yarn), factor=_yarn_factor(rope, factor))


def _scaling_factor(rope: Config, default: float | None) -> float:
    """Return the factor by which the context is extended; `default` if it is null."""
    if default is not None and rope.get("factor", 0) is None:
        return default
    factor = rope.positive("factor")
    if factor > _MAX_FACTOR:
        raise rope.invalid_value("factor", f"a number of at most {_MAX_FACTOR:,}")
    return factor


def _rotations(rope: Config, name: str, default: float) -> float:
    """Return rotations within the training length; 0 means the default."""
    value = rope.optional_number(name) or default
    if not 1e-9 < value < 1e9:
        raise rope.invalid_value(name, "a number between 1e-9 and 1e9")
    return value


def _rotated_width(rope: Config, d_head: int, kind: str, share: float | None) -> int:
    """Return the number of rotated dimensions of a head."""
    if share is None and kind == "default":
        rope.ignore("partial_rotary_factor", reason="the family rotates the whole head")
        rotated_share = 1.0
    else:
        rotated_share = rope.positive("partial_rotary_factor", share or 1.0)
    if share is None and rotated_share != 1:
        raise rope.invalid_value(
            "partial_rotary_factor", "1: this architecture rotates whole heads"
        )
    d = int(d_head * rotated_share) if rotated_share <= 1 else 0
    if d % 2 or not 0 < d <= d_head:
        raise CheckpointError(
            f"{rope.place} sets partial_rotary_factor to {rotated_share:g}; it must select an even "
            f"number of the {d_head} dimensions of a head, at least 2."
        )
    return d


def _fixed_frequencies(frequencies: Callable[[], Array]) -> Frequencies:
    """Return frequencies that do not depend on the length; computed when they are used, after the
    size has been checked.
    """
    cached = cache(frequencies)
    return lambda n: cached()


def _yarn_factor(rope: Config, factor: float) -> float:
    def attention_scale(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    if (attention_factor := rope.optional_number("attention_factor")) is not None:
        return attention_factor
    mscale, mscale_all_dim = rope.optional_number("mscale"), rope.optional_number("mscale_all_dim")
    if mscale and mscale_all_dim:
        return attention_scale(mscale) / attention_scale(mscale_all_dim)
    return attention_scale(1.0)


def _longrope(rope: Config, d: int, theta: float, n_ctx_original: int, n_max: int) -> Rotary:
    """LongRoPE: separate factors for short and long texts (Ding et al. 2024, arXiv 2402.13753)."""
    short_factors, long_factors = (
        _factors(rope, f"{length}_factor", d // 2) for length in ("short", "long")
    )
    factor = rope.optional_number("factor")
    factor = n_max / n_ctx_original if factor is None else factor
    if n_ctx_original == 1:
        raise rope.invalid_value("original_max_position_embeddings", "2 or more")
    attention_factor = rope.optional_number("attention_factor")
    if attention_factor is None:
        attention_factor = (
            math.sqrt(1 + math.log(factor) / math.log(n_ctx_original)) if factor > 1 else 1.0
        )
    return Rotary(
        lambda n: (
            rotary.rope_frequencies(d, theta)
            / (long_factors if n > n_ctx_original else short_factors)
        ),
        factor=attention_factor,
    )


def _factors(rope: Config, name: str, n: int) -> Array:
    """Return a factor for each frequency, [d_rotary / 2]."""
    values = rope.optional_list(name)
    if values is None or len(values) != n or not all(type(v) in (int, float) for v in values):
        raise rope.invalid_value(name, f"an array of {n} numbers")
    return np.array(values, np.float32)
