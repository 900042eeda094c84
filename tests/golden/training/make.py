"""Write objective.npz: the objective's loss and gradients by torch's autograd.

Run by hand where torch is installed; made with torch 2.13.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

D_MODEL, N_HEADS, D_HEAD, CLIP, N_TYPES = 10, 3, 4, 3, 20
BATCH, N_CANDIDATES, N = 3, 6, 12  # longer than the clip reaches


def main() -> None:
    rng = np.random.default_rng(7)
    inner = N_HEADS * D_HEAD
    shapes = {name: (D_MODEL, inner) for name in ("W_Q", "W_K", "W_V")}
    shapes |= {"W_O": (inner, D_MODEL), "c": (D_MODEL,), "offset": (2 * CLIP + 1, N_HEADS)}
    shapes |= {name: (inner,) for name in ("b_Q", "b_K", "b_V")}
    p = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    p["offset"][CLIP] = -np.inf
    table = rng.normal(0, 1, (N_TYPES, D_MODEL)).astype(np.float32)
    candidates = rng.integers(0, N_TYPES, (BATCH, N_CANDIDATES, N))

    t = {name: torch.tensor(a, requires_grad=True) for name, a in p.items()}
    x = torch.tensor(table)[torch.tensor(candidates)]  # [batch, C, n, d_model]

    def heads(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(*y.shape[:-1], N_HEADS, D_HEAD)

    q, words = heads(x @ t["W_Q"] + t["b_Q"]), x[:, 0]
    k, v = heads(words @ t["W_K"] + t["b_K"]), heads(words @ t["W_V"] + t["b_V"])
    places = torch.arange(N)
    rows = (places[None, :] - places[:, None]).clamp(-CLIP, CLIP) + CLIP  # [query, key]
    scores = torch.einsum("bcihd,bjhd->bchij", q, k) / D_HEAD**0.5
    pattern = (scores + t["offset"][rows].permute(2, 0, 1)).softmax(-1)
    z = torch.einsum("bchij,bjhd->bcihd", pattern, v).flatten(-2)
    score = ((z @ t["W_O"] + t["c"]) * x).sum(-1) / D_MODEL**0.5  # [batch, C, n]
    loss = -score.log_softmax(1)[:, 0].sum()
    loss.backward()

    arrays = {f"p.{name}": a for name, a in p.items()}
    arrays |= {f"g.{name}": np.nan_to_num(a.grad.numpy()) for name, a in t.items()}
    arrays |= {"table": table, "candidates": candidates, "scores": score.detach().numpy()}
    np.savez_compressed(Path(__file__).with_name("objective.npz"), loss=loss.item(), **arrays)


if __name__ == "__main__":
    main()
