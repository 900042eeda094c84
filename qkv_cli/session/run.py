"""Running a model on texts: tokenize, then compute layers as they are requested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from qkv_cli.checkpoints.adapters.word_vectors import with_rows
from qkv_cli.core.arrays import Array
from qkv_cli.core.block import Ablation, Attention, LayerTrace
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.model import Model
from qkv_cli.core.tokens import Token, Tokenizer
from qkv_cli.errors import CheckpointError, InputError, UsageError
from qkv_cli.formats.ngrams import Ngrams
from qkv_cli.names import Block, Show, StackName, Weighting

if TYPE_CHECKING:
    from qkv_cli.core.generate import Rules
    from qkv_cli.formats.tokenizers.translators import TargetTokenizer

_GENERATED = "each row is the token being generated; the decoder has read the tokens before it"
_LAST_READ = "each row is the last token that the decoder has read; it predicts the next token"
_GENERATED_TEXT = "the model generated this text: the most likely token at each step"
_N_NAMED = 5  # words built from n-grams that a note names


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Options of a run, and of the maps that are made from it.

    Attributes:
        source: A second text, which provides keys and values (cross-attention).
        pair: The second sentence of a pair, in one sequence with the text.
        block: The attention of an encoder-decoder; see `LoadedModel.tokenize`.
        causal: Mask every key after its query.
        ablate: Names of heads to ablate (`L0H3`, `L2H*`), also several in one string.
        ablate_mean: Replace the output of ablated heads by its mean and not by zeros.
        hide_special, merge_words, window: See `maps.selection` and `maps.merge`.
        show: What the maps show; None for the weights, or for what a file shows.
    """

    source: str | None = None
    pair: str | None = None
    block: Block | None = None
    weighting: Weighting = "softmax"
    causal: bool = False
    ablate: Sequence[str] = ()
    ablate_mean: bool = False
    hide_special: bool = False
    merge_words: bool = False
    window: str | None = None
    show: Show | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """The tokens of the texts of a run, before the model reads them.

    Attributes:
        text, source, pair: The texts; see `Reading`.
        block: The block of attention to read.
        first: The tokens of the first stack: of the source if there is one, else of the text.
        second: The tokens of the text if there is a source. None if there is none, or if an
            encoder-decoder is to generate the text.
        types: The token types of a pair.
        language: The id of the language to generate, if the text is the name of one.
    """

    text: str
    source: str | None = None
    pair: str | None = None
    block: Block = "self"
    first: list[Token]
    second: list[Token] | None = None
    types: Sequence[int] = ()
    language: int | None = None

    def reordered(self, order: Callable[[list[Token]], list[Token]]) -> Tokenized:
        """Return the tokens of each text in another order."""
        second = None if self.second is None else order(self.second)
        return replace(self, first=order(self.first), second=second)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, its tokenizers, and what is known about it.

    Attributes:
        target: The tokenizer of an encoder-decoder's target text.
        start: The id that its decoder reads first; if None, the last token of the target.
        rules: Return the rules by which it generates text, if it can.
        ngrams: Of word vectors: the n-grams that give unknown words a vector.
    """

    model: Model
    tokenizer: Tokenizer
    info: ModelInfo
    target: TargetTokenizer | None = None
    start: int | None = None
    rules: Callable[[], Rules] | None = None
    ngrams: Ngrams | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        return len(self.model.stacks) == 2

    def read(
        self,
        text: str,
        source: str | None = None,
        *,
        pair: str | None = None,
        block: Block | None = None,
        weighting: Weighting = "softmax",
        causal: bool = False,
    ) -> Run:
        """Tokenize texts and run the model on them; see `tokenize` and `run`."""
        tokens = self.tokenize(text, source, pair=pair, block=block)
        return self.run(tokens, weighting=weighting, causal=causal)

    def tokenize(
        self,
        text: str,
        source: str | None = None,
        *,
        pair: str | None = None,
        block: Block | None = None,
    ) -> Tokenized:
        """Split the texts of a run into tokens.

        Args:
            source, pair: See `Reading`.
            block: The attention of an encoder-decoder. By default cross if there is a target text,
                given or to be generated, else encoder.

        Raises:
            InputError: A text has no tokens.
            UsageError: The model cannot read a second text, or has no such block.
            CheckpointError: A token has no row in the embedding.
        """
        if pair is not None:
            return self._tokenize_pair(text, pair, source, block)
        if self.is_encoder_decoder:
            return self._tokenize_translation(text, source, block)
        if block not in (None, "self"):
            raise UsageError(
                f"--block {block} does not apply to {self.info.name}: it is not an encoder-decoder."
            )
        tokens = self._tokens("text", text)
        if source is None:
            return Tokenized(text=text, first=tokens)
        if self.model.between_texts is None:
            raise UsageError(
                f"--source does not apply to {self.info.name}: it has no cross-attention."
            )
        return Tokenized(
            text=text, source=source, first=self._tokens("source", source), second=tokens
        )

    def _tokenize_pair(
        self, text: str, pair: str, source: str | None, block: Block | None
    ) -> Tokenized:
        """Tokenize two sentences as one sequence, with the token types of the template."""
        from qkv_cli.formats.tokenizers.pieces import PieceTokenizer

        model, tokenizer = self.model, self.tokenizer
        if list(model.stacks) != ["encoder"] or not isinstance(tokenizer, PieceTokenizer):
            raise UsageError(
                f"--pair does not apply to {self.info.name}: only encoders such as BERT read "
                "sentence pairs."
            )
        if source is not None or block not in (None, "self"):
            raise UsageError(
                "--pair cannot be combined with --source or --block: both sentences are read as "
                "one sequence, with self-attention."
            )
        for name, sentence in (("text", text), ("second sentence", pair)):
            self._tokens(name, sentence)
        tokens, types = tokenizer.encode_pair(text, pair)
        _check_ids(tokens, len(model.embed.table))
        _check_types(types, model)
        return Tokenized(text=text, pair=pair, first=tokens, types=types)

    def _tokenize_translation(
        self, text: str, source: str | None, block: Block | None
    ) -> Tokenized:
        """Tokenize the texts of an encoder-decoder; a text without a source is the source."""
        from qkv_cli.formats.tokenizers.translators import FramedTokenizer

        target, stacks = self.target, self.model.stacks
        language = (
            target.only_language(text) if source and isinstance(target, FramedTokenizer) else None
        )
        has_target = source is not None and language is None
        generates = not has_target and block != "encoder" and self.rules is not None
        block = block or ("encoder" if source is None and not generates else "cross")
        if block == "self":
            raise UsageError(
                f"--block self does not apply to {self.info.name}, an encoder-decoder: use "
                "encoder, decoder or cross."
            )
        if source is None and block != "encoder" and not generates:
            raise UsageError(f"--block {block} needs --source TEXT, the input of the encoder.")
        if block == "decoder" and all(b.attn is None for b in stacks["decoder"].blocks):
            raise UsageError(
                f"--block decoder does not apply to {self.info.name}: its decoder has no "
                "self-attention. Use encoder or cross."
            )
        first = self._tokens("text" if source is None else "source", source or text)
        second = None
        if block != "encoder" and not generates:
            second = self._tokens("text", text, self.target)
        return Tokenized(
            text=text, source=source, block=block, first=first, second=second, language=language
        )

    def shape(self, block: Block) -> tuple[int, int]:
        """Return the number of layers of a block, and of heads in each."""
        stack = _stack_of(self.model, block)
        return len(self.model.stacks[stack].blocks), _first_attention(self.model, block).n_heads

    def run(
        self,
        tokens: Tokenized,
        *,
        weighting: Weighting = "softmax",
        causal: bool = False,
        ablated_heads: Mapping[int, Sequence[int]] | None = None,
        ablate_mean: bool = False,
    ) -> Run:
        """Prepare to compute the layers of a text, each when it is requested.

        Args:
            ablated_heads: Heads of the block to ablate, by layer.
            ablate_mean: See `Reading`. What an encoder-decoder generates is not affected.

        Raises:
            InputError: The text is too long for its maps to fit in memory.
            UsageError: --causal does not apply.
        """
        if causal and tokens.block == "cross":
            raise UsageError(
                "--causal does not apply to cross-attention: use --block encoder or decoder."
            )
        if causal and tokens.block == "self" and tokens.second is not None:
            raise UsageError(
                "Use either --causal or --source, not both: cross-attention cannot be causal."
            )
        model = self.model
        if tokens.block == "self" and tokens.second is not None:
            assert model.between_texts is not None
            model = model.between_texts
        if ablated_heads:
            model = model.ablate(_ablation(model, tokens.block, ablated_heads, mean=ablate_mean))
        if self.is_encoder_decoder:
            return self._run_translation(model, tokens, weighting, causal=causal)
        texts = [tokens.first] if tokens.second is None else [tokens.first, tokens.second]
        model, texts, notes = self._with_ngrams(model, texts)
        layers = model.layers(*_ids(texts), types=tokens.types, weighting=weighting, causal=causal)
        [*_, last_stack] = model.stacks.values()
        is_causal = causal or last_stack.causal
        run = Run(texts[-1], texts[0], model, layers, "self", is_causal)
        return replace(run, text=tokens.text, source=tokens.source, pair=tokens.pair, notes=notes)

    def _run_translation(
        self, model: Model, tokens: Tokenized, weighting: Weighting, *, causal: bool
    ) -> Run:
        """Run an encoder-decoder: the decoder reads the target text, shifted by one."""
        block, target, source_text = tokens.block, tokens.second, tokens.source or tokens.text
        ids = [token.id for token in tokens.first]
        if block == "encoder":
            layers = (
                layer
                for layer in model.layers(ids, (), weighting=weighting, causal=causal)
                if layer.stack == "encoder"
            )
            run = Run(tokens.first, tokens.first, model, layers, block, causal)
            return replace(run, text=source_text)
        generates, start, text = target is None, self.start, tokens.text
        if target is None:
            text, target, start = self._generate(tokens)
        rows, decoder_ids = self._shifted(target, start)
        layers = (
            layer
            for layer in model.layers(ids, decoder_ids, weighting=weighting, causal=causal)
            if layer.stack == "decoder"
        )
        keys = rows if block == "decoder" else tokens.first
        run = Run(rows, keys, model, layers, block, causal or block == "decoder")
        notes = [_GENERATED if self._rows_are_generated_tokens else _LAST_READ]
        notes += [_GENERATED_TEXT] * generates
        return replace(run, text=text, source=source_text, notes=tuple(notes))

    @property
    def _rows_are_generated_tokens(self) -> bool:
        """Whether a row of the decoder is named after the token that is generated there.

        A decoder without self-attention has no map of the tokens that it has read.
        """
        return all(block.attn is None for block in self.model.stacks["decoder"].blocks)

    def _generate(self, tokens: Tokenized) -> tuple[str, list[Token], int | None]:
        """Generate the target: its text, its tokens, and the id that the decoder reads first."""
        from qkv_cli.core.generate import generate
        from qkv_cli.formats.tokenizers.translators import FramedTokenizer, renumber

        assert self.target is not None and self.rules is not None
        rules = self.rules()
        if tokens.language is not None and isinstance(self.target, FramedTokenizer):
            rules = self.target.rules_for_language(rules, tokens.language)
        n_read = len(tokens.first)
        n_max = min(3 * n_read + 10, (rules.max_length or n_read * 4 + 12) - 1)
        ids = generate(self.model, [token.id for token in tokens.first], rules, n_max)
        text, target = self.target.decode(ids)
        return (
            text,
            renumber([*target, self.target.special_token(rules.end_ids[0])]),
            rules.start_id,
        )

    def _shifted(self, target: list[Token], start: int | None) -> tuple[list[Token], list[int]]:
        """Return the token of each row of the decoder, and the ids that it reads.

        At each position the decoder reads the token before the one that it predicts.
        """
        assert self.target is not None
        ids = [target[-1].id if start is None else start, *(token.id for token in target[:-1])]
        if self._rows_are_generated_tokens:
            return target, ids
        shifted = (replace(token, i=token.i + 1) for token in target[:-1])
        return [self.target.special_token(ids[0]), *shifted], ids

    def _with_ngrams(
        self, model: Model, texts: list[list[Token]]
    ) -> tuple[Model, list[list[Token]], tuple[str, ...]]:
        """Give unknown words the mean of their n-grams, as additional rows of this run's model.

        A word that is too short for an n-gram has a vector of zeros, and stays unknown.
        """
        unknown = [token for text in texts for token in text if token.unknown]
        if self.ngrams is None or not unknown:
            return model, texts, ()
        rows = {token.text: self.ngrams.row(token.text) for token in unknown}
        ids = dict(zip(rows, count(len(model.embed.table)), strict=False))

        def with_row(token: Token) -> Token:
            if not token.unknown:
                return token
            return replace(token, id=ids[token.text], unknown=not rows[token.text].any())

        words = [word for word, row in rows.items() if row.any()]
        suffix = f" and {len(words) - _N_NAMED} more" if len(words) > _N_NAMED else ""
        notes = (f"built from n-grams: {', '.join(words[:_N_NAMED])}{suffix}",) if words else ()
        texts = [[with_row(token) for token in text] for text in texts]
        return with_rows(model, np.stack([*rows.values()])), texts, notes

    def _tokens(self, name: str, text: str, tokenizer: Tokenizer | None = None) -> list[Token]:
        tokens = (tokenizer or self.tokenizer).encode(text)
        if all(token.special for token in tokens):
            raise InputError(f"The {name} is empty: it has no tokens other than special tokens.")
        is_target = tokenizer is not None
        own_embedding = self.model.decoder_embed if is_target else None
        _check_ids(tokens, len((own_embedding or self.model.embed).table))
        return tokens


@dataclass(frozen=True, slots=True)
class Run:
    """A model on one text. The layers can be iterated once.

    Attributes:
        model: The model that computes; between two texts, `Model.between_texts`.
        causal: Whether keys after the query are masked.
        text, pair: The text of the queries.
        source: The text of the keys, if it is another.
        notes: What a reader of the maps must know.
        ablated: The ablated heads, and what replaces their output, for the output.
    """

    queries: list[Token]
    keys: list[Token]
    model: Model
    layers: Iterator[LayerTrace]
    block: Block
    causal: bool
    text: str = ""
    source: str | None = None
    notes: tuple[str, ...] = ()
    pair: str | None = None
    ablated: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of layers of the block, and of heads in each."""
        return len(self.model.stacks[self._stack].blocks), self._attn.n_heads

    def describe(self, info: ModelInfo) -> ModelInfo:
        """Return the information about a model, with the sizes of the block that is read."""
        n_layers, n_heads = self.shape
        own_embedding = self.model.decoder_embed if self._stack == "decoder" else None
        return replace(
            info,
            n_layers=n_layers,
            n_heads=n_heads,
            d_head=self._attn.d_head,
            d_vocab=len((own_embedding or self.model.embed).table),
        )

    def next_logits(self) -> Array:
        """Return the logits of the token after the last one, [d_vocab].

        Raises:
            CheckpointError: A number is NaN or infinite.
        """
        if self.model.unembed is None:
            raise ValueError("the model has no unembedding")
        for layer in self.layers:
            resid = layer.resid_post
        logits: Array = self.model.logits(self.model.unembed, resid[-1:], self._stack)[0]
        return logits

    @property
    def _stack(self) -> StackName:
        return _stack_of(self.model, self.block)

    @property
    def _attn(self) -> Attention:
        return _first_attention(self.model, self.block)


