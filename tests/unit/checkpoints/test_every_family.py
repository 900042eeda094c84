"""A folder of every family, made with random weights by transformers, read as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qkv_cli.session.describe import describe
from qkv_cli.session.load import load

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/expected.npz"))
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "the", "river", "bank", "was", "muddy", "after", "rain"]
WORDS += ["en_XX", "eng_Latn"]  # languages of mBART and NLLB
TEXT = "the river bank was muddy after the rain the bank was muddy"


@pytest.mark.parametrize("case", CASES)
def test_load_of_every_family_needs_only_saved_folder_and_tokenizer(
    case: str, tmp_path: Path
) -> None:
    """Beside what `save_pretrained` wrote there is a tokenizer, and nothing else."""
    folder = tmp_path / case
    shutil.copytree(GOLDEN / case, folder)
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    made.save(str(folder / "tokenizer.json"))
    if case.startswith("m2m_100"):  # NLLB's have a tokenizer.json; M2M-100's own have none
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    loaded = load(folder)
    run = loaded.read(TEXT, TEXT if loaded.is_encoder_decoder else None)
    seen = 0
    for layer in run.layers:
        trace = layer.cross or layer.attn
        assert trace is not None
        np.testing.assert_allclose(trace.pattern().sum(axis=-1), 1, atol=1e-5)
        seen += 1
    assert seen == run.shape[0]
    assert describe(str(folder)).n_parameters > 0
