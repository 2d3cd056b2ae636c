"""Random transformers, measured, and compared with what ``auxin.theory`` predicts, layer by layer.

The networks are stacks of ``auxin.models``' own layers, so that what is predicted is what gets trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from auxin.architecture import Block, Layer, Network
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.sizes import Sizes
from auxin.models.context import Context
from auxin.models.stack import Stack
from auxin.probes.states import mean_gap
from auxin.theory.compose import as_network
from auxin.theory.gram import checked_gram, propagate_gram
from auxin.theory.profile import Profile, norm_and_overlap
from auxin.theory.profile import mean_gap as gram_gap
from auxin.theory.propagation import propagate, start_norm, token_count
from auxin.theory.states import Array, PartError
from auxin.values import check, check_whole

SMALL_GAP = 1e-5  # 1 − cosine of the nearly collapsed tokens that measure the angle exponent
SEQUENCES = 8
"""Sequences in independent orientations for each network. They are almost independent samples, because weights
act on unrelated directions, and cost less than drawing weights again."""
COLLAPSED_SEQUENCES = 2  # as many of nearly collapsed tokens
LINEAR = 1e-11, 1e-2
"""Where 1 − cosine grows or shrinks by a constant factor, and single precision resolves it."""

STANDARD_ERRORS = 4.0  # standard errors by which theory and measurement may differ
PRIOR_DRAWS = 4  # draws that the typical variance counts for beside the estimated one
ROUNDING = 1e-4  # relative error of single precision that does not count
SMALLEST = {"cosine": 0.1, "small_gap": 2e-13}
"""Deviations of smaller ones are relative to these: of gaps, what single precision resolves, they may be as large."""


@dataclass(frozen=True)
class Sampling:
    """What random networks are drawn: their sizes, how many, and from what seed."""

    width: int = 768
    """Of the model; an MLP has 4·width hidden units."""
    heads: int = 1
    """Of attention; where it is not plain they have the dimensions that the description gives them."""
    draws: int = 8
    """Networks, at least 2; standard errors are over networks."""
    seed: int = 0
    """Of the weights, the tokens' orientations and output gradients."""

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, 2, 10**6)
        check_whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, eq=False)
class Simulation(Profile):
    """Measured signal propagation: means over networks with their standard errors.

    The cosine is the mean overlap of two tokens divided by the mean squared norm; small_gap is 1 − cosine of tokens
    that start nearly collapsed (1e-5) with norm² 1; gram and gradient_gram are [depth + 1, n, n].
    """

    exponents: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Per layer, with their standard errors. angle: growth of log(1 − cosine) of nearly collapsed tokens, after the
    layers in which their norm settles (half of those in which the growth is linear). gradient: (1/depth)·log of the
    gradient's growth from output to input; a probe at finite depth mixes the modes."""


def simulate(
    network: Network | Layer | Block,
    tokens: float | ArrayLike = 0.3,
    depth: int | None = None,
    *,
    norm: float | None = None,
    causal: bool = False,
    sampling: Sampling = Sampling(),  # it is frozen
) -> Simulation:
    """Measure random networks on tokens with exactly the prescribed Gram matrix.

    Eight sequences in random orientations pass every network. Gradients are those of a random N(0, 1) combination
    of the output. Nearly collapsed tokens pass it, too, for the angle exponent.

    Args:
        network: its σ's are the weights'; a ``Layer`` or ``Block`` is repeated ``depth`` times (12 by default).
        tokens: cosine of all pairs of tokens at the input (as many as a ``Block`` has, else 32); or their Gram matrix
            x_i·x_j/d, [n, n].
        depth: layers; of a ``Network`` its own.
        norm: norm² per dimension of the tokens at the input, where these are given by their cosine; that of a network
            of a model or config, else 1.
        causal: token i attends to tokens 0 … i; otherwise to all.
        sampling: width, heads, number and seed of the networks, ``auxin.probes.simulate.Sampling``.

    Cost: drawing 12·width² weights and passing 10n tokens forward and 8n back, per layer and draw.

    >>> from auxin.probes.simulate import Sampling
    >>> block = Block(norm="post", activation="relu", n_tokens=8)
    >>> found = simulate(block, depth=2, sampling=Sampling(width=64, draws=2))
    >>> found.cosine.shape, bool(found.cosine[2] > found.cosine[0])
    ((3,), True)

    Raises:
        ConfigError: sizes that do not fit (there must be fewer tokens than dimensions), an activation that is a
            user's function, or a Gram matrix that no tokens have.
    """
    gram, network = gram_of(network, tokens, norm), as_network(network, depth, 12)
    width, n = sampling.width, len(gram)
    check(2 <= n < width, "number of tokens", n, f"at least 2, fewer than the width ({width})")
    collapsed = np.trace(gram) / n * simplex_gram(n, 1 - SMALL_GAP)
    values, vectors = np.linalg.eigh(np.stack([gram, collapsed]))
    roots = torch.from_numpy(vectors * np.sqrt(values.clip(0))[:, None]).float()
    generator = torch.Generator().manual_seed(sampling.seed)
    with torch.device("meta"):  # nothing is drawn from the global generator
        stack = Stack(network, Sizes(width, sampling.heads))
    stack = stack.to_empty(device="cpu").requires_grad_(False)
    networks = []
    for _ in range(sampling.draws):
        stack.draw(stack.network, SCHEMES["gaussian"], generator)
        frames = _frames(n, width, generator)
        spread, near = (width**0.5 * root @ frames.mT for root in roots)  # [sequences, n, d] each
        grams = _propagate(stack, spread, causal, generator)
        near = near[:COLLAPSED_SEQUENCES]
        with torch.no_grad():
            gaps = [mean_gap(state) for state in stack.states(near, Context.of(near, causal=causal))]
        networks.append((*grams, np.array(gaps)))
    return _summary(*(np.stack(arrays) for arrays in zip(*networks, strict=True)))


