"""Attention weights of other programs: arrays and tokens, as head maps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkv_cli.core.arrays import Array, BFloat16, Packed, Stored, float32
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.tokens import Token, byte_of, characters
from qkv_cli.errors import InputError, UsageError
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.names import Block
from qkv_cli.strict_json import parse

_BLANK = "\u2581"  # SentencePiece's space
_SPECIAL = re.compile(
    r"\[(?:CLS|SEP|PAD|BOS|EOS)\]"
    r"|</?s>|<(?:bos|eo[a-z]|cls|sep|pad|start|end|startoftext|endoftext)>"
    r"|<\|[^<>\s]+\|>|<\uff5c[^<>\s]+\uff5c>"
    r"|<[a-z0-9]+(?:_[a-z0-9]+)+>|<unused\d+>",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_(?:[A-Z]{2}|[A-Z][a-z]{3})")
_UNKNOWN = ("[UNK]", "<unk>")
_MASK = re.compile(r"\[MASK\]|<mask>|<extra_id_\d+>")  # substitutes for words
_SURROGATE = re.compile("[\ud800-\udfff]")  # an unpaired surrogate, which JSON may contain
_CONTINUATION_PREFIX, _END_SUFFIX, _CONTINUATION_SUFFIX = (
    "##",
    "</w>",
    "@@",
)  # WordPiece, and two kinds of BPE


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's character for each byte: printable bytes as they are, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    remaining = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + n): byte for n, byte in enumerate(remaining)
    }


_BYTES = _byte_alphabet()


@dataclass(frozen=True, slots=True)
class _Part:
    """The text that one token adds."""

    space: str  # a space that belongs to no token
    utf8: bytes


def tokens_of(pieces: Sequence[str]) -> tuple[str, list[Token]]:
    """Return a text that gives these tokens, and the tokens with their offsets in it.

    Args:
        pieces: The spellings of the tokens, from which the kind of tokenizer is inferred.
    """
    are_special = [_is_special(piece, pieces) for piece in pieces]
    words = [piece for piece, is_special in zip(pieces, are_special, strict=True) if not is_special]
    utf8, spans = bytearray(), list[tuple[int, int]]()
    parts = iter(_parts_of(words))
    for is_special in are_special:
        part = _Part("", b"") if is_special else next(parts)
        utf8 += part.space.encode() if utf8 else b""
        spans.append((len(utf8), len(utf8) + len(part.utf8)))
        utf8 += part.utf8
    text, char_of_byte = characters(bytes(utf8))
    tokens = []
    for i, (piece, (first_byte, stop_byte)) in enumerate(zip(pieces, spans, strict=True)):
        start = char_of_byte[first_byte]
        end = char_of_byte[stop_byte - 1] + 1 if stop_byte > first_byte else start
        spelling = text[start:end]
        start += len(spelling) - len(spelling.lstrip()) if spelling.strip() else 0
        unknown = piece in _UNKNOWN
        tokens.append(
            Token(
                i=i,
                text=text[start:end],
                token=piece,
                id=i,
                start=start,
                end=end,
                special=are_special[i],
                unknown=unknown,
            )
        )
    return text, tokens


def _is_special(piece: str, pieces: Sequence[str]) -> bool:
    """Whether a token is special, and not a byte or a substitute for a word."""
    if _replaces_word(piece):
        return False
    if _SPECIAL.fullmatch(piece):
        return True
    has_blanks = any(other_piece.startswith(_BLANK) for other_piece in pieces)
    return has_blanks and bool(_LANGUAGE.fullmatch(piece))


def _replaces_word(piece: str) -> bool:
    return piece in _UNKNOWN or bool(_MASK.fullmatch(piece))


def _parts_of(pieces: Sequence[str]) -> list[_Part]:
    if any(piece.startswith(_BLANK) or byte_of(piece) for piece in pieces):
        return _without_first_blank([_metaspace_part(piece) for piece in pieces])
    if _is_byte_level(pieces):
        return _without_first_blank([_byte_level_part(piece) for piece in pieces])
    if any(piece.startswith(" ") for piece in pieces):
        return _without_first_blank([_Part("", _to_utf8(piece)) for piece in pieces])
    if any(_has_mark(piece, _END_SUFFIX) for piece in pieces):
        return _parts_with_marks(pieces, _END_SUFFIX, begins_word=True)
    if any(_has_mark(piece, _CONTINUATION_SUFFIX) for piece in pieces):
        return _parts_with_marks(pieces, _CONTINUATION_SUFFIX, begins_word=False)
    return [_word_piece_part(piece) for piece in pieces]


def _metaspace_part(piece: str) -> _Part:
    return _Part("", byte_of(piece) or _to_utf8(piece.replace(_BLANK, " ")))


def _byte_level_part(piece: str) -> _Part:
    if _replaces_word(piece):
        return _Part("", piece.encode())
    return _Part("", bytes(_BYTES[char] for char in piece))


def _word_piece_part(piece: str) -> _Part:
    if piece.startswith(_CONTINUATION_PREFIX) and piece != _CONTINUATION_PREFIX:
        return _Part("", _to_utf8(piece.removeprefix(_CONTINUATION_PREFIX)))
    return _Part(" ", _to_utf8(piece))


def _is_byte_level(pieces: Sequence[str]) -> bool:
    """Whether tokens are spelled in GPT-2's byte alphabet, in which a space is U+0120.

    Without a space, non-ASCII text must decode as UTF-8, which it hardly ever does by chance: an
    accented letter of Latin-1 is half a character.
    """
    pieces_of_bytes = [piece for piece in pieces if not _replaces_word(piece)]
    if not all(char in _BYTES for piece in pieces_of_bytes for char in piece):
        return False
    if any(piece.startswith(("\u0120", "\u010a")) for piece in pieces_of_bytes):
        return True
    utf8 = b"".join(_byte_level_part(piece).utf8 for piece in pieces_of_bytes)
    try:
        return not utf8.isascii() and bool(utf8.decode())
    except UnicodeDecodeError:
        return False


def _has_mark(piece: str, end: str) -> bool:
    return piece.endswith(end) and piece != end


def _parts_with_marks(pieces: Sequence[str], end: str, *, begins_word: bool) -> list[_Part]:
    """Return the parts of tokens that mark the end or the continuation of a word."""
    parts, starts_word = list[_Part](), False
    for piece in pieces:
        text = piece.removesuffix(end) if _has_mark(piece, end) else piece
        parts.append(_Part(" " if starts_word else "", _to_utf8(text)))
        starts_word = _has_mark(piece, end) == begins_word
    return parts


def _without_first_blank(parts: list[_Part]) -> list[_Part]:
    """Remove the space before the first word, which the tokenizer has added."""
    if parts and parts[0].utf8.startswith(b" "):
        parts[0] = _Part("", parts[0].utf8[1:])
    return parts


def _to_utf8(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", text).encode()


SUM_TOLERANCE = 0.01  # of a row's sum from 1, in float16 or bfloat16


def choose_array(arrays: Mapping[str, Stored], name: str | None) -> NDArray[Any]:
    """Return the array to draw.

    Args:
        name: The value of `--array`; without it, there must be one array, or one named attention.

    Raises:
        UsageError: The choice is not clear; the error lists the arrays.
        CheckpointError: The array's type is not implemented.
    """
    attention_names = [n for n in arrays if n in ("attention", "attentions", "pattern")]
    if name is not None:
        candidates = [name]
    else:
        candidates = attention_names if len(arrays) > 1 else list(arrays)
    if len(candidates) != 1 or candidates[0] not in arrays:
        names = ", ".join(list(arrays)[:12]) or "none"
        reason = "" if name is None else f"The file has no array {name!r}. "
        raise UsageError(f"{reason}Choose an array with --array NAME: {names}.")
    array = arrays[candidates[0]]
    if isinstance(array, Packed):
        return array.unpack()
    if not (isinstance(array, BFloat16) or np.issubdtype(array.dtype, np.floating)):
        raise InputError(
            f"array {candidates[0]!r} has dtype {array.dtype}; expected floating-point weights."
        )
    return array


def maps_of_arrays(name: str, array: NDArray[Any], tokens: bytes) -> HeadMaps:
    """Return head maps of weights and a JSON file of tokens.

    Args:
        name: The name of the model in the output.
        array: One map, the heads of a layer, or those of several layers; see `_by_layer`. Rows must
            be non-negative and sum to 1; to less if a sink took the rest, which becomes a note; or
            to 0 if every key is masked.
        tokens: A list of tokens, or an object with the lists `queries` and `keys`.

    Raises:
        InputError: The shape, the tokens or a row is invalid.
    """
    rows, columns = _read_tokens(tokens)
    layers = _by_layer(array)
    n_key = len(rows if columns is None else columns)
    if 0 in layers.shape or layers.shape[2:] != (len(rows), n_key):
        raise InputError(
            f"the array has shape {list(array.shape)}; --tokens implies {len(rows)} rows and "
            f"{n_key} columns."
        )
    text, queries = tokens_of(rows)
    source, keys = (None, queries) if columns is None else tokens_of(columns)
    block: Block = "self" if columns is None else "cross"
    patterns = {
        (layer, head): _weights(f"L{layer}H{head}", pattern)
        for layer, heads in enumerate(layers)
        for head, pattern in enumerate(heads)
    }
    is_causal = source is None and _is_causal(patterns.values())
    mask = np.ones(layers.shape[2:], np.bool_)
    mask = np.tril(mask) if is_causal else mask
    maps = [
        HeadMap(
            name=f"L{layer}H{head}", block=block, layer=layer, head=head, pattern=pattern, mask=mask
        )
        for (layer, head), pattern in patterns.items()
    ]
    return HeadMaps(
        model=_model_info(name, *layers.shape[:2]),
        weighting="softmax",
        causal=is_causal,
        text=text,
        source=source,
        queries=queries,
        keys=keys,
        maps=maps,
        notes=_missing_weight_note(patterns.values()),
    )


def _is_causal(patterns: Collection[Array]) -> bool:
    """Whether no query of square patterns has weight on a later key."""
    n = len(next(iter(patterns)))
    later_keys = np.triu_indices(n, 1)
    return n > 1 and not any(pattern[later_keys].any() for pattern in patterns)


def _model_info(name: str, n_layers: int, n_heads: int) -> ModelInfo:
    return ModelInfo(
        name=name,
        type="array",
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=0,
        d_head=0,
        d_vocab=0,
        origin="computed elsewhere",
    )


def _by_layer(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as [n_layers, n_heads, n_query, n_key].

    It may lack the first one or two axes, or have a batch of one text after the layers.
    """
    if array.ndim == 5 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"the array has shape {list(array.shape)}; expected [queries, keys], [heads, queries, "
            "keys], [layers, heads, queries, keys] or [layers, 1, heads, queries, keys]."
        )
    return array[(None,) * (4 - array.ndim)]


