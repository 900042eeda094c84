"""Texts read as they are written, and with their words in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qkv_cli.analysis.measure import repeated, sampled, shuffled
from qkv_cli.cli.maps import note_idle, opened
from qkv_cli.errors import UsageError
from qkv_cli.maps.head_maps import HeadMaps, Selection, select

if TYPE_CHECKING:
    from qkv_cli.analysis.study import Order
    from qkv_cli.cli.maps import Reading
    from qkv_cli.core.tokens import Token
    from qkv_cli.session.run import LoadedModel

SEED = 0  # of the orders and the chances that are drawn: the same figures every time


class Reader:
    """Reads texts in the orders that a study asks for; every token, whatever is to be seen.

    Attributes:
        about: The model and how it read, without a text.
        unknown: The words that the model does not know.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        reading: Reading,
        layers: Sequence[str],
        heads: Sequence[str],
    ) -> None:
        rng = np.random.default_rng(SEED)
        if loaded.translates and reading.source is None:
            if reading.block not in (None, "encoder"):
                raise UsageError(
                    f"--block {reading.block} needs --source TEXT here: without it, shuffling the "
                    "input would change the generated text."
                )
            reading = replace(reading, block="encoder")
        self.reading, self.layers, self.heads = reading, layers, heads
        self.loaded: dict[Order, LoadedModel] = {
            "as written": loaded,
            "shuffled": reordered(loaded, lambda tokens: shuffled(tokens, rng)),
            "twice": reordered(loaded, lambda tokens: repeated(tokens, rng)),
            "sampled": reordered(loaded, lambda tokens: sampled(tokens, rng)),
        }
        self.about = HeadMaps(
            loaded.info, reading.weighting, reading.causal, "", reading.source, (), (), ()
        )
        self.unknown: dict[str, Token] = {}

    def __call__(self, text: str, order: Order) -> Iterator[HeadMaps]:
        """The chosen heads, a layer at a time."""
        asked = self.reading
        run = opened(self.loaded[order], text, replace(asked, pair=None))
        n_layers, n_heads = run.shape
        chosen = Selection.parse(self.layers, self.heads, n_layers=n_layers, n_heads=n_heads)
        model = run.describe(self.about.model)
        self.about = replace(self.about, model=model, causal=run.causal, ablated=run.ablated)
        if order == "as written":
            note_idle(run, chosen)
            self.unknown |= {t.text: t for t in (*run.queries, *run.keys) if t.unknown}
        read = replace(self.about, text=text, queries=run.queries, keys=run.keys)
        for layer in run.layers:
            if heads := chosen.heads.get(layer.index):
                only = Selection([(layer.index, head) for head in heads])
                yield replace(read, maps=select([layer], only, run.block))
            if layer.index == max(chosen.heads):
                break


def reordered(loaded: LoadedModel, order: Callable[[list[Token]], list[Token]]) -> LoadedModel:
    """The same model, reading the tokens of a text in another order, and taught them so."""
    target = None if loaded.target is None else Reordered(loaded.target, order)
    return replace(loaded, tokenizer=Reordered(loaded.tokenizer, order), target=target)


@dataclass(frozen=True, slots=True)
class Reordered:
    """A tokenizer whose tokens come in another order, each with the place that it had."""

    of: Any
    order: Callable[[list[Token]], list[Token]]

    def encode(self, text: str) -> list[Token]:
        return self.order(self.of.encode(text))

    def special(self, id: int) -> Token:
        token: Token = self.of.special(id)
        return token

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[Token]]:
        found: tuple[str, list[Token]] = self.of.spelled(ids)
        return found
