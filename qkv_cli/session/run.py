"""A model that can read: from texts to layers that are computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from qkv_cli.checkpoints.adapters.word_vectors import with_rows
from qkv_cli.core.arrays import Array
from qkv_cli.core.block import Ablation, Attention, LayerTrace
from qkv_cli.core.generate import Rules, write
from qkv_cli.core.info import ModelInfo
from qkv_cli.core.model import Model
from qkv_cli.core.tokens import Token, Tokenizer
from qkv_cli.errors import CheckpointError, InputError, UsageError
from qkv_cli.formats.ngrams import Ngrams
from qkv_cli.formats.tokenizers.translators import Framed, TargetTokenizer, in_order
from qkv_cli.names import Block, StackName, Weighting

# Scores and pattern of one layer at this size are 2 GiB.
MAX_CELLS = 2**28
_BEING_WRITTEN = "each row is the token being generated; the decoder has read the tokens before it"
_HAS_BEEN_READ = "each row is the last token that the decoder has read; it predicts the next token"
_NAMED = 5  # words that are named of those built from n-grams
_OWN = "the model generated this text: the most likely token at each step"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: Model
    tokenizer: Tokenizer
    info: ModelInfo
    target: TargetTokenizer | None = None  # of what an encoder-decoder's decoder writes
    start: int | None = None  # what that reads first; if None, the last token of the target
    rules: Callable[[], Rules] | None = None  # by which it writes itself, where it can
    ngrams: Ngrams | None = None  # of word vectors: they give unknown words a vector

    @property
    def translates(self) -> bool:
        """Whether it is an encoder and a decoder."""
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
        """Tokenize, and be ready to compute: self-attention, or attention from text to source.

        Args:
            pair: A second text in one row with the first, as sentence pairs are read.
            block: Of an encoder-decoder: cross if there is a source, or if it can write what
                the text is the source of; else encoder.

        Raises:
            InputError: A text has no tokens, or too many for its maps to fit in memory.
            UsageError: The model cannot read a second text, or has no such block.
        """
        if pair is not None:
            return self._read_pair(text, pair, source, block, weighting, causal=causal)
        if self.translates:
            return self._translate(text, source, block, weighting, causal=causal)
        if block not in (None, "self"):
            raise UsageError(
                f"--block {block} does not apply to {self.info.name}: it is not an encoder-decoder."
            )
        model, inputs = self.model, [self._tokens("text", text)]
        if source is not None:
            if model.between_texts is None:
                raise UsageError(
                    f"--source does not apply to {self.info.name}: it has no cross-attention."
                )
            if causal:
                raise UsageError(
                    "Use either --causal or --source, not both: cross-attention cannot be causal."
                )
            model, inputs = model.between_texts, [self._tokens("source", source), *inputs]
        model, inputs, notes = self._with_ngrams(model, inputs)
        keys, queries = inputs[0], inputs[-1]
        layers = model.layers(*_ids(inputs), weighting=weighting, causal=causal)
        [*_, last] = model.stacks.values()
        run = self._run(queries, keys, model, layers, "self", causal=causal or last.causal)
        return replace(run, text=text, source=source, notes=notes)

    def _with_ngrams(
        self, model: Model, texts: list[list[Token]]
    ) -> tuple[Model, list[list[Token]], tuple[str, ...]]:
        """Give unknown words the mean of their n-grams, as rows that this run's model has more.

        A word that is too short for an n-gram has a vector of zeros, and stays unknown.
        """
        tokens = [token for text in texts for token in text if token.unknown]
        if self.ngrams is None or not tokens:
            return model, texts, ()
        rows = {token.text: self.ngrams.row(token.text) for token in tokens}
        ids = dict(zip(rows, count(len(model.embed.table)), strict=False))

        def built(token: Token) -> Token:
            if not token.unknown:
                return token
            return replace(token, id=ids[token.text], unknown=not rows[token.text].any())

        words = [word for word, row in rows.items() if row.any()]
        more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
        notes = (f"built from n-grams: {', '.join(words[:_NAMED])}{more}",) if words else ()
        texts = [[built(token) for token in text] for text in texts]
        return with_rows(model, np.stack([*rows.values()])), texts, notes

    def _read_pair(
        self,
        text: str,
        pair: str,
        source: str | None,
        block: Block | None,
        weighting: Weighting,
        *,
        causal: bool,
    ) -> Run:
        """Two texts in one row, each token with the type that the template gives its text."""
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
        for what, one in (("text", text), ("second sentence", pair)):
            self._tokens(what, one)
        tokens, types = tokenizer.encode_pair(text, pair)
        _check_ids(tokens, len(model.embed.table))
        _check_types(types, model)
        ids = [token.id for token in tokens]
        layers = model.layers(ids, types=types, weighting=weighting, causal=causal)
        run = self._run(tokens, tokens, model, layers, "self", causal=causal)
        return replace(run, text=text, pair=pair)

    def _translate(
        self,
        text: str,
        source: str | None,
        block: Block | None,
        weighting: Weighting,
        *,
        causal: bool,
    ) -> Run:
        """An encoder-decoder: the encoder reads the source, the decoder is taught the text."""
        model = self.model
        language = self.target.alone(text) if source and isinstance(self.target, Framed) else None
        untaught = source is None or language is not None
        writes = untaught and block != "encoder" and self.rules is not None
        block = block or ("encoder" if source is None and not writes else "cross")
        if block == "self":
            raise UsageError(
                f"--block self does not apply to {self.info.name}, an encoder-decoder: use "
                "encoder, decoder or cross."
            )
        if causal and block == "cross":
            raise UsageError(
                "--causal does not apply to cross-attention: use --block encoder or decoder."
            )
        if source is None and block != "encoder" and not writes:
            raise UsageError(f"--block {block} needs --source TEXT, the input of the encoder.")
        if block == "decoder" and all(b.attn is None for b in model.stacks["decoder"].blocks):
            raise UsageError(
                f"--block decoder does not apply to {self.info.name}: its decoder has no "
                "self-attention. Use encoder or cross."
            )
        read = self._tokens("text" if source is None else "source", source or text)
        said, written, fed = text, list[Token](), list[int]()
        if block != "encoder":
            said, written, fed = self._written(None if writes else text, read, language)
        stack = "encoder" if block == "encoder" else "decoder"
        ids = [token.id for token in read]
        layers = (
            replace(layer, cross=None) if block == "decoder" else layer
            for layer in model.layers(ids, fed, weighting=weighting, causal=causal)
            if layer.stack == stack
        )
        queries = read if block == "encoder" else written
        keys = written if block == "decoder" else read
        run = self._run(queries, keys, model, layers, block, causal=causal or block == "decoder")
        if block == "encoder":
            return replace(run, text=source or text)
        notes = [_BEING_WRITTEN if self._names_what_it_writes else _HAS_BEEN_READ]
        notes += [_OWN] * writes
        return replace(run, text=said, source=source or text, notes=tuple(notes))

    def without(self, ablation: Ablation) -> LoadedModel:
        """The same, in which some heads hand nothing on; what it writes by itself stays."""
        return replace(self, model=self.model.without(ablation))

    @property
    def _names_what_it_writes(self) -> bool:
        """Whether a row is called after the token that is written there: one that looks at no
        other row has read nothing that could be looked at.
        """
        return all(block.attn is None for block in self.model.stacks["decoder"].blocks)

    def _written(
        self, text: str | None, read: list[Token], language: int | None = None
    ) -> tuple[str, list[Token], list[int]]:
        """What the decoder is to write: its text, a token for each row, and the ids it reads.

        Args:
            text: None for what the model itself would write.
            language: In which it would, where that is named.
        """
        assert self.target is not None
        start = self.start
        if text is None:
            assert self.rules is not None
            rules = self.rules()
            if language is not None and isinstance(self.target, Framed):
                rules = self.target.in_language(rules, language)
            n_max = min(3 * len(read) + 10, (rules.max_length or len(read) * 4 + 12) - 1)
            ids = write(self.model.without(None), [token.id for token in read], rules, n_max)
            text, tokens = self.target.spelled(ids)
            start, tokens = rules.start, in_order([*tokens, self.target.special(rules.ends[0])])
        else:
            tokens = self._tokens("text", text, self.target)
        # Shifted by one: what is read at a place was written at the one before.
        fed = [tokens[-1].id if start is None else start, *(token.id for token in tokens[:-1])]
        if not self._names_what_it_writes:
            moved = (replace(token, i=token.i + 1) for token in tokens[:-1])
            tokens = [self.target.special(fed[0]), *moved]
        return text, tokens, fed

    def _run(
        self,
        queries: list[Token],
        keys: list[Token],
        model: Model,
        layers: Iterator[LayerTrace],
        block: Block,
        *,
        causal: bool,
    ) -> Run:
        run = Run(queries, keys, model, layers, block, causal)
        _, n_heads = run.shape
        cells = n_heads * len(queries) * len(keys)
        if cells > MAX_CELLS:
            raise InputError(
                f"{len(queries):,} x {len(keys):,} tokens in {n_heads} heads make "
                f"{cells:,} weights per layer; the maximum is {MAX_CELLS:,}, or "
                f"{int((MAX_CELLS / n_heads) ** 0.5):,} tokens of one text."
            )
        return run

    def _tokens(self, what: str, text: str, tokenizer: Tokenizer | None = None) -> list[Token]:
        tokens = (tokenizer or self.tokenizer).encode(text)
        if all(token.special for token in tokens):
            raise InputError(f"The {what} is empty: it has no tokens other than special tokens.")
        is_target = tokenizer is not None
        own = self.model.decoder_embed if is_target else None
        _check_ids(tokens, len((own or self.model.embed).table))
        return tokens


@dataclass(frozen=True, slots=True)
class Run:
    """One text on its way through a model. The layers can be taken once."""

    queries: list[Token]
    keys: list[Token]
    model: Model  # the one that computes: between two texts, `Model.between_texts`
    layers: Iterator[LayerTrace]
    block: Block
    causal: bool  # whether what is right of a query was masked
    text: str = ""  # of the queries
    source: str | None = None  # of the keys, where that is another
    notes: tuple[str, ...] = ()  # what a reader of the maps must know
    pair: str | None = None  # of the queries, too, behind `text`
    ablated: str = ""  # heads that hand nothing on, and what they leave

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and heads in each, of the block that is read."""
        return len(self.model.stacks[self._stack].blocks), self._attn.n_heads

    def describe(self, info: ModelInfo) -> ModelInfo:
        """What there is to say of the model, with the shape of the block that is read."""
        n_layers, n_heads = self.shape
        own = self.model.decoder_embed if self._stack == "decoder" else None
        return replace(
            info,
            n_layers=n_layers,
            n_heads=n_heads,
            d_head=self._attn.d_head,
            d_vocab=len((own or self.model.embed).table),
        )

    @property
    def _attn(self) -> Attention:
        """The first layer's attention, in the block that is read."""
        first = self.model.stacks[self._stack].blocks[0]
        attn = (first.cross if self.block == "cross" else None) or first.attn or first.cross
        assert attn is not None
        return attn

    def next_scores(self) -> Array:
        """[d_vocab]: how well each token would come after the last one.

        Raises:
            CheckpointError: A number is not finite.
        """
        if self.model.unembed is None:
            raise ValueError("the model has no unembedding")
        for layer in self.layers:
            resid = layer.resid_post
        scores: Array = self.model.scores(self.model.unembed, resid[-1:], self._stack)[0]
        return scores

    @property
    def _stack(self) -> StackName:
        return "encoder" if self.block == "encoder" else [*self.model.stacks][-1]

    def ablation(self, heads: Mapping[int, Sequence[int]], *, mean: bool) -> Ablation:
        """These heads of the block that is read."""
        no_self = self.model.stacks[self._stack].blocks[0].attn is None
        return Ablation(self._stack, self.block == "cross" or no_self, heads, mean)


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
    places = model.places.get("encoder")
    table = None if places is None else places.types
    if table is not None and max(types) >= len(table):
        raise CheckpointError(
            f"The tokenizer returns token type {max(types)}, but the model has {len(table)} types "
            f"(0 to {len(table) - 1}): the tokenizer does not match the weights."
        )


def _ids(texts: list[list[Token]]) -> list[list[int]]:
    return [[token.id for token in tokens] for tokens in texts]
