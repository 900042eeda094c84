"""The name of an average of heads, and the numbers it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from qkv_cli.maps.head_maps import HeadMap
from qkv_cli.maps.selection import average


def heads(n: int) -> list[HeadMap]:
    """Heads 1, 3, 5, ... of layer 4, whose weights are 1, 3, 5, ... and scores ten times that."""
    return [
        HeadMap(
            name=f"L4H{head}",
            block="self",
            layer=4,
            head=head,
            pattern=np.array([[float(head)]]),
            scores=np.array([[10.0 * head]]),
        )
        for head in range(1, 2 * n, 2)
    ]


@pytest.mark.parametrize(
    ("n", "name", "mean"),
    [
        (1, "L4 mean of H1", 1),
        (2, "L4 mean of H1 H3", 2),
        (3, "L4 mean of H1 H3 H5", 3),
        (4, "L4 mean of 4", 4),
    ],
)
def test_average_name_lists_up_to_three_heads_and_counts_more(
    n: int, name: str, mean: float
) -> None:
    [averaged] = average(heads(n))
    assert (averaged.name, averaged.pattern.tolist()) == (name, [[mean]])


def test_average_of_scores_keeps_mean_of_weights_and_of_scores() -> None:
    [averaged] = average(heads(3), "scores")
    assert averaged.scores is not None
    assert (averaged.pattern.tolist(), averaged.scores.tolist()) == ([[3.0]], [[30.0]])