def gram_of(network: Network | Layer | Block, tokens: float | ArrayLike, norm: float | None) -> Array:
    """The Gram matrix of tokens that are given by it, or by their cosine, [n, n]."""
    if np.ndim(tokens):  # pyright: ignore[reportArgumentType]
        return checked_gram("gram", tokens)  # pyright: ignore[reportArgumentType]
    return start_norm(network, norm) * simplex_gram(token_count(network, None), tokens)  # pyright: ignore[reportArgumentType]


def _propagate(stack: Stack, tokens: Tensor, causal: bool, generator: torch.Generator) -> tuple[Array, Array]:
    """Gram matrices of states and of gradients, [depth + 1, n, n], mean over sequences; tokens [B, n, d]."""
    states = stack.states(tokens.requires_grad_(), Context.of(tokens, causal=causal))
    probe = torch.randn(tokens.shape, generator=generator)
    gradients = torch.autograd.grad(states[-1], states, probe)
    x = torch.stack(states).detach().double()
    g = torch.stack(gradients).double()
    output_norm = g[-1].square().sum(-1).mean()
    return (x @ x.mT / x.shape[-1]).mean(1).numpy(), (g @ g.mT / output_norm).mean(1).numpy()


def _summary(grams: Array, gradients: Array, gaps: Array) -> Simulation:
    """Means and standard errors over the first axis, the draws."""
    depth = grams.shape[1] - 1
    norm, overlap = norm_and_overlap(grams)
    gradient = norm_and_overlap(gradients)[0]
    columns = {
        "norm": norm,
        "cosine": overlap / norm,
        "gradient": gradient,
        "small_gap": gaps,
        "gram": grams,
        "gradient_gram": gradients,
    }
    root = len(grams) ** 0.5
    exponents = {"angle": linear_growth(gaps), "gradient": np.log(gradient[:, 0] / gradient[:, -1]) / depth}
    return Simulation(
        {name: values.mean(0) for name, values in columns.items()},
        {name: values.std(0, ddof=1) / root for name, values in columns.items()},
        draws=len(grams),
        exponents={name: (float(x.mean()), float(x.std(ddof=1) / root)) for name, x in exponents.items()},
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


@dataclass(frozen=True)
class Agreement:
    """One quantity predicted and measured, [depth + 1] each."""

    predicted: Array
    measured: Array
    error: Array
    """Standard error of the measurement (and of the prediction, where that is sampled)."""
    deviation: Array
    """(measured − predicted)/predicted; of a cosine below 0.1, /0.1, of a gap below 2e-13, /2e-13."""
    tolerance: Array
    """Largest |deviation| that passes."""

    @property
    def passed(self) -> bool:
        """Whether every layer is within its tolerance."""
        return bool((np.abs(self.deviation) <= self.tolerance).all())


@dataclass(frozen=True)
class Comparison:
    """Theory and a simulation, with what may differ between them by chance."""

    agreements: Mapping[str, Agreement]
    """Of norm, cosine, gradient and small_gap."""
    theory: Profile
    simulation: Simulation

    def __getitem__(self, name: str) -> Agreement:
        return self.agreements[name]

    @property
    def exponents(self) -> dict[str, dict[str, float]]:
        """Both exponents at this depth, the angle's over the layers that the simulation measures it in."""
        theory = {
            "angle": float(linear_growth(self.theory["small_gap"][None])[0]),
            "gradient": self.theory.gradient_total / self.theory.depth,
        }
        return {
            name: {"theory": theory[name], "measured": mean, "standard_error": error}
            for name, (mean, error) in self.simulation.exponents.items()
        }

    @property
    def passed(self) -> bool:
        """Whether all four quantities are within tolerance in every layer."""
        return all(agreement.passed for agreement in self.agreements.values())


def compare(
    network: Network | Layer | Block,
    tokens: float | ArrayLike = 0.3,
    depth: int | None = None,
    *,
    norm: float | None = None,
    causal: bool = False,
    sampling: Sampling = Sampling(),  # it is frozen
) -> Comparison:
    """Predict and simulate a network; arguments, cost and errors as in ``simulate``.

    Tokens that are permutation-symmetric (no mask, one cosine, plain attention) are predicted by ``propagate``,
    others by ``propagate_gram``. After l layers of width d a deviation passes up to

        4·√(SE² + 4/(draws + 3)·l/(d·N)) + l/d,    N = 8·``draws`` sequences (2·``draws`` for the small gap),

    SE the standard error estimated from the draws. 1/(dN) is the variance that a layer's norms and overlaps
    typically have; it steadies SE as four more draws would, because few draws can agree by chance. The last term
    is the order of the bias that the theory, the limit d → ∞, has at width d. A small gap may also be off by the
    2e-13 that single precision blurs.
    """
    norm = start_norm(network, norm)
    gram, network = gram_of(network, tokens, norm), as_network(network, depth, 12)
    measured = simulate(network, gram, causal=causal, sampling=sampling)
    symmetric = not causal and not np.ndim(tokens)  # pyright: ignore[reportArgumentType]
    predicted = _symmetric(network, float(tokens), norm, len(gram)) if symmetric else None  # pyright: ignore[reportArgumentType]
    predicted = predicted or _sampled(network, gram, causal)
    layers = np.arange(network.depth + 1)
    agreements = {}
    for name in ("norm", "cosine", "gradient", "small_gap"):
        passed = layers[::-1] if name == "gradient" else layers
        sequences = COLLAPSED_SEQUENCES if name == "small_gap" else SEQUENCES
        variance = passed / (sampling.width * sampling.draws * sequences)
        chance = PRIOR_DRAWS / (sampling.draws + PRIOR_DRAWS - 1) * variance
        agreements[name] = _agreement(name, predicted, measured, chance, passed / sampling.width)
    return Comparison(agreements, predicted, measured)


def _agreement(name: str, predicted: Profile, measured: Simulation, chance: Array, bias: Array) -> Agreement:
    value, mean, smallest = predicted[name], measured[name], SMALLEST.get(name, 0.0)
    error = np.hypot(measured.error(name), predicted.error(name))
    scale = np.maximum(np.abs(value), smallest)
    rounding = ROUNDING + (smallest / scale if name == "small_gap" else 0.0)
    tolerance = STANDARD_ERRORS * np.sqrt((error / scale) ** 2 + chance) + bias + rounding
    return Agreement(value, mean, error, (mean - value) / scale, tolerance)


def _symmetric(network: Network, cosine: float, norm: float, n_tokens: int) -> Profile | None:
    """By two numbers, where they can express the network."""
    try:
        found = propagate(network, cosine, norm=norm, n_tokens=n_tokens)
    except PartError:
        return None
    near = propagate(network, 1 - SMALL_GAP, norm=norm, n_tokens=n_tokens)["gap"]
    return Profile({**found.columns, "small_gap": near})


def _sampled(network: Network, gram: Array, causal: bool) -> Profile:
    """By the Gram engine."""
    near = np.trace(gram) / len(gram) * simplex_gram(len(gram), 1 - SMALL_GAP)
    drawn = (propagate_gram(network, near, causal=causal, seed=seed) for seed in (0, 1))
    one, other = (gram_gap(profile["gram"]) for profile in drawn)
    found = propagate_gram(network, gram, causal=causal)
    return Profile(
        {**found.columns, "small_gap": (one + other) / 2},
        {**found.errors, "small_gap": np.abs(one - other) / 2},
    )
