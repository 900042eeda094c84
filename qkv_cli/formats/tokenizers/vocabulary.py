"""A folder's vocabulary, tokenizer settings and special tokens."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models
from tokenizers.processors import PostProcessor, TemplateProcessing

from qkv_cli.errors import CheckpointError
from qkv_cli.formats.folder import read_json
from qkv_cli.formats.tokenizers.library import library_errors

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
MAX_ID = 2**31 - 1
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# The templates of one text and of two: roles and the texts A and B, with types after colons.
Template = tuple[str, str]
ScoredPieces = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary from which a class builds its tokenizer."""

    ids: dict[str, int] = field(default_factory=dict)  # of WordPiece or BPE
    merges: list[tuple[str, str]] = field(default_factory=list)
    scored_pieces: ScoredPieces = field(default_factory=list)  # unigrams, by id
    charsmap: bytes = b""  # SentencePiece's rules of normalisation
    unknown_id: int | None = None  # of the unknown unigram, if the file states it
    special_tokens: Sequence[AddedToken] = ()  # special tokens of a SentencePiece file
    added_tokens: Mapping[int, AddedToken] = field(
        default_factory=dict
    )  # special tokens of tokenizer.json
    template: PostProcessor | None = None  # of tokenizer.json


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in the files next to a vocabulary.

    Attributes:
        values: tokenizer_config.json, with special_tokens_map.json if that is used.
        added_tokens: Tokens that were added to the vocabulary, by id.
        lists_added: Whether this list is complete, so those in tokenizer.json are ignored.
        extra_tokens: All special tokens without a role; None if not stated.
        additional_tokens: Such tokens in addition to those of a class.
    """

    folder: Path
    values: dict[str, Any]
    added_tokens: dict[int, AddedToken]
    lists_added: bool
    extra_tokens: list[AddedToken] | None
    additional_tokens: list[AddedToken]

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read the files.

        Raises:
            CheckpointError: A file is corrupt.
        """
        values = _read_optional(folder / SETTINGS)
        if (folder / FILE).is_file():  # which has a template of its own
            values.pop("add_bos_token", None)
            values.pop("add_eos_token", None)
        older_extra, additional = values.pop("additional_special_tokens", None), None
        extra_tokens = values.pop("extra_special_tokens", None) or older_extra
        lists_added = "added_tokens_decoder" in values
        if not lists_added:
            values |= _read_optional(folder / "special_tokens_map.json")
            additional = values.pop("additional_special_tokens", None)
            extra_tokens = extra_tokens or values.pop("extra_special_tokens", None)
        if isinstance(extra_tokens, dict):
            values |= extra_tokens
            extra_tokens = None
        descriptions = values.get("added_tokens_decoder") or {}
        if not isinstance(descriptions, dict) or not isinstance(extra_tokens, list | None):
            raise CheckpointError(
                f"{folder / SETTINGS}: added_tokens_decoder must be an object and "
                "extra_special_tokens an array or an object."
            )
        try:
            added_tokens = {
                int(i): added_token(token, special=False) for i, token in descriptions.items()
            }
        except ValueError as error:
            raise CheckpointError(
                f"{folder / SETTINGS}: every key of added_tokens_decoder must be a token id."
            ) from error
        if not lists_added:
            added_tokens |= _read_added_tokens(folder, values, extra_tokens or ())
        tokens = None if extra_tokens is None else [added_token(token) for token in extra_tokens]
        more_tokens = [added_token(token) for token in additional or ()]
        return cls(folder, values, added_tokens, lists_added, tokens, more_tokens)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean setting; null means the default."""
        value = self.values.get(name)
        if not isinstance(value, bool | None):
            raise CheckpointError(
                f"{self.folder / SETTINGS}: {name} is {value!r:.40}; expected true or false."
            )
        return default if value is None else value

    def number(self, name: str, default: int) -> int:
        """Return a setting that is a small whole number."""
        value = self.values.get(name, default)
        if type(value) is not int or not 0 <= value < 2**16:
            raise CheckpointError(
                f"{self.folder / SETTINGS}: {name} is {value!r:.40}; expected a whole number from "
                f"0 to {2**16 - 1:,}."
            )
        return value

    @property
    def states_bos_or_eos(self) -> bool:
        """Whether the settings state if BOS or EOS are added."""
        return not self.values.keys().isdisjoint(("add_bos_token", "add_eos_token"))

    def tokens(
        self,
        defaults: Mapping[str, str],
        vocabulary: Vocabulary,
        additional_tokens: Sequence[AddedToken] = (),
        styles: Mapping[str, Mapping[str, bool]] | None = None,
    ) -> Tokens:
        """Return the special tokens of a class.

        Args:
            defaults: The default token of each role; null in the settings means no token.
            additional_tokens: The default tokens without a role.
            styles: The options of tokens that are only named, by role.
        """
        added_tokens = (
            self.added_tokens
            if self.lists_added
            else {**self.added_tokens, **vocabulary.added_tokens}
        )
        added_tokens = dict(sorted(added_tokens.items()))
        description_of = {str(token.content): token for token in added_tokens.values()}
        roles, by_role = _roles(self.values), dict[str, AddedToken]()
        absent = {role for role in defaults if self.values.get(f"{role}_token", "") is None}
        for role in dict.fromkeys([*ROLES, *roles, *defaults]):
            token = roles.get(role, None if role in absent else defaults.get(role))
            if token is None:
                continue
            description = description_of.get(content(token))
            style = (styles or {}).get(role, {}) if isinstance(token, str) else {}
            by_role[role] = description or added_token(token, **style)
        extra_tokens = self.extra_tokens
        if extra_tokens is None:
            extra_tokens = [
                *(vocabulary.special_tokens or self.additional_tokens),
                *additional_tokens,
            ]
        return Tokens(added_tokens, by_role, list(extra_tokens))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The special tokens of a tokenizer."""

    added_tokens: dict[int, AddedToken]
    by_role: dict[str, AddedToken]
    additional_tokens: list[AddedToken]
    language: str | None = None  # of a text, if the template has it

    def role(self, name: str) -> str:
        """Return the token of a role, or of the language.

        Raises:
            CheckpointError: There is none.
        """
        if name == "language" and self.language is not None:
            return self.language
        if name not in self.by_role:
            raise CheckpointError(f"{SETTINGS} has no {name}_token, which this tokenizer needs.")
        return str(self.by_role[name].content)


