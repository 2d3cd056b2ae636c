"""What a network does to tokens and gradients in the end, by two exponents: a layer's, and a whole network's.

Angle exponent: λ_a = log de'/de at e = 0, the growth of the angle between almost collapsed tokens in a layer, at the
norm's fixed point there. For the paper's block it is log{(1 − α_A²)[(1 − α_M²) + α_M²χ/q_1]} (Cowsik et al., arXiv
2403.02579). Gradient exponent: λ_g = log of the largest eigenvalue of the backward map at the forward fixed point.

Where skip strengths let the norm grow without bound (Πs² ≥ 1 in pre-norm) both are their limits for r → 0, where
branches no longer count: λ_a = 0, λ_g = log Πs²; the cosine is the one that the branches pull towards. They then say
nothing of 12 or 48 layers. What does is the sum along the way: the totals of a network of finite depth, from the norm²
that its stream starts with. A stream without norm whose norm² leaves [1e-6, 1e6] has the exponents of that bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import Block, Layer, Network
from auxin.architecture.block import replace
from auxin.display import Displayed, Drawn
from auxin.theory.compose import as_network
from auxin.theory.fixed import LARGEST, LayerMap, collapsed, settle
from auxin.theory.profile import Profile, mean_gap
from auxin.theory.propagation import propagate, start_of, steps_of
from auxin.theory.states import Array, PartError
from auxin.values import check

Phase = Literal["ordered", "critical", "chaotic"]

CRITICAL = 1e-6
"""|λ_a| up to which a block is called critical."""
BARELY = 0.1
"""|total| up to which a network barely changes angles or gradients."""
COLLAPSED = 1e-6
"""1 − cosine of the almost equal tokens that measure the angle's growth in the Gram engine."""


@dataclass(frozen=True)
class Exponents(Displayed, Drawn):
    """Exponents and fixed point of one block (floats), or of a grid (arrays)."""

    angle: Any
    """λ_a: the angle between almost equal tokens grows by e^{λ_a/2} a layer."""
    gradient: Any
    """λ_g: gradient norms² grow by e^{λ_g} a layer, backwards."""
    gradient_spectrum: Any
    """Logarithms of both eigenvalues (of their moduli) of the backward map, the larger one first, [..., 2]."""
    norm: Any
    """q*: norm² per dimension at the fixed point; inf where it grows for ever."""
    cosine: Any
    """c*: cosine of two tokens at the stable fixed point reached from the start."""
    phase: Any
    """ordered (λ_a < 0, tokens collapse), critical (|λ_a| ≤ 1e-6) or chaotic (λ_a > 0, tokens repel); of a network
    by its total, critical where that barely counts (|total| < 0.1)."""
    angle_total: float | None = None
    """Σ log de'/de over a network's layers, of almost equal tokens; None where no depth is given."""
    gradient_total: float | None = None
    """log ‖g_0‖²/‖g_L‖²: growth of squared gradient norms from a network's output to its input."""
    gradient_total_error: float = 0.0
    """Standard error of the gradient's total, where attention is sampled."""
    depth: int | None = None
    """Layers that the totals are over."""


def exponents(
    network: Network | Layer | Block,
    cosine: float = 0.3,
    depth: int | None = None,
    norm: float | None = None,
    *,
    n_tokens: int | None = None,
    causal: bool | None = None,
    draws: int = 0,
) -> Exponents:
    """The exponents of a layer in the limit of depth, and their totals over a network of finite depth.

    Of a ``Layer`` or ``Block``, λ_a and λ_g at the fixed point that tokens of the given cosine reach; with a ``depth``,
    their totals over so many layers, too. Of a ``Network``, the totals over its layers, which may differ, and
    ``angle`` and ``gradient`` as the totals a layer; ``norm`` and ``cosine`` are those at the output.

    Args:
        network: what is asked about; a config stands for its network, here and wherever a network is asked for.
        cosine: of all pairs of tokens at the input. Angle and phase of a layer do not depend on it; the fixed point,
            and with it λ_g, can where collapse and repulsion are both stable.
        depth: layers that the totals are over; of a ``Network`` its own.
        norm: norm² per dimension that the stream starts with: 0.0008 for GPT-2's N(0, 0.02²) embeddings and positions.
            None: that of a config, or of the network of a model or config; else 1.
        n_tokens: sequence length; that of a ``Block``, else 32.
        causal: whether tokens attend to earlier ones alone. None: all attend to all where two numbers can
            express the network; the Gram engine with a causal mask where they cannot.
        draws: of the Gram engine, see ``propagate_gram``.

    Cost about 50 ms (a user's activation: seconds), and 5 ms a layer of depth; seconds in the Gram engine.

    >>> block = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)
    >>> round(exponents(block).angle, 4), round(exponents(block).gradient, 4)
    (-0.2357, 0.1157)
    >>> gpt = Block(norm="pre", activation="gelu", sigma_a=0.3, sigma_v=0.05, sigma_w=0.55, sigma_o=0.2)
    >>> round(exponents(Network.repeat(gpt, 12), norm=0.0008).gradient_total, 1)
    3.4

    Raises ``ConfigError`` for a cosine outside [−1/(n − 1), 1], a norm² that is not positive, or a post-norm of
    states that are all zero.
    """
    network, n, norm = start_of(network, cosine, norm, n_tokens)
    layer = None if isinstance(network, Network) else _of_layer(network, cosine, n)
    if layer is not None and depth is None:
        return layer
    whole = _of_network(as_network(network, depth, 1), (cosine, norm, n), causal, draws)
    if layer is None:
        return whole
    sums = ("angle_total", "gradient_total", "gradient_total_error", "depth")
    return dataclasses.replace(layer, **{name: getattr(whole, name) for name in sums})


