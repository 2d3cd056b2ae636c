"""The definition of a tree projection's chart, computed as it is written: one masked pass a span."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from auxin.models.protocol import CausalModel


def slow_chart(
    model: CausalModel,
    words: Sequence[Sequence[int]],
    bos: int,
    *,
    layer: int = -1,
    metric: str = "cosine",
    spans: Iterable[tuple[int, int]] | None = None,
) -> np.ndarray:
    """[n, n] for a sentence of n words, each a list of token ids; only ``spans`` if given, NaN elsewhere."""
    n = len(words)
    ends = 1 + np.cumsum([len(word) for word in words])
    begins = ends - [len(word) for word in words]
    tokens = torch.tensor([[bos, *(t for word in words for t in word)]])
    length = tokens.shape[1]
    full = _states(model, tokens, torch.ones(length, length, dtype=torch.bool), layer)
    chart = np.full((n, n), np.nan, dtype=np.float32)
    for i, j in zip(*np.triu_indices(n), strict=True) if spans is None else spans:
        span = slice(begins[i], ends[j])
        visible = torch.zeros(length, dtype=torch.bool)
        visible[0] = visible[span] = True
        restricted = _states(model, tokens, visible.expand(length, length), layer)
        a, b = full[span].sum(0), restricted[span].sum(0)
        chart[i, j] = torch.cosine_similarity(a, b, dim=0) if metric == "cosine" else -(a - b).norm()
    return chart


@torch.inference_mode()
def _states(model: CausalModel, tokens: Tensor, mask: Tensor, layer: int) -> Tensor:
    return model(tokens, mask=mask, states=True).states[layer][0]
