"""Attention weights of other programs: arrays and tokens, as head maps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
_CONTINUES, _ENDS, _GOES_ON = "##", "</w>", "@@"  # WordPiece, and two kinds of BPE


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

    before: str  # a space that belongs to no token
    data: bytes


def tokens_of(pieces: Sequence[str]) -> tuple[str, list[Token]]:
    """Return a text that gives these tokens, and the tokens with their offsets in it.

    Args:
        pieces: The spellings of the tokens, from which the kind of tokenizer is inferred.
    """
    special = [_is_special(piece, pieces) for piece in pieces]
    words = [piece for piece, is_special in zip(pieces, special, strict=True) if not is_special]
    data, spans = bytearray(), list[tuple[int, int]]()
    parts = iter(_parts(words))
    for is_special in special:
        part = _Part("", b"") if is_special else next(parts)
        data += part.before.encode() if data else b""
        spans.append((len(data), len(data) + len(part.data)))
        data += part.data
    text, places = characters(bytes(data))
    tokens = []
    for i, (piece, (begin, stop)) in enumerate(zip(pieces, spans, strict=True)):
        start = places[begin]
        end = places[stop - 1] + 1 if stop > begin else start
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
                special=special[i],
                unknown=unknown,
            )
        )
    return text, tokens


def _is_special(piece: str, pieces: Sequence[str]) -> bool:
    """Whether a token is special: not a byte, and not a substitute for a word."""
    if _stands_for_word(piece):
        return False
    if _SPECIAL.fullmatch(piece):
        return True
    return bool(_LANGUAGE.fullmatch(piece)) and any(other.startswith(_BLANK) for other in pieces)


def _stands_for_word(piece: str) -> bool:
    return piece in _UNKNOWN or bool(_MASK.fullmatch(piece))


def _parts(pieces: Sequence[str]) -> list[_Part]:
    if any(piece.startswith(_BLANK) or byte_of(piece) for piece in pieces):
        return _without_first_blank([_of_metaspace(piece) for piece in pieces])
    if _is_byte_level(pieces):
        return _without_first_blank([_of_bytes(piece) for piece in pieces])
    if any(piece.startswith(" ") for piece in pieces):
        return _without_first_blank([_Part("", _encoded(piece)) for piece in pieces])
    if any(_has_end(piece, _ENDS) for piece in pieces):
        return _with_ends(pieces, _ENDS, begins_word=True)
    if any(_has_end(piece, _GOES_ON) for piece in pieces):
        return _with_ends(pieces, _GOES_ON, begins_word=False)
    return [_of_word_piece(piece) for piece in pieces]


def _of_metaspace(piece: str) -> _Part:
    return _Part("", byte_of(piece) or _encoded(piece.replace(_BLANK, " ")))


def _of_bytes(piece: str) -> _Part:
    if _stands_for_word(piece):
        return _Part("", piece.encode())
    return _Part("", bytes(_BYTES[sign] for sign in piece))


def _of_word_piece(piece: str) -> _Part:
    if piece.startswith(_CONTINUES) and piece != _CONTINUES:
        return _Part("", _encoded(piece.removeprefix(_CONTINUES)))
    return _Part(" ", _encoded(piece))


def _is_byte_level(pieces: Sequence[str]) -> bool:
    """Whether tokens are spelled in GPT-2's byte alphabet, in which a space is U+0120.

    Without a space, non-ASCII text must decode as UTF-8, which it hardly ever does by chance: an
    accented letter of Latin-1 is half a character.
    """
    pieces_of_bytes = [piece for piece in pieces if not _stands_for_word(piece)]
    if not all(sign in _BYTES for piece in pieces_of_bytes for sign in piece):
        return False
    if any(piece.startswith(("\u0120", "\u010a")) for piece in pieces_of_bytes):
        return True
    data = b"".join(_of_bytes(piece).data for piece in pieces_of_bytes)
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False


def _has_end(piece: str, end: str) -> bool:
    return piece.endswith(end) and piece != end


def _with_ends(pieces: Sequence[str], end: str, *, begins_word: bool) -> list[_Part]:
    """Return the parts of tokens that mark the end or the continuation of a word."""
    parts, begins = list[_Part](), False
    for piece in pieces:
        data = piece.removesuffix(end) if _has_end(piece, end) else piece
        parts.append(_Part(" " if begins else "", _encoded(data)))
        begins = _has_end(piece, end) == begins_word
    return parts


def _without_first_blank(parts: list[_Part]) -> list[_Part]:
    """Remove the space before the first word, which the tokenizer has added."""
    if parts and parts[0].data.startswith(b" "):
        parts[0] = _Part("", parts[0].data[1:])
    return parts


def _encoded(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", text).encode()


FAR = 0.01  # of a row's sum from 1, in float16 or bfloat16


def one_of(arrays: Mapping[str, Stored], name: str | None) -> NDArray[Any]:
    """Return the array to draw.

    Args:
        name: The value of `--array`; without it, there must be one array, or one named attention.

    Raises:
        UsageError: The choice is not clear; the error lists the arrays.
        CheckpointError: The array's type is not implemented.
    """
    called = [n for n in arrays if n in ("attention", "attentions", "pattern")]
    candidates = [name] if name is not None else called if len(arrays) > 1 else list(arrays)
    if len(candidates) != 1 or candidates[0] not in arrays:
        names = ", ".join(list(arrays)[:12]) or "none"
        missing = "" if name is None else f"The file has no array {name!r}. "
        raise UsageError(f"{missing}Choose an array with --array NAME: {names}.")
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
    rows, columns = _said(tokens)
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
    above = np.triu_indices(len(queries), 1)
    causal = source is None and len(queries) > 1
    causal = causal and not any(pattern[above].any() for pattern in patterns.values())
    mask = np.ones(layers.shape[2:], np.bool_)
    mask = np.tril(mask) if causal else mask
    maps = [
        HeadMap(
            name=f"L{layer}H{head}", block=block, layer=layer, head=head, pattern=pattern, mask=mask
        )
        for (layer, head), pattern in patterns.items()
    ]
    n_layers, n_heads = layers.shape[:2]
    info = ModelInfo(
        name=name,
        type="array",
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=0,
        d_head=0,
        d_vocab=0,
        origin="computed elsewhere",
    )
    notes = _missing(patterns.values())
    return HeadMaps(
        model=info,
        weighting="softmax",
        causal=causal,
        text=text,
        source=source,
        queries=queries,
        keys=keys,
        maps=maps,
        notes=notes,
    )


def _by_layer(array: NDArray[Any]) -> NDArray[Any]:
    """Return [n_layers, n_heads, n_query, n_key] for an array that may lack the first one or two
    axes, or that has a batch of one text after the layers.
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
    bad_rows = np.flatnonzero(sums > 1 + FAR)
    if len(bad_rows):
        raise InputError(
            f"row {bad_rows[0]} of {name} sums to {sums[bad_rows[0]]:.4g}, more than 1."
        )
    return weights


def _missing(patterns: Iterable[Array]) -> tuple[str, ...]:
    """Return a note if rows sum to less than 1; a row of zeros is masked."""
    sums = np.concatenate([pattern.sum(axis=1) for pattern in patterns])
    least = float(sums[sums != 0].min(initial=1.0))
    if least >= 1 - FAR:
        return ()
    missing = f"{1 - least:.2f}".removeprefix("0")
    return (
        f"rows of this array sum to less than 1, by at most {missing}: an attention sink has the "
        "rest, or keys were left out",
    )


def _said(data: bytes) -> tuple[list[str], list[str] | None]:
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
