"""Opening model folders: the model, its tokenizer, and information about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.atomic_files import read_whole
from qkv_cli.checkpoints.adapters import build
from qkv_cli.checkpoints.adapters import draw_random_heads as draw_random_heads
from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Stored
from qkv_cli.core.finite import Weights
from qkv_cli.core.generate import Rules
from qkv_cli.core.info import ModelInfo, StackInfo
from qkv_cli.core.model import Model, Stack
from qkv_cli.errors import CheckpointError, UsageError
from qkv_cli.formats.folder import WEIGHTS, named_file, open_checkpoint, read_json
from qkv_cli.formats.gguf_parts import is_gguf, model_name, without_later_parts
from qkv_cli.formats.ngrams import NGRAMS, unpack_ngrams
from qkv_cli.formats.safetensors import open_arrays
from qkv_cli.formats.tokenizers.words import WordTokenizer, unpack_cut_ids, unpack_words
from qkv_cli.session.run import LoadedModel

FILES = ("tokenizer.json", "vectors.safetensors")  # of vectors, and the heads' weights


def load(folder: Path, *, random_heads: int | None = None) -> LoadedModel:
    """Open a model folder. Tensors are memory-mapped and read when they are used.

    Args:
        random_heads: Replace the learned heads by random ones with this seed.

    Raises:
        CheckpointError: A file or tensor is missing, corrupt or not implemented.
        UsageError: Only word-vector models can have random heads.
    """
    return read_whole(folder, partial(_open, random_heads=random_heads))


def _open(folder: Path, random_heads: int | None) -> LoadedModel:
    gguf, marian = gguf_in(folder), _marian(folder)
    config = {} if gguf or marian else _config_of(folder)
    if config.get("model_type") == "word-vectors":
        return _load_vectors(folder, config, random_heads)
    if random_heads is not None:
        raise UsageError("--random-heads needs a word-vector model.")
    if gguf is not None:
        return _load_gguf(gguf)
    if marian is not None:
        return _load_marian(marian)

    model, notes = _built(config, open_checkpoint(folder))
    info = _checkpoint_info(folder, config, model, notes)
    if len(model.stacks) == 1:
        from qkv_cli.formats.tokenizers.pieces import PieceTokenizer

        return LoadedModel(model, PieceTokenizer.open(folder, info.type), info)
    return _encoder_decoder(folder, config, model, info)


def _encoder_decoder(
    folder: Path, config: dict[str, Any], model: Model, info: ModelInfo
) -> LoadedModel:
    from qkv_cli.formats.tokenizers.translators import (
        decoder_start_id,
        generation_rules,
        open_tokenizers,
    )

    source, target = open_tokenizers(folder, info.type)
    n_tokens = len((model.decoder_embed or model.embed).table)
    rules = None if model.unembed is None else generation_rules(folder, config, n_tokens)
    return LoadedModel(
        model=model,
        tokenizer=source,
        info=info,
        target=target,
        start=decoder_start_id(config, n_tokens),
        rules=rules,
    )


def read_info(folder: Path) -> ModelInfo:
    """Return information about a folder's model, without reading a tensor."""
    if _is_vectors(folder):
        return _info(folder, _config_of(folder), None)
    return read_model(folder)[0]


def read_model(folder: Path) -> tuple[ModelInfo, Model]:
    """Return a folder's model and information about it, without opening its tokenizer."""
    if gguf_in(folder) or _marian(folder) or _is_vectors(folder):
        loaded = load(folder)
        return loaded.info, loaded.model
    config = _config_of(folder)
    model, notes = _built(config, open_checkpoint(folder))
    return _checkpoint_info(folder, config, model, notes), model


def stored_folder(folder: Path) -> Mapping[str, Stored]:
    """Return the tensors of a folder's model by name, memory-mapped."""
    if (path := gguf_in(folder)) is not None:
        from qkv_cli.formats.gguf import open_gguf

        return open_gguf(path).tensors
    if (path := _marian(folder)) is not None:
        from qkv_cli.formats.marian import open_marian

        return open_marian(path)[1]
    if not _is_vectors(folder):
        return open_checkpoint(folder)
    weights = named_file(folder, _config_of(folder), "weights", WEIGHTS)
    tensors = open_arrays(folder / "vectors.safetensors") | open_arrays(weights)
    return {name: tensor for name, tensor in tensors.items() if "words." not in name}


def _is_vectors(folder: Path) -> bool:
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("model_type") == "word-vectors"


def gguf_in(path: Path) -> Path | None:
    """Return the GGUF file at a path or in a folder without config.json, or a part of it."""
    if not path.is_dir() or (path / "config.json").is_file():
        return path if is_gguf(path) else None
    files = without_later_parts(file for file in path.iterdir() if is_gguf(file))
    if len(files) > 1:
        raise CheckpointError(
            f"{path} contains {len(files)} GGUF files: give the path of one of them, "
            f"{', '.join(p.name for p in files)}."
        )
    return files[0] if files else None


def _marian(folder: Path) -> Path | None:
    """Return the Marian model in a folder without config.json, if there is one."""
    if not folder.is_dir() or (folder / "config.json").is_file():
        return None
    files = sorted(folder.glob("model*.bin"))
    return files[0] if len(files) == 1 else None


def _load_marian(path: Path) -> LoadedModel:
    from tokenizers.processors import TemplateProcessing

    from qkv_cli.formats.marian import open_marian
    from qkv_cli.formats.tokenizers.pieces import PieceTokenizer

    settings, tensors = open_marian(path)
    config = settings | {"model_type": "marian-binary"}
    model, _ = _built(config, tensors)
    tokenizer = PieceTokenizer.open(path.parent, "marian-binary")
    end, end_token = 0, tokenizer.inner.id_to_token(0)
    tokenizer.inner.post_processor = TemplateProcessing(
        single=f"$A {end_token}", special_tokens=[(end_token, end)]
    )
    info = _checkpoint_info(path.parent, config, model)
    rules = partial(Rules, info.d_vocab, (end,))
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        info=info,
        target=tokenizer,
        start=info.d_vocab,
        rules=rules,
    )


