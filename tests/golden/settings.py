"""Every setting that transformers' class of each family declares, or that its model's code reads.

Run by hand where transformers is installed: `python tests/golden/settings.py` writes settings.json,
against which tests/unit/checkpoints/test_settings.py holds the adapters.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HERE = Path(__file__).parent
ROPE = {
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
}
# gemma3_text shares a file with the class that sees pictures.
ELSEWHERE = {"gemma3_text": {"image_token_id", "mm_tokens_per_image", "vision_config"}}


def settings_of(kind: str) -> list[str]:
    declared = CONFIG_MAPPING[kind]
    names = {f.name for f in dataclasses.fields(declared)} | set(declared.attribute_map)
    popped = r'kwargs\.(?:pop|get|setdefault)\(\s*"(\w+)"'
    names |= set(re.findall(popped, inspect.getsource(declared)))
    module = importlib.import_module(declared.__module__.replace("configuration_", "modeling_"))
    code = inspect.getsource(module)
    names |= set(re.findall(r'getattr\(\s*(?:self\.)?config,\s*"(\w+)"', code))
    names |= set(re.findall(r"\bconfig\.([a-z_]\w*)\b(?!\()", code))
    if "rope_parameters" in names:
        names |= ROPE
    return sorted(names - ELSEWHERE.get(kind, set()))


def main() -> None:
    kinds = {
        json.loads(path.read_text())["model_type"]
        for path in (HERE / "checkpoints").glob("*/config.json")
    }
    settings = {kind: settings_of(kind) for kind in sorted(kinds)}
    document = {"transformers": transformers.__version__, "settings": settings}
    (HERE / "settings.json").write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(f"{len(settings)} families, {sum(map(len, settings.values()))} settings\n")


if __name__ == "__main__":
    main()
