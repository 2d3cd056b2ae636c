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
Combine = Callable[[Array, Array], Array]

REACH = 9.0
"""Standard deviations covered: the normal weight beyond is 1e-19."""
TOLERANCE = 1e-7
"""Largest accepted relative change between two refinements; the finer one, whose error is smaller, is kept."""
NODES = (6, 10, 16, 26, 42)


def derivative(function: Function, x: Array) -> Array:
    """φ'(x) by a five-point difference whose points stay on x's side of 0, where φ may have a kink."""
    h = 1e-3 * np.minimum(np.abs(x), 1)
    h = np.where(h > 0, h, 1e-3)
    near = np.asarray(function(x + h)) - np.asarray(function(x - h))
    far = np.asarray(function(x + 2 * h)) - np.asarray(function(x - 2 * h))
    return (8 * near - far) / (12 * h)


def expectation(combine: Combine, function: Function, qx: Array, qy: Array, p: Array, spread: Array) -> Array:
    """E combine(φ(x), φ(y)), ``spread`` the variance of y given x; about 10 ms an element."""
    points = zip(*(np.ravel(a).tolist() for a in (qx, qy, p, spread)), strict=True)
    return np.array([_converged(combine, function, *point) for point in points]).reshape(qx.shape)


def _converged(combine: Combine, function: Function, qx: float, qy: float, p: float, spread: float) -> float:
    before = change = np.inf
    for nodes in NODES:
        value = _integral(combine, function, qx, p / qx if qx > 0 else 0.0, spread**0.5, nodes)
        change = abs(value - before)
        if change <= TOLERANCE * abs(value):
            return value
        before = value
    raise ConfigError(
        f"activation {getattr(function, '__name__', function)!r} has Gaussian moments known only to "
        f"{abs(change / (before or 1.0)):.0e} at variances {qx:.3g}, {qy:.3g}; "
        "allowed: a function that is continuous, and smooth except at 0"
    )


def _integral(combine: Combine, function: Function, qx: float, slope: float, tau: float, nodes: int) -> float:
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
