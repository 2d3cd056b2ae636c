"""What a model does to signals as it stands: the totals of its residual stream, and the spectrum of its layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auxin.measures.tokenizers import evaluating
from auxin.models.transformer import TransformerLM
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from auxin.probes.states import NotFinite

TOKENS, SEQUENCES = 24, 16
NEAR_UNIT = 0.9, 1.05
"""Moduli of eigenvalues that count as near 1 (Kim et al. 2026, definition 1)."""
RIDGE = 1e-6
"""Added to the covariance that whitens, relative to its mean variance."""


def signals(model: TransformerLM) -> dict[str, float]:
    """What random tokens meet: totals of the stream, as ``auxin.check`` measures them, and two rivals of them.

    - ``angle_total``: log (1 − c_L)/(1 − c_0) of tokens that begin nearly equal, c their mean cosine.
    - ``gradient_total``: log ‖g_0‖²/‖g_L‖² of random combinations of the last layer's output.
    - ``near_unit_mass``: see there.
    - ``loss_gradient``: L2 norm of the gradient of the next token's loss in all parameters.

    All are NaN where a state is not finite.

    >>> import torch
    >>> config = ModelConfig(depth=4, width=16, heads=2, vocabulary_size=50)
    >>> found = signals(TransformerLM(config, torch.Generator().manual_seed(0)))
    >>> found["angle_total"] < 0  # post-norm: tokens collapse
    True
    """
    names = ("angle_total", "gradient_total", "near_unit_mass", "loss_gradient")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.config.vocabulary_size, (SEQUENCES, TOKENS), generator=generator)
    try:
        profile = observe(model, Reading(tokens[:2]))
        with evaluating(model) as device:
            states = model(tokens.to(device), states=True).states
        totals = math.log(profile["gap"][-1] / profile["gap"][0]), math.log(profile["gradient"][0])
        return dict(zip(names, (*totals, near_unit_mass(states), _loss_gradient(model, tokens)), strict=True))
    except (NotFinite, ValueError):  # a logarithm of 0
        return dict.fromkeys(names, math.nan)


def _loss_gradient(model: TransformerLM, tokens: Tensor) -> float:
    parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    tokens = tokens.to(next(iter(parameters.values())).device)
    logits = torch.func.functional_call(model, parameters, (tokens[:, :-1],)).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return math.sqrt(sum(g.double().square().sum().item() for g in gradients if g is not None))


def near_unit_mass(states: Sequence[Tensor]) -> float:
    """Share of the eigenvalues of the layers' best linear maps whose modulus is near 1, the mean over layers.

    With X, Y [N, d] the centered states of all tokens before and after a layer, a layer's map is
    A = argmin ‖Y − X A‖, taken in coordinates that whiten X (dynamic mode decomposition). From "Residual Koopman
    Spectral Profiling", Kim et al. 2026 (arXiv 2602.22988), section 3.2, without the filter of modes. States are
    [B, n, d] by layer, the input first; N should exceed d.

    >>> import torch
    >>> x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    >>> near_unit_mass([x, x, 2 * x])
    0.5
    """
    rows = [state.detach().double().flatten(0, -2).cpu() for state in states]
    rows = [x - x.mean(0) for x in rows]
    low, high = NEAR_UNIT
    shares: list[float] = []
    for x, y in itertools.pairwise(rows):
        covariance = x.mT @ x / len(x)
        variances, axes = torch.linalg.eigh(covariance)
        variances = variances + RIDGE * covariance.diagonal().mean()
        white, after = ((z @ axes) * variances.rsqrt() for z in (x, y))
        moduli = torch.linalg.eigvals(torch.linalg.lstsq(white, after).solution).abs()
        shares.append(((moduli >= low) & (moduli <= high)).double().mean().item())
    return sum(shares) / len(shares)
