"""The kinds of head that the literature names, each as the keys that such a head looks at.

Clark et al. 2019, "What Does BERT Look At?" (arXiv 1906.04341), sections 3.1 and 3.2: self,
previous, next, first, separators, punctuation. Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits": duplicate tokens, induction. Olsson et al. 2022, "In-context Learning and
Induction Heads" (arXiv 2209.11895): induction as prefix matching on repeated random tokens.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.tokens import Token

Unit = Literal["row", "reading", "word"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Which keys are meant, and what counts as one piece of evidence.

    Attributes:
        unit: A query's row where each row has a key of its own; a whole reading where all rows
            share the key; a word where a reading twice with the same words says nothing new.
        repeated: Measured where each word has stood before: the words of a text, twice.
    """

    name: str
    about: str
    unit: Unit
    repeated: bool = False


KINDS = (
    Kind("self", "the word itself", "row"),
    Kind("previous", "the previous token", "row"),
    Kind("next", "the next token", "row"),
    Kind("first", "the first token of the text", "reading"),
    Kind("separators", "special tokens that are not the first", "reading"),
    Kind("punctuation", "punctuation marks", "reading"),
    Kind("duplicate", "the same token elsewhere", "word", repeated=True),
    Kind("induction", "the token after an earlier copy", "word", repeated=True),
)
NAMES = tuple(kind.name for kind in KINDS)

Mask = NDArray[np.bool_]


def targets(queries: Sequence[Token], keys: Sequence[Token], *, one_text: bool) -> Mask:
    """Which keys each kind of head looks at from each query, [n_kinds, n_query, n_key].

    Between two texts there is no self, no before and no repetition.
    """
    found = {name: np.zeros((len(queries), len(keys)), np.bool_) for name in NAMES}
    found["first"][:, 0] = True
    found["separators"][:, 1:] = [key.special for key in keys[1:]]
    found["punctuation"][:] = [is_punctuation(key) for key in keys]
    if one_text:
        n = len(keys)
        ids = np.array([key.id for key in keys])
        same = ids[:, None] == ids
        same &= np.array([not key.special for key in keys])
        for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
            found[name] = np.eye(n, k=offset, dtype=np.bool_)
        found["duplicate"] = same & ~found["self"]
        # Behind the word itself stands the next one: that is no repetition, nor is the word.
        found["induction"][:, 1:] = same[:, :-1]
        found["induction"] &= ~(found["next"] | found["self"])
    return np.stack([found[name] for name in NAMES])


def is_punctuation(token: Token) -> bool:
    """Signs only, none of them a letter or a digit (Unicode categories P and S)."""
    text = token.text.strip()
    return bool(text) and all(unicodedata.category(sign)[0] in "PS" for sign in text)