def _stack_of(model: Model, block: Block) -> StackName:
    return "encoder" if block == "encoder" else [*model.stacks][-1]


def _first_attention(model: Model, block: Block) -> Attention:
    """Return the attention of a block's first layer."""
    first = model.stacks[_stack_of(model, block)].blocks[0]
    attn = (first.cross if block == "cross" else None) or first.attn or first.cross
    assert attn is not None
    return attn


def _ablation(
    model: Model, block: Block, heads: Mapping[int, Sequence[int]], *, mean: bool
) -> Ablation:
    stack = _stack_of(model, block)
    has_no_self_attention = model.stacks[stack].blocks[0].attn is None
    return Ablation(
        stack=stack, cross=block == "cross" or has_no_self_attention, heads=heads, mean=mean
    )


def _check_ids(tokens: Sequence[Token], n_rows: int) -> None:
    """Refuse a token whose vector the embedding does not have."""
    for token in tokens:
        if not 0 <= token.id < n_rows:
            raise CheckpointError(
                f"The tokenizer returns token id {token.id} ({token.token!r}), but the embedding "
                f"has {n_rows} rows (0 to {n_rows - 1}): the tokenizer does not match the weights."
            )


def _check_types(types: Sequence[int], model: Model) -> None:
    """Refuse a token type whose vector the model does not have."""
    positions = model.positions.get("encoder")
    table = None if positions is None else positions.types
    if table is not None and max(types) >= len(table):
        raise CheckpointError(
            f"The tokenizer returns token type {max(types)}, but the model has {len(table)} types "
            f"(0 to {len(table) - 1}): the tokenizer does not match the weights."
        )


def _ids(texts: list[list[Token]]) -> list[list[int]]:
    return [[token.id for token in tokens] for tokens in texts]
