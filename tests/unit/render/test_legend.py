"""The notes under a map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.legend import special_notes

NAMES = ("[CLS]", "bank", "river", "[SEP]")
PATTERN = np.array([[1, 0, 0, 0], [0.5, 0.1, 0.1, 0.3], [0.2, 0.4, 0.2, 0.2], [0, 0, 0, 1]])


def maps(pattern: np.ndarray = PATTERN) -> HeadMaps:
    tokens = [
        Token(i, "" if name[0] == "[" else name, name, i, 0, 0, special=name[0] == "[")
        for i, name in enumerate(NAMES)
    ]
    m = HeadMap(name="L0H0", block="self", layer=0, head=0, pattern=pattern)
    info = ModelInfo("made", "made", 1, 1, 4, 4, 10, "made in a test")
    return HeadMaps(info, "softmax", False, "bank river", None, tokens, tokens, [m])


def test_special_notes_give_mean_weight_of_special_tokens_over_words() -> None:
    # bank gives .5 and .3, river .2 and .2: .6 on average; special tokens have no rows here.
    assert list(special_notes(maps())) == [
        ".60 of the weight goes to [CLS] and [SEP]; --hide-special leaves them out"
    ]


def test_special_notes_with_shown_scores_describe_weights() -> None:
    score_maps = replace(maps(), shown="scores")
    assert list(special_notes(score_maps)) == list(special_notes(maps()))


@pytest.mark.parametrize("share", [0.0, 0.04])
def test_special_notes_of_small_share_are_empty(share: float) -> None:
    row = [share, 1 - share, 0, 0]
    assert list(special_notes(maps(np.array([row] * 4)))) == []


def test_special_notes_without_special_tokens_are_empty() -> None:
    words = [replace(t, special=False) for t in maps().keys]
    assert list(special_notes(replace(maps(), queries=words, keys=words))) == []
