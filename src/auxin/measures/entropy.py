"""Attention entropy: how far each head spreads its attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auxin.errors import ConfigError, DataError
from auxin.measures.passes import evaluating, length_batches, side_by_side
from auxin.measures.tokenizers import Tokenizer, tokenize
from auxin.models.protocol import CausalModel
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
    if not sentences:
        raise DataError("no sentences; allowed: one or more")
    causal, _, words, bos = tokenize(model, sentences, vocabulary)
    tokens = [sum(sentence, [bos]) for sentence in words]
    lengths = np.array([len(sentence) for sentence in tokens])
    with evaluating(causal) as device:

        def entropies(rows: np.ndarray) -> NDArray[np.float64]:
            """[layers, heads]: summed over the positions of these sentences."""
            ids = torch.tensor([tokens[s] for s in rows], device=device)
            attention = causal(ids, attention=True).attention
            if not attention:
                raise ConfigError("the model returns no attention weights; allowed: those of every layer")
            by_layer = [torch.special.entr(a.float()).sum(-1) for a in attention]  # [B, H, n]
            # summed by numpy: of another model's, torch's sum would depend on the number of threads
            return np.stack([e.double().cpu().numpy().sum((0, 2)) for e in by_layer])

        batches = [rows for _, rows in length_batches(lengths, max_tokens)]
        return sum(side_by_side(causal, entropies, batches), np.zeros(())) / lengths.sum()


def attention_sparsity(entropy: NDArray[np.float64]) -> dict[str, float]:
    """Minus the mean of ``attention_entropy``, over all layers and heads and for each (counted from 0).

    Zero when every position attends to one token (Murty et al. 2023, §4).
    """
    heads = {f"attention_sparsity/{l}/{h}": -float(value) for (l, h), value in np.ndenumerate(entropy)}
    return {"attention_sparsity": -float(entropy.mean())} | heads
