"""Patterns of qkv and of transformers, both float32, beside transformers in float64.

PYTHON is an interpreter that has torch and transformers; qkv is read from the clone. Pull the
published models first: `qkv models pull minilm smollm2`. The others are random checkpoints, with
weights large enough that their patterns are not flat.

    PYTHONPATH=. PYTHON benchmarks/exactness.py [--lengths 32,128,...] [MODEL ...]
"""

from __future__ import annotations

import argparse
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.overrides import TorchFunctionMode

from qkv_cli.core.arrays import float32
from qkv_cli.core.model import Model
from qkv_cli.formats.gguf import open_gguf
from qkv_cli.session.load import gguf_in, load, read_model
from qkv_cli.store.catalogue import find

LENGTHS = "32,128,512,650,1024,2048"
PROSE = Path(__file__).parents[1] / "sample_texts" / "prose.txt"
SHAPE = {"vocab_size": 1000, "initializer_range": 0.1, "bos_token_id": 1, "eos_token_id": 2}
RANDOM = {
    "llama": transformers.LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        **SHAPE,
    ),
    "gpt2": transformers.GPT2Config(n_positions=4096, n_embd=256, n_layer=8, n_head=8, **SHAPE),
    "t5": transformers.T5Config(d_model=256, d_kv=32, d_ff=512, num_layers=4, vocab_size=1000),
}
Pattern = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A model of ours and how to make the same one of transformers, in torch's default type."""

    model: Model
    make: Callable[[], Any]
    ids: list[int]  # repeated as far as they are wanted
    n_most: int


class Watched(TorchFunctionMode):
    """Report the result of every softmax over a text; in float64, do no step in float32.

    transformers' classes compute softmax, RMSNorm and rotary angles in float32, whatever the type
    of the model.
    """

    def __init__(self, seen: Callable[[Pattern], None], *, double: bool) -> None:
        super().__init__()
        self.seen, self.double = seen, double

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.double:
            func = torch.Tensor.double if func is torch.Tensor.float else func
            args = [torch.float64 if arg is torch.float32 else arg for arg in args]
            kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}
        result = func(*args, **kwargs)
        if func in (torch.nn.functional.softmax, torch.softmax) and result.ndim == 4:
            self.seen(result[0].numpy())
        return result


def theirs(case: Case, ids: list[int], *, double: bool) -> Iterator[Pattern]:
    """Each layer's pattern as transformers computes it, one layer ahead of who takes them."""
    layers: queue.Queue[Pattern | None] = queue.Queue(maxsize=1)

    def run() -> None:
        try:
            with Watched(layers.put, double=double), torch.no_grad():
                model = case.make()
                model = (model.double() if double else model.float()).eval()
                given = {"input_ids": torch.tensor([ids])}
                if model.config.is_encoder_decoder:
                    given["decoder_input_ids"] = given["input_ids"]
                model(**given)
        finally:
            layers.put(None)

    threading.Thread(target=run, daemon=True).start()
    while (layer := layers.get()) is not None:
        yield layer


def ours(case: Case, ids: list[int]) -> Iterator[Pattern]:
    decoder_ids = ids if len(case.model.stacks) == 2 else []
    for layer in case.model.layers(ids, decoder_ids):
        for trace in (layer.attn, layer.cross):
            if trace is not None:
                yield trace.pattern()


def compare(case: Case, n_tokens: int) -> list[float]:
    """The largest difference of a weight: ours and theirs from float64, ours from theirs."""
    ids = (case.ids * (n_tokens // len(case.ids) + 1))[:n_tokens]
    worst = [0.0, 0.0, 0.0]
    both = theirs(case, ids, double=True), theirs(case, ids, double=False)
    for mine, exact, single in zip(ours(case, ids), *both, strict=True):
        for i, (a, b) in enumerate(((mine, exact), (single, exact), (mine, single))):
            worst[i] = max(
                worst[i], max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))
            )
    return worst


def eager(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder, attn_implementation="eager")


def published(name: str) -> Case:
    folder = find(name)
    loaded = load(folder)
    ids = [t.id for t in loaded.tokenizer.encode(PROSE.read_text()) if not t.special]
    if (path := gguf_in(folder)) is None:
        config = transformers.AutoConfig.from_pretrained(folder)
        return Case(loaded.model, partial(eager, folder), ids, config.max_position_embeddings)
    opened = open_gguf(path)
    tensors = {n: float32(t) for n, t in opened.tensors.items()}
    config = transformers.LlamaConfig(
        **opened.config, vocab_size=len(loaded.model.embed.table), attn_implementation="eager"
    )

    def unpacked() -> Any:
        model = transformers.LlamaForCausalLM(config)
        state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
        wrong = model.load_state_dict(state, strict=False)
        assert not wrong.unexpected_keys and set(wrong.missing_keys) <= {"lm_head.weight"}
        return model.model

    return Case(loaded.model, unpacked, ids, config.max_position_embeddings)


def random(name: str, folder: Path) -> Case:
    torch.manual_seed(0)
    config = RANDOM[name]
    config.architectures = None
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    ids = np.random.default_rng(0).integers(3, 1000, 4096).tolist()
    return Case(read_model(folder)[1], partial(eager, folder), ids, 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["minilm", "smollm2", *RANDOM])
    parser.add_argument("--lengths", default=LENGTHS, help="in tokens")
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print("model     tokens  qkv - float64  transformers - float64  qkv - transformers")
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            case = random(name, Path(folder)) if name in RANDOM else published(name)
            for n_tokens in map(int, asked.lengths.split(",")):
                if n_tokens > case.n_most:
                    continue
                mine, single, apart = compare(case, n_tokens)
                print(
                    f"{name:8} {n_tokens:7}  {mine:13.1e}  {single:22.1e}  {apart:18.1e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
