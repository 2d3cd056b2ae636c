"""Experts: Σ_e w_e(x)·MLP_e(x), weights w by a router whose logits are Gaussian.

At infinite width the logits r of E experts are independent draws from N(0, σ_r²C) over the tokens, C the Gram matrix
of what the router sees; w follows from r. With K the Gram matrix of one expert's output, J_ij its factor on the way
back (``mlp``), and experts independent of each other and of the router,

    C → M ∘ K,  M_ij = E Σ_e w_e(i)w_e(j)       G → M ∘ J ∘ G + σ_r² E Σ_e δ_e(i)δ_e(j)

where δ = (∂w/∂r)ᵀt is the gradient of the logits: t_e(i) = g_i·f_e(x_i) is Gaussian, with covariance G ∘ K over the
tokens. A shared MLP adds its own K, weighed by the sigmoid of one more such logit where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from auxin.architecture import MLP, Experts
from auxin.theory.draws import Draws, root
from auxin.theory.parts import mlp
from auxin.theory.states import Back, symmetric_part

Weigh = Callable[[Tensor], Tensor]
"""From logits [..., n, E] to weights of the same shape."""
CHUNK = 2**18
"""Logits and weights drawn at a time."""


def gram(body: Experts, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what the experts see, and the way back."""
    terms = [_weighed(body.expert, lambda r: routed(body, r), body.count, body.sigma_r, seen, draws)]
    if body.shared is not None and body.sigma_s is not None:
        terms.append(_weighed(body.shared, lambda r: r.sigmoid(), 1, body.sigma_s, seen, draws))
    elif body.shared is not None:
        terms.append(mlp.gram(body.shared, seen, draws))
    outs, backs = zip(*terms, strict=True)
    return reduce(add, outs), lambda gradient: reduce(add, (back(gradient) for back in backs))


def routed(body: Experts, logits: Tensor) -> Tensor:
    """A token's weights of the experts from its logits, [..., E]."""
    scores = logits.softmax(-1) if body.score == "softmax" else logits.sigmoid()
    open_scores = scores
    if body.groups > 1:
        groups = scores.unflatten(-1, (body.groups, -1))
        best = groups.topk(min(2, groups.shape[-1]), -1).values.sum(-1)
        last = best.topk(body.kept_groups, -1).values[..., -1:]
        open_scores = groups.masked_fill((best < last)[..., None], -1.0).flatten(-2)
    experts = open_scores.topk(body.active, -1).indices
    kept = scores.gather(-1, experts)
    if body.normalized:
        kept = kept / kept.sum(-1, keepdim=True)
    return scores.new_zeros(scores.shape).scatter(-1, experts, body.factor * kept)


def _weighed(
    body: MLP, weigh: Weigh, count: int, sigma: float, seen: Tensor, draws: Draws
) -> tuple[Tensor, Back]:
    """Σ_e w_e·MLP_e of ``count`` independent MLPs: the output's Gram matrix, and the way back."""
    kernel, inner = mlp.gram(body, seen, draws)
    replicas, n, _ = seen.shape
    chunks = draws.chunks(replicas * n * max(n, count), CHUNK)

    def gaussian(factor: Tensor, m: int) -> Tensor:
        """[replicas, m, n, count] over tokens of covariance factor·factorᵀ."""
        return factor[:, None] @ draws.gaussians(replicas, m, n, count, dtype=factor.dtype)

    def mean_products(of: Callable[[int], Tensor]) -> Tensor:
        total: Any = torch.zeros_like(seen)
        for m in chunks:
            values = of(m)
            total += (values @ values.mT).sum(1)
        return symmetric_part(total) / draws.count

    factor = sigma * root(seen)
    shared = mean_products(lambda m: weigh(gaussian(factor, m)))

    def back(gradient: Tensor) -> Tensor:
        of_outputs = root(gradient * kernel)

        def slopes(m: int) -> Tensor:
            with torch.enable_grad():
                logits = gaussian(factor, m).requires_grad_()
                weights = weigh(logits)
            return torch.autograd.grad(weights, logits, gaussian(of_outputs, m))[0]

        return inner(shared * gradient) + sigma**2 * mean_products(slopes)

    return shared * kernel, back