def _weights(name: str, pattern: NDArray[Any]) -> Array:
    weights = float32(pattern)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"{name} contains NaN, infinity or negative numbers; expected weights.")
    sums = weights.sum(axis=1)
    rows_above_1 = np.flatnonzero(sums > 1 + SUM_TOLERANCE)
    if len(rows_above_1):
        raise InputError(
            f"row {rows_above_1[0]} of {name} sums to {sums[rows_above_1[0]]:.4g}, more than 1."
        )
    return weights


def _missing_weight_note(patterns: Iterable[Array]) -> tuple[str, ...]:
    """Return a note if rows sum to less than 1; a row of zeros is masked."""
    sums = np.concatenate([pattern.sum(axis=1) for pattern in patterns])
    smallest_sum = float(sums[sums != 0].min(initial=1.0))
    if smallest_sum >= 1 - SUM_TOLERANCE:
        return ()
    deficit = f"{1 - smallest_sum:.2f}".removeprefix("0")
    return (
        f"rows of this array sum to less than 1, by at most {deficit}: an attention sink has the "
        "rest, or keys were left out",
    )


def _read_tokens(data: bytes) -> tuple[list[str], list[str] | None]:
    """Return the tokens of rows and of columns; None if the columns have the same tokens."""
    try:
        document = parse(data)
    except ValueError as error:
        raise InputError(f"--tokens is not valid JSON: {error}.") from error
    if isinstance(document, dict):
        if set(document) != {"queries", "keys"}:
            raise InputError(
                '--tokens has other keys than "queries" and "keys"; expected an array of strings, '
                "or an object with these two."
            )
        return _texts(document["queries"], "queries"), _texts(document["keys"], "keys")
    return _texts(document, "--tokens"), None


def _texts(texts: object, name: str) -> list[str]:
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InputError(f"{name} is not a list of tokens; expected an array of strings.")
    return texts