def _load_gguf(path: Path) -> LoadedModel:
    from qkv_cli.formats.gguf import open_gguf
    from qkv_cli.formats.tokenizers.pieces import PieceTokenizer

    gguf = open_gguf(path)
    model, _ = _built(gguf.config, gguf.tensors)
    info = _checkpoint_info(path.parent, gguf.config, model)
    if not (path.parent / "source.json").is_file():
        info = replace(info, name=model_name(path))
    return LoadedModel(model, PieceTokenizer(gguf.tokenizer, None), info)


def _config_of(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}."
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is not a model folder: it has no config.json.")
    return read_json(folder / "config.json")


def _built(config: dict[str, Any], tensors: Mapping[str, Stored]) -> tuple[Model, tuple[str, ...]]:
    """Build a model, and return it with notes for the user."""
    kind, notes, weights = config.get("model_type"), list[str](), Weights(tensors)
    if config.get("auto_map"):
        notes.append(
            "config.json refers to custom code (auto_map), which qkv does not run; the results are "
            f"those of transformers' own class for {kind}, and the custom code may differ."
        )
    with np.errstate(all="ignore"):  # NaN and infinity are refused when the model runs
        model = build(config, Tensors(weights), notes.append)
    return model.with_weights(weights), tuple(notes)


def _load_vectors(folder: Path, config: dict[str, Any], random_heads: int | None) -> LoadedModel:
    weights = named_file(folder, config, "weights", WEIGHTS)
    missing = [name for name in (*FILES, weights.name) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} is not a model folder: it has no {' and no '.join(missing)}."
        )
    vectors = open_arrays(folder / "vectors.safetensors")
    lists = {name: vectors.pop(name) for name in list(vectors) if "words." in name}
    words, cut_ids = unpack_words(lists), unpack_cut_ids(lists)
    tensors = vectors | open_arrays(weights)
    info = _info(folder, config, random_heads)
    _check_vocabulary(folder, len(words), tensors)
    model = _built(config, tensors)[0]
    if random_heads is not None:  # with the shape of the learned heads
        model = _built(config, tensors | draw_random_heads(config, random_heads))[0]
    tokenizer = WordTokenizer.open(folder / "tokenizer.json", words, cut_ids)
    ngrams = None
    if (folder / NGRAMS).is_file():
        ngrams = unpack_ngrams(open_arrays(folder / NGRAMS), info.d_model)
    return LoadedModel(model, tokenizer, info, ngrams=ngrams)


def _checkpoint_info(
    folder: Path, config: dict[str, Any], model: Model, notes: tuple[str, ...] = ()
) -> ModelInfo:
    """Return information about a checkpoint, with its shape from the tensors."""
    [*_, stack] = model.stacks.values()
    attn = stack.blocks[0].attn or stack.blocks[0].cross
    assert attn is not None
    source = provenance(folder)
    return ModelInfo(
        name=hub_name(folder) or source.text("name", "") or folder.resolve().name,
        type=str(config["model_type"]),
        n_layers=len(stack.blocks),
        n_heads=attn.n_heads,
        d_model=attn.q.d_in,
        d_head=attn.d_head,
        d_vocab=len(model.embed.table),
        origin="from the checkpoint",
        about=source.text("about", ""),
        licence=source.text("licence", ""),
        notes=notes,
        stacks={kind: _stack_info(layer_stack) for kind, layer_stack in model.stacks.items()},
    )


def provenance(folder: Path) -> Config:
    """Return a checkpoint's source.json, which `qkv models pull` writes; empty if there is none."""
    path = folder / "source.json"
    return Config(read_json(path) if path.is_file() else {}, place=str(path))


def _stack_info(stack: Stack) -> StackInfo:
    attn = stack.blocks[0].attn or stack.blocks[0].cross
    assert attn is not None
    return StackInfo(len(stack.blocks), attn.n_heads, attn.d_head)


def hub_name(folder: Path) -> str | None:
    """Return the hub id of a folder in the Hugging Face cache; None for other folders."""
    repository = folder.parent.parent.name
    return (
        repository.removeprefix("models--").replace("--", "/") if "models--" in repository else None
    )


def _info(folder: Path, values: dict[str, Any], random_heads: int | None) -> ModelInfo:
    config = Config(values, place=str(folder / "config.json"))
    n_heads, d_head = config.size("n_heads"), config.size("d_head")
    origin = config.text("origin")
    return ModelInfo(
        name=config.text("name", "") or folder.name,
        type="word-vectors",
        n_layers=config.size("n_layers", maximum=1),
        n_heads=n_heads,
        d_model=config.size("d_model"),
        d_head=d_head,
        d_vocab=config.size("d_vocab"),
        origin=origin if random_heads is None else f"random (seed {random_heads}), untrained",
        about=config.text("about", ""),
        licence=config.text("licence", ""),
        stacks={"encoder": StackInfo(1, n_heads, d_head)},
    )


def _check_vocabulary(folder: Path, n_words: int, tensors: dict[str, NDArray[Any]]) -> None:
    """Check that there is a row for each word, and one for unknown words."""
    rows = np.shape(tensors.get("embed.weight", ()))
    if rows[:1] != (n_words + 1,):
        raise CheckpointError(
            f"embed.weight in {folder} has shape {list(rows)}; expected {n_words + 1} rows: one "
            f"for each of its {n_words} words, and one for unknown words."
        )