def added_token(token: Any, **flags: bool) -> AddedToken:
    """Return a special token, given its name or description.

    Args:
        flags: Defaults of its options.
    """
    if not isinstance(token, dict):
        return AddedToken(str(token), **{"special": True, **flags})
    flag_names = ("lstrip", "rstrip", "single_word", "normalized", "special")
    options = {name: bool(token[name]) for name in flag_names if name in token}
    return AddedToken(content(token), **{"special": True, **flags, **options})


def finish_tokenizer(
    tokenizer: Tokenizer, settings: Settings, tokens: Tokens, template: Template | None
) -> Tokenizer:
    """Add special tokens in transformers' order, and the template.

    Raises:
        CheckpointError: A token would get another id than in the folder.
    """
    contents = {id: str(token.content) for id, token in tokens.added_tokens.items()}
    model_pieces = {text for text in contents.values() if tokenizer.token_to_id(text) is not None}
    known_contents = {str(token.content) for token in tokenizer.get_added_tokens_decoder().values()}
    known_contents |= {str(token.content) for token in tokens.added_tokens.values()}
    role_contents = {str(token.content) for token in tokens.by_role.values()}
    new_tokens = [
        t
        for t in (*tokens.by_role.values(), *tokens.additional_tokens)
        if str(t.content) not in known_contents
    ]
    for token in (*tokens.added_tokens.values(), *new_tokens):
        if str(token.content) in role_contents:
            token.special = True
        tokenizer.add_tokens([token])
    for id, text in contents.items():
        if text not in model_pieces and tokenizer.token_to_id(text) != id:
            raise CheckpointError(
                f"{settings.folder}: the added token {text!r} must have id {id}, but the "
                f"vocabulary gives it {tokenizer.token_to_id(text)}."
            )
    if template is not None:
        tokenizer.post_processor = _template(tokenizer, template, tokens)
    tokenizer.encode_special_tokens = settings.flag("split_special_tokens")
    return tokenizer


def bos_eos_template(settings: Settings, tokens: Tokens, *, adds_bos: bool = False) -> Template:
    """Return the template of `add_bos_token` and `add_eos_token`.

    Args:
        adds_bos: The default of `add_bos_token`.
    """
    is_added = {"bos": settings.flag("add_bos_token", adds_bos)}
    is_added["eos"] = settings.flag("add_eos_token")
    bos, eos = (role in tokens.by_role and is_added[role] for role in ("bos", "eos"))
    single, second = (
        " ".join([f"bos{type}"] * bos + [text] + [f"eos{type}"] * eos)
        for text, type in (("$A", ""), ("$B:1", ":1"))
    )
    return single, f"{single} {second}"


def keep_template(
    tokenizer: Tokenizer, vocabulary: Vocabulary, template: Template
) -> Template | None:
    """Keep the template of tokenizer.json; return the class's own template if there is none."""
    if vocabulary.template is None:
        return template
    tokenizer.post_processor = vocabulary.template
    return None


def read_vocabulary(path: Path, name: str, model: type) -> Vocabulary | None:
    """Return the vocabulary of a tokenizer.json.

    Args:
        name: The name of the class.
        model: The model it builds: `models.WordPiece`, `BPE` or `Unigram`.

    Returns:
        None if the file has a word-level vocabulary, which no class uses.

    Raises:
        CheckpointError: The vocabulary is for another model.
    """
    document = read_json(path)
    model_values = document.get("model")
    if not isinstance(model_values, dict) or (kind := _model_type(model_values)) == "WordLevel":
        return None
    if kind != model.__name__:
        raise CheckpointError(
            f"{path} has a {kind} vocabulary, but {name} needs {model.__name__}: set another "
            f"tokenizer_class in {SETTINGS}, such as PreTrainedTokenizerFast."
        )
    try:
        return _vocabulary(document, model_values)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a valid tokenizer: {error}.") from error


