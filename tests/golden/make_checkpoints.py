"""Tiny random checkpoints, and what transformers computes from them, in float32 and eagerly.

Run `python tests/golden/make.py checkpoints [CASE...]` where torch and transformers are installed.
Writes `checkpoints/CASE/`: config.json and model.safetensors as `save_pretrained` leaves them, and
expected.npz with the token ids, every layer's attention and the last hidden state. The weights
are stored, not a seed. Made with the versions that `checkpoints/versions.txt` names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tr

HERE = Path(__file__).parent / "checkpoints"
N_TOKENS, N_TARGET, N_FIRST = 24, 20, 14
SHARP = (
    *("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet"),
    *("roberta", "xlm-roberta"),
    *("bart", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5", "umt5"),
)
PADDED = ("roberta", "xlm-roberta", "mpnet")  # their padding takes no place, even inside a text


def ids(n: int) -> list[int]:
    return [(7 * i * i + 3 * i + 2) % 58 + 4 for i in range(n)]


BERT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-2,
}
MODERN = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "norm_eps": 1e-2,
    "local_attention": 9,
    "pad_token_id": 0,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 50.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
    },
}
DEBERTA = BERT | {
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_position_embeddings": 40,
    "max_relative_positions": -1,
}
DEBERTA_3 = DEBERTA | {
    "position_buckets": 6,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
ALBERT = BERT | {"embedding_size": 12, "hidden_act": "relu"}
GPT2 = {
    "vocab_size": 64,
    "n_embd": 16,
    "n_head": 4,
    "n_layer": 3,
    "n_positions": 40,
    "layer_norm_epsilon": 1e-2,
}
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "head_dim": 8,  # not hidden_size / num_attention_heads
}
# Their d_head is hidden_size / num_attention_heads.
EVEN = {k: v for k, v in LLAMA.items() if k != "head_dim"} | {"hidden_size": 32}
PHI = {k: v for k, v in EVEN.items() if k != "rms_norm_eps"} | {"layer_norm_eps": 1e-2}
PHI3 = EVEN | {"pad_token_id": 0}
STARCODER = {k: v for k, v in EVEN.items() if k != "rms_norm_eps"} | {"norm_epsilon": 1e-2}
GEMMA3 = LLAMA | {
    "sliding_window": 6,
    "query_pre_attn_scalar": 24,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
OPT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 40,
    "word_embed_proj_dim": 16,
}
FALCON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_hidden_size": 24,
    "max_position_embeddings": 64,
    "layer_norm_epsilon": 1e-2,
}
T5 = {
    "vocab_size": 64,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "layer_norm_epsilon": 1e-2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "decoder_start_token_id": 0,
}
BART = {
    "vocab_size": 64,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
NEOX = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-2,
}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return LLAMA | {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **settings}}


GREEDY = {"num_beams": 1, "do_sample": False, "max_new_tokens": 16, "use_cache": False}
# Rules of writing; a tiny random model repeats itself where none keeps it from it.
WRITES: dict[str, dict[str, Any]] = {
    "bart-writes": {"no_repeat_ngram_size": 2, "forced_bos_token_id": 0, "min_length": 12},
    "mbart-writes": {"no_repeat_ngram_size": 2, "forced_bos_token_id": 40, "min_length": 9},
    "marian-writes": {"no_repeat_ngram_size": 1, "bad_words_ids": [[46], [2], [7, 60]]},
    "marian-two-tables": {"repetition_penalty": 3.0, "suppress_tokens": [27, 9]},
    "pegasus-writes": {
        "begin_suppress_tokens": [2],
        "bad_words_ids": [[19, 19, 2], [19, 19, 19]],
        "min_length": 14,
        "no_repeat_ngram_size": 2,
    },
    "m2m_100-writes": {"forced_bos_token_id": 11, "begin_suppress_tokens": [11, 43]},
    "t5-writes": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "t5-1.1-writes": {"no_repeat_ngram_size": 4, "bad_words_ids": [[58, 45]]},
    "mt5-writes": {"no_repeat_ngram_size": 2, "min_length": 12},
}
LONG = {"short_factor": [1.1, 1.3, 1.5, 1.7], "long_factor": [2.0, 3.0, 4.0, 5.0]}
CASES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "bert": (tr.BertConfig, tr.BertModel, BERT),
    "bert-gelu_new": (tr.BertConfig, tr.BertModel, BERT | {"hidden_act": "gelu_new"}),
    "distilbert": (
        tr.DistilBertConfig,
        tr.DistilBertModel,
        {
            "vocab_size": 64,
            "dim": 16,
            "n_heads": 4,
            "n_layers": 2,
            "hidden_dim": 24,
            "max_position_embeddings": 40,
        },
    ),
    "roberta": (tr.RobertaConfig, tr.RobertaModel, BERT | {"pad_token_id": 1}),
    "xlm-roberta": (tr.XLMRobertaConfig, tr.XLMRobertaModel, BERT | {"pad_token_id": 3}),
    "camembert": (tr.CamembertConfig, tr.CamembertModel, BERT | {"pad_token_id": 1}),
    "electra": (tr.ElectraConfig, tr.ElectraModel, BERT | {"embedding_size": 12}),
    "electra-plain": (tr.ElectraConfig, tr.ElectraModel, BERT | {"embedding_size": 16}),
    "albert": (tr.AlbertConfig, tr.AlbertModel, ALBERT | {"num_hidden_layers": 3}),
    "albert-groups": (
        tr.AlbertConfig,
        tr.AlbertModel,
        ALBERT | {"num_hidden_layers": 3, "num_hidden_groups": 2, "inner_group_num": 2},
    ),
    "mpnet": (tr.MPNetConfig, tr.MPNetModel, BERT),
    "deberta-v3": (tr.DebertaV2Config, tr.DebertaV2Model, DEBERTA_3),
    "deberta-v3-c2p": (
        tr.DebertaV2Config,
        tr.DebertaV2Model,
        DEBERTA_3 | {"pos_att_type": ["c2p"], "max_relative_positions": 18, "position_buckets": 8},
    ),
    "deberta-v2": (
        tr.DebertaV2Config,
        tr.DebertaV2Model,
        DEBERTA
        | {
            "max_relative_positions": 9,  # further ones share the last
            "position_biased_input": True,
            "type_vocab_size": 2,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
    ),
    "deberta-v2-p2c": (
        tr.DebertaV2Config,
        tr.DebertaV2Model,
        DEBERTA | {"pos_att_type": "p2c", "position_buckets": 10, "conv_kernel_size": 5},
    ),
    "deberta-v2-absolute": (
        tr.DebertaV2Config,
        tr.DebertaV2Model,
        DEBERTA | {"relative_attention": False, "position_biased_input": True},
    ),
    "modernbert": (tr.ModernBertConfig, tr.ModernBertModel, MODERN),
    "modernbert-biased": (
        tr.ModernBertConfig,
        tr.ModernBertModel,
        MODERN
        | {
            "attention_bias": True,
            "mlp_bias": True,
            "norm_bias": True,
            "hidden_activation": "gelu_pytorch_tanh",
            "layer_types": ["sliding_attention", *["full_attention"] * 2, "sliding_attention"],
            "local_attention": 4,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 50.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
            },
        },
    ),
    "gpt2": (tr.GPT2Config, tr.GPT2Model, GPT2),
    "gpt2-by-layer": (
        tr.GPT2Config,
        tr.GPT2Model,
        GPT2 | {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    ),
    "gpt2-unscaled": (tr.GPT2Config, tr.GPT2Model, GPT2 | {"scale_attn_weights": False}),
    "gptj": (tr.GPTJConfig, tr.GPTJModel, GPT2 | {"n_embd": 32, "rotary_dim": 4}),
    "gpt_neox": (tr.GPTNeoXConfig, tr.GPTNeoXModel, NEOX),
    "gpt_neox-serial": (
        tr.GPTNeoXConfig,
        tr.GPTNeoXModel,
        NEOX | {"use_parallel_residual": False, "rotary_pct": 0.5},
    ),
    "opt": (
        tr.OPTConfig,
        tr.OPTModel,
        OPT,
    ),
    "opt-350m": (tr.OPTConfig, tr.OPTModel, OPT | {"do_layer_norm_before": False}),
    "opt-narrow": (tr.OPTConfig, tr.OPTModel, OPT | {"word_embed_proj_dim": 12}),
    "opt-plain": (
        tr.OPTConfig,
        tr.OPTModel,
        OPT
        | {
            "_remove_final_layer_norm": True,
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "activation_function": "gelu",
        },
    ),
    "falcon": (tr.FalconConfig, tr.FalconModel, FALCON),
    "falcon-serial": (
        tr.FalconConfig,
        tr.FalconModel,
        FALCON | {"multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "falcon-new": (
        tr.FalconConfig,
        tr.FalconModel,
        FALCON
        | {
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "bias": True,
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0},
        },
    ),
    "falcon-new-one-norm": (
        tr.FalconConfig,
        tr.FalconModel,
        FALCON
        | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "gpt_neo": (
        tr.GPTNeoConfig,
        tr.GPTNeoModel,
        {
            "vocab_size": 64,
            "hidden_size": 16,
            "num_layers": 3,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1], [["local"], 1]],
            "window_size": 5,
            "intermediate_size": 24,
            "max_position_embeddings": 40,
            "layer_norm_epsilon": 1e-2,
        },
    ),
    "bloom": (
        tr.BloomConfig,
        tr.BloomModel,
        {
            "vocab_size": 64,
            "hidden_size": 24,
            "n_head": 6,
            "n_layer": 2,
            "layer_norm_epsilon": 1e-2,
        },
    ),
    "llama": (tr.LlamaConfig, tr.LlamaModel, LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama-plain": (tr.LlamaConfig, tr.LlamaModel, LLAMA),
    "llama-linear": (tr.LlamaConfig, tr.LlamaModel, rope("linear", factor=3.0)),
    "llama-dynamic": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope("dynamic", factor=3.0) | {"max_position_embeddings": 10},
    ),
    "llama-yarn": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope("yarn", factor=4.0, original_max_position_embeddings=16),
    ),
    "llama-yarn-near": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope(
            "yarn",
            factor=4.0,
            original_max_position_embeddings=8,  # shorter than the slowest turn that is kept
            beta_fast=16.0,
            beta_slow=2.0,
            truncate=False,
            mscale=0.8,
            mscale_all_dim=0.6,
        ),
    ),
    "llama-llama3": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=16,
        ),
    ),
    "llama-longrope": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope("longrope", original_max_position_embeddings=16, factor=4.0, **LONG),
    ),
    "llama-longrope-short": (
        tr.LlamaConfig,
        tr.LlamaModel,
        rope("longrope", original_max_position_embeddings=32, factor=3.0, **LONG),
    ),
    "mistral": (tr.MistralConfig, tr.MistralModel, LLAMA | {"sliding_window": 5}),
    "qwen2": (
        tr.Qwen2Config,
        tr.Qwen2Model,
        {k: v for k, v in LLAMA.items() if k != "head_dim"}
        | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": (tr.Qwen3Config, tr.Qwen3Model, LLAMA),
    "gemma": (tr.GemmaConfig, tr.GemmaModel, LLAMA),
    "gemma2": (
        tr.Gemma2Config,
        tr.Gemma2Model,
        LLAMA | {"sliding_window": 5, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0},
    ),
    # As GGUF files can say it: what they leave out is as in the published models.
    "qwen2-plain": (tr.Qwen2Config, tr.Qwen2Model, EVEN),
    "gemma2-published": (
        tr.Gemma2Config,
        tr.Gemma2Model,
        LLAMA | {"sliding_window": 5, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    ),
    "gemma3-published": (
        tr.Gemma3TextConfig,
        tr.Gemma3TextModel,
        LLAMA
        | {
            "num_hidden_layers": 7,
            "sliding_window": 6,
            "query_pre_attn_scalar": 8,
            "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}},
        },
    ),
    "gemma3_text": (tr.Gemma3TextConfig, tr.Gemma3TextModel, GEMMA3),
    "gemma3-both-sides": (
        tr.Gemma3TextConfig,
        tr.Gemma3TextModel,
        GEMMA3 | {"use_bidirectional_attention": True, "attention_bias": True},
    ),
    "gemma3": (
        tr.Gemma3Config,
        tr.Gemma3ForConditionalGeneration,
        {
            "text_config": GEMMA3,
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "image_size": 8,
                "patch_size": 4,
            },
            "mm_tokens_per_image": 4,
        },
    ),
    "mixtral": (
        tr.MixtralConfig,
        tr.MixtralModel,
        LLAMA | {"num_local_experts": 4, "sliding_window": 5},
    ),
    "mixtral-three": (
        tr.MixtralConfig,
        tr.MixtralModel,
        LLAMA
        | {
            "num_local_experts": 5,
            "num_experts_per_tok": 3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "olmo2": (
        tr.Olmo2Config,
        tr.Olmo2Model,
        {k: v for k, v in LLAMA.items() if k != "head_dim"},
    ),
    "phi": (tr.PhiConfig, tr.PhiModel, PHI),
    "phi-normed": (
        tr.PhiConfig,
        tr.PhiModel,
        PHI
        | {
            "qk_layernorm": True,
            "rope_parameters": {
                "rope_type": "linear",
                "factor": 2.0,
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.75,
            },
        },
    ),
    "phi3": (tr.Phi3Config, tr.Phi3Model, PHI3 | {"sliding_window": 5}),
    "phi3-long": (
        tr.Phi3Config,
        tr.Phi3Model,
        PHI3
        | {
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.1, 1.3, 1.5],
                "long_factor": [2.0, 3.0, 4.0],
            },
        },
    ),
    "smollm3": (
        tr.SmolLM3Config,
        tr.SmolLM3Model,
        PHI3 | {"no_rope_layer_interval": 2, "rope_parameters": {"rope_theta": 500.0}},
    ),
    "smollm3-sliding": (
        tr.SmolLM3Config,
        tr.SmolLM3Model,
        PHI3
        | {
            "no_rope_layers": [0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": 5,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "granite": (
        tr.GraniteConfig,
        tr.GraniteModel,
        EVEN
        | {
            "attention_multiplier": 0.3,
            "residual_multiplier": 0.4,
            "embedding_multiplier": 5.0,
            "logits_scaling": 8.0,
        },
    ),
    "granite-plain": (tr.GraniteConfig, tr.GraniteModel, EVEN | {"attention_bias": True}),
    "starcoder2": (tr.Starcoder2Config, tr.Starcoder2Model, STARCODER | {"sliding_window": 5}),
    "starcoder2-unbiased": (
        tr.Starcoder2Config,
        tr.Starcoder2Model,
        STARCODER | {"use_bias": False, "rope_parameters": {"rope_theta": 500.0}},
    ),
    "stablelm": (tr.StableLmConfig, tr.StableLmModel, PHI | {"use_qkv_bias": True}),
    "stablelm-parallel": (
        tr.StableLmConfig,
        tr.StableLmModel,
        PHI
        | {
            "use_parallel_residual": True,
            "qk_layernorm": True,
            "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5},
        },
    ),
    "t5": (tr.T5Config, tr.T5Model, T5),
    "t5-gated": (tr.T5Config, tr.T5Model, T5 | {"feed_forward_proj": "gated-gelu"}),
    "t5-silu": (tr.T5Config, tr.T5Model, T5 | {"feed_forward_proj": "gated-silu"}),
    "t5-writes": (tr.T5Config, tr.T5ForConditionalGeneration, T5),
    "t5-1.1-writes": (
        tr.T5Config,
        tr.T5ForConditionalGeneration,
        T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": (tr.MT5Config, tr.MT5Model, T5),
    "mt5-writes": (tr.MT5Config, tr.MT5ForConditionalGeneration, T5),
    "umt5": (tr.UMT5Config, tr.UMT5Model, T5),
    "bart": (tr.BartConfig, tr.BartModel, BART | {"activation_function": "gelu_new"}),
    "bart-writes": (
        tr.BartConfig,
        tr.BartForConditionalGeneration,
        BART | {"scale_embedding": True},
    ),
    "mbart": (tr.MBartConfig, tr.MBartModel, BART | {"activation_function": "relu"}),
    "mbart-writes": (
        tr.MBartConfig,
        tr.MBartForConditionalGeneration,
        BART | {"scale_embedding": True},
    ),
    "marian": (tr.MarianConfig, tr.MarianModel, BART | {"activation_function": "swish"}),
    "marian-writes": (tr.MarianConfig, tr.MarianMTModel, BART | {"scale_embedding": True}),
    "marian-two-tables": (
        tr.MarianConfig,
        tr.MarianMTModel,
        BART | {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 62},
    ),
    "pegasus": (tr.PegasusConfig, tr.PegasusModel, BART | {"activation_function": "relu"}),
    "pegasus-writes": (
        tr.PegasusConfig,
        tr.PegasusForConditionalGeneration,
        BART | {"scale_embedding": True},
    ),
    # The padding token stands in the middle of both texts.
    "m2m_100": (tr.M2M100Config, tr.M2M100Model, BART | {"pad_token_id": ids(6)[5]}),
    "m2m_100-writes": (
        tr.M2M100Config,
        tr.M2M100ForConditionalGeneration,
        BART | {"scale_embedding": False},
    ),
}

# The same with a head: what gives the next token its score, of each shape that it has.
_BEHIND: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (tr.LlamaForCausalLM, {}),
    "llama-plain": (tr.LlamaForCausalLM, {"tie_word_embeddings": True}),
    "mistral": (tr.MistralForCausalLM, {}),
    "mixtral": (tr.MixtralForCausalLM, {}),
    "qwen2": (tr.Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (tr.Qwen3ForCausalLM, {}),
    "gemma": (tr.GemmaForCausalLM, {}),
    "gemma2": (tr.Gemma2ForCausalLM, {"final_logit_softcapping": 4.0}),
    "gemma3_text": (tr.Gemma3ForCausalLM, {"final_logit_softcapping": 6.0}),
    "gemma3": (tr.Gemma3ForConditionalGeneration, {}),
    "olmo2": (tr.Olmo2ForCausalLM, {}),
    "phi": (tr.PhiForCausalLM, {}),
    "phi3": (tr.Phi3ForCausalLM, {}),
    "smollm3": (tr.SmolLM3ForCausalLM, {}),
    "granite": (tr.GraniteForCausalLM, {}),
    "starcoder2": (tr.Starcoder2ForCausalLM, {}),
    "stablelm": (tr.StableLmForCausalLM, {}),
    "gpt2": (tr.GPT2LMHeadModel, {}),
    "gpt_neo": (tr.GPTNeoForCausalLM, {}),
    "gpt_neox": (tr.GPTNeoXForCausalLM, {}),
    "gptj": (tr.GPTJForCausalLM, {}),
    "opt": (tr.OPTForCausalLM, {}),
    "opt-narrow": (tr.OPTForCausalLM, {}),
    "bloom": (tr.BloomForCausalLM, {}),
    "falcon": (tr.FalconForCausalLM, {}),
    "falcon-new": (tr.FalconForCausalLM, {"tie_word_embeddings": False}),
}
for _name, (_class, _more) in _BEHIND.items():
    _config, _, _settings = CASES[_name]
    CASES[f"{_name}-next"] = (_config, _class, _settings | _more)

# What the type of their rope was called.
OLD = {
    "gemma3_text": "linear",
    "llama-llama3": "llama3",
    "phi": None,
    "phi-normed": "linear",
    "phi3-long": "su",
    "stablelm-parallel": None,
}


# Their scores, which nothing divides by sqrt(d), are so far apart that torch's own float32 is 1e-5
# from its double precision.
CALMER = ("t5-1.1-writes", "mt5-writes")


def draw_weights(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        for module in model.modules():
            # Norms that shrink leave patterns flat, and a flat pattern shows no mistake.
            if type(module).__name__.endswith("LayerNorm") and model.config.model_type in SHARP:
                module.weight.normal_(1, 0.3)
            # A table that is not saved is computed.
            if hasattr(module, "create_weight") and model.can_generate():
                module.weight.copy_(module.create_weight())
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_(0, 0.3)


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    decoder = getattr(model.base_model, "decoder", None)
    if getattr(decoder, "project_out", None) is not None:
        decoder.project_out = None  # it stands behind the last hidden state


def make(name: str) -> None:
    config_class, model_class, settings = CASES[name]
    torch.manual_seed(0)
    config = config_class(**settings)
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    draw_weights(model)
    if name in CALMER:
        for layer, module in model.named_modules():
            if layer.endswith(".q"):
                module.weight.data *= 0.5
    folder, scores = HERE / name, dict[str, Any]()
    if name.endswith("-next"):
        with torch.no_grad():
            scores["logits"] = model(torch.tensor([ids(N_TOKENS)])).logits[0].numpy()
    save(model, folder)
    model = model.base_model if scores else model
    if name in WRITES:
        (folder / "generation_config.json").write_text(json.dumps(WRITES[name]) + "\n")
    inputs = {"input_ids": torch.tensor([ids(N_TOKENS)])}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([ids(N_TARGET)[::-1]])
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor([[int(i >= N_FIRST) for i in range(N_TOKENS)]])
    if name in PADDED:
        inputs["input_ids"][0, 5] = config.pad_token_id
    with torch.no_grad():
        out = model(**inputs, output_attentions=True, output_hidden_states=True)
    blocks = {
        "attn": getattr(out, "attentions", None),
        "encoder": getattr(out, "encoder_attentions", None),
        "decoder": getattr(out, "decoder_attentions", None),
        "cross": getattr(out, "cross_attentions", None),
    }
    arrays = {
        f"{block}.{i}": layer[0].numpy()
        for block, layers in blocks.items()
        for i, layer in enumerate(layers or ())
    }
    arrays |= {key: value[0].numpy() for key, value in inputs.items()}
    if model.can_generate() and config.is_encoder_decoder:
        rules = {key: value for key, value in WRITES[name].items() if value is not None}
        generated = model.generate(inputs["input_ids"], **GREEDY, **rules)[0]
        arrays |= {"logits": out.logits[0].numpy(), "written": generated.numpy()}
    last = last_hidden_state(out)
    np.savez_compressed(folder / "expected.npz", last=last[0].numpy(), **arrays, **scores)


def last_hidden_state(out: Any) -> torch.Tensor:
    """Of a bare model, or of one with a head."""
    if (state := getattr(out, "last_hidden_state", None)) is not None:
        return state
    return (getattr(out, "decoder_hidden_states", None) or out.hidden_states)[-1]


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        make(name)
    old_spelling()
    versions = f"torch {torch.__version__}, transformers {tr.__version__}\n"
    (HERE / "versions.txt").write_text(versions)


def old_spelling() -> None:
    """The same checkpoints under the configs that transformers 4 would have written."""
    for name, kind in OLD.items():
        new = json.loads((HERE / name / "config.json").read_text())
        settings = new.pop("rope_parameters")
        if name == "gemma3_text":
            new["rope_local_base_freq"] = settings["sliding_attention"]["rope_theta"]
            settings = settings["full_attention"]
            del new["layer_types"]
            new["sliding_window_pattern"] = 2
        for setting in ("rope_theta", "partial_rotary_factor"):
            if setting in settings:
                new[setting] = settings.pop(setting)
        settings.pop("rope_type")
        # Gemma 3's files have always said `rope_type`; a `type` alone does nothing there.
        spelled = "rope_type" if name == "gemma3_text" else "type"
        new["rope_scaling"] = None if kind is None else {spelled: kind, **settings}
        (HERE / name / "config.4.json").write_text(json.dumps(new, indent=2) + "\n")
    old_modernbert()


def old_modernbert() -> None:
    new = json.loads((HERE / "modernbert" / "config.json").read_text())
    settings = new.pop("rope_parameters")
    new["global_rope_theta"] = settings["full_attention"]["rope_theta"]
    new["local_rope_theta"] = settings["sliding_attention"]["rope_theta"]
    assert new.pop("layer_types").index("full_attention", 1) == 3
    new |= {"global_attn_every_n_layers": 3, "layer_norm_eps": 1e-05}
    new |= {"position_embedding_type": "absolute", "repad_logits_with_grad": False}
    (HERE / "modernbert" / "config.4.json").write_text(json.dumps(new, indent=2) + "\n")


if __name__ == "__main__":
    main()
