"""Random transformers, measured: the same quantities as ``auxin.theory`` predicts, with standard errors.

The networks are stacks of ``auxin.models``' own layers, so that what is predicted is what gets trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from auxin.architecture import Block, Layer, Network
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.sizes import Sizes
from auxin.models.context import Context
from auxin.models.drawing import draw_stack
from auxin.models.stack import Stack
from auxin.probes.states import mean_gap
from auxin.theory.compose import as_network
from auxin.theory.gram import checked_gram
from auxin.theory.profile import Profile, norm_and_overlap
from auxin.theory.propagation import token_count
from auxin.values import check

Array = NDArray[np.float64]

SMALL_GAP = 1e-5
"""1 − cosine of the nearly collapsed tokens that measure the angle exponent."""
SEQUENCES = 8
"""Sequences in independent orientations for each network. They are almost independent samples, because weights
act on unrelated directions, and cost less than drawing weights again."""
COLLAPSED_SEQUENCES = 2
"""As many of nearly collapsed tokens."""
LINEAR = 1e-11, 1e-2
"""Where 1 − cosine grows or shrinks by a constant factor, and single precision resolves it."""


@dataclass(frozen=True, eq=False)
class Simulation(Profile):
    """Measured signal propagation: means over networks with their standard errors.

    The cosine is the mean overlap of two tokens divided by the mean squared norm; small_gap is 1 − cosine of tokens
    that start nearly collapsed (1e-5) with norm² 1; gram and gradient_gram are [depth + 1, n, n].
    """

    angle_exponent: float = 0.0
    """Growth of log(1 − cosine) per layer of nearly collapsed tokens, after the layers in which their norm settles
    (half of those in which the growth is linear)."""
    angle_exponent_error: float = 0.0
    gradient_exponent: float = 0.0
    """(1/depth)·log of the gradient's growth from output to input; a probe at finite depth mixes the modes."""
    gradient_exponent_error: float = 0.0


def simulate(
    network: Network | Layer | Block,
    cosine: float = 0.3,
    depth: int | None = None,
    width: int = 768,
    heads: int = 1,
    draws: int = 8,
    seed: int = 0,
    causal: bool = False,
    gram: ArrayLike | None = None,
    norm: float = 1.0,
    n_tokens: int | None = None,
) -> Simulation:
    """Measure random networks on tokens with exactly the prescribed Gram matrix.

    A sequence has n tokens of one norm² and pairwise ``cosine``, or those of ``gram``; eight of them in
    random orientations pass every network. Gradients are those of a random N(0, 1) combination
    of the output. Nearly collapsed tokens pass it, too, for the angle exponent.

    Args:
        network: its σ's are the weights'; a ``Layer`` or ``Block`` is repeated ``depth`` times (12 by default).
        cosine: of all pairs of tokens at the input.
        depth: layers; of a ``Network`` its own.
        width: of the model; an MLP has 4·width hidden units.
        heads: of attention; where it is not plain they have the dimensions that the description gives them.
        draws: networks, at least 2; standard errors are over networks.
        seed: of the weights, orientations and output gradients.
        causal: token i attends to tokens 0 … i; otherwise to all.
        gram: [n, n] Gram matrix x_i·x_j/d of the tokens; replaces ``cosine``, ``norm`` and ``n_tokens``.
        norm: norm² per dimension of the tokens at the input.
        n_tokens: sequence length; that of a ``Block``, else 32.

    Cost: drawing 12·width² weights and passing 10n tokens forward and 8n back, per layer and draw.

    >>> found = simulate(Block(norm="post", activation="relu", n_tokens=8), depth=2, width=64, draws=2)
    >>> found.cosine.shape, bool(found.cosine[2] > found.cosine[0])
    ((3,), True)

    Raises:
        ConfigError: sizes that do not fit (there must be fewer tokens than dimensions), an activation that is a
            user's function, or a Gram matrix that no tokens have.
    """
    n_tokens = token_count(network, n_tokens)
    network = as_network(network, depth, 12)
    check(draws >= 2, "draws", draws, "2 or more")
    check(0 <= seed < 2**63, "seed", seed, "0 to 2^63 − 1")
    prescribed = norm * simplex_gram(n_tokens, cosine) if gram is None else checked_gram("gram", gram)
    n = len(prescribed)
    check(2 <= n < width, "number of tokens", n, f"at least 2, fewer than the width ({width})")
    collapsed = np.trace(prescribed) / n * simplex_gram(n, 1 - SMALL_GAP)
    values, vectors = np.linalg.eigh(np.stack([prescribed, collapsed]))
    roots = torch.from_numpy(vectors * np.sqrt(values.clip(0))[:, None]).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):  # nothing is drawn from the global generator
        stack = Stack(network, Sizes(width, heads))
    stack = stack.to_empty(device="cpu").requires_grad_(False)
    networks = []
    for _ in range(draws):
        draw_stack(stack, stack.network, SCHEMES["gaussian"], generator)
        frames = _frames(n, width, generator)
        tokens, near = (width**0.5 * root @ frames.mT for root in roots)  # [sequences, n, d] each
        networks.append(
            (*_propagate(stack, tokens, causal, generator), _gaps(stack, near[:COLLAPSED_SEQUENCES], causal))
        )
    grams, gradients, gaps = (np.stack(arrays) for arrays in zip(*networks, strict=True))
    return _summary(grams, gradients, gaps)