def _vocabulary(document: dict[str, Any], model: dict[str, Any]) -> Vocabulary:
    """Read the vocabulary of a tokenizer.json; invalid contents raise one of three errors."""
    pieces, added_tokens = model["vocab"], document.get("added_tokens") or ()
    ids = {str(p): _checked_id(id) for p, id in pieces.items()} if isinstance(pieces, dict) else {}
    scored_pieces = (
        [] if isinstance(pieces, dict) else [(str(piece), float(s)) for piece, s in pieces]
    )
    if min(ids.values(), default=0) < 0 or max(ids.values(), default=0) > MAX_ID:
        raise ValueError(f"a token id is out of range (0 to {MAX_ID:,})")
    return Vocabulary(
        ids=ids,
        merges=[_pair(merge) for merge in model.get("merges") or ()],
        scored_pieces=scored_pieces,
        charsmap=_charsmap(document.get("normalizer")),
        added_tokens={
            _checked_id(token["id"]): added_token(token, special=False) for token in added_tokens
        },
        template=_template_of(document.get("post_processor")),
    )


def _checked_id(id: Any) -> int:
    if type(id) is not int:
        raise TypeError(f"{id!r:.40} is not a token id")
    return id


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else map(str, merge)
    return left, right


def _model_type(model: Mapping[str, Any]) -> str:
    """Return the type of a model in tokenizer.json, which the oldest files omit."""
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return str(model.get("type") or ("BPE" if "merges" in model else "WordPiece"))


def _charsmap(normalizer: dict[str, Any] | None) -> bytes:
    """Return SentencePiece's normalization rules, if a file has them."""
    if not normalizer:
        return b""
    rules = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    charsmaps = (rule["precompiled_charsmap"] for rule in rules if rule["type"] == "Precompiled")
    return b64decode(next(charsmaps, None) or "")


def _template_of(template: dict[str, Any] | None) -> PostProcessor | None:
    """Return a file's template, by loading it into an empty tokenizer."""
    if template is None:
        return None
    inner = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    document = json.loads(inner.to_str()) | {"post_processor": template}
    processor: PostProcessor | None = Tokenizer.from_str(json.dumps(document)).post_processor
    return processor


def _template(tokenizer: Tokenizer, template: Template, tokens: Tokens) -> TemplateProcessing:
    roles = {
        part.split(":")[0]
        for text_template in template
        for part in text_template.split()
        if part[0] != "$"
    }
    token_of = {role: tokens.role(role) for role in roles}
    single, pair = (
        [
            part
            if part.startswith("$")
            else token_of[part.split(":")[0]] + part[len(part.split(":")[0]) :]
            for part in text_template.split()
        ]
        for text_template in template
    )
    ids = {name: tokenizer.token_to_id(name) for name in token_of.values()}
    if missing_tokens := [name for name, id in ids.items() if id is None]:
        raise CheckpointError(
            f"The tokenizer's template needs the token {missing_tokens[0]!r}, which its vocabulary "
            "lacks."
        )
    with library_errors("Could not build the tokenizer's template of special tokens", ValueError):
        return TemplateProcessing(single=single, pair=pair, special_tokens=list(ids.items()))


def _roles(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of each role, those of the model's own roles last."""
    role_tokens = [
        key.removesuffix("_token")
        for key, value in values.items()
        if key.endswith("_token") and isinstance(value, str | dict)
    ]
    roles = {role: values.get(f"{role}_token") for role in dict.fromkeys([*ROLES, *role_tokens])}
    return {role: token for role, token in roles.items() if token is not None}


def _read_added_tokens(
    folder: Path, values: Mapping[str, Any], extra_tokens: Sequence[Any]
) -> dict[int, AddedToken]:
    """Return the tokens of added_tokens.json, special if they have a role."""
    names = {content(token) for token in (*_roles(values).values(), *extra_tokens)}
    ids = _read_optional(folder / "added_tokens.json")
    if not all(type(id) is int and id >= 0 for id in ids.values()):
        raise CheckpointError(f"{folder / 'added_tokens.json'}: every value must be a token id.")
    return {
        id: AddedToken(token, special=token in names, normalized=token not in names)
        for token, id in ids.items()
    }


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def content(token: Any) -> str:
    """Return the text of a token that a setting names or describes."""
    if isinstance(token, AddedToken):
        return str(token.content)
    if isinstance(token, dict) and not isinstance(token.get("content"), str):
        raise CheckpointError(f"A special token has no string 'content': {token!r:.80}.")
    return str(token["content"] if isinstance(token, dict) else token)
