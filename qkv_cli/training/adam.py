"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.training.heads import Parameters

BETA_1, BETA_2, EPS = 0.9, 0.99, 1e-8
DECAY = 0.01  # of matrices; a bias is not drawn to zero


@dataclass(frozen=True, slots=True)
class Adam:
    """Running means of the gradients and of their squares."""

    m: Parameters
    v: Parameters
    step: int = 0

    @classmethod
    def start(cls, parameters: Mapping[str, Array]) -> Adam:
        zeros = {name: np.zeros_like(p) for name, p in parameters.items()}
        return cls(zeros, {name: z.copy() for name, z in zeros.items()})

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> tuple[Parameters, Adam]:
        """One step; parameters without a gradient stay as they are."""
        t = self.step + 1
        new, m, v = dict(parameters), dict(self.m), dict(self.v)
        for name, g in gradients.items():
            m[name] = BETA_1 * m[name] + (1 - BETA_1) * g
            v[name] = BETA_2 * v[name] + (1 - BETA_2) * g * g
            unbiased = np.sqrt(v[name] / (1 - BETA_2**t)) + EPS
            kept = 1 - rate * DECAY if name.startswith("W_") else 1.0
            p = parameters[name]
            new[name] = (kept * p - rate / (1 - BETA_1**t) * m[name] / unbiased).astype(p.dtype)
        return new, Adam(m, v, t)
