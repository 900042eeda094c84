"""Generation of encoder-decoders against transformers' generate; rules by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from golden_checkpoints import CASES, GOLDEN, config_of, tensors_of

from qkv_cli.checkpoints.adapters import build
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.generate import Rules, generate
from qkv_cli.errors import CheckpointError

WRITE = [case for case in CASES if (GOLDEN / case / "generation_config.json").is_file()]


@pytest.mark.parametrize("case", WRITE)
def test_generate_gives_same_tokens_as_transformers(case: str) -> None:
    expected = np.load(GOLDEN / case / "expected.npz")
    model = build(config_of(case), tensors_of(case))
    start, *tokens = expected["written"].tolist()
    settings = json.loads((GOLDEN / case / "generation_config.json").read_text())
    rules = Rules.of(settings, start, [config_of(case)["eos_token_id"]], 64)
    tokens = [token for token in tokens if token not in rules.end_ids]
    assert generate(model, expected["input_ids"].tolist(), rules, 16) == tokens
    assert len(set(tokens)) > 3
    rules = replace(rules, end_ids=(-1,))
    has_end = "t5" not in case and "m2m" not in case  # a table of places that ends
    n = len(generate(model, expected["input_ids"].tolist(), rules, 99))
    assert n == (39 if has_end else 99)


@pytest.mark.parametrize("case", ["llama", "gpt2"])
def test_step_by_step_gives_the_output_of_the_whole_text(case: str) -> None:
    """Rotary embeddings depend on a token's position, which a step on one token does not know."""
    ids = np.load(GOLDEN / case / "expected.npz")["input_ids"].tolist()
    model = build(config_of(case), tensors_of(case))
    traces: list[LayerTrace] = []
    for n in range(1, len(ids) + 1):
        traces = model.step(ids[:n], None, traces)
    [*_, last] = model.layers(ids)
    np.testing.assert_allclose(traces[-1].resid_post[-1], last.resid_post[-1], rtol=0, atol=1e-5)


def test_rules_choose_applies_each_rule() -> None:
    scores = np.array([0.0, 4.0, 3.0, 2.0, -1.0], dtype=np.float32)
    assert Rules(0, (4,)).choose(scores, [0]) == 1
    assert Rules(0, (1,), min_length=3).choose(scores, [0, 2]) == 2
    assert Rules(0, (1,), min_length=3).choose(scores, [0, 2, 2]) == 1
    assert Rules(0, (4,), forced_first_id=3, suppressed_first_ids=(1,)).choose(scores, [0]) == 3
    assert Rules(0, (4,), forced_first_id=3, suppressed_first_ids=(1,)).choose(scores, [0, 3]) == 2
    assert Rules(0, (4,), suppressed_ids=(1, 2)).choose(scores, [0]) == 3
    assert Rules(0, (4,), banned_sequences=((3, 1),)).choose(scores, [0, 3]) == 2
    assert Rules(0, (4,), banned_sequences=((3, 1),)).choose(scores, [3, 0]) == 1
    # After 1 2, 1 was followed by 2 before; after 2, nothing was.
    assert Rules(0, (4,), no_repeat_ngram_size=2).choose(scores, [0, 2, 1, 3, 2]) == 2
    assert Rules(0, (4,), no_repeat_ngram_size=1).choose(scores, [1, 2]) == 3
    assert Rules(0, (4,), repetition_penalty=2.5).choose(scores, [1]) == 2
    low = np.array([-2.0, -1.0], dtype=np.float32)
    assert Rules(0, (4,), repetition_penalty=2.5).choose(low, [1]) == 0


def test_rules_of_config_reads_settings_and_refuses_unimplemented_ones() -> None:
    said = {"bad_words_ids": [[4], [5]], "force_bos_token_to_be_generated": True, "bos_token_id": 7}
    result = Rules.of(said | {"no_repeat_ngram_size": None, "num_beams": 4}, 2, [4], 9)
    assert result == Rules(2, (4,), forced_first_id=7, banned_sequences=((5,),))
    with pytest.raises(CheckpointError, match=r"guidance_scale to 3.0, which is not implemented"):
        Rules.of({"guidance_scale": 3.0}, 0, [1], 9)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"bad_words_ids": 5}, "generation settings are invalid"),
        ({"bad_words_ids": [[3, 9]]}, "9 is not a token id"),
        ({"suppress_tokens": ["a"]}, "'a' is not a token id"),
        ({"forced_bos_token_id": -1}, "-1 is not a token id"),
        ({"no_repeat_ngram_size": "many"}, "'many' is not a number"),
        ({"no_repeat_ngram_size": 2.5}, "2.5 is not a number of tokens"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"no_repeat_ngram_size": -2}, "-2 is not a number of tokens"),
        ({"repetition_penalty": [1]}, "generation settings are invalid"),
    ],
)
def test_rules_of_invalid_settings_raise_checkpoint_error(
    config: dict[str, object], error: str
) -> None:
    with pytest.raises(CheckpointError, match=error):
        Rules.of(config, 0, [1], 9)
