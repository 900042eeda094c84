"""A config with a wrong value, or damaged tensors: a CheckpointError of one line, or a reading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from qkv_cli.errors import QkvError
from qkv_cli.session.load import load

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
WRONG = [None, "x", -1, 0, 1e9, [], True]


def read_all(folder: Path) -> None:
    try:
        loaded = load(folder)
        run = loaded.read("the river the", "the river" if loaded.is_encoder_decoder else None)
        for _ in run.layers:
            pass
    except QkvError as refusal:
        assert "\n" not in str(refusal)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "case",
    [
        "bert",
        "deberta-v2-p2c",
        "modernbert",
        "gpt2",
        "llama-yarn",
        "t5",
        "bart-writes",
        "falcon-new",
    ],
)
def test_load_with_any_wrong_value_or_byte_reads_or_raises_one_line_error(
    tmp_path: Path, case: str
) -> None:
    folder = tmp_path / case
    shutil.copytree(GOLDEN / case, folder)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "river": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    for name in config:
        for wrong in WRONG:
            (folder / "config.json").write_text(json.dumps(config | {name: wrong}))
            read_all(folder)
    (folder / "config.json").write_text(json.dumps(config))
    data = (folder / "model.safetensors").read_bytes()
    for at in range(0, 600, 39):
        (folder / "model.safetensors").write_bytes(data[:at] + b"\x7b" + data[at + 1 :])
        read_all(folder)
