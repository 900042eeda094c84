"""Opening models and computing head maps, with notes and progress on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qkv_cli.cli.output import note, note_about, report_unknown
from qkv_cli.cli.progress import count_layers, report_activity
from qkv_cli.maps.compute import Watch

if TYPE_CHECKING:
    from qkv_cli.core.block import LayerTrace
    from qkv_cli.core.tokens import Token
    from qkv_cli.session.run import LoadedModel


class StderrWatch(Watch):
    """Writes notes, unknown words and progress on stderr."""

    def note(self, message: str) -> None:
        note(message)

    def reading(self, model: str) -> None:
        report_activity(f"{model}: reading the text")

    def layers(
        self, layers: Iterator[LayerTrace], n_layers: int, model: str
    ) -> Iterator[LayerTrace]:
        return count_layers(layers, n_layers, model)

    def tokens(self, tokens: Iterable[Token], model: str) -> None:
        report_unknown(tokens, model)


class StudyWatch(StderrWatch):
    """Counts the readings, and collects the unknown words of all texts to report them once."""

    def __init__(self) -> None:
        self.unknown: dict[str, Token] = {}
        self.n_readings = 0

    def reading(self, model: str) -> None:
        self.n_readings += 1
        report_activity(f"{model}: reading {self.n_readings}")

    def layers(
        self, layers: Iterator[LayerTrace], n_layers: int, model: str
    ) -> Iterator[LayerTrace]:
        return count_layers(layers, n_layers, f"{model}: reading {self.n_readings}")

    def tokens(self, tokens: Iterable[Token], model: str) -> None:
        self.unknown |= {token.text: token for token in tokens if token.unknown}


WATCH = StderrWatch()


def open_model(name: str, *, random_heads: int | None = None) -> LoadedModel:
    """Open a model by its name or path, and write its notes on stderr.

    Args:
        random_heads: See `load`.
    """
    from qkv_cli.session.load import load
    from qkv_cli.store.catalogue import find

    report_activity(f"opening {name}")
    loaded = load(find(name), random_heads=random_heads)
    note_about(loaded.info)
    return loaded
