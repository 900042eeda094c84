"""A checkpoint's config, of which nothing that changes the numbers goes unread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qkv_cli.core.arrays import ACTIVATIONS, Activation
from qkv_cli.errors import CheckpointError

# What says nothing of attention or the residuals at inference: names, training, heads, generation.
HARMLESS = frozenset(
    {
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "_num_labels",
        "attention_softmax_in_fp32",
        "is_llama_config",
        "max_sequence_length",
        "scale_attention_softmax_in_fp32",
        "unsloth_fixed",
        "unsloth_version",
        "architectures",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "chunk_size_feed_forward",
        "classifier_activation",
        "classifier_dropout",
        "classifier_dropout_prob",
        "classifier_bias",
        "classifier_pooling",
        "cls_token_id",
        "cross_attention_hidden_size",
        "d_vocab",
        "decoder_start_token_id",
        "directionality",
        "diversity_penalty",
        "do_sample",
        "dtype",
        "early_stopping",
        "embd_pdrop",
        "attn_pdrop",
        "resid_pdrop",
        "embed_dropout",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "forced_decoder_ids",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "initializer_factor",
        "init_std",
        "is_encoder_decoder",
        "keys_to_ignore_at_inference",
        "label2id",
        "label_smoothing",
        "language",
        "length_penalty",
        "max_length",
        "min_length",
        "model_type",
        "name_or_path",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "output_scores",
        "pad_token_id",
        "pooler_dropout",
        "pooler_fc_size",
        "pooler_hidden_act",
        "pooler_hidden_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "prefix",
        "pretraining_tp",
        "problem_type",
        "pruned_heads",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tie_encoder_decoder",
        "tie_weights_",
        "tie_word_embeddings",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "transformers.js_config",
        "typical_p",
        "use_bfloat16",
        "use_cache",
        "vocab_size",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "hidden_dropout",
        "hidden_dropout_prob",
        "dropout",
        "activation_dropout",
        "layerdrop",
        "encoder_layerdrop",
        "decoder_layerdrop",
        "dropout_rate",
        "embedding_dropout",
        "residual_dropout",
        "resid_dropout",
        "seq_classif_dropout",
        "qa_dropout",
        "summary_activation",
        "summary_first_dropout",
        "summary_last_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "n_ctx",
        "unk_token_id",
        "mask_token_id",
        "mlp_dropout",
        "attn_implementation",
        "_attn_implementation",
        "num_labels",
        "sinusoidal_pos_embds",
        "add_final_layer_norm",
        "normalize_embedding",
        "output_router_logits",
        "attention_bias",
        "mlp_bias",
        "quantization_config",
    }
)


@dataclass(frozen=True, slots=True)
class Config:
    """Values by name; what was asked for is noted."""

    values: Mapping[str, Any]
    read: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise CheckpointError(f"config.json does not say {name!r}.")
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """A value; `default` where it is absent or null."""
        self.read.add(name)
        value = self.values.get(name)
        return default if value is None else value

    def first(self, *names: str) -> Any:
        """The value of a setting that was called otherwise once, by the first name there is."""
        found = [value for name in names if (value := self.get(name)) is not None]
        return found[0] if found else self[names[0]]

    def one_of(self, name: str, implemented: tuple[Any, ...], default: Any = None) -> Any:
        """A value that must be one of those that are implemented."""
        value = self.get(name, default)
        if value not in implemented:
            raise CheckpointError(
                f"config.json has {name} {value!r}, which is not implemented; "
                f"{', '.join(map(repr, implemented))} is."
            )
        return value

    def activation(self, name: str, default: str | None = None) -> Activation:
        return ACTIVATIONS[self.one_of(name, tuple(ACTIVATIONS), default)]

    def refuse_unread(self) -> None:
        """A setting that nobody read might change the numbers: name it and stop."""
        left = sorted(
            name
            for name, value in self.values.items()
            if value is not None and name not in self.read | HARMLESS
        )
        if left:
            said = ", ".join(f"{name} ({self.values[name]!r})"[:80] for name in left[:3])
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise CheckpointError(f"config.json has settings that nothing reads: {said}{more}.")
