"""The table of families: the function that builds the `Model` of each `model_type`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from qkv_cli.checkpoints.config import Config
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.arrays import Array
from qkv_cli.core.layers import Experts
from qkv_cli.core.model import Model
from qkv_cli.errors import CheckpointError, UsageError

# By `model_type` in config.json: the module, imported when it is needed, and its function if its
# name differs.
ADAPTERS = {
    "albert": "albert",
    "bart": "bart",
    "bert": "bert",
    "bloom": "bloom",
    "camembert": "bert.roberta",
    "deberta-v2": "deberta_v2",
    "distilbert": "distilbert",
    "electra": "bert.electra",
    "falcon": "falcon",
    "gemma": "gemma",
    "gemma2": "gemma.gemma2",
    "gemma3": "gemma.gemma3",
    "gemma3_text": "gemma.gemma3",
    "gpt2": "gpt2",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "gptj": "gptj",
    "granite": "granite",
    "llama": "llama",
    "m2m_100": "bart.m2m_100",
    "marian": "bart.marian",
    "marian-binary": "marian_binary",
    "mbart": "bart.mbart",
    "mistral": "mistral",
    "modernbert": "modernbert",
    "mixtral": "mistral.mixtral",
    "mpnet": "mpnet",
    "mt5": "t5.mt5",
    "olmo2": "olmo2",
    "opt": "opt",
    "pegasus": "bart.pegasus",
    "phi": "phi",
    "phi3": "phi.phi3",
    "qwen2": "qwen.qwen2",
    "qwen3": "qwen.qwen3",
    "roberta": "bert.roberta",
    "smollm3": "smollm3",
    "stablelm": "stablelm",
    "starcoder2": "starcoder2",
    "t5": "t5",
    "umt5": "t5.umt5",
    "word-vectors": "word_vectors",
    "xlm-roberta": "bert.roberta",
}

# Task heads, which follow the last hidden state.
HEADS = (
    "lm_head.*",
    "score.*",
    "classifier.*",
    "qa_outputs.*",
    "multiple_choice_head.*",
    "sequence_summary.*",
)


def adapter_of(kind: str) -> Callable[[Config, Tensors], Model]:
    """Return the function that builds the models of a `model_type` in `ADAPTERS`."""
    module, _, function = ADAPTERS[kind].partition(".")
    adapter: Callable[[Config, Tensors], Model] = getattr(
        import_module(f"{__name__}.{module}"), function or module
    )
    return adapter


def build(
    values: Mapping[str, Any],
    tensors: Tensors,
    note: Callable[[str], object] = lambda text: None,
) -> Model:
    """Build the model of a config and its tensors.

    Args:
        note: Called with notes for the user.

    Raises:
        CheckpointError: The family is not supported, a setting or tensor is missing or not
            implemented, or a tensor was not read.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in ADAPTERS:
        if kind is None:
            raise CheckpointError("config.json has no 'model_type'.")
        raise CheckpointError(
            f"config.json sets model_type to {kind!r:.60}, which is not implemented; implemented: "
            f"{', '.join(sorted(ADAPTERS))}."
        )
    adapter = adapter_of(kind)
    # Layers are built when they run; a first pass without numbers records what they read.
    config, names = Config(values), tensors.without_numbers()
    _refuse_rewritten_weights(config)
    stacks = adapter(config, names).stacks
    for stack in stacks.values():
        for block in stack.blocks:
            if isinstance(block.mlp, Experts):
                deque(block.mlp.mlps(), 0)
    if any(stack.causal for stack in stacks.values()):
        config.one_of("is_causal", (True,), True)  # false would make a decoder bidirectional
    config.ignore("is_causal", reason="an encoder is not causal, whatever the value")
    names.skip(*HEADS)
    names.refuse_unread()
    if config.unknown_names:
        note(
            f"config.json has settings that transformers' class for {kind!r} does not use; they "
            f"are ignored: {', '.join(config.unknown_names)}."
        )
    return adapter(Config(values), tensors)


def _refuse_rewritten_weights(config: Config) -> None:
    """Refuse settings, of any family, that change the meaning of tensors."""
    if any(config.mapping("pruned_heads").values()):
        config.refuse("pruned_heads", "pruning heads is not implemented")
    config.refuse("per_layer_config", "layers with different settings are not implemented")
    if quantization := config.mapping("quantization_config"):
        method = quantization.get("quant_method", "an unknown method")
        raise CheckpointError(
            f"config.json has a quantization_config: the weights are quantized by {method}, which "
            "is not implemented; use the original model, or a GGUF file of it."
        )


def draw_random_heads(config: Mapping[str, Any], seed: int) -> dict[str, Array]:
    """Return random heads for a model, if its family supports them."""
    if config.get("model_type") != "word-vectors":
        raise UsageError("--random-heads needs a word-vector model.")
    from qkv_cli.checkpoints.adapters import word_vectors

    return word_vectors.random_heads(config, seed)
