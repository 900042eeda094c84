"""Checks of `qkv models check`: the tokenizer's ids, and one token through every layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain

from qkv_cli.core.layers import Embedding
from qkv_cli.core.tokens import Tokenizer
from qkv_cli.errors import CheckpointError
from qkv_cli.formats.tokenizers.pieces import PieceTokenizer
from qkv_cli.formats.tokenizers.translators import FramedTokenizer, SentencePieceSplitter
from qkv_cli.session.run import LoadedModel

_USUAL = "the"
_TRIED = 1000  # ids whose texts are tried if the usual word gives no tokens


def check_run(loaded: LoadedModel) -> None:
    """Run a short text through every layer, as `qkv attend` does, and predict the next token.

    Raises:
        QkvError: `qkv attend` would raise it too, or the embedding lacks an id.
    """
    model = loaded.model
    check_ids(loaded.tokenizer, model.embed, loaded.info.name)
    if loaded.target is not None:
        check_ids(loaded.target, model.decoder_embed or model.embed, loaded.info.name)
    text = short_text(loaded)
    run = loaded.read(text, text if loaded.is_encoder_decoder else None)
    if model.unembed is not None:
        run.next_logits()
    else:
        deque(run.layers, 0)
    if loaded.rules is not None:
        loaded.rules()


def check_ids(tokenizer: Tokenizer, embed: Embedding, name: str) -> None:
    """Check that every id of the tokenizer's vocabulary has a row in the embedding.

    Added tokens are not checked: they occur only if a text contains them, which `attend` refuses.

    Raises:
        CheckpointError: An id has no row; the error names the first.
    """
    n_rows = len(embed.table) + embed.blank
    without_row = {id: token for token, id in _vocabulary(tokenizer).items() if id >= n_rows}
    if without_row:
        first = min(without_row)
        suffix = f" (and {len(without_row) - 1} more)" if len(without_row) > 1 else ""
        raise CheckpointError(
            f"The tokenizer of {name} has token {without_row[first]!r} with id {first}{suffix}, "
            f"but the embedding has {n_rows} rows."
        )


def short_text(loaded: LoadedModel) -> str:
    """Return a text from which the model's tokenizers make at least one token.

    Raises:
        CheckpointError: There is none among the texts that are tried.
    """
    tokenizers = [loaded.tokenizer, *([] if loaded.target is None else [loaded.target])]
    for text in chain([_USUAL], _spelled(loaded.tokenizer)):
        if all(any(not t.special for t in tokenizer.encode(text)) for tokenizer in tokenizers):
            return text
    raise CheckpointError(
        f"The tokenizer of {loaded.info.name} produces no tokens for {_USUAL!r} or for the "
        f"texts of its first {_TRIED} ids."
    )


def _spelled(tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the texts of single tokens of a vocabulary."""
    for token, id in sorted(_vocabulary(tokenizer).items(), key=lambda item: item[1])[:_TRIED]:
        yield tokenizer.inner.decode([id]) if isinstance(tokenizer, PieceTokenizer) else token


def _vocabulary(tokenizer: Tokenizer) -> Mapping[str, int]:
    """Return ids by token; empty for word vectors, which are checked when they are opened."""
    if isinstance(tokenizer, FramedTokenizer):
        return _vocabulary(tokenizer.splitter)
    if isinstance(tokenizer, PieceTokenizer):
        vocabulary: Mapping[str, int] = tokenizer.inner.get_vocab(with_added_tokens=False)
        return vocabulary
    return tokenizer.ids if isinstance(tokenizer, SentencePieceSplitter) else {}
