"""A training run: from a corpus to a model folder, which is written at every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qkv_cli.atomic_files import resolve_links, scratch_folder
from qkv_cli.core.arrays import Array
from qkv_cli.core.finite import unsound_row
from qkv_cli.errors import CheckpointError, TrainingError, UsageError
from qkv_cli.figures import thousandths
from qkv_cli.formats.tokenizers.words import WordTokenizer
from qkv_cli.session.load import load
from qkv_cli.session.run import LoadedModel
from qkv_cli.store.catalogue import destination, find
from qkv_cli.store.folder import (
    lock_for_writing,
    read_training_state,
    remove_old_checkpoints,
    write_first_checkpoint,
    write_next_checkpoint,
)
from qkv_cli.training.corpus import Corpus, build_corpus, read_lines
from qkv_cli.training.heads import HeadShape, as_tensors, centre_and_scale
from qkv_cli.training.learn import Progress, State, TrainingPlan, evaluate, initial_state, learn
from qkv_cli.training.state import read_state, shape_of, state_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options of a run; None for the value of the run to resume, or the default.

    Attributes:
        corpus: Text files with one sentence per line; `-` is standard input.
        vectors: A model's name or folder, or a file of word vectors.
        out: The name or folder of the new model.
        batch: Words per step.
        rate: The peak learning rate.
    """

    corpus: Sequence[str]
    vectors: str
    out: str
    n_heads: int | None
    d_head: int | None
    epochs: float | None
    minutes: float | None
    batch: int
    rate: float
    seed: int | None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a run.

    Attributes:
        n_words: Words that this run has read; 0 if it had been trained long enough before.
        accuracy: Of the best heads, on held-out sentences.
    """

    folder: Path
    shape: HeadShape
    n_words: int
    seconds: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TrainingWatch:
    """Callbacks for messages and progress; by default, they do nothing.

    Attributes:
        note: Called with notes for the user.
        vectors: Return a context in which to count vectors as they are read: so far, and in all.
        steps: Return a context in which to report each step.
        interrupted: Called after Ctrl-C, before the best heads are saved.
    """

    note: Callable[[str], object] = lambda message: None
    vectors: Callable[[], AbstractContextManager[Callable[[int, int], object]]] = lambda: (
        nullcontext(lambda n_done, n_total: None)
    )
    steps: Callable[[], AbstractContextManager[Callable[[Progress], object]]] = lambda: nullcontext(
        lambda step: None
    )
    interrupted: Callable[[], object] = lambda: None


SILENT = TrainingWatch()


def train_heads(
    options: TrainingOptions, *, resume: bool, force: bool, watch: TrainingWatch = SILENT
) -> TrainingResult:
    """Train heads, and write them as a model folder at every checkpoint.

    Args:
        resume: Continue the run in the folder.
        force: Replace the model in the folder.

    Raises:
        UsageError: The model exists, or the run to resume has other heads.
        InputError, StoreError, CheckpointError: A file cannot be read or written.
        TrainingError: The loss or a parameter is NaN or infinite.
    """
    folder = destination(options.out)
    with lock_for_writing(folder), ExitStack() as stack:
        if folder.exists() and not (resume or force):
            raise UsageError(
                f"{options.out} already exists: use --resume to continue its run, or --force to "
                "replace it."
            )
        if resume:
            base = folder
        elif Path(options.vectors).is_file():
            scratch = stack.enter_context(scratch_folder(resolve_links(folder).parent))
            base = _add_vectors(Path(options.vectors), scratch / folder.name, watch)
        else:
            base = find(options.vectors)
        return _train(base, folder, options, watch, resume=resume)


def _train(
    base: Path, folder: Path, options: TrainingOptions, watch: TrainingWatch, *, resume: bool
) -> TrainingResult:
    state, seed = read_state(read_training_state(folder)) if resume else (None, options.seed or 0)
    loaded = load(base)
    if not isinstance(loaded.tokenizer, WordTokenizer):
        raise UsageError(
            f"{options.vectors} has no word vectors: `qkv train` needs a word-vector model or file."
        )
    if resume and options.seed not in (None, seed):
        raise UsageError(f"The run to resume has seed {seed}: leave out --seed {options.seed}.")
    shape = _shape(options, loaded.info.d_model, state)
    seconds = options.minutes and 60 * options.minutes
    plan = TrainingPlan(
        shape=shape,
        epochs=options.epochs,
        seconds=seconds,
        batch=options.batch,
        rate=options.rate,
        seed=seed,
    )
    watch.note("reading the corpus ...")
    unknown_id = loaded.info.d_vocab - 1
    corpus = build_corpus(read_lines(options.corpus), loaded.tokenizer.ids, unknown_id)
    rows = replace(loaded.model.embed, mean=None)(corpus.types.tolist())
    if unsound_row(rows) is not None:
        raise CheckpointError(
            f"The vectors of {loaded.info.name} contain NaN or infinity, or values too large for "
            "float32."
        )
    saved_mean = loaded.model.embed.mean
    mean = rows[corpus.unigrams].mean(axis=0) if state is None or saved_mean is None else saved_mean
    config = _config(loaded, plan, options, corpus)
    checkpoints = Checkpoints(
        vectors=base, folder=folder, config=config, mean=mean, seed=seed, has_begun=resume
    )
    try:
        return _learn(
            corpus,
            centre_and_scale(rows, mean),
            plan,
            state or initial_state(plan),
            checkpoints,
            watch,
        )
    except TrainingError as error:
        if checkpoints.has_begun:
            raise TrainingError(f"{error} {folder} contains the best heads up to then.") from error
        raise


@dataclass
class Checkpoints:
    """Writes the best heads of a run, and the state that a later run needs to resume it."""

    vectors: Path  # the folder with the vectors
    folder: Path
    config: dict[str, Any]
    mean: Array  # [d_model]
    seed: int
    has_begun: bool  # whether the folder contains a checkpoint of this run

    def write(self, state: State) -> None:
        """Write a checkpoint: the best heads so far as a model, and the state of the run."""
        accuracy = thousandths(state.best_accuracy)
        description = f"Held-out accuracy {accuracy} (one word of six). {self.config['about']}"
        config = self.config | {"about": description}
        heads, run = as_tensors(state.best, self.mean), state_tensors(state, self.seed)
        if self.has_begun:
            write_next_checkpoint(self.folder, config, heads, run)
        else:
            write_first_checkpoint(self.vectors, self.folder, config, heads, run)
            self.has_begun = True

    def finish(self) -> None:
        """Remove the files of earlier checkpoints."""
        if self.has_begun:
            remove_old_checkpoints(self.folder)


def _learn(
    corpus: Corpus,
    table: Array,
    plan: TrainingPlan,
    state: State,
    checkpoints: Checkpoints,
    watch: TrainingWatch,
) -> TrainingResult:
    n_words, seconds = 0, 0.0
    try:
        with watch.steps() as report:
            for step in learn(corpus, table, plan, state):
                state, n_words, seconds = step.state, step.n_words, step.elapsed
                if step.accuracy is not None:
                    checkpoints.write(state)
                report(step)
    except KeyboardInterrupt:
        watch.interrupted()
        checkpoints.write(evaluate(corpus, table, state)[0])
        checkpoints.finish()
        watch.note(
            f"Stopped. {checkpoints.folder} contains the best heads so far; "
            "--resume continues the run."
        )
        raise
    checkpoints.finish()
    return TrainingResult(
        folder=checkpoints.folder,
        shape=plan.shape,
        n_words=n_words,
        seconds=seconds,
        accuracy=state.best_accuracy,
    )


def _add_vectors(vectors: Path, folder: Path, watch: TrainingWatch) -> Path:
    """Convert a file of vectors into a model folder."""
    from qkv_cli.store.add import add_vectors

    with watch.vectors() as advance:
        result = add_vectors(folder, vectors, name=folder.name, advance=advance)
    for message in result.notes:
        watch.note(message)
    return folder


def _shape(options: TrainingOptions, d_model: int, state: State | None) -> HeadShape:
    if state is None:
        return HeadShape(d_model, options.n_heads or 8, options.d_head or 16)
    shape = shape_of(state.parameters)
    requested = (options.n_heads or shape.n_heads, options.d_head or shape.d_head)
    if requested != (shape.n_heads, shape.d_head):
        raise UsageError(
            f"The run to resume has {shape.n_heads} heads of size {shape.d_head}: "
            "leave out --heads and --d-head, or use --force to start again."
        )
    return shape


def _config(
    loaded: LoadedModel, plan: TrainingPlan, options: TrainingOptions, corpus: Corpus
) -> dict[str, Any]:
    info, shape = loaded.info, plan.shape
    names = ", ".join(dict.fromkeys(map(_source_name, options.corpus)))
    return {
        "model_type": info.type,
        "name": destination(options.out).name,
        "n_layers": 1,
        "n_heads": shape.n_heads,
        "d_model": shape.d_model,
        "d_head": shape.d_head,
        "d_vocab": info.d_vocab,
        "origin": f"learned on {_rounded(corpus.n_words)} words of {names}",
        "about": f"Vectors of {info.name}.",
        "licence": info.licence,
    }


def _source_name(source: str) -> str:
    return "standard input" if source == "-" else Path(source).name.split(".")[0]


def _rounded(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 950_000 else f"{n / 1e3:.0f} k" if n >= 950 else f"{n}"
