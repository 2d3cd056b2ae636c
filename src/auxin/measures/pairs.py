"""Minimal pairs: does a causal language model find the sentence that is right likelier than the one that is not?

The score of a sentence of the tokens w₁ … wₙ is Σ log p(wᵢ | <bos> w₁ … wᵢ₋₁), as in BLiMP (Warstadt et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from auxin.display import Displayed
from auxin.errors import DataError
from auxin.measures.intervals import wilson
from auxin.measures.projection import check_causal
from auxin.measures.tokenizers import (
    Tokenizer,
    check_vocabulary,
    evaluating,
    length_batches,
    side_by_side,
    tokenizer_of,
)
from auxin.models.protocol import CausalModel
from auxin.probes.causal import as_causal_model
from auxin.tasks.columns import MinimalPair, read_pairs

ALL = "all"
"""What the phenomena are called together."""


@dataclass(frozen=True)
class PairScores(Displayed):
    """What a model makes of minimal pairs."""

    pairs: pl.DataFrame
    """A row a pair: phenomenon, good, bad, and the log-probabilities good_score and bad_score in nats."""

    @cached_property
    def accuracy(self) -> pl.DataFrame:
        """Share of pairs whose good sentence is likelier: phenomenon, pairs, accuracy, and Wilson's 95% interval.

        A row a phenomenon in the order of the pairs, the last for all of them where they are several.
        """
        right = self.pairs.select("phenomenon", right=pl.col("good_score") > pl.col("bad_score"))
        groups = right.filter(pl.col("phenomenon") != "")
        if len(groups) < len(right) or groups["phenomenon"].n_unique() > 1:
            groups = pl.concat([groups, right.with_columns(phenomenon=pl.lit(ALL))])
        counts = groups.group_by("phenomenon", maintain_order=True).agg(
            pairs=pl.len(), right=pl.col("right").sum()
        )
        return accuracies(counts)


def accuracies(counts: pl.DataFrame) -> pl.DataFrame:
    """With columns pairs and right: accuracy, low and high in place of ``right``."""
    limits = [wilson(right, pairs) for right, pairs in counts.select("right", "pairs").iter_rows()]
    return counts.select(
        pl.exclude("right"),
        accuracy=pl.col("right") / pl.col("pairs"),
        low=pl.Series([low for low, _ in limits], dtype=pl.Float64),
        high=pl.Series([high for _, high in limits], dtype=pl.Float64),
    )


def minimal_pairs(
    model: CausalModel | nn.Module,
    pairs: str | Path | Sequence[tuple[str, str] | tuple[str, str, str]],
    vocabulary: Tokenizer | Any,
    *,
    max_tokens: int = 2048,
) -> PairScores:
    """Score minimal pairs: is the good sentence likelier than the bad one?

    Args:
        model: a causal language model, ours or one of transformers, or a ``CausalModel``.
        pairs: a file, see ``auxin.tasks.columns.read_pairs``; or (good, bad) or (good, bad, phenomenon), in text.
        vocabulary: ``auxin.Vocabulary``, or a tokenizer of transformers, which gets whole sentences.
        max_tokens: tokens in one forward pass, whose logits [max_tokens, words of the vocabulary] are held twice.

    Raises ``DataError`` for a malformed file, no pairs or an unknown word, ``ConfigError`` for a model that is not
    causal or a tokenizer without a token to start with.

    >>> words = Vocabulary(["newt", "newts", "reads", "read"])
    >>> model = TransformerLM(ModelConfig(depth=1, width=8, heads=2, vocabulary_size=len(words)))
    >>> found = auxin.minimal_pairs(model, [("newt reads", "newt read", "agreement")], words)
    >>> found.accuracy.columns
    ['phenomenon', 'pairs', 'accuracy', 'low', 'high']
    """
    known = (
        read_pairs(Path(pairs)) if isinstance(pairs, (str, Path)) else [MinimalPair(*pair) for pair in pairs]
    )
    if not known:
        raise DataError("there are no minimal pairs; allowed: one or more")
    sentences = list(dict.fromkeys(sentence for pair in known for sentence in pair[:2]))
    scores = dict(zip(sentences, log_probabilities(model, sentences, vocabulary, max_tokens), strict=True))
    rows = [(p.phenomenon, p.good, p.bad, scores[p.good], scores[p.bad]) for p in known]
    schema = {"phenomenon": pl.String, "good": pl.String, "bad": pl.String}
    return PairScores(
        pl.DataFrame(rows, {**schema, "good_score": pl.Float64, "bad_score": pl.Float64}, orient="row")
    )


def log_probabilities(
    model: CausalModel | nn.Module,
    sentences: Sequence[str],
    vocabulary: Tokenizer | Any,
    max_tokens: int = 2048,
) -> list[float]:
    """Σ log p(wᵢ | <bos> w₁ … wᵢ₋₁) of every sentence, in nats; see ``minimal_pairs``."""
    causal = as_causal_model(model)
    check_vocabulary(causal, vocabulary)
    tokenizer = tokenizer_of(vocabulary)
    texts = [[tokenizer.bos, *_encoded(tokenizer, sentence)] for sentence in sentences]
    lengths = np.array([len(text) for text in texts])
    batches = [rows for _, rows in length_batches(lengths, max_tokens, slack=0.1)]
    found = np.empty(len(texts))
    with evaluating(causal) as device:
        longest = texts[int(lengths.argmax())][1:]
        if len(longest) > 1:
            check_causal(causal, longest, tokenizer.bos, device)

        def score(rows: np.ndarray) -> list[float]:
            padded = [torch.tensor(texts[i]) for i in rows]
            tokens = nn.utils.rnn.pad_sequence(padded, batch_first=True).to(device)
            return _sums(
                causal(tokens[:, :-1]).logits, tokens[:, 1:], torch.from_numpy(lengths[rows])
            ).tolist()

        for rows, scores in zip(batches, side_by_side(causal, score, batches), strict=True):
            found[rows] = scores
    return found.tolist()


def _sums(logits: Tensor, following: Tensor, lengths: Tensor) -> Tensor:
    """[B, L, V], [B, L] and the tokens of each sequence [B], with <bos> → [B]."""
    words = logits.float().log_softmax(-1).gather(2, following[:, :, None])[:, :, 0]
    behind = torch.arange(following.shape[1]) >= lengths[:, None] - 1
    return words.masked_fill(behind.to(words.device), 0.0).double().sum(1)


def _encoded(tokenizer: Tokenizer, sentence: str) -> list[int]:
    try:
        tokens = getattr(tokenizer, "encode_sentence", tokenizer.encode)(sentence)
    except DataError as error:
        raise DataError(f"sentence {sentence[:80]!r}: {error}") from None
    if not tokens:
        raise DataError(f"sentence {sentence!r} has no tokens; allowed: one word or more")
    return tokens
