"""Gaussian expectations of a function given by the user: composite Gauss–Legendre with a checked error.

With x = √q_x·z and y = (p/q_x)x + τw, τ² = q_y − p²/q_x, z and w standard normal, both integrals run over
panels that shrink geometrically towards x = 0 and y = 0. Functions that are continuous, and smooth except
at 0, converge as fast there as smooth ones do, however steep; the nodes of a panel double until two
refinements agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from auxin.errors import ConfigError
from auxin.theory.states import Array

Function = Callable[[Any], Any]

REACH = 9.0
"""Standard deviations covered: the normal weight beyond is 1e-19."""
TOLERANCE = 1e-7
"""Largest accepted relative change between two refinements; the finer one, whose error is smaller, is kept."""
NODES = (6, 10, 16, 26, 42)


def kernel(function: Function, qx: Array, qy: Array, p: Array) -> Array:
    """E[φ(x)φ(y)]; cost about 10 ms an element. Raises ``ConfigError`` where it does not converge."""
    return _each(lambda fx, fy: fx * fy, function, qx, qy, p)


def kernel_derivative(function: Function, qx: Array, qy: Array, p: Array) -> Array:
    """E[φ'(x)φ'(y)], with φ' by a five-point difference."""
    return _each(lambda fx, fy: fx * fy, lambda x: derivative(function, x), qx, qy, p)


def kernel_gap(function: Function, q: Array, gap: Array) -> Array:
    """E[(φ(x) − φ(y))²]/2 for variances q and correlation 1 − gap."""
    delta = q * gap * (2 - gap)
    return _each(lambda fx, fy: (fx - fy) ** 2 / 2, function, q, q, q * (1 - gap), delta)


def derivative(function: Function, x: Array) -> Array:
    """φ'(x) by a five-point difference whose points stay on x's side of 0, where φ may have a kink."""
    h = 1e-3 * np.minimum(np.abs(x), 1)
    h = np.where(h > 0, h, 1e-3)
    near = np.asarray(function(x + h)) - np.asarray(function(x - h))
    far = np.asarray(function(x + 2 * h)) - np.asarray(function(x - 2 * h))
    return (8 * near - far) / (12 * h)


def _each(
    combine: Callable[[Array, Array], Array],
    function: Function,
    qx: Array,
    qy: Array,
    p: Array,
    conditional: Array | None = None,
) -> Array:
    if conditional is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            conditional = np.where(qx > 0, np.maximum(qy - p * (p / qx), 0), qy)
    points = [np.ravel(a) for a in (qx, qy, p, conditional)]
    values = [_converged(combine, function, *map(float, point)) for point in zip(*points, strict=True)]
    return np.array(values).reshape(qx.shape)


def _converged(
    combine: Callable[[Array, Array], Array],
    function: Function,
    qx: float,
    qy: float,
    p: float,
    conditional: float,
) -> float:
    before = change = np.inf
    for nodes in NODES:
        value = _integral(combine, function, qx, p / qx if qx > 0 else 0.0, conditional**0.5, nodes)
        change = abs(value - before)
        if change <= TOLERANCE * abs(value):
            return value
        before = value
    scale = before if before else 1.0
    raise ConfigError(
        f"activation {getattr(function, '__name__', function)!r} has Gaussian moments known only to "
        f"{abs(change / scale):.0e} at variances {qx:.3g}, {qy:.3g}; "
        "allowed: a function that is continuous, and smooth except at 0"
    )


def _integral(
    combine: Callable[[Array, Array], Array],
    function: Function,
    qx: float,
    slope: float,
    tau: float,
    nodes: int,
) -> float:
    """E combine(φ(x), φ(y)), one refinement; arrays are (2·outer points, inner points of one side of 0)."""
    blur = tau / (tau + abs(slope) * qx**0.5 + 1e-300)  # what the other variable smooths away needs no panels
    fractions, weights = _graded(nodes, 12 + min(round(-np.log2(max(blur, 1e-9))), 18))
    z = REACH * np.concatenate([-fractions, fractions])
    outer_weights = REACH * np.concatenate([weights, weights]) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    x = qx**0.5 * z
    fx = np.asarray(function(x), float)[:, None]
    mean = slope * x[:, None]
    if tau == 0:
        return float(outer_weights @ combine(fx, np.asarray(function(mean), float))[:, 0])
    zero = np.clip(-mean / tau, -REACH, REACH)
    fractions, weights = _graded(nodes, 12)
    total = 0.0
    for end in (-REACH, REACH):
        w = zero + (end - zero) * fractions
        density = np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * np.abs(end - zero) * weights
        total += outer_weights @ np.sum(
            density * combine(fx, np.asarray(function(mean + tau * w), float)), axis=1
        )
    return float(total)


@cache
def _graded(nodes: int, panels: int) -> tuple[Array, Array]:
    """Gauss–Legendre on [0, 1], on panels [2^-k-1, 2^-k] that shrink towards 0."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    edges = np.concatenate([[0.0], 2.0 ** -np.arange(panels - 1, -1.0, -1)])
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * (x + 1) / 2).ravel(), (width * w / 2).ravel()
