"""Descriptions of models for `qkv models show`: shape, origin, size, checksums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from qkv_cli.atomic_files import read_whole
from qkv_cli.core.arrays import is_buffer
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.model import Model, Stack
from qkv_cli.formats.gguf_parts import present_parts
from qkv_cli.session.load import gguf_in, hub_name, provenance, read_model, stored_folder
from qkv_cli.store.catalogue import EMBEDDED, find, size
from qkv_cli.store.folder import PROVENANCE, sha256

_WEIGHTS = ("*.safetensors", "model*.bin")


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a model.

    Attributes:
        layers: The number of layers of each stack.
        positions: How positions enter the model.
        n_tensors, n_parameters: In the files, including task heads.
        weights: The files of weights.
    """

    info: ModelInfo
    path: Path
    layers: Mapping[str, int]
    n_kv_heads: int
    positions: str
    n_tensors: int
    n_parameters: int
    n_bytes: int
    source: str
    weights: Sequence[Path]

    def checksums(self) -> dict[str, str]:
        """Return the sha256 of each file of weights, which are read as a whole."""
        return {path.name: sha256(path) for path in self.weights}


def describe(name: str) -> Description:
    """Describe a model, given its name or path; the numbers of its tensors are not read.

    Raises:
        StoreError: There is no such model.
        CheckpointError: It cannot be read.
    """
    folder = find(name)
    return read_whole(folder, _describe)


def _describe(folder: Path) -> Description:
    info, model = read_model(folder)
    tensors = stored_folder(folder)
    n_parameters = sum(prod(t.shape) for t in tensors.values() if not is_buffer(t))
    [*_, stack] = model.stacks.values()
    block = stack.blocks[0]
    attn = block.attn or block.cross
    assert attn is not None  # or it would not have been read
    gguf = gguf_in(folder)
    weight_files = {path for pattern in _WEIGHTS for path in folder.glob(pattern)}
    weights = sorted(weight_files) if gguf is None else present_parts(gguf)
    return Description(
        info=info,
        path=folder,
        layers={kind: len(s.blocks) for kind, s in model.stacks.items()},
        n_kv_heads=attn.k.d_out // attn.d_head,
        positions=positions(model),
        n_tensors=len(tensors),
        n_parameters=n_parameters,
        n_bytes=size(folder),
        source=_source(folder),
        weights=weights,
    )


def positions(model: Model) -> str:
    """Describe how positions enter: added to token vectors or scores, or by rotation of q and k."""
    schemes = [
        f"absolute embeddings, {len(places.positions):,} positions"
        for places in model.positions.values()
        if places.positions is not None
    ]
    for stack in model.stacks.values():
        schemes += _of_stack(stack)
    return "; ".join(dict.fromkeys(schemes)) or "none"


def _of_stack(stack: Stack) -> list[str]:
    blocks = list(stack.blocks)
    schemes: list[str] = []
    rotary = sum(block.attn is not None and block.attn.rotary is not None for block in blocks)
    if rotary:
        schemes.append("rotary" if rotary == len(blocks) else f"rotary in {rotary} layers")
    if any(block.attn is not None and block.attn.relative is not None for block in blocks):
        schemes.append("terms of q and k with relative positions")
    if stack.alibi is not None:
        schemes.append("ALiBi, a bias that decreases with distance")
    tables = [b for b in (stack.buckets, *(block.buckets for block in blocks)) if b is not None]
    if tables:
        schemes.append(f"a bias for each of {len(tables[0].table)} buckets of distances")
    if stack.offsets is not None:
        schemes.append(f"a bias for each offset up to {len(stack.offsets) // 2}")
    if any(block.recurrent is not None for block in blocks):
        schemes.append("recurrent decoder")
    windows = [block.window for block in blocks if block.window is not None]
    if windows:
        where = "every layer" if len(windows) == len(blocks) else f"{len(windows)} layers"
        schemes.append(f"a window of {min(windows):,} tokens in {where}")
    return schemes


def _source(folder: Path) -> str:
    if (folder / PROVENANCE).is_file():
        return provenance(folder).text("source", "")
    if folder.parent == EMBEDDED:
        return "ships with qkv"
    name = hub_name(folder)
    return "" if name is None else f"https://huggingface.co/{name}"
