"""Theory beside measurement: the same block predicted and simulated, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auxin.architecture import Block, Layer, Network
from auxin.probes.simulate import (
    COLLAPSED_SEQUENCES,
    SEQUENCES,
    SMALL_GAP,
    Simulation,
    linear_growth,
    norm_and_overlap,
    simplex_gram,
    simulate,
)
from auxin.theory.compose import as_network
from auxin.theory.gram import propagate_gram
from auxin.theory.propagation import propagate, token_count
from auxin.theory.states import PartError

Array = NDArray[np.float64]

STANDARD_ERRORS = 4.0
"""Standard errors by which theory and measurement may differ."""
PRIOR_DRAWS = 4
"""Draws that the typical variance counts for beside the estimated one."""
ROUNDING = 1e-4
"""Relative error of single precision that is never held against the theory."""
SMALLEST_COSINE = 0.1
"""Deviations of cosines below this one are relative to this one."""
SMALLEST_GAP = 2e-13
"""Gaps that single precision resolves; smaller ones' deviations are relative to this one, and may be as large."""


@dataclass(frozen=True)
class Prediction:
    """What the theory says of a simulation, [depth + 1] each; ``Simulation`` explains the names."""

    norm: Array
    cosine: Array
    gradient: Array
    small_gap: Array
    norm_error: Array
    """Standard error where the Gram engine sampled; at most, as if all entries erred together."""
    cosine_error: Array
    gradient_error: Array
    small_gap_error: Array

    @property
    def angle_exponent(self) -> float:
        """As ``Simulation`` measures it: over the same layers, not in their limit."""
        return float(linear_growth(self.small_gap[None])[0])

    @property
    def gradient_exponent(self) -> float:
        """(1/depth)·log of the gradient's growth from output to input."""
        return float(np.log(self.gradient[0] / self.gradient[-1])) / (len(self.gradient) - 1)


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
    """Theory beside a simulation, with what may differ between them by chance."""

    norm: Agreement
    cosine: Agreement
    gradient: Agreement
    small_gap: Agreement
    theory: Prediction
    simulation: Simulation

    @property
    def passed(self) -> bool:
        """Whether all four quantities are within tolerance in every layer."""
        return all(a.passed for a in (self.norm, self.cosine, self.gradient, self.small_gap))


def compare(
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
) -> Comparison:
    """Predict and simulate a network; arguments, cost and errors as in ``simulate``.

    Tokens that are permutation-symmetric (no mask, one cosine, plain attention) are predicted by ``propagate``,
    others by ``propagate_gram``. Behind l layers of width d a deviation passes up to

        4·√(SE² + 4/(draws + 3)·l/(d·N)) + l/d,    N = 8·``draws`` sequences (2·``draws`` for the small gap),

    SE the standard error estimated from the draws. 1/(dN) is the variance that a layer's norms and overlaps
    typically have; it steadies SE as four more draws would, because few draws can agree by chance. The last term
    is the order of the bias that the theory, the limit d → ∞, has at width d. A small gap may also be off by the
    2e-13 that single precision blurs.
    """
    n_tokens = token_count(network, n_tokens)
    network = as_network(network, depth, 12)
    depth = network.depth
    measured = simulate(network, cosine, None, width, heads, draws, seed, causal, gram, norm, n_tokens)
    prescribed = norm * simplex_gram(n_tokens, cosine) if gram is None else np.asarray(gram, float)
    predicted = None if causal or gram is not None else _symmetric(network, cosine, norm, n_tokens)
    predicted = predicted or _sampled(network, prescribed, causal)
    layers = np.arange(depth + 1)
    agreements = {}
    for name, behind, sequences in (
        ("norm", layers, SEQUENCES),
        ("cosine", layers, SEQUENCES),
        ("gradient", depth - layers, SEQUENCES),
        ("small_gap", layers, COLLAPSED_SEQUENCES),
    ):
        chance = PRIOR_DRAWS / (draws + PRIOR_DRAWS - 1) * behind / (width * draws * sequences)
        agreements[name] = _agreement(name, predicted, measured, chance, behind / width)
    return Comparison(**agreements, theory=predicted, simulation=measured)


def _agreement(
    name: str, predicted: Prediction, measured: Simulation, chance: Array, bias: Array
) -> Agreement:
    value, value_error = getattr(predicted, name), getattr(predicted, f"{name}_error")
    mean, mean_error = getattr(measured, name), getattr(measured, f"{name}_error")
    error = np.hypot(mean_error, value_error)
    scale = np.maximum(np.abs(value), {"cosine": SMALLEST_COSINE, "small_gap": SMALLEST_GAP}.get(name, 0.0))
    rounding = ROUNDING + (SMALLEST_GAP / scale if name == "small_gap" else 0.0)
    tolerance = STANDARD_ERRORS * np.sqrt((error / scale) ** 2 + chance) + bias + rounding
    return Agreement(value, mean, error, (mean - value) / scale, tolerance)


def _symmetric(network: Network, cosine: float, norm: float, n_tokens: int) -> Prediction | None:
    """By two numbers, where they can express the network."""
    try:
        found = propagate(network, cosine, norm=norm, n_tokens=n_tokens)
    except PartError:
        return None
    gap = propagate(network, 1 - SMALL_GAP, norm=norm, n_tokens=n_tokens).gap
    zeros = np.zeros(network.depth + 1)
    return Prediction(found.norm, found.cosine, found.gradient, gap, zeros, zeros, zeros, zeros)


def _sampled(network: Network, gram: Array, causal: bool) -> Prediction:
    """By the Gram engine."""
    n = len(gram)
    near = np.trace(gram) / n * simplex_gram(n, 1 - SMALL_GAP)
    gaps = [_mean_gaps(propagate_gram(network, near, causal=causal, seed=seed).gram) for seed in (0, 1)]
    engine = propagate_gram(network, gram, causal=causal)
    norm, overlap = norm_and_overlap(engine.gram)
    norm_error, overlap_error = norm_and_overlap(engine.gram_error)
    return Prediction(
        norm=norm,
        cosine=overlap / norm,
        gradient=norm_and_overlap(engine.gradient)[0],
        small_gap=(gaps[0] + gaps[1]) / 2,
        norm_error=norm_error,
        cosine_error=overlap_error / norm,
        gradient_error=norm_and_overlap(engine.gradient_error)[0],
        small_gap_error=np.abs(gaps[0] - gaps[1]) / 2,
    )


def _mean_gaps(gram: Array) -> Array:
    """Mean of 1 − cosine over pairs of tokens, [depth + 1]."""
    root = np.sqrt(np.einsum("lii->li", gram))
    return 1 - norm_and_overlap(gram / (root[:, :, None] * root[:, None, :]))[1]
