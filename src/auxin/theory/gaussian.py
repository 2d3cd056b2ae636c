"""Gaussian expectations of an activation: E[φ(x)φ(y)] and E[φ'(x)φ'(y)] for jointly Gaussian x, y.

Every built-in activation but relu² is a mixture of one of two families, whose expectations are elementary:

    erf family    φ(x) = E_s erf(x/(s√2))     erf: s = 1/√2    tanh: s = K
    gate family   φ(x) = E_s x·Φ(x/s)         relu: s = 0      gelu: s = 1    silu: s = 2K   quick_gelu: s = 2K/1.702

where K has the Kolmogorov distribution, because the logistic distribution is a normal one whose standard
deviation is 2K (Andrews & Mallows 1974; Stefanski 1991). The mean over K is a Gauss rule for that
distribution, so tanh and silu keep one accuracy for every steepness, where Gauss–Hermite nodes fail.
With A = q_x + s², B = q_y + s'², Δ = q_x q_y − p², D = AB − p² (Δ plus non-negative terms):

    erf family    E[φφ] = (2/π) ω,   ω = atan2(p, √D)
    gate family   E[φφ] = p(1/4 + ω/2π) + [Δ + p²(s²/A + s'²/B)]/(2π√D)
    relu²         E[φφ] = [3p√Δ + (π/2 + ω)(q_x q_y + 2p²)]/2π

For s = 0 the gate family is the arc-cosine kernel of order 1, relu² that of order 2 (Cho & Saul 2009),
s = 1/√2 in the erf family is Williams (1997). A user's function is integrated numerically (``quadrature``).
All arguments broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import ArrayLike

from auxin.architecture.mlp import AnyActivation
from auxin.theory import quadrature
from auxin.theory.states import Array

CHUNK = 4096
KOLMOGOROV_NODES = 8
LARGE = 1e30
"""Variances beyond this one are divided out, since their fourth powers would overflow."""
LOGISTIC = {"tanh": ("erf", 1.0), "silu": ("gate", 2.0), "quick_gelu": ("gate", 2 / 1.702)}
"""Family, and s relative to K."""
SINGLE = {"erf": ("erf", 0.5**0.5), "relu": ("gate", 0.0), "gelu": ("gate", 1.0), "relu2": ("square", 0.0)}
"""Family and s."""


def kernel(activation: AnyActivation, qx: ArrayLike, qy: ArrayLike, p: ArrayLike) -> Array:
    """E[φ(x)φ(y)] for Gaussian x, y with mean 0, variances ``qx``, ``qy`` and covariance ``p``.

    Relative error below 1e-9 for built-in activations; cost of tanh and silu: 36 terms an element.
    A covariance that rounding put beyond ±√(qx·qy) is taken as that bound. Raises ``ConfigError`` when the
    quadrature of a user's function does not converge.
    """
    qx, qy, p = _arrays(qx, qy, p)
    if activation == "linear":
        return p
    if callable(activation):
        return quadrature.expectation(np.multiply, activation, qx, qy, p, _given(qx, qy, p))
    return _mean(activation, 0, qx, qy, p)


def kernel_derivative(activation: AnyActivation, qx: ArrayLike, qy: ArrayLike, p: ArrayLike) -> Array:
    """E[φ'(x)φ'(y)] = ∂E[φ(x)φ(y)]/∂p (Price's theorem), arguments and errors as in ``kernel``."""
    qx, qy, p = _arrays(qx, qy, p)
    if activation == "linear":
        return np.ones_like(p)
    if callable(activation):
        derivative = partial(quadrature.derivative, activation)
        return quadrature.expectation(np.multiply, derivative, qx, qy, p, _given(qx, qy, p))
    return _mean(activation, 1, qx, qy, p)


def kernel_gap(activation: AnyActivation, q: ArrayLike, gap: ArrayLike) -> Array:
    """E[φ(x)²] − E[φ(x)φ(y)] for x, y of variance ``q`` and correlation 1 − ``gap``, without cancellation.

    Equals E[(φ(x) − φ(y))²]/2, and q·gap·E[φ'²] to first order.
    """
    q, gap = np.broadcast_arrays(np.asarray(q, float), np.asarray(gap, float))
    gap = np.clip(gap, 0, 2)
    if activation == "linear":
        return q * gap
    if callable(activation):
        half = lambda x, y: (x - y) ** 2 / 2
        return quadrature.expectation(half, activation, q, q, q * (1 - gap), q * gap * (2 - gap))
    if activation == "relu":
        return _relu_gap(q, gap)
    return _mean(activation, 2, q, q, q * (1 - gap), gap)


def second_moment(activation: AnyActivation, q: ArrayLike) -> Array:
    """E[φ(x)²] for x ~ N(0, ``q``)."""
    return kernel(activation, q, q, q)


def _arrays(qx: ArrayLike, qy: ArrayLike, p: ArrayLike) -> tuple[Array, Array, Array]:
    qx, qy, p = np.broadcast_arrays(np.asarray(qx, float), np.asarray(qy, float), np.asarray(p, float))
    return qx, qy, np.clip(p, -_bound(qx, qy), _bound(qx, qy))


def _given(qx: Array, qy: Array, p: Array) -> Array:
    """The variance of y given x."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(qx > 0, np.maximum(qy - p * (p / qx), 0), qy)


def _bound(qx: Array, qy: Array) -> Array:
    return np.where(qx == qy, qx, np.sqrt(qx) * np.sqrt(qy))


def _mean(activation: str, which: int, qx: Array, qy: Array, p: Array, gap: Array | None = None) -> Array:
    """The mean of one of a family's ``TERMS`` over its scales, from Δ = q²·gap(2 − gap) where a gap is given.

    A term is homogeneous in all variances, those of the scales included; large ones are divided out.
    """
    family, scales, weights = _mixture(activation)
    term, degree = TERMS[family][which]
    largest = np.maximum(qx, qy)
    unit = np.where(largest > LARGE, largest, 1.0)
    qx, qy, p = qx / unit, qy / unit, p / unit
    bound = _bound(qx, qy)
    delta = (bound - p) * (bound + p) if gap is None else qx**2 * gap * (2 - gap)
    return unit**degree * _mix(term, scales, weights, unit, qx, qy, p, delta)


def _mix(term: Callable[..., Array], scales: Array, weights: Array, unit: Array, *arguments: Array) -> Array:
    """Σ_ij w_i w_j term(s_i²/unit, s_j²/unit, …), over the pairs i ≤ j, in chunks that stay in the cache.

    ``term`` must be symmetric in its two scales when the first two of ``arguments`` (the variances) are
    equal; for unequal variances the pairs i > j are visited, too.
    """
    i, j = np.triu_indices(len(scales))
    pair_weights = weights[i] * weights[j] * np.where(i == j, 1.0, 2.0)
    if len(scales) > 1 and not np.array_equal(arguments[0], arguments[1]):
        i, j = (k.ravel() for k in np.indices((len(scales), len(scales))))
        pair_weights = weights[i] * weights[j]
    s2, t2 = scales[i] ** 2, scales[j] ** 2
    unit, *flat = (a.reshape(-1, 1) for a in (unit, *arguments))
    total = np.empty(flat[0].shape[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, len(total), CHUNK):
            u, *chunk = (a[start : start + CHUNK] for a in (unit, *flat))
            total[start : start + CHUNK] = term(s2 / u, t2 / u, *chunk) @ pair_weights
    return total.reshape(arguments[0].shape)


def _spread(s2: Array, t2: Array, qx: Array, qy: Array, delta: Array) -> Array:
    """√D, with D written as a sum of non-negative terms."""
    return np.sqrt(delta + s2 * qy + t2 * qx + s2 * t2)


def _erf_kernel(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    return 2 / np.pi * np.arctan2(p, _spread(s2, t2, qx, qy, delta))


def _erf_derivative(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    return 2 / np.pi / _spread(s2, t2, qx, qy, delta)


def _erf_gap(s2: Array, t2: Array, q: Array, _: Array, p: Array, delta: Array) -> Array:
    return 2 / np.pi * _angle_gap(s2, t2, q, p, delta)


def _angle_gap(s2: Array, t2: Array, q: Array, p: Array, delta: Array) -> Array:
    """ω at covariance q minus ω at p: the tangent's addition theorem, its numerator rationalized."""
    outer, inner = _spread(s2, t2, q, q, delta), _spread(s2, t2, q, q, 0 * delta)
    rationalized = _ratio((q + s2) * (q + t2) * delta, q * outer + p * inner)
    numerator = np.where((p > 0) & (q > 0), rationalized, q * outer - p * inner)
    return np.arctan2(numerator, outer * inner + p * q)


def _gate_kernel(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    root = _spread(s2, t2, qx, qy, delta)
    share = _share(s2, qx) + _share(t2, qy)
    orthant = 1 / 4 + np.arctan2(p, root) / (2 * np.pi)
    return p * orthant + _ratio(delta + p**2 * share, 2 * np.pi * root)


def _gate_derivative(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    root = _spread(s2, t2, qx, qy, delta)
    a, b = _share(s2, qx), _share(t2, qy)
    noise = s2 * qy + t2 * qx + s2 * t2
    bracket = (a + b) * (delta + 2 * noise) - a * s2 * qy - b * t2 * qx - s2 * t2
    return 1 / 4 + np.arctan2(p, root) / (2 * np.pi) + _ratio(p * bracket, 2 * np.pi * root**3)


def _gate_gap(s2: Array, t2: Array, q: Array, _: Array, p: Array, delta: Array) -> Array:
    outer, inner = _spread(s2, t2, q, q, delta), _spread(s2, t2, q, q, 0 * delta)
    share = _share(s2, q) + _share(t2, q)
    orthant = 1 / 4 + np.arctan2(q, inner) / (2 * np.pi)
    bracket = _ratio(share * q**2, inner * (outer + inner)) - (1 - share)
    turned = p * _angle_gap(s2, t2, q, p, delta) + _ratio(delta, outer) * bracket
    drop = np.where(p > 0, _ratio(delta, q + p), q - p)  # the quotient keeps the digits of a small gap
    return drop * orthant + turned / (2 * np.pi)


def _relu_gap(q: Array, gap: Array) -> Array:
    """q[πe + θ cos θ − sin θ]/2π, e = ``gap`` = 1 − cos θ; the angle's part is −θ³/3 + … near 0."""
    angle = 2 * np.arcsin(np.sqrt(gap / 2))
    series = -(angle**3) / 3 * (1 - angle**2 / 10 + angle**4 / 280)
    turned = np.where(angle < 0.01, series, angle * (1 - gap) - np.sin(angle))
    return q * (gap / 2 + turned / (2 * np.pi))


def _square_kernel(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    root = np.sqrt(delta)
    return (3 * p * root + (np.pi / 2 + np.arctan2(p, root)) * (qx * qy + 2 * p**2)) / (2 * np.pi)


def _square_derivative(s2: Array, t2: Array, qx: Array, qy: Array, p: Array, delta: Array) -> Array:
    root = np.sqrt(delta)
    return 2 / np.pi * (root + p * (np.pi / 2 + np.arctan2(p, root)))


def _square_gap(s2: Array, t2: Array, q: Array, _: Array, p: Array, delta: Array) -> Array:
    """[3q²(θ − cos θ sin θ) + 2Δ(π − θ)]/2π, θ the angle between the two."""
    root = np.sqrt(delta)
    angle = np.arctan2(root, p)
    series = 2 / 3 * angle**3 * (1 - angle**2 / 5 + 2 * angle**4 / 105)
    turned = np.where(angle < 0.01, series * q**2, angle * q**2 - p * root)
    return (3 * turned + 2 * delta * (np.pi - angle)) / (2 * np.pi)


def _share(s2: Array, q: Array) -> Array:
    return _ratio(s2, q + s2)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """The quotient, with 0/0 = 0: every such limit above is zero."""
    return np.where(denominator > 0, numerator / denominator, 0.0)


TERMS: dict[str, list[tuple[Callable[..., Array], int]]] = {
    "erf": [(_erf_kernel, 0), (_erf_derivative, -1), (_erf_gap, 0)],
    "gate": [(_gate_kernel, 1), (_gate_derivative, 0), (_gate_gap, 1)],
    "square": [(_square_kernel, 2), (_square_derivative, 1), (_square_gap, 2)],
}
"""By family, E[φφ], E[φ'φ'] and E[φ²] − E[φφ], each with its degree in all variances together."""


@cache
def _mixture(activation: str) -> tuple[str, Array, Array]:
    """Family, scales and weights of a built-in activation."""
    if activation in LOGISTIC:
        family, factor = LOGISTIC[activation]
        nodes, weights = _kolmogorov_rule(KOLMOGOROV_NODES)
        return family, factor * nodes, weights
    family, scale = SINGLE[activation]
    return family, np.array([scale]), np.ones(1)


def _kolmogorov_rule(count: int) -> tuple[Array, Array]:
    """Gauss rule for the Kolmogorov distribution in log K (Lanczos on a fine trapezoid, Golub & Welsch)."""
    x = np.linspace(-2.6, 1.5, 400)
    k2 = np.exp(2 * x)[:, None]
    j = np.arange(1, 12)
    rate = (2 * j - 1) ** 2 * np.pi**2 / 8
    small = np.sqrt(2 * np.pi) * np.exp(-x) * np.sum((2 * rate / k2 - 1) * np.exp(-rate / k2), axis=1)
    large = 8 * k2[:, 0] * np.sum((-1.0) ** (j - 1) * j**2 * np.exp(-2 * j**2 * k2), axis=1)
    mass = np.where(x < -0.2, small, large)
    mass /= mass.sum()
    basis = [np.sqrt(mass)]
    diagonal, off_diagonal = [], []
    for _ in range(count):
        v = x * basis[-1]
        diagonal.append(v @ basis[-1])
        for _ in range(2):  # twice is enough: rounding would otherwise undo orthogonality
            v = v - sum((v @ b) * b for b in basis)
        off_diagonal.append(float(np.linalg.norm(v)))
        basis.append(v / off_diagonal[-1])
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off_diagonal[:-1], -1))  # lower triangle
    return np.exp(nodes), vectors[0] ** 2
