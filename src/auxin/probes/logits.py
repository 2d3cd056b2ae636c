"""A model's logits and the loss at initialization, from its own output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from auxin.probes.finite import NotFinite
from auxin.probes.watching import MASKED, tensors_of

NAMES = ("logits", "prediction_logits", "lm_logits")


def output_statistics(
    output: Any, heads: Mapping[str, torch.Size], width: int, vocabulary: int | None
) -> dict[str, Any]:
    """Spread of the logits over the words, root mean square, and mean cross-entropy of a random word minus ln V.

    Logits are what the model calls so, else the first of its outputs if that has a vocabulary's length, or the shape
    of what a linear map after the layers gave; whatever the model has done to it (a scale, a cap) is in. Words that
    are masked do not count.

    Args:
        output: of the model.
        heads: shapes of the outputs of linear maps after the layers, by their names.
        width: of the stream, whose states are no logits.
        vocabulary: length of the table of tokens.

    Raises ``NotFinite`` where logits are NaN or infinite.
    """
    logits = _named(output)
    if logits is None:
        logits = next((x for x in tensors_of(output) if x.is_floating_point() and x.ndim >= 2), None)
        if logits is not None and logits.shape[-1] != vocabulary:
            mapped = any(
                shape[-1] == logits.shape[-1] and shape.numel() == logits.numel() for shape in heads.values()
            )
            logits = logits if mapped and logits.shape[-1] != width else None
    if logits is None:
        return {"logit_std": None, "excess_loss": None, "vocabulary": None, "output_map": None}
    name = next((n for n in reversed(list(heads)) if heads[n][-1] == logits.shape[-1]), None)
    logits = logits.detach().double()
    if bool((logits.isnan() | (logits == math.inf)).any()):
        raise NotFinite(name or "", "logits are not finite")
    words = logits > MASKED
    count = words.sum(-1)
    mean = logits.masked_fill(~words, 0.0).sum(-1) / count
    variance = (logits - mean[..., None]).masked_fill(~words, 0.0).square().sum(-1) / count
    return {
        "logit_std": variance.mean().sqrt().item(),
        "excess_loss": (logits.logsumexp(-1) - mean - count.log()).mean().item(),
        "vocabulary": int(count.max()),
        "output_map": name,
    }


def _named(output: Any) -> Tensor | None:
    """What the output calls logits."""
    for name in NAMES:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor) and found.is_floating_point() and found.ndim >= 2:
            return found
    return None
