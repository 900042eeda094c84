"""Heads that follow known rules, and a reader for `study` that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qkv_cli.analysis.measure import is_punctuation
from qkv_cli.core.attention import softmax
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token
from qkv_cli.maps.compute import repeated, sampled, shuffled
from qkv_cli.maps.head_maps import HeadMap, HeadMaps

INFO = ModelInfo("made", "made", 2, 4, 4, 2, 1000, "made in a test")
# From tokens to scores, [n_query, n_key].
Rule = Callable[[Sequence[Token]], np.ndarray]


class Words:
    """[CLS], a token a word, [SEP]; the same word has the same id."""

    def encode(self, text: str) -> list[Token]:
        words = text.split()
        ids = {word: 10 + at for at, word in enumerate(dict.fromkeys(words))}
        tokens = [Token(0, "", "[CLS]", 1, 0, 0, special=True)]
        for word in words:
            start = tokens[-1].end + (len(tokens) > 1)
            tokens.append(Token(len(tokens), word, word, ids[word], start, start + len(word)))
        end = len(text)
        return [*tokens, Token(len(tokens), "", "[SEP]", 2, end, end, special=True)]


def head_maps(tokens: Sequence[Token], scores: Sequence[np.ndarray], layer: int = 0) -> HeadMaps:
    """One layer's heads of given scores over one text."""
    maps = [
        HeadMap(f"L{layer}H{head}", "self", layer, head, softmax(s), s, mask=s > -np.inf)
        for head, s in enumerate(scores)
    ]
    return HeadMaps(INFO, "softmax", False, "text", None, tokens, tokens, maps)


def reader(layers: Sequence[Sequence[Rule]], seed: int = 0) -> Callable[..., Iterator[HeadMaps]]:
    """A reader for `study`: a model of heads that follow rules."""
    rng = np.random.default_rng(seed)
    orders = {
        "as written": lambda tokens: tokens,
        "shuffled": lambda tokens: shuffled(tokens, rng),
        "twice": lambda tokens: repeated(tokens, rng),
        "sampled": lambda tokens: sampled(tokens, rng),
    }

    def read(text: str, order: str) -> Iterator[HeadMaps]:
        tokens = orders[order](Words().encode(text))
        for layer, rules in enumerate(layers):
            yield head_maps(tokens, [rule(tokens) for rule in rules], layer)

    return read


def looking(choose: Callable[[Sequence[Token], int, int], bool], strength: float = 5.0) -> Rule:
    """A head that attends to the keys j that `choose(tokens, i, j)` names, and else evenly."""

    def rule(tokens: Sequence[Token]) -> np.ndarray:
        n = len(tokens)
        return strength * np.array(
            [[float(choose(tokens, i, j)) for j in range(n)] for i in range(n)]
        )

    return rule


def of_kind(name: str) -> Rule:
    """A head that attends to the keys of a kind: an independent, slow definition."""
    repeated = {"duplicate": 0, "induction": 1}
    if name in repeated:
        back = repeated[name]
        return looking(
            lambda t, i, j: (
                j - back not in (i, -1)
                and j != i
                and t[j - back].id == t[i].id
                and not t[i].special
            )
        )
    return looking(
        {
            "self": lambda t, i, j: i == j,
            "previous": lambda t, i, j: j == i - 1,
            "next": lambda t, i, j: j == i + 1,
            "first": lambda t, i, j: j == 0,
            "separators": lambda t, i, j: t[j].token == "[SEP]",
            "punctuation": lambda t, i, j: is_punctuation(t[j]),
        }[name]
    )


def causal(rule: Rule) -> Rule:
    """The same head with a causal mask."""

    def masked(tokens: Sequence[Token]) -> np.ndarray:
        scores = rule(tokens)
        return np.where(np.tril(np.ones_like(scores)) > 0, scores, -np.inf)

    return masked
