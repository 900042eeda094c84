"""One run of `qkv train`: from a corpus to a model folder that is written while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qkv_cli.cli.output import note
from qkv_cli.cli.progress import below_ctrl_c, counting, watching
from qkv_cli.core.arrays import Array
from qkv_cli.core.finite import unsound_row
from qkv_cli.errors import CheckpointError, TrainingError, UsageError
from qkv_cli.formats.tokenizers.words import WordTokenizer
from qkv_cli.placement import resolved, scratch_folder
from qkv_cli.render.weights import thousandths
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel
from qkv_cli.store.catalogue import find, own
from qkv_cli.store.folder import begin_heads, read_run, remove_earlier, replace_heads, writing
from qkv_cli.training.corpus import Corpus, build_corpus, read_lines
from qkv_cli.training.heads import Shape, as_tensors, centred
from qkv_cli.training.learn import Plan, State, learn, measured, start
from qkv_cli.training.state import read_state, shape_of, state_tensors


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says; what it leaves open is None."""

    corpus: Sequence[str]
    vectors: str
    out: str
    heads: int | None
    d_head: int | None
    epochs: float | None
    minutes: float | None
    batch: int
    rate: float
    seed: int | None


def learn_heads(asked: Asked, *, resume: bool, force: bool) -> str:
    """Learn, write the model, and say what came of it.

    Raises:
        UsageError: The model is there already, or the run to resume had other heads.
        InputError, StoreError, CheckpointError: What is read or written is broken.
    """
    folder = own(asked.out)
    with writing(folder), ExitStack() as stack:
        if folder.exists() and not (resume or force):
            raise UsageError(
                f"{asked.out} already exists: use --resume to continue its run, or --force to "
                "replace it."
            )
        if resume:
            base = folder
        elif Path(asked.vectors).is_file():
            scratch = stack.enter_context(scratch_folder(resolved(folder).parent))
            base = _added(Path(asked.vectors), scratch / folder.name)
        else:
            base = find(asked.vectors)
        return _learn_over(base, folder, asked, resume=resume)


def _learn_over(base: Path, folder: Path, asked: Asked, *, resume: bool) -> str:
    state, seed = read_state(read_run(folder)) if resume else (None, asked.seed or 0)
    loaded = load(base)
    if not isinstance(loaded.tokenizer, WordTokenizer):
        raise UsageError(
            f"{asked.vectors} has no word vectors: `qkv train` needs a word-vector model or file."
        )
    if resume and asked.seed not in (None, seed):
        raise UsageError(f"The run to resume has seed {seed}: leave out --seed {asked.seed}.")
    shape = _shape(asked, loaded.info.d_model, state)
    seconds = asked.minutes and 60 * asked.minutes
    plan = Plan(shape, asked.epochs, seconds, asked.batch, asked.rate, seed)
    note("reading the corpus ...")
    unknown = loaded.info.d_vocab - 1
    corpus = build_corpus(read_lines(asked.corpus), loaded.tokenizer.ids, unknown)
    raw = replace(loaded.model.embed, mean=None)(corpus.types.tolist())
    if unsound_row(raw) is not None:
        raise CheckpointError(
            f"The vectors of {loaded.info.name} contain NaN or infinity, or values too large for "
            "float32."
        )
    old = loaded.model.embed.mean
    mean = raw[corpus.words].mean(axis=0) if state is None or old is None else old
    place = Place(base, folder, _config(loaded, plan, asked, corpus), mean, seed, begun=resume)
    try:
        return _learn(corpus, centred(raw, mean), plan, state or start(plan), place)
    except TrainingError as error:
        if place.begun:
            raise TrainingError(f"{error} {folder} contains the best heads up to then.") from error
        raise


@dataclass
class Place:
    """Where a run is kept."""

    vectors: Path  # the folder whose vectors are read
    folder: Path
    config: dict[str, Any]
    mean: Array  # [d_model]
    seed: int
    begun: bool  # whether the folder holds this run already

    def keep(self, state: State) -> None:
        """The best heads so far as a model, and what the run needs to be gone on with."""
        accuracy = thousandths(state.best_accuracy)
        about = f"Held-out accuracy {accuracy} (one word of six). {self.config['about']}"
        config = self.config | {"about": about}
        heads, run = as_tensors(state.best, self.mean), state_tensors(state, self.seed)
        if self.begun:
            replace_heads(self.folder, config, heads, run)
        else:
            begin_heads(self.vectors, self.folder, config, heads, run)
            self.begun = True

    def finish(self) -> None:
        """Leave the files of the last checkpoint alone in the folder."""
        if self.begun:
            remove_earlier(self.folder)


def _learn(corpus: Corpus, table: Array, plan: Plan, state: State, place: Place) -> str:
    words, elapsed = 0, 0.0
    try:
        with watching() as show:
            for step in learn(corpus, table, plan, state):
                state, words, elapsed = step.state, step.words, step.elapsed
                if step.accuracy is not None:
                    place.keep(state)
                show(step)
    except KeyboardInterrupt:
        below_ctrl_c()
        place.keep(measured(corpus, table, state)[0])
        place.finish()
        note(f"Stopped. {place.folder} contains the best heads so far; --resume continues the run.")
        raise
    place.finish()
    if not words:
        return (
            f"{place.folder} has already been trained this long: give more --epochs or --minutes."
        )
    return (
        f"{place.folder}: {plan.shape.n_heads} heads of size {plan.shape.d_head}, "
        f"{words:,} words in {elapsed:,.0f} s ({words / elapsed:,.0f} words/s).\n"
        f"Held-out accuracy, one word of six: {thousandths(state.best_accuracy)} (chance: .167)."
    )


def _added(vectors: Path, folder: Path) -> Path:
    """A file of vectors as a model folder."""
    from qkv_cli.store.add import add_vectors

    with counting("reading vectors") as advance:
        added = add_vectors(folder, vectors, name=folder.name, advance=advance)
    for message in added.notes:
        note(message)
    return folder


def _shape(asked: Asked, d_model: int, state: State | None) -> Shape:
    if state is None:
        return Shape(d_model, asked.heads or 8, asked.d_head or 16)
    shape = shape_of(state.parameters)
    wanted = (asked.heads or shape.n_heads, asked.d_head or shape.d_head)
    if wanted != (shape.n_heads, shape.d_head):
        raise UsageError(
            f"The run to resume has {shape.n_heads} heads of size {shape.d_head}: "
            "leave out --heads and --d-head, or use --force to start again."
        )
    return shape


def _config(loaded: LoadedModel, plan: Plan, asked: Asked, corpus: Corpus) -> dict[str, Any]:
    info, shape = loaded.info, plan.shape
    called = ", ".join(dict.fromkeys(map(_called, asked.corpus)))
    return {
        "model_type": info.type,
        "name": own(asked.out).name,
        "n_layers": 1,
        "n_heads": shape.n_heads,
        "d_model": shape.d_model,
        "d_head": shape.d_head,
        "d_vocab": info.d_vocab,
        "origin": f"learned on {_amount(corpus.n_words)} words of {called}",
        "about": f"Vectors of {info.name}.",
        "licence": info.licence,
    }


def _called(source: str) -> str:
    return "standard input" if source == "-" else Path(source).name.split(".")[0]


def _amount(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 950_000 else f"{n / 1e3:.0f} k" if n >= 950 else f"{n}"
