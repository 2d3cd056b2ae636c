"""Theory and measurement: the same block predicted and simulated, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from auxin.architecture import Block, Layer, Network
from auxin.probes.simulate import (
    COLLAPSED_SEQUENCES,
    SEQUENCES,
    SMALL_GAP,
    Sampling,
    Simulation,
    gram_of,
    linear_growth,
    simplex_gram,
    simulate,
)
from auxin.theory.compose import as_network
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import Profile, mean_gap
from auxin.theory.propagation import propagate, start_norm
from auxin.theory.states import Array, PartError

STANDARD_ERRORS = 4.0  # standard errors by which theory and measurement may differ
PRIOR_DRAWS = 4  # draws that the typical variance counts for beside the estimated one
ROUNDING = 1e-4  # relative error of single precision that does not count
SMALLEST = {"cosine": 0.1, "small_gap": 2e-13}
"""Deviations of smaller ones are relative to these: of gaps, what single precision resolves, they may be as large."""


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
    sampling: Sampling = Sampling(),  # noqa: B008  # it is frozen
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
    one, other = (mean_gap(profile["gram"]) for profile in drawn)
    found = propagate_gram(network, gram, causal=causal)
    return Profile(
        {**found.columns, "small_gap": (one + other) / 2},
        {**found.errors, "small_gap": np.abs(one - other) / 2},
    )
