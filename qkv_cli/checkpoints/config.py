"""A checkpoint's config: typed access to its settings, each of which is read or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qkv_cli.core.activations import ACTIVATIONS, Activation
from qkv_cli.errors import CheckpointError

# Settings that have no effect on inference in any family, by the reason. Those of one family are
# ignored by its adapter, with `Config.ignore`.
IGNORED: Mapping[str, tuple[str, ...]] = {
    "names, versions and where the folder came from": (
        "_commit_hash",
        "_name_or_path",
        "adapters",
        "architectures",
        "auto_map",
        "language",
        "model_type",
        "name_or_path",
        "sentence_transformers",
        "tokenizer_class",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
    ),
    "how and in which precision the same numbers are computed; here always float32": (
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_flash_attn_2_enabled",
        "attention_softmax_in_fp32",
        "attn_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "gradient_checkpointing",
        "scale_attention_softmax_in_fp32",
        "torch_dtype",
        "torchscript",
        "use_bfloat16",
        "use_cache",
        "xla_device",
    ),
    "what a call returns": (
        "keys_to_ignore_at_inference",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "output_router_logits",
        "output_scores",
        "return_dict",
        "return_dict_in_generate",
    ),
    "training": (
        "activation_dropout",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "attn_pdrop",
        "decoder_layerdrop",
        "dropout",
        "dropout_rate",
        "embd_pdrop",
        "embed_dropout",
        "embedding_dropout",
        "encoder_layerdrop",
        "hidden_dropout",
        "hidden_dropout_prob",
        "init_std",
        "initializer_factor",
        "initializer_range",
        "label_smoothing",
        "layerdrop",
        "loss_type",
        "mlp_dropout",
        "neftune_noise_alpha",
        "pretraining_tp",
        "resid_dropout",
        "resid_pdrop",
        "residual_dropout",
    ),
    "the head of a task, which follows the last hidden state": (
        "_num_labels",
        "classifier_activation",
        "classifier_bias",
        "classifier_dropout",
        "classifier_dropout_prob",
        "classifier_pooling",
        "directionality",
        "finetuning_task",
        "id2label",
        "label2id",
        "num_labels",
        "pooler_dropout",
        "pooler_fc_size",
        "pooler_hidden_act",
        "pooler_hidden_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "problem_type",
        "qa_dropout",
        "seq_classif_dropout",
        "summary_activation",
        "summary_first_dropout",
        "summary_last_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "task_specific_params",
        "tie_weights_",
    ),
    "generation, whose rules are read separately": (
        "bad_words_ids",
        "begin_suppress_tokens",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_decoder_ids",
        "forced_eos_token_id",
        "length_penalty",
        "max_length",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "prefix",
        "remove_invalid_values",
        "repetition_penalty",
        "suppress_tokens",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
    ),
    "special tokens, which the tokenizer puts around a text": (
        "bos_token_id",
        "cls_token_id",
        "eos_token_id",
        "mask_token_id",
        "pad_token_id",
        "sep_token_id",
        "unk_token_id",
    ),
    "the class that is built, which the model's type determines": (
        "cross_attention_hidden_size",
        "is_encoder_decoder",
        "tie_encoder_decoder",
    ),
}
_IGNORED = frozenset(name for names in IGNORED.values() for name in names)
_REQUIRED: Any = object()
_MAX = 2**31  # the maximum of whole numbers without a bound of their own
MAX_LAYERS = 10_000  # a larger number is an error, and would allocate memory before it is noticed


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a config.

    Every setting that transformers' class of the family reads is read, refused, or ignored with a
    reason (`tests/unit/checkpoints/test_settings.py`). Other settings are unknown to that class and
    have no effect there either.

    Attributes:
        names_read: The names that were read or ignored.
        defaults: The defaults of transformers' class, for settings that the file omits.
        place: The name of the config in errors.
        parts: Nested objects, whose settings are read in the same way.
    """

    values: Mapping[str, Any]
    names_read: set[str] = field(default_factory=set)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    place: str = "config.json"
    parts: list[Config] = field(default_factory=list)

    def with_defaults(
        self, defaults: Mapping[str, Any], aliases: Mapping[str, str] | None = None
    ) -> Config:
        """Return the same settings, with defaults for those that the file omits.

        Args:
            aliases: Alternative names of settings in transformers' class; if a file has both, the
                alias takes precedence, as in transformers.
        """
        present_aliases = {
            n: name_in_class for n, name_in_class in (aliases or {}).items() if n in self.values
        }
        self.names_read.update(aliases or ())
        values = {
            **self.values,
            **{name_in_class: self.values[n] for n, name_in_class in present_aliases.items()},
        }
        return replace(self, values=values, defaults=defaults)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value of any type; null is None."""
        self.names_read.add(name)
        value = self.values.get(name, self.defaults.get(name, default))
        if value is _REQUIRED:
            raise CheckpointError(f"{self.place} has no {name!r}.")
        return value

    def size(
        self, name: str, default: int = _REQUIRED, *, minimum: int = 1, maximum: int = _MAX
    ) -> int:
        """Return a whole number from `minimum` to `maximum`."""
        value = self.get(name, default)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self.invalid_value(name, _whole_number(minimum, maximum))
        return value

    def optional_size(self, name: str, default: int | None = None) -> int | None:
        """Return a whole number, 1 or more, or None if it is null."""
        value = self.get(name, default)
        return None if value is None else self.size(name, default or _REQUIRED)

    def n_layers(self, name: str, default: int = _REQUIRED) -> int:
        """Return a number of layers, from 1 to `MAX_LAYERS`."""
        return self.size(name, default, maximum=MAX_LAYERS)

    def number(self, name: str, default: float = _REQUIRED) -> float:
        """Return a finite number."""
        return self._number(name, self.get(name, default))

    def optional_number(self, name: str, default: float | None = None) -> float | None:
        """Return a finite number, or None if it is null."""
        value = self.get(name, default)
        return None if value is None else self._number(name, value)

    def _number(self, name: str, value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self.invalid_value(name, "a finite number")
        return float(value)

    def eps(self, name: str, default: float = _REQUIRED) -> float:
        """Return the epsilon of a norm, 0 or more."""
        value = self.number(name, default)
        if value < 0:
            raise self.invalid_value(name, "a number, 0 or more")
        return value

    def positive(self, name: str, default: float = _REQUIRED) -> float:
        """Return a finite number above 0."""
        value = self.number(name, default)
        if value <= 0:
            raise self.invalid_value(name, "a number above 0")
        return value

    def optional_positive(self, name: str, default: float | None = None) -> float | None:
        """Return a finite number above 0, or None if it is null."""
        return (
            None if self.get(name, default) is None else self.positive(name, default or _REQUIRED)
        )

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """Return a string."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise self.invalid_value(name, "a string")
        return value

    def flag(self, name: str, default: bool = _REQUIRED) -> bool:
        """Return a boolean."""
        value = self.get(name, default)
        if type(value) is not bool:
            raise self.invalid_value(name, "true or false")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a copy of an object; empty if it is absent or null."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.invalid_value(name, "an object")
        return dict(value)

    def part(self, name: str, values: Mapping[str, Any]) -> Config:
        """Return the settings of a nested object."""
        config = Config(values, place=f"{name} in {self.place}")
        self.parts.append(config)
        return config

    def optional_list(self, name: str) -> list[Any] | None:
        """Return an array, or None if it is absent or null."""
        value = self.get(name)
        if value is not None and not isinstance(value, list):
            raise self.invalid_value(name, "an array")
        return value

    def one_of(self, name: str, implemented: tuple[Any, ...], default: Any = _REQUIRED) -> Any:
        """Return a value that must be one of the implemented ones."""
        value = self.get(name, default)
        if not any(
            value == valid_value and type(value) is type(valid_value) for valid_value in implemented
        ):
            raise CheckpointError(
                f"{self.place} sets {name} to {_format_value(value)}, which is not implemented; "
                f"implemented: {', '.join(map(_format_value, implemented))}."
            )
        return value

    def activation(self, name: str, default: str = _REQUIRED) -> Activation:
        """Return the activation function of a name in `ACTIVATIONS`."""
        return ACTIVATIONS[self.one_of(name, tuple(ACTIVATIONS), default)]

    def ignore(self, *names: str, reason: str) -> None:
        """Ignore settings that have no effect on attention in this family.

        Args:
            reason: Why they have none, for readers of the adapter.
        """
        self.names_read.update(names)

    def refuse(self, name: str, reason: str) -> None:
        """Refuse a setting that is neither absent, null nor empty."""
        if value := self.get(name):
            raise CheckpointError(f"{self.place} sets {name} to {_format_value(value)}: {reason}.")

    def invalid_value(self, name: str, valid: str) -> CheckpointError:
        """Return the error for an invalid value.

        Args:
            valid: A description of the valid values.
        """
        value = self.get(name)
        is_missing = value is None and name not in self.values
        problem = f"has no {name!r}" if is_missing else f"sets {name} to {_format_value(value)}"
        return CheckpointError(f"{self.place} {problem}; expected {valid}.")

    @property
    def unknown_names(self) -> list[str]:
        """The names of settings that were neither read nor ignored, except nulls."""
        handled = self.names_read | _IGNORED
        present = (n for n, v in self.values.items() if v is not None and n not in handled)
        return sorted({*present, *(name for part in self.parts for name in part.unknown_names)})


def _whole_number(minimum: int, maximum: int) -> str:
    """Describe the valid range; a bound that only prevents overflows is left out."""
    if maximum < _MAX:
        return (
            f"{minimum:,}"
            if minimum == maximum
            else f"a whole number from {minimum:,} to {maximum:,}"
        )
    return "a whole number" if minimum < 0 else f"a whole number, {minimum:,} or more"


def _format_value(value: Any) -> str:
    """Return a value as JSON, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
