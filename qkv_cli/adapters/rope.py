"""A config's rotary settings, in the old spelling and the new, as a `Rotary`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from qkv_cli.core import rotary
from qkv_cli.core.arrays import Array
from qkv_cli.core.config import Config
from qkv_cli.core.rotary import Frequencies, Rotary
from qkv_cli.errors import CheckpointError

TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")
_KNOWN = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
        "short_factor",
        "long_factor",
        "low_freq_factor",
        "high_freq_factor",
    }
)


def read_rotary(
    config: Config, d_head: int, *, share: float = 1.0, theta: float = 10_000.0
) -> Rotary:
    """What turns queries and keys.

    Args:
        share: How much of d_head turns, where the config does not say; and so `theta`.
    """
    old = config.get("rope_scaling", {})
    config.one_of("rope_interleaved", (False,), False)
    settings = {**old, **config.get("rope_parameters", {})}
    settings.setdefault("rope_theta", config.get("rope_theta", theta))
    share = config.get("partial_rotary_factor", share)
    return rotary_of(settings, config.get("max_position_embeddings", 2048), d_head, share, config)


def rotary_of(
    settings: Mapping[str, Any], n_max: int, d_head: int, share: float, config: Config
) -> Rotary:
    """The same from settings that are spelled the new way."""
    if unknown := sorted(set(settings) - _KNOWN):
        raise CheckpointError(f"config.json has a rope setting that nothing reads: {unknown[0]}.")
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if "short_factor" in settings and kind in ("su", "yarn"):
        kind = "longrope"  # what Phi 3 called it first
    if kind not in TYPES:
        raise CheckpointError(f"rope_type {kind!r} is not implemented; {', '.join(TYPES)} are.")
    share = float(settings.get("partial_rotary_factor") or share)
    if not 0 < share <= 1:
        raise CheckpointError(f"config.json has partial_rotary_factor {share}: no part of a head.")
    d = int(d_head * share)
    theta = float(settings["rope_theta"])
    n_known = (
        config.get("original_max_position_embeddings")
        or settings.get("original_max_position_embeddings")
        or n_max
    )
    if kind == "default":
        return Rotary(_always(lambda: rotary.default(d, theta)))
    if kind == "longrope":
        return _longrope(settings, d, theta, n_known, n_max)
    factor = float(settings.get("factor") or n_max / n_known)
    if kind == "linear":
        return Rotary(_always(lambda: rotary.default(d, theta) / np.float32(factor)))
    if kind == "dynamic":
        return Rotary(lambda n: rotary.dynamic(d, theta, factor, n, n_max))
    if kind == "llama3":
        low, high = settings["low_freq_factor"], settings["high_freq_factor"]
        return Rotary(_always(lambda: rotary.llama3(d, theta, factor, n_known, low=low, high=high)))
    yarn = partial(
        rotary.yarn,
        d,
        theta,
        factor,
        n_known,
        fast=settings.get("beta_fast") or 32,
        slow=settings.get("beta_slow") or 1,
        truncate=settings.get("truncate", True),
    )
    return Rotary(_always(yarn), factor=_yarn_factor(settings, factor))


def _always(frequencies: Callable[[], Array]) -> Frequencies:
    """The same for a text of any length; made when they are used, at a size that has been seen
    to fit the tensors.
    """
    made = cache(frequencies)
    return lambda n: made()


def _yarn_factor(settings: Mapping[str, Any], factor: float) -> float:
    def of(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    if (said := settings.get("attention_factor")) is not None:
        return float(said)
    mscale, everywhere = settings.get("mscale"), settings.get("mscale_all_dim")
    return of(mscale) / of(everywhere) if mscale and everywhere else of(1.0)


def _longrope(
    settings: Mapping[str, Any], d: int, theta: float, n_known: int, n_max: int
) -> Rotary:
    """Ding et al. 2024 (arXiv 2402.13753): one stretch for short texts, another for long ones."""
    short, long = (np.float32(settings[f"{which}_factor"]) for which in ("short", "long"))
    factor = settings.get("factor") or n_max / n_known
    said = settings.get("attention_factor")
    if said is None:
        said = math.sqrt(1 + math.log(factor) / math.log(n_known)) if factor > 1 else 1.0
    return Rotary(
        lambda n: rotary.default(d, theta) / (long if n > n_known else short), factor=float(said)
    )
