"""Attention entropy: how far each head spreads its attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auxin.errors import ConfigError, DataError
from auxin.measures.passes import (
    Tokenizer,
    check_vocabulary,
    evaluating,
    length_batches,
    side_by_side,
    split_words,
    tokens_of_words,
)
from auxin.measures.tokenizers import tokenizer_of
from auxin.models.protocol import CausalModel
from auxin.probes.causal import as_causal_model
from auxin.values import check


def attention_entropy(
    model: CausalModel | nn.Module,
    sentences: Sequence[str | Sequence[str]],
    vocabulary: Tokenizer | Any,
    *,
    max_tokens: int = 4096,
) -> NDArray[np.float64]:
    """[layers, heads]: mean entropy in nats of the attention of the positions of <bos> and all sentences.

    With a_ij the attention of position i, H_i = −Σ_j a_ij ln a_ij; every position of every sentence weighs the
    same, <bos>, which sees itself alone, with H = 0. Sentences of one length share a batch, so nothing is
    padding. Memory: max_tokens · longest sentence · layers · heads floats.

    Raises ``DataError`` for no or an empty sentence or an unknown word, ``ConfigError`` for a model that
    returns no attention, is too short, or has another vocabulary.
    """
    check(max_tokens >= 1, "max_tokens", max_tokens, "1 or more")
    model = as_causal_model(model)
    check_vocabulary(model, vocabulary)
    vocabulary = tokenizer_of(vocabulary)
    words = [split_words(sentence) for sentence in sentences]
    if not words:
        raise DataError("no sentences; allowed: one or more")
    for number, sentence in enumerate(words):
        if not sentence:
            raise DataError(f"sentence {number} is empty; allowed: one word or more")
    bos = [vocabulary.bos]
    tokens = [sum(sentence, bos) for sentence in tokens_of_words(words, vocabulary)]
    lengths = np.array([len(sentence) for sentence in tokens])
    total = np.zeros(())
    with evaluating(model) as device:

        def entropies(rows: np.ndarray) -> NDArray[np.float64]:
            """[layers, heads]: summed over the positions of these sentences."""
            ids = torch.tensor([tokens[s] for s in rows], device=device)
            attention = model(ids, attention=True).attention
            if not attention:
                raise ConfigError("the model returns no attention weights; allowed: those of every layer")
            each = [torch.special.entr(a.float()).sum(-1) for a in attention]  # each [B, H, n]
            # summed by numpy: of another model's, torch's sum would depend on the number of threads
            return np.stack([e.double().cpu().numpy().sum((0, 2)) for e in each])

        batches = [rows for _, rows in length_batches(lengths, max_tokens)]
        for found in side_by_side(model, entropies, batches):
            total = total + found
    return total / lengths.sum()


def attention_sparsity(entropy: NDArray[np.float64]) -> dict[str, float]:
    """Minus the mean of ``attention_entropy``, over all layers and heads and for each (counted from 0).

    Zero when every position attends to one token (Murty et al. 2023, §4).
    """
    each = {f"attention_sparsity/{l}/{h}": -float(value) for (l, h), value in np.ndenumerate(entropy)}
    return {"attention_sparsity": -float(entropy.mean())} | each
