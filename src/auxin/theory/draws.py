"""What attention draws from: how many samples, under which mask, from which generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auxin.values import check

SATURATED, FROZEN = 30.0, 1e8
"""Logit scales σ_A·norm²: from where on the Jacobian's small differences need double precision, and too large even
for that."""


@dataclass
class Memory:
    """Another stream, which attention reads."""

    gram: Tensor
    """[replicas, m, m]."""
    gradient: Tensor
    """The same of gradients, which add up on the way back."""


@dataclass(frozen=True)
class Draws:
    """Sampling of attention, the same for all layers."""

    allowed: Tensor
    """bool [n, n], true where the row's token may attend to the column's."""
    count: int
    """Attention matrices for each replica, layer and direction."""
    generator: torch.Generator
    memory: Memory | None = None

    def gaussians(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Independent N(0, 1)."""
        return torch.randn(*shape, generator=self.generator, dtype=dtype)

    def chunks(self, entries: int, most: int) -> list[int]:
        """``count`` cut into numbers of draws of ``entries`` numbers each that stay near the processor."""
        at_once = max(1, min(most // max(1, entries), self.count))
        whole, rest = divmod(self.count, at_once)
        return [at_once] * whole + ([rest] if rest else [])


def precision(logit_scale: float, seen: Tensor) -> torch.dtype:
    """Single, three times as fast, unless logits saturate the softmax.

    It is enough for a draw: softmax is blind to what all keys share, so the keys are centred, and the callers
    centre the Gram matrix that they average; rounding is then relative to the tokens' differences.
    """
    scale = logit_scale * seen.max().item()
    check(scale <= FROZEN, "logit scale σ_A·norm² on its way", scale, f"up to {FROZEN:g}")
    return torch.float32 if scale <= SATURATED else torch.float64


def root(gram: Tensor) -> Tensor:
    """[replicas, n, n]: R with R·Rᵀ = ``gram``, also where that is singular."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed.any():
        return factor
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp_min(0).sqrt()[:, None]
