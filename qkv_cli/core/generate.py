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
from qkv_cli.core.layers import normed
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
    start: int  # the id that the decoder reads first
    ends: tuple[int, ...]  # the ids that end the text
    first: int | None = None  # the first id to generate, such as a language
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()
    banned_sequences: tuple[tuple[int, ...], ...] = ()
    no_repeat: int = 0  # the length of n-grams that must not repeat
    repetition_penalty: float = 1.0
    min_length: int = 0  # including the start
    max_length: int | None = None  # the same

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], start: int, ends: Sequence[int], n_tokens: int
    ) -> Rules:
        """Read the rules from generation_config.json, or from config.json.

        Raises:
            CheckpointError: A rule is not implemented or invalid.
        """
        try:
            rules = cls._of(settings, start, ends)
            ids = [*rules.never, *rules.never_first, *ends]
            ids += [id for row in rules.banned_sequences for id in row]
            ids += [] if rules.first is None else [rules.first]
            if invalid := [id for id in ids if type(id) is not int or not 0 <= id < n_tokens]:
                raise ValueError(f"{invalid[0]!r} is not a token id (0 to {n_tokens - 1})")
            counts = rules.no_repeat, rules.min_length, rules.max_length or 0
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
    def _of(cls, settings: Mapping[str, Any], start: int, ends: Sequence[int]) -> Rules:
        values = {name: value for name, value in settings.items() if value is not None}
        for name, neutral in _NOT_IMPLEMENTED.items():
            if values.get(name, neutral) != neutral:
                raise CheckpointError(
                    f"The checkpoint's generation settings set {name} to {values[name]!r}, which "
                    "is not implemented: give the target text yourself, and its source with "
                    "--source."
                )
        first = values.get("forced_bos_token_id")
        if first is None and values.get("force_bos_token_to_be_generated"):
            first = values.get("bos_token_id")
        bad = [tuple(row) for row in values.get("bad_words_ids", ()) if row]
        return cls(
            start,
            tuple(ends),
            first,
            tuple(values.get("suppress_tokens", ())),
            tuple(values.get("begin_suppress_tokens", ())),
            tuple(row for row in bad if row not in [(end,) for end in ends]),
            values.get("no_repeat_ngram_size", 0),
            values.get("repetition_penalty", 1.0),
            values.get("min_length", 0),
            values.get("max_length"),
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
        logits[self._repeated(ids)] = -np.inf
        for row in self.banned_sequences:
            if len(row) <= len(ids) and [*ids[len(ids) - len(row) + 1 :]] == [*row[:-1]]:
                logits[row[-1]] = -np.inf
        if len(ids) < self.min_length:
            logits[[*self.ends]] = -np.inf
        if self.first is not None and len(ids) == 1:
            logits[:] = -np.inf
            logits[self.first] = 0
        logits[[*self.never]] = -np.inf
        if len(ids) == 1 + (self.first is not None):
            logits[[*self.never_first]] = -np.inf
        return int(logits.argmax())

    def _repeated(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that would repeat an n-gram."""
        n = self.no_repeat
        if not n:
            return []
        last = [*ids[len(ids) - n + 1 :]]
        rows = (ids[i : i + n] for i in range(len(ids) - n + 1))
        return [row[-1] for row in rows if [*row[:-1]] == last]


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
    memory = normed(model.stacks["encoder"].final_norm, resid)
    positions = model.positions.get("decoder")
    if positions is not None and positions.n_positions is not None:
        n_max = min(n_max, positions.n_positions - 1)
    unembed, target_ids, before = model.unembed.linear(), [rules.start], list[LayerTrace]()
    while len(target_ids) <= n_max:
        before = model.step(target_ids, memory, before)
        logits = model.logits(unembed, before[-1].resid_post[-1:], "decoder")
        token = rules.choose(logits[0], target_ids)
        if token in rules.ends:
            break
        target_ids.append(token)
    return target_ids[1:]
