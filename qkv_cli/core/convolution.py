"""What a layer adds from the neighbours of each token, whatever attention says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkv_cli.core.arrays import Activation, Array


@dataclass(frozen=True, slots=True)
class Convolution:
    W: Array  # [n_taps, d_in, d_out], an odd number of taps, the token itself in the middle
    b: Array  # [d_out]
    act: Activation

    def __call__(self, x: Array) -> Array:
        """[n_pos, d_in] -> [n_pos, d_out]; beyond the ends of the text there are zeros."""
        n_pos, reach = len(x), len(self.W) // 2
        padded = np.pad(x, ((reach, reach), (0, 0)))
        taps = (padded[i : i + n_pos] @ w for i, w in enumerate(self.W))
        return self.act(sum(taps, start=self.b))
