"""The tokenizer class that transformers 5.24 would choose for a folder, as `AutoTokenizer` does.

The class matters: most rebuild the tokenizer from the vocabulary in tokenizer.json, with rules of
their own and the settings of tokenizer_config.json, ignoring other rules in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkv_cli.errors import CheckpointError

BACKEND = "TokenizersBackend"  # which uses tokenizer.json as it is
# By `model_type`; folders of other types name the class.
_REGISTERED = {
    "albert": "AlbertTokenizer",
    "bart": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "gptj": "GPT2Tokenizer",
    "granite": BACKEND,
    "m2m_100": "M2M100Tokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mistral": BACKEND,
    "mixtral": BACKEND,
    "modernbert": BACKEND,
    "mpnet": "MPNetTokenizer",
    "mt5": "T5Tokenizer",
    "olmo2": BACKEND,
    "opt": "GPT2Tokenizer",
    "pegasus": "PegasusTokenizer",
    "phi": "GPT2Tokenizer",
    "phi3": BACKEND,
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "stablelm": BACKEND,
    "starcoder2": "GPT2Tokenizer",
    "t5": "T5Tokenizer",
    "umt5": BACKEND,
    "xlm-roberta": "XLMRobertaTokenizer",
}
# Their folders on the hub name a wrong class, which is ignored.
_NAMED_WRONGLY = ("modernbert", "phi3", "qwen2")
_ALIASES = {
    "BartTokenizer": "RobertaTokenizer",
    "BloomTokenizer": BACKEND,
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "LxmertTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "MvpTokenizer": "RobertaTokenizer",
    "PreTrainedTokenizer": BACKEND,
    "PythonBackend": BACKEND,
    "SqueezeBertTokenizer": "BertTokenizer",
}
IMPLEMENTED = {
    *("AlbertTokenizer", "BertTokenizer", "CamembertTokenizer", "CodeGenTokenizer"),
    *("CodeLlamaTokenizer", "DebertaV2Tokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer"),
    *("GemmaTokenizer", "HerbertTokenizer", "LlamaTokenizer", "M2M100Tokenizer"),
    *("MBart50Tokenizer", "MBartTokenizer", "MPNetTokenizer", "MarianTokenizer"),
    *("NllbTokenizer", "PegasusTokenizer", "Qwen2Tokenizer", "RobertaTokenizer"),
    *("T5Tokenizer", "XLMRobertaTokenizer", BACKEND),
}
# Classes with rules of their own that are not implemented. Other names are unknown to
# transformers, which then uses tokenizer.json as it is.
_OTHER_NAMES = (
    *("Barthez", "Bartpho", "Basic", "BertGeneration", "BertJapanese", "Bertweet", "BigBird"),
    *("BioGpt", "BlenderbotSmall", "Blenderbot", "ByT5", "CLIP", "CTRL", "Canine", "Character"),
    *("Clvp", "Cohere", "ConvBert", "CpmAnt", "Cpm", "DPRContextEncoder", "DPRQuestionEncoder"),
    *("DPRReader", "Deberta", "Dia", "Esm", "Esmc", "FNet", "FSMT", "FastSpeech2Conformer"),
    *("Flaubert", "Funnel", "GPTNeoXJapanese", "GPTSw3", "Lasr", "LayoutLMv2", "LayoutLMv3"),
    *("LayoutXLM", "Luke", "MLuke", "MarkupLM", "Mecab", "Mgpstr", "MyT5", "Nougat", "OpenAIGPT"),
    *("PLBart", "Parakeet", "Perceiver", "Phobert", "Pop2Piano", "ProphetNet", "Qwen3_5", "Rag"),
    *("Reformer", "RemBert", "RoCBert", "RoFormer", "SeamlessM4T", "Siglip2", "Siglip"),
    *("Speech2Text", "SpeechT5", "Splinter", "Tapas", "Tipsv2", "Udop", "VideoPrism", "Vits"),
    *("Wav2Vec2CTC", "Wav2Vec2PhonemeCTC", "Whisper", "Wordpiece", "XGLM", "XLM", "XLNet"),
)
_OTHERS = frozenset(f"{name}Tokenizer" for name in _OTHER_NAMES)


def choose_class(
    folder: Path, kind: str, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """Return the name of the class.

    Args:
        kind: `model_type` of the config.
        settings: The contents of tokenizer_config.json.

    Raises:
        CheckpointError: The class is not implemented.
    """
    class_name = settings.get("tokenizer_class")
    declared = class_name or config.get("tokenizer_class")
    base_name = None if declared is None else str(declared).removesuffix("Fast")
    registered = _REGISTERED.get(kind)
    code = settings.get("auto_map")
    has_own_code = isinstance(code, list) or (isinstance(code, dict) and "AutoTokenizer" in code)
    if has_own_code or base_name is None:
        return _implemented_class(folder, base_name or registered or BACKEND)
    if base_name == "LlamaTokenizer" and kind not in _NAMED_WRONGLY and _is_byte_level(folder):
        return BACKEND
    if registered is None or registered == base_name:
        return _implemented_class(folder, base_name)
    if registered == BACKEND:
        return BACKEND
    return _implemented_class(folder, registered if kind in _NAMED_WRONGLY else base_name)


def _implemented_class(folder: Path, name: str) -> str:
    name = _ALIASES.get(name, name)
    if name in _OTHERS:
        raise CheckpointError(
            f"{folder} uses {name}, which is not implemented; implemented: "
            f"{', '.join(sorted(IMPLEMENTED - {BACKEND}))}."
        )
    return name if name in IMPLEMENTED else BACKEND


def _is_byte_level(folder: Path) -> bool:
    path = folder / "tokenizer.json"
    return path.is_file() and b'"ByteLevel"' in path.read_bytes()
