"""Statistics of states [B, n, d]: norms, cosines and Gram matrices over tokens that count."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mean_square(x: Tensor, kept: Tensor) -> float:
    """Mean of ‖x‖² over the kept tokens of x [B, n, d]."""
    return x.detach().double().square().sum(-1)[kept.to(x.device)].mean().item()


def mean_cosine(x: Tensor, kept: Tensor, equal: Tensor | None = None) -> float:
    """Mean cosine over pairs of kept tokens of a sequence, NaN where there are none; x [B, n, d].

    ``equal``, bool [B, n, n], marks pairs to leave out. Without it, from the sum s of the directions:
    (‖s‖² − n)/(n(n − 1)), which needs no array of n².
    """
    kept = kept.to(x.device)
    directions = nn.functional.normalize(x.detach().double(), dim=-1) * kept[..., None]
    if equal is not None:
        pairs = kept[:, :, None] & kept[:, None] & ~equal.to(x.device)
        pairs.diagonal(dim1=1, dim2=2).fill_(False)
        return (directions @ directions.mT)[pairs].mean().item() if bool(pairs.any()) else float("nan")
    count = kept.sum(1).double()
    pairs = (count * (count - 1)).sum().item()
    squared = directions.sum(1).square().sum().item() - directions.square().sum().item()
    return squared / pairs if pairs else float("nan")


def mean_gap(x: Tensor) -> float:
    """Mean of 1 − cosine over pairs of tokens, from differences to keep its precision; x [B, n, d]."""
    directions = nn.functional.normalize(x.detach().double(), dim=-1)
    differences = directions - directions.mean(1, keepdim=True)
    return differences.square().sum((1, 2)).mean().item() / (x.shape[1] - 1)


def mixed_axes(output: Tensor, start: Tensor) -> set[int]:
    """The axes (0 and 1) along which the entries of ``output`` [·, ·, d] depend on others of ``start``.

    One is that of tokens, because sequences of a batch do not see each other. Taken from the gradient of the last
    entry: one pass back.
    """
    if output.shape[:2] != start.shape[:2]:
        return set()
    weights = torch.linspace(-1, 1, output.shape[-1], device=output.device, dtype=output.dtype)
    (gradient,) = torch.autograd.grad(output[-1, -1] @ weights, start, retain_graph=True, allow_unused=True)
    if gradient is None:
        return set()
    reached = gradient.abs().sum(-1) > 0
    reached[-1, -1] = False
    return {axis for axis, others in ((0, reached[:, -1]), (1, reached[-1])) if bool(others.any())}
