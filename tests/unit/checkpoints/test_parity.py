"""Every adapter against what transformers computed, see tests/golden/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_checkpoints import CASES, GOLDEN, config_of, tensors_of

from qkv_cli.checkpoints.adapters import ADAPTERS, build
from qkv_cli.checkpoints.tensors import Tensors
from qkv_cli.core.block import Blocks
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.safetensors import open_tensors

OLD = sorted(path.parent.name for path in GOLDEN.glob("*/config.4.json"))
CLOSE = 1e-5


def compare(case: str, config: dict[str, Any]) -> None:
    model = build(config, tensors_of(case))
    assert all(isinstance(stack.blocks, Blocks) for stack in model.stacks.values())
    expected = np.load(GOLDEN / case / "expected.npz")
    inputs = [expected["input_ids"].tolist()]
    if "decoder_input_ids" in expected:
        inputs.append(expected["decoder_input_ids"].tolist())
    types = expected["token_type_ids"].tolist() if "token_type_ids" in expected else ()
    compared = 0
    for layer in model.layers(*inputs, types=types):
        block = layer.stack if len(inputs) == 2 else "attn"
        for trace, called in ((layer.attn, block), (layer.cross, "cross")):
            if trace is None:
                continue
            # A weight is off by as much as its score, and a score's rounding grows with it.
            largest = np.abs(trace.scores()[np.isfinite(trace.scores())]).max()
            np.testing.assert_allclose(
                trace.pattern(),
                expected[f"{called}.{layer.index}"],
                rtol=0,
                atol=CLOSE * max(1, largest / 8),
            )
            assert {a.dtype.name for a in (trace.q, trace.k, trace.v, trace.z)} == {"float32"}
            compared += 1
    assert compared == sum("." in name for name in expected.files)
    norm = model.stacks[layer.stack].final_norm
    last = layer.resid_post if norm is None else norm(layer.resid_post)
    size = np.abs(expected["last"]).max()
    np.testing.assert_allclose(last, expected["last"], rtol=0, atol=2e-5 * size)
    if "logits" in expected:
        assert model.unembed is not None
        scores = model.unembed(last)
        size = np.abs(expected["logits"]).max()
        np.testing.assert_allclose(scores, expected["logits"], rtol=0, atol=2e-5 * size)


@pytest.mark.parametrize("case", CASES)
def test_build_of_every_case_matches_attention_and_output_of_transformers(case: str) -> None:
    compare(case, config_of(case))


# If the config does not set it: the default of each family's class in transformers 5.24.
TIED = {"bloom", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "gpt_neo", "opt"}
TIED |= {"smollm3", "starcoder2"}


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("-next")])
def test_build_without_lm_head_has_unembedding_only_if_embeddings_are_tied(case: str) -> None:
    config = {k: v for k, v in config_of(case).items() if k != "tie_word_embeddings"}
    stored = open_tensors(GOLDEN / case / "model.safetensors")
    bare = {n: x for n, x in stored.items() if not n.startswith(("lm_head.", "embed_out."))}
    model = build(config, Tensors(bare))
    assert (model.unembed is not None) == (config["model_type"] in TIED)
    assert build(config | {"tie_word_embeddings": False}, Tensors(bare)).unembed is None


def test_build_of_encoder_has_no_unembedding() -> None:
    for case in ("bert", "modernbert", "gemma3-both-sides"):
        assert build(config_of(case), tensors_of(case)).unembed is None


@pytest.mark.parametrize("case", OLD)
def test_build_with_old_rope_settings_matches_transformers(case: str) -> None:
    compare(case, config_of(case, "config.4.json"))


def test_build_of_old_modernbert_without_local_theta_uses_global_theta() -> None:
    old = config_of("modernbert", "config.4.json")
    implicit, explicit = (
        build(old | {"local_rope_theta": theta}, tensors_of("modernbert"))
        for theta in (None, old["global_rope_theta"])
    )
    for a, b in zip(implicit.layers(range(20)), explicit.layers(range(20)), strict=True):
        np.testing.assert_array_equal(a.resid_post, b.resid_post)


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("bert", {"directionality": "bidi", "pooler_fc_size": 768, "pooler_type": "first_token"}),
        ("bert", {"gradient_checkpointing": False, "position_embedding_type": "absolute"}),
        ("distilbert", {"tie_weights_": True, "output_past": True}),
        ("albert", {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0}),
        ("albert", {"num_memory_blocks": 0, "layers_to_keep": []}),
        ("deberta-v3", {"attention_head_size": 4, "embedding_size": 16, "pos_att_type": "p2c|c2p"}),
        ("deberta-v2", {"conv_groups": 1, "norm_rel_ebd": "none", "share_att_key": False}),
        ("modernbert", {"reference_compile": False, "repad_logits_with_grad": False}),
        ("opt-plain", {"learned_embeddings": True, "scale_embeddings": False}),
        ("gptj", {"rotary": True, "scale_attn_weights": True, "gradient_checkpointing": False}),
        ("bloom", {"bias_dropout_fusion": True, "masked_softmax_fusion": True, "n_inner": None}),
        ("bloom", {"offset_alibi": 100, "seq_length": 2048, "skip_bias_add": True}),
        ("bloom", {"hidden_size": None, "n_embed": 24, "n_head": None, "num_attention_heads": 6}),
        ("falcon-new", {"apply_residual_connection_post_layernorm": False, "ff_factor": 4}),
        ("llama", {"is_llama_config": True, "rope_interleaved": False, "unsloth_fixed": True}),
        ("llama", {"max_sequence_length": 2048, "_attn_implementation_autoset": True}),
        ("qwen2", {"use_mrope": False, "rope_scaling": None}),
        ("gemma", {"hidden_act": "gelu", "hidden_activation": None}),
        ("gemma2", {"sliding_window_size": 5, "cache_implementation": "hybrid"}),
        ("phi3", {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False}),
        ("smollm3", {"max_window_layers": 28, "pretraining_tp": 2}),
        ("starcoder2", {"activation_function": "gelu_pytorch_tanh", "scale_attn_weights": True}),
        ("starcoder2", {"norm_type": "layer_norm", "mlp_type": "default"}),
        ("stablelm", {"rotary_scaling_factor": 1.0, "rope_scaling": None}),
        ("bart", {"normalize_before": False, "extra_pos_embeddings": 2, "classif_dropout": 0.1}),
        ("bart", {"force_bos_token_to_be_generated": True, "student_encoder_layers": None}),
        ("mbart", {"add_final_layer_norm": True, "normalize_before": True, "_num_labels": 3}),
        ("marian", {"static_position_embeddings": True, "bad_words_ids": [[1]], "num_beams": 6}),
        ("pegasus", {"extra_pos_embeddings": 1, "length_penalty": 0.8, "add_bias_logits": False}),
        ("m2m_100", {"num_hidden_layers": 2, "early_stopping": True, "max_length": 200}),
        ("t5", {"n_positions": 512, "output_past": True, "task_specific_params": {"a": 1}}),
        ("umt5", {"scalable_attention": True, "tie_word_embeddings": False}),
    ],
)
def test_build_with_harmless_published_settings_matches_transformers(
    case: str, settings: dict[str, Any]
) -> None:
    compare(case, config_of(case) | settings)


def test_every_adapter_has_golden_checkpoint() -> None:
    kinds = {config_of(case)["model_type"] for case in CASES}
    tested_elsewhere = {"word-vectors", "marian-binary"}  # tested elsewhere, by hand
    assert kinds == set(ADAPTERS) - tested_elsewhere


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "'relative_key', which is not"),
        ("bert", {"hidden_act": "spline"}, "'spline', which is not implemented"),
        ("bert", {"is_decoder": True}, "is_decoder to true"),
        ("llama", {"rope_parameters": {"rope_type": "spiral"}}, "rope_type to 'spiral'"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "linear"}},
            "rope_parameters in config.json has no 'factor'",
        ),
        ("llama", {"model_type": "mamba"}, "model_type to 'mamba', which is not implemented"),
        ("bart", {"activation_function": "spline"}, "activation_function to 'spline'"),
        ("t5", {"dense_act_fn": "silu"}, "dense_act_fn to 'silu'"),
        ("t5", {"is_encoder_decoder": False}, "is_encoder_decoder to false"),
        ("t5", {"is_gated_act": True}, "is_gated_act to true"),
        ("marian", {"d_model": 10**9}, r"implies \[64, 1000000000\]"),
        ("m2m_100", {"pad_token_id": 10**9}, "pad_token_id to 1000000000"),
        ("m2m_100", {"max_position_embeddings": 10**9}, "max_position_embeddings to 1000000000"),
        (
            "qwen3",
            {"layer_types": ["chunked_attention"] * 3},
            "'chunked_attention', which is not impl",
        ),
        ("qwen3", {"layer_types": ["full_attention"] * 2}, "layer_types .* has 2 items"),
        ("starcoder2", {"norm_type": "rms_norm"}, "norm_type to 'rms_norm'"),
        ("phi3-long", {"rope_parameters": {"rope_type": "su"}}, "has no 'short_factor'; expected"),
        ("opt", {"do_layer_norm_before": False}, r"does not use: decoder\.final_layer_norm"),
        (
            "phi",
            {"rope_parameters": {"partial_rotary_factor": 1e9}},
            r"partial_rotary_factor to 1e\+09",
        ),
        ("gemma", {"hidden_activation": "relu"}, "hidden_activation to 'relu'"),
        ("gpt2", {"n_head": 5}, r"c_attn\.weight' has shape \[16, 48\]; .* \[16, 45\]"),
        ("gptj", {"rotary": False}, "rotary to false"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved to true"),
        ("falcon", {"alibi": True}, "alibi to true"),
        ("falcon-new", {"parallel_attn": False}, "parallel_attn to false"),
        ("gpt_neo", {"attention_layers": ["global"] * 2}, "attention for 2 layers"),
        ("falcon", {"is_causal": False}, "is_causal to false"),
        ("bart", {"is_causal": False}, "is_causal to false"),
        ("gpt_neo", {"attention_layers": ["far"] * 3}, "'far', which is not implemented"),
        ("gemma3_text", {"attn_logit_softcapping": 30.0}, r"attn_logit_softcapping to 30\.0"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "post_layernorm to true"),
        ("t5", {"feed_forward_proj": "gated-spline"}, "gated-spline"),
        ("modernbert", {"layer_types": ["far"] * 4}, "'far', which is not implemented"),
        ("mpnet", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets to 16"),
        ("deberta-v3", {"pos_att_type": "c2p|p2p"}, "pos_att_type 'p2p'"),
        ("deberta-v3", {"norm_rel_ebd": "rms"}, "norm_rel_ebd to 'rms'"),
        ("deberta-v3", {"embedding_size": 12}, "embedding_size to 12"),
        ("deberta-v3", {"position_buckets": 128}, "position_buckets to 128 for 40 relative"),
        ("deberta-v2", {"conv_groups": 4}, "conv_groups to 4"),
        ("deberta-v2", {"conv_kernel_size": 4}, "conv_kernel_size to 4"),
    ],
)
def test_build_with_unimplemented_or_wrong_setting_names_it(
    case: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        build(config_of(case) | changed, tensors_of(case))


@pytest.mark.parametrize(
    ("case", "copies"),
    [
        ("t5", {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": None}),
        ("t5", {"encoder.embed_tokens.weight": "shared.weight", "lm_head.weight": None}),
        ("bart", {n: "shared.weight" for n in ("lm_head.weight", "decoder.embed_tokens.weight")}),
        ("m2m_100", {"encoder.embed_positions.weights": None}),
    ],
)
def test_build_with_copied_and_unused_tensors_matches_transformers(
    case: str, copies: dict[str, str | None]
) -> None:
    """Old files contain copies of a shared table, and some contain unused tensors."""
    tensors = dict(tensors_of(case).by_name)
    spare = np.full((64, 16), 9, dtype=np.float32)
    tensors |= {n: spare if of is None else np.array(tensors[of]) for n, of in copies.items()}
    model, expected = (
        build(config_of(case), Tensors(tensors)),
        np.load(GOLDEN / case / "expected.npz"),
    )
    ids = expected["input_ids"].tolist(), expected["decoder_input_ids"].tolist()
    [*_, last] = model.layers(*ids)
    assert last.cross is not None
    result = expected[f"cross.{last.index}"]
    np.testing.assert_allclose(last.cross.pattern(), result, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("case", ["t5", "umt5"])
def test_build_of_encoder_without_decoder_tensors_matches_transformers(case: str) -> None:
    """The tensors of sentence-t5's files."""
    tensors = {n: x for n, x in tensors_of(case).by_name.items() if not n.startswith("decoder.")}
    model, expected = (
        build(config_of(case), Tensors(tensors)),
        np.load(GOLDEN / case / "expected.npz"),
    )
    assert [*model.stacks] == ["encoder"] and model.unembed is None
    for layer in model.layers(expected["input_ids"].tolist()):
        assert layer.attn is not None
        result = expected[f"encoder.{layer.index}"]
        np.testing.assert_allclose(layer.attn.pattern(), result, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_build_with_extra_or_missing_tensor_raises_checkpoint_error(case: str) -> None:
    tensors = dict(tensors_of(case).by_name)
    with pytest.raises(CheckpointError, match=r"does not use: .*extra\.weight"):
        build(config_of(case), Tensors(tensors | {"extra.weight": np.zeros(2)}))
    name = next(n for n in sorted(tensors) if "0" in n and n.endswith("weight"))
    del tensors[name]
    with pytest.raises(CheckpointError):
        build(config_of(case), Tensors(tensors))


@pytest.mark.parametrize("case", ["gpt2", "bloom", "qwen3", "falcon"])
def test_build_ignores_tensors_of_task_heads(case: str) -> None:
    inner = {
        f"transformer.{n.removeprefix('model.')}": t for n, t in tensors_of(case).by_name.items()
    }
    heads = ("score.weight", "classifier.bias", "qa_outputs.weight")
    build(config_of(case), Tensors(inner | {head: np.zeros((2, 16)) for head in heads}))


@pytest.mark.parametrize(
    ("case", "prefix", "heads"),
    [
        ("bert", "bert", ["cls.predictions.bias", "bert.pooler.dense.weight"]),
        ("distilbert", "distilbert", ["vocab_projector.bias", "pre_classifier.weight"]),
        ("roberta", "roberta", ["lm_head.dense.weight", "roberta.embeddings.position_ids"]),
        (
            "electra",
            "electra",
            ["discriminator_predictions.dense.weight", "generator_lm_head.bias"],
        ),
        ("albert", "albert", ["predictions.bias", "sop_classifier.classifier.weight"]),
        ("mpnet", "mpnet", ["lm_head.bias", "mpnet.pooler.dense.weight"]),
        ("deberta-v3", "deberta", ["lm_predictions.lm_head.bias", "mask_predictions.dense.weight"]),
        ("deberta-v3", "deberta", ["deberta.embeddings.position_embeddings.weight"]),
        ("modernbert", "model", ["head.dense.weight", "decoder.bias"]),
    ],
)
def test_build_of_encoder_with_prefix_and_task_head_matches_transformers(
    case: str, prefix: str, heads: list[str]
) -> None:
    inner = {f"{prefix}.{name}": t for name, t in tensors_of(case).by_name.items()}
    head_tensors = (*heads, "classifier.weight", "qa_outputs.bias")
    model = build(
        config_of(case), Tensors(inner | {name: np.zeros((2, 16)) for name in head_tensors})
    )
    expected = np.load(GOLDEN / case / "expected.npz")
    types = expected["token_type_ids"].tolist() if "token_type_ids" in expected else ()
    first = next(model.layers(expected["input_ids"].tolist(), types=types))
    assert first.attn is not None
    np.testing.assert_allclose(first.attn.pattern(), expected["attn.0"], rtol=0, atol=CLOSE)


def test_build_of_gemma_3_accepts_both_tensor_naming_schemes() -> None:
    moved = {
        ("model." + n.replace("language_model.model.", "language_model.")): tensor
        for n, tensor in tensors_of("gemma3").by_name.items()
    }
    config, plain = config_of("gemma3"), tensors_of("gemma3")
    new = build(config, Tensors(moved | {"lm_head.weight": np.zeros((64, 16))}))
    ids = list(range(9))
    for a, b in zip(new.layers(ids), build(config, plain).layers(ids), strict=True):
        np.testing.assert_array_equal(a.resid_post, b.resid_post)


def test_build_of_gemma_3_without_optional_settings_uses_defaults() -> None:
    config = config_of("gemma3")
    text = config["text_config"]
    for name in ("rms_norm_eps", "query_pre_attn_scalar", "layer_types"):
        del text[name]
    [*layers] = build(config, tensors_of("gemma3")).stacks["decoder"].blocks
    assert layers[0].norms.attn_in is not None and layers[0].norms.attn_in.eps == 1e-6
    assert layers[0].attn.scale == 256**-0.5
    assert [layer.window for layer in layers] == [6, 6, 6]


@pytest.mark.parametrize(
    ("settings", "cap"), [({}, 50.0), ({"attn_logit_softcapping": None}, None)]
)
def test_build_of_gemma_2_without_softcap_uses_default_unless_null(
    settings: dict[str, Any], cap: float | None
) -> None:
    config = config_of("gemma2")
    del config["attn_logit_softcapping"]
    [layer, *_] = build(config | settings, tensors_of("gemma2")).stacks["decoder"].blocks
    assert layer.attn.softcap == cap