def _propagate(stack: Stack, tokens: Tensor, causal: bool, generator: torch.Generator) -> tuple[Array, Array]:
    """Gram matrices of states and of gradients, [depth + 1, n, n], mean over sequences; tokens [B, n, d]."""
    states = stack.states(tokens.requires_grad_(), Context.of(tokens, causal=causal))
    probe = torch.randn(tokens.shape, generator=generator)
    gradients = torch.autograd.grad(states[-1], states, probe)
    x = torch.stack(states).detach().double()
    g = torch.stack(gradients).double()
    output_norm = g[-1].square().sum(-1).mean()
    return (x @ x.mT / x.shape[-1]).mean(1).numpy(), (g @ g.mT / output_norm).mean(1).numpy()


@torch.no_grad()
def _gaps(stack: Stack, tokens: Tensor, causal: bool) -> Array:
    """Mean of 1 − cosine over pairs of tokens, from differences to keep its precision: [B, n, d] → [depth + 1]."""
    return np.array([mean_gap(state) for state in stack.states(tokens, Context.of(tokens, causal=causal))])


def _summary(grams: Array, gradients: Array, gaps: Array) -> Simulation:
    """Means and standard errors over the first axis, the draws."""
    depth = grams.shape[1] - 1
    norm, overlap = norm_and_overlap(grams)
    gradient = norm_and_overlap(gradients)[0]
    gradient_exponent = np.log(gradient[:, 0] / gradient[:, -1]) / depth
    columns = {
        "norm": norm,
        "cosine": overlap / norm,
        "gradient": gradient,
        "small_gap": gaps,
        "gram": grams,
        "gradient_gram": gradients,
    }
    root = len(grams) ** 0.5
    angle = linear_growth(gaps)
    return Simulation(
        {name: values.mean(0) for name, values in columns.items()},
        {name: values.std(0, ddof=1) / root for name, values in columns.items()},
        draws=len(grams),
        angle_exponent=angle.mean(),
        angle_exponent_error=angle.std(ddof=1) / root,
        gradient_exponent=gradient_exponent.mean(),
        gradient_exponent_error=gradient_exponent.std(ddof=1) / root,
    )


def linear_growth(gaps: Array) -> Array:
    """Slope of log(1 − cosine) over the second half of the layers in which it is linear: [draws, depth + 1]."""
    low, high = LINEAR
    linear = np.all((gaps > low) & (gaps < high), axis=0)
    last = gaps.shape[1] - 1 if linear.all() else max(1, int(np.argmin(linear)) - 1)
    first = last // 2
    logarithm = np.log(np.maximum(gaps, np.finfo(float).tiny))
    return (logarithm[:, last] - logarithm[:, first]) / (last - first)


def simplex_gram(n: int, cosine: float) -> Array:
    """Gram matrix of n unit tokens with one cosine between all pairs."""
    lowest = -1 / (n - 1) if n > 1 else -1.0
    check(lowest <= cosine <= 1, "cosine", cosine, f"{lowest:.4g} to 1, for {n} tokens")
    return (1 - cosine) * np.eye(n) + cosine


def _frames(n: int, width: int, generator: torch.Generator) -> Tensor:
    """[sequences, width, n] random orthonormal columns, without a mean, so that layer norm subtracts none."""
    columns = torch.randn(SEQUENCES, width, n, generator=generator)
    return torch.linalg.qr(columns - columns.mean(1, keepdim=True)).Q