def _of_network(
    network: Network, start: tuple[float, float, int], causal: bool | None, draws: int
) -> Exponents:
    """The totals, from tokens of a cosine and norm², n of them."""
    cosine, norm, n = start
    if not causal:
        with contextlib.suppress(PartError):
            found = propagate(network, cosine, norm=norm, n_tokens=n)
            growths = [float(step.angle_growth) for step in steps_of(network, n, 1 / norm, 0.0)]
            with np.errstate(divide="ignore"):
                angle = float(np.sum(np.log(growths)))
            return _summed(found, angle, float(found.cosine[-1]))
    from auxin.theory.gram import propagate_gram  # torch is loaded only where something is drawn

    def run(gap: float) -> Profile:
        start = norm * (gap * np.eye(n) + (1 - gap))
        return propagate_gram(network, start, causal=causal is not False, draws=draws)

    found, near = run(1 - cosine), mean_gap(run(COLLAPSED)["gram"])
    return _summed(found, float(np.log(near[-1] / near[0])), 1 - float(mean_gap(found["gram"][-1])))


def _summed(found: Profile, angle: float, cosine: float) -> Exponents:
    """What adds up over a network's layers, and where its tokens end."""
    phase = "critical" if abs(angle) < BARELY else str(_phase(np.array(angle)))
    with np.errstate(divide="ignore"):
        gradient, depth = found.gradient_total, found.depth
    error = float(found.error("gradient")[0] / found.gradient[0])
    mean, end = (angle / depth, gradient / depth, None), (float(found.norm[-1]), cosine, phase)
    return Exponents(*mean, *end, angle, gradient, error, depth)


def _of_layer(layer: Layer | Block, cosine: float, n: int) -> Exponents:
    values = _at_points(LayerMap(as_network(layer, 1, 1).layers[0], n, 1), cosine)
    angle, gradient, norm, reached = (
        v.item() for v in (values.angle, values.gradient, values.norm, values.cosine)
    )
    for name, value in (("angle exponent", angle), ("gradient exponent", gradient)):
        check(not np.isnan(value), name, value, "tokens whose states do not all become zero")
    spectrum = tuple(values.gradient_spectrum[0].tolist())
    return Exponents(angle, gradient, spectrum, norm, reached, str(values.phase[0]))


def exponents_grid(block: Block, hyperparameters: Mapping[str, Any], cosine: float = 0.3) -> Exponents:
    """``exponents`` of many blocks at once: arrays of the shape that the hyperparameters broadcast to."""
    forward, shape = _grid(block, hyperparameters)
    check(
        np.isfinite(cosine) and -1 / (np.min(forward.n_tokens) - 1) <= cosine <= 1,
        "cosine",
        cosine,
        "-1/(n − 1) to 1",
    )
    found = _at_points(forward, cosine)
    names = ("angle", "gradient", "gradient_spectrum", "norm", "cosine", "phase")
    arrays = (getattr(found, name) for name in names)
    return Exponents(*(array.reshape(shape + array.shape[1:]) for array in arrays))


def angle_exponents(block: Block, hyperparameters: Mapping[str, Any]) -> Array:
    """λ_a of many blocks at once; it needs no search for c*, only moments of equal tokens, which have closed forms."""
    forward, shape = _grid(block, hyperparameters, exact=True)
    return _angle(forward).reshape(shape)


def _grid(
    block: Block, hyperparameters: Mapping[str, Any], exact: bool = False
) -> tuple[LayerMap, tuple[int, ...]]:
    """The map of a grid's points, one after the other, and the grid's shape."""
    shape = np.broadcast_shapes(*(np.shape(v) for v in hyperparameters.values()))
    arrays = {
        name: np.broadcast_to(np.asarray(value, float), shape).ravel()
        for name, value in hyperparameters.items()
    }
    points = replace(block, **arrays)
    size = int(np.prod(shape))
    return LayerMap(points.layer, points.n_tokens, size, exact), shape


def _at_points(forward: LayerMap, cosine: float) -> Exponents:
    """Exponents of every point of a map."""
    r, gap = settle(forward, cosine)
    spectrum = _spectrum(np.broadcast_to(forward(r, gap).back, (forward.size, 2, 2)))
    angle = _angle(forward)
    return Exponents(angle, spectrum[:, 0], spectrum, _norm(forward, r), 1 - gap, _phase(angle))


def _angle(forward: LayerMap) -> Array:
    growth = forward(collapsed(forward), np.zeros(forward.size)).angle_growth
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.broadcast_to(np.log(np.where(growth == 0, 0, growth)), forward.size)


def _spectrum(matrix: Array) -> Array:
    """log |eigenvalues| of 2 × 2 matrices with non-negative entries, the largest first."""
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    root = np.sqrt(((a - d) / 2) ** 2 + b * c)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(np.stack([(a + d) / 2 + root, (a + d) / 2 - root], axis=1)))


def _norm(forward: LayerMap, r: Array) -> Array:
    """1/r, and its limit where the norm has no fixed point: inf, 0, or the 1 that it started from."""
    if not forward.settles:
        limited = np.where(r <= 1 / LARGEST, 0, np.where(r >= LARGEST, np.inf, r))
    else:
        supplied = forward(np.ones_like(r), np.ones_like(r)).growth > forward.skips * (1 + 1e-15)
        frozen = np.where(forward.skips < 1, np.inf, np.where((forward.skips == 1) & ~supplied, 1, 0))
        limited = np.where(r > 0, r, frozen)
    with np.errstate(divide="ignore"):
        return 1 / limited


def _phase(angle: Array) -> NDArray[np.str_]:
    return np.where(np.abs(angle) <= CRITICAL, "critical", np.where(angle < 0, "ordered", "chaotic"))
