"""Greedy decoding: the most likely token at each step that the generation settings allow.

The rules are applied in the order of transformers' `generate`, without beams and sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.block import LayerTrace
from qkv_cli.core.layers import apply_norm
from qkv_cli.core.model import Model
from qkv_cli.errors import CheckpointError

# Settings that are not implemented, each with the value at which it has no effect.
_NOT_IMPLEMENTED: Mapping[str, Any] = {
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "guidance_scale": 1.0,
    "min_new_tokens": 0,
    "sequence_bias": None,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the generation settings of a checkpoint allow."""

    start_id: int  # the id that the decoder reads first
    end_ids: tuple[int, ...]  # the ids that end the text
    forced_first_id: int | None = None  # such as a language
    suppressed_ids: tuple[int, ...] = ()
    suppressed_first_ids: tuple[int, ...] = ()  # only as the first id to generate
    banned_sequences: tuple[tuple[int, ...], ...] = ()
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    min_length: int = 0  # including the start
    max_length: int | None = None  # including the start

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], start_id: int, end_ids: Sequence[int], n_tokens: int
    ) -> Rules:
        """Read the rules from generation_config.json, or from config.json.

        Raises:
            CheckpointError: A rule is not implemented or invalid.
        """
        try:
            rules = cls._of(settings, start_id, end_ids)
            ids = [*rules.suppressed_ids, *rules.suppressed_first_ids, *end_ids]
            ids += [id for row in rules.banned_sequences for id in row]
            ids += [] if rules.forced_first_id is None else [rules.forced_first_id]
            if invalid := [id for id in ids if type(id) is not int or not 0 <= id < n_tokens]:
                raise ValueError(f"{invalid[0]!r} is not a token id (0 to {n_tokens - 1})")
            counts = rules.no_repeat_ngram_size, rules.min_length, rules.max_length or 0
            if invalid := [n for n in counts if type(n) is not int or n < 0]:
                raise ValueError(f"{invalid[0]!r} is not a number of tokens")
            if not rules.repetition_penalty > 0:
                raise ValueError(
                    f"repetition_penalty is {rules.repetition_penalty!r}; expected a number above 0"
                )
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint's generation settings are invalid: {error}."
            ) from error
        return rules

    @classmethod
    def _of(cls, settings: Mapping[str, Any], start_id: int, end_ids: Sequence[int]) -> Rules:
        """Read the rules without checking their values."""
        values = {name: value for name, value in settings.items() if value is not None}
        for name, neutral in _NOT_IMPLEMENTED.items():
            if values.get(name, neutral) != neutral:
                raise CheckpointError(
                    f"The checkpoint's generation settings set {name} to {values[name]!r}, which "
                    "is not implemented: give the target text yourself, and its source with "
                    "--source."
                )
        forced_first_id = values.get("forced_bos_token_id")
        if forced_first_id is None and values.get("force_bos_token_to_be_generated"):
            forced_first_id = values.get("bos_token_id")
        banned = [tuple(row) for row in values.get("bad_words_ids", ()) if row]
        return cls(
            start_id=start_id,
            end_ids=tuple(end_ids),
            forced_first_id=forced_first_id,
            suppressed_ids=tuple(values.get("suppress_tokens", ())),
            suppressed_first_ids=tuple(values.get("begin_suppress_tokens", ())),
            banned_sequences=tuple(row for row in banned if row not in [(i,) for i in end_ids]),
            no_repeat_ngram_size=values.get("no_repeat_ngram_size", 0),
            repetition_penalty=values.get("repetition_penalty", 1.0),
            min_length=values.get("min_length", 0),
            max_length=values.get("max_length"),
        )

    def choose(self, logits: Array, ids: Sequence[int]) -> int:
        """Return the id of the next token.

        Args:
            logits: [d_vocab].
            ids: The ids so far, including the start.
        """
        logits = logits.copy()
        if self.repetition_penalty != 1.0:
            rows = sorted(set(ids))
            penalty = np.where(
                logits[rows] < 0, self.repetition_penalty, 1 / self.repetition_penalty
            )
            logits[rows] *= penalty.astype(logits.dtype)
        logits[self._repeating_ids(ids)] = -np.inf
        for row in self.banned_sequences:
            if len(row) <= len(ids) and [*ids[len(ids) - len(row) + 1 :]] == [*row[:-1]]:
                logits[row[-1]] = -np.inf
        if len(ids) < self.min_length:
            logits[[*self.end_ids]] = -np.inf
        if self.forced_first_id is not None and len(ids) == 1:
            logits[:] = -np.inf
            logits[self.forced_first_id] = 0
        logits[[*self.suppressed_ids]] = -np.inf
        if len(ids) == 1 + (self.forced_first_id is not None):
            logits[[*self.suppressed_first_ids]] = -np.inf
        return int(logits.argmax())

    def _repeating_ids(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that would repeat an n-gram."""
        n = self.no_repeat_ngram_size
        if not n:
            return []
        last_ids = [*ids[len(ids) - n + 1 :]]
        ngrams = (ids[i : i + n] for i in range(len(ids) - n + 1))
        return [ngram[-1] for ngram in ngrams if [*ngram[:-1]] == last_ids]


def generate(model: Model, ids: Sequence[int], rules: Rules, n_max: int) -> list[int]:
    """Generate the target of a source with an encoder-decoder.

    Args:
        ids: The source.
        n_max: The maximum number of tokens; the model's positions limit it too.

    Returns:
        The ids of the target, without the start and the end token.
    """
    if model.unembed is None:
        raise ValueError("the model has no unembedding")
    resid = None
    for layer in model.layers(ids):
        resid = layer.resid_post
    if resid is None:
        raise ValueError("the source has no tokens")
    memory = apply_norm(model.stacks["encoder"].final_norm, resid)
    positions = model.positions.get("decoder")
    if positions is not None and positions.n_positions is not None:
        n_max = min(n_max, positions.n_positions - 1)
    unembed, target_ids, cache = model.unembed.linear(), [rules.start_id], list[LayerTrace]()
    while len(target_ids) <= n_max:
        cache = model.step(target_ids, memory, cache)
        logits = model.logits(unembed, cache[-1].resid_post[-1:], "decoder")
        next_id = rules.choose(logits[0], target_ids)
        if next_id in rules.end_ids:
            break
        target_ids.append(next_id)
    return target_ids[1:]
