"""What a model returns: its logits, and what they say before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auxin.probes.attention import MASKED
from auxin.probes.states import NotFinite, tensors_of, wrong

LOGITS = ("logits", "prediction_logits", "lm_logits")
"""What models of transformers call them."""


@dataclass(frozen=True, kw_only=True)
class Logits:
    """What is known of a model's logits; None for a model without."""

    logit_std: float | None = None
    """Spread of the logits over the vocabulary, root mean square."""
    excess_loss: float | None = None
    """Mean cross-entropy of a uniformly random next token, minus ln V; of the logits that the model returns."""
    vocabulary: int | None = None
    output_map: str | None = None
    """Name of the linear map that computes the logits."""


def named_logits(output: Any) -> Tensor | None:
    """The tensor that a model calls its logits."""
    get = output.get if isinstance(output, Mapping) else lambda name: getattr(output, name, None)
    named = [x for x in map(get, LOGITS) if isinstance(x, Tensor)]
    return next((x for x in named if x.is_floating_point() and x.ndim >= 2), None)


def logits_of(output: Any, heads: Mapping[str, torch.Size], width: int, vocabulary: int | None) -> Logits:
    """Statistics of a model's logits; raises ``NotFinite`` where they are NaN or infinite.

    Logits are what the model calls so, else the first of its outputs if that has a vocabulary's length, or the shape
    of what a linear map after the layers (``heads``) gave, and not the stream's width; whatever the model has done to
    it (a scale, a cap) is in. Words that are masked do not count.
    """
    logits = named_logits(output)
    if logits is None:
        logits = next((x for x in tensors_of(output) if x.is_floating_point() and x.ndim >= 2), None)
        if logits is not None and logits.shape[-1] != vocabulary:
            size = logits.shape[-1], logits.numel()
            mapped = any((shape[-1], shape.numel()) == size for shape in heads.values())
            logits = logits if mapped and size[0] != width else None
    if logits is None:
        return Logits()
    head = next((n for n in reversed(list(heads)) if heads[n][-1] == logits.shape[-1]), None)
    logits = logits.detach().double()
    if wrong(logits):
        raise NotFinite(head or "", "logits are not finite")
    words = logits > MASKED
    count = words.sum(-1)
    mean = logits.masked_fill(~words, 0.0).sum(-1) / count
    variance = (logits - mean[..., None]).masked_fill(~words, 0.0).square().sum(-1) / count
    return Logits(
        logit_std=variance.mean().sqrt().item(),
        excess_loss=(logits.logsumexp(-1) - mean - count.log()).mean().item(),
        vocabulary=int(count.max()),
        output_map=head,
    )
