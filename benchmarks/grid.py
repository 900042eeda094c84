"""What the grid of a checkpoint's 72 heads costs beyond reading the text once, in processor time,
which is the same on a busy machine: the picture, and the shuffled readings behind its marks.

Pull it first: `qkv models pull minilm`.

    .venv/bin/python benchmarks/grid.py [--runs N]
"""

from __future__ import annotations

import argparse
import time

from qkv_cli.analysis.study import find_marks
from qkv_cli.cli.output import Look
from qkv_cli.maps.compute import OrderedReader, head_maps
from qkv_cli.render.terminal.grid import Thumbnails
from qkv_cli.session.load import LoadedModel, load
from qkv_cli.session.run import Reading
from qkv_cli.store.catalogue import find

TEXTS = (
    "The animal didn't cross the street because it was too tired",
    " ".join(["the fisherman sat on the bank of the river and watched the boat"] * 9),
)
LIMIT = 0.2  # seconds
N_SHUFFLES = 4
LOOK = Look("always", background="dark", width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="the quickest of so many counts")
    runs = parser.parse_args().runs
    loaded, kept = load(find("minilm")), True
    for text in TEXTS:
        times = zip(*(measured(loaded, text) for _ in range(runs)), strict=True)
        reading, marking, drawing = (min(each) for each in times)
        fits = marking + drawing <= LIMIT
        kept &= fits
        print(f"qkv grid -m minilm ({len(text.split())} words): {reading:.3f} s to read the text,")
        print(f"  {marking:.3f} s for the marks, {drawing:.3f} s for the picture")
        print(f"  (together at most {LIMIT} s): {'kept' if fits else 'MISSED'}")
    if not kept:
        raise SystemExit(1)


def measured(loaded: LoadedModel, text: str) -> tuple[float, float, float]:
    """Seconds of the processor for the reading, the marks and the picture."""
    at = [time.process_time()]
    maps = head_maps(loaded, text, Reading(), layers=["all"])
    at.append(time.process_time())
    found = find_marks(text, OrderedReader(loaded, Reading(), ["all"], []), N_SHUFFLES)
    at.append(time.process_time())
    LOOK.text(lambda theme: Thumbnails(maps, theme, found, N_SHUFFLES))
    at.append(time.process_time())
    return at[1] - at[0], at[2] - at[1], at[3] - at[2]


if __name__ == "__main__":
    main()
