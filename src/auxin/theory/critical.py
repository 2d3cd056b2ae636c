"""Hyperparameters at the edge of chaos for a network of given depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auxin.architecture.block import ALPHAS, NUMERIC, STRENGTHS, Block, check_range, replace
from auxin.theory.exponents import CRITICAL, Exponents, angle_exponents, exponents, exponents_grid
from auxin.values import check, check_whole

Array = NDArray[np.float64]

POINTS = 65
"""Values of each hyperparameter scanned for a change of sign of λ_a."""
HALVINGS = 45


@dataclass(frozen=True)
class Critical:
    """The block found, and how far from criticality it is over the whole depth."""

    block: Block
    hyperparameters: dict[str, float]
    """The values found, by the names that were varied."""
    exponents: Exponents
    angle_total: float
    """depth·λ_a: log growth of the angle between tokens over all layers; 0 at the edge of chaos."""
    gradient_total: float
    """depth·λ_g: log growth of squared gradient norms over all layers."""
    reached: bool
    """Whether λ_a = 0 within the ranges; otherwise this is the nearest point."""


def critical(
    block: Block,
    depth: int = 24,
    vary: Sequence[str] = ("alpha_attention", "alpha_mlp"),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Critical:
    """Hyperparameters at which tokens neither collapse nor repel, and gradients change least on the way.

    One name: the value with λ_a = 0 (of several, the one with the smallest |λ_g|); if there is none, the
    one with the smallest |λ_a|. Two names: the point with the smallest |λ_g| on the line λ_a = 0, where the
    two phase boundaries of Cowsik et al. (arXiv 2403.02579) come closest; if the line is not in range, the
    point with the smallest λ_a² + λ_g². As branches vanish so do both exponents, for a network that computes
    nothing; strengths therefore range from 1/√depth (which keeps depth·λ of order 1) to 1 by default.

    Args:
        block: everything that is not varied.
        depth: layers L; sets the default ranges, ``angle_total`` and ``gradient_total``.
        vary: one or two of the numeric fields of ``Block``, ``alpha_attention``, ``alpha_mlp``.
        ranges: (low, high) by name, instead of 1/√depth to 1 for strengths and α, 0.1 to 10 for σ's.

    Cost 1 to 5 s; minutes without norm, where layers are iterated. Raises ``ConfigError`` for unknown names,
    empty ranges, and where the angle exponent does not depend on what is varied (as on σ_A) or is −inf
    everywhere.

    >>> found = critical(Block(norm="post"), depth=12, vary=["sigma_w"])
    >>> found.reached, {name: round(value, 3) for name, value in found.hyperparameters.items()}
    (True, {'sigma_w': 5.091})
    """
    check_whole("depth", depth, 1, 100_000)
    names = tuple(vary)
    allowed = [name for name in NUMERIC if name != "n_tokens"]
    distinct = len(names) in (1, 2) and len(set(names)) == len(names) and set(names) <= set(allowed)
    check(distinct, "vary", names, f"one or two of {', '.join(allowed)}")
    for name in ranges or {}:
        check(name in names, "name in ranges", name, f"what is varied: {', '.join(names)}")
    bounds = [_range(name, depth, ranges or {}) for name in names]
    axes = [np.linspace(low, high, POINTS) for low, high in bounds]
    mesh = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
    angle = angle_exponents(block, dict(zip(names, mesh, strict=True))).reshape([POINTS] * len(names))
    if not _varies(angle):
        others = ", ".join(name for name in allowed if _changes_angle(block, name, depth))
        check(False, "vary", names, f"what changes λ_a here: {others or 'nothing does'}")

    candidates = _boundary(block, names, axes, angle)
    reached = candidates.shape[1] > 0
    if reached and len(names) == 2:
        candidates = _closer(
            block, names, axes, candidates, _best(block, names, candidates, gradient_only=True)
        )
    elif not reached:
        candidates = _nearest(block, names, axes, angle)
    index = _best(block, names, candidates, gradient_only=reached)
    found = {name: float(value) for name, value in zip(names, candidates[:, index], strict=True)}
    best = replace(block, **found)
    values = exponents(best)
    return Critical(best, found, values, depth * values.angle, depth * values.gradient, reached)


def _varies(angle: Array) -> bool:
    usable = angle[np.isfinite(angle)]
    return usable.size > 0 and float(np.ptp(usable)) > 1e-12


def _changes_angle(block: Block, name: str, depth: int) -> bool:
    """Whether λ_a depends on one hyperparameter, the others as in the block."""
    low, high = _range(name, depth, {})
    return _varies(angle_exponents(block, {name: np.linspace(low, high, 5)}))


def _range(name: str, depth: int, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    strength = name in ALPHAS or name in STRENGTHS
    bounds = tuple(ranges.get(name, (depth**-0.5, 1.0) if strength else (0.1, 10.0)))
    check(len(bounds) == 2, f"range of {name}", bounds, "(low, high)")
    low, high = bounds
    check_range(name, low)
    check_range(name, high)
    check(low < high, f"range of {name}", (low, high), "low < high, here or in ranges")
    return float(low), float(high)


def _boundary(block: Block, names: tuple[str, ...], axes: list[Array], angle: Array) -> Array:
    """Points with λ_a = 0, [names, points]: every change of sign along every grid line, bisected."""
    found = []
    for axis in range(len(names)):
        values = np.moveaxis(angle, axis, -1)
        index = np.argwhere(np.sign(values[..., :-1]) * np.sign(values[..., 1:]) < 0)
        ends = axes[axis][index[:, -1]], axes[axis][index[:, -1] + 1]
        fixed = [axes[1 - axis][index[:, 0]]] if len(names) == 2 else []

        def at(value: Array, axis: int = axis, fixed: list[Array] = fixed) -> list[Array]:
            return [*fixed[:axis], value, *fixed[axis:]]

        def sign(value: Array, at: Callable[[Array], list[Array]] = at) -> Array:
            return np.sign(angle_exponents(block, dict(zip(names, at(value), strict=True))))

        found.append(np.array(at(_bisect(sign, *ends, np.sign(values[tuple(index.T)])))))
    exact = np.argwhere(np.abs(angle) <= CRITICAL)
    found.append(np.array([axes[k][exact[:, k]] for k in range(len(names))]))
    return np.concatenate(found, axis=1)


def _bisect(sign: Callable[[Array], Array], low: Array, high: Array, at_low: Array) -> Array:
    """Where a function changes sign between ``low``, where it has ``at_low``, and ``high``."""
    for _ in range(HALVINGS if len(low) else 0):
        middle = (low + high) / 2
        same = sign(middle) == at_low
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return (low + high) / 2


def _closer(block: Block, names: tuple[str, ...], axes: list[Array], line: Array, index: int) -> Array:
    """More points of the line λ_a = 0 within one grid step of its ``index``-th."""
    around = []
    for value, axis in zip(line[:, index], axes, strict=True):
        step = axis[1] - axis[0]
        around.append(np.linspace(max(value - step, axis[0]), min(value + step, axis[-1]), POINTS))
    mesh = np.meshgrid(*around, indexing="ij")
    angle = angle_exponents(block, dict(zip(names, mesh, strict=True)))
    return np.concatenate([line[:, [index]], _boundary(block, names, around, angle)], axis=1)


def _nearest(block: Block, names: tuple[str, ...], axes: list[Array], angle: Array) -> Array:
    """Grid points where λ_a (one name) or both exponents (two) are smallest; refined once."""
    mesh = np.array([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    if len(names) == 1:
        return mesh[:, [int(np.argmin(np.abs(angle)))]]
    index = _best(block, names, mesh, gradient_only=False)
    around = []
    for value, axis in zip(mesh[:, index], axes, strict=True):
        step = axis[1] - axis[0]
        around.append(np.linspace(max(value - step, axis[0]), min(value + step, axis[-1]), POINTS))
    return np.array([axis.ravel() for axis in np.meshgrid(*around, indexing="ij")])


def _best(block: Block, names: tuple[str, ...], points: Array, *, gradient_only: bool) -> int:
    values = exponents_grid(block, dict(zip(names, points, strict=True)))
    distance = np.abs(values.gradient) if gradient_only else np.hypot(values.angle, values.gradient)
    return int(np.argmin(distance))
