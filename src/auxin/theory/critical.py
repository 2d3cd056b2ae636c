"""Hyperparameters at the edge of chaos for a network of given depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxin.architecture.block import ALPHAS, NUMERIC, STRENGTHS, Block, check_range, replace
from auxin.theory.exponents import CRITICAL, Exponents, angle_exponents, exponents, exponents_grid
from auxin.theory.states import Array
from auxin.values import check, check_whole

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
    axes = [np.linspace(*_range(name, depth, ranges or {}), POINTS) for name in names]
    grid = _mesh(axes)
    angle = _angles(block, names, grid)
    if not _varies(angle):
        others = ", ".join(name for name in allowed if _changes_angle(block, name, depth))
        check(False, "vary", names, f"what changes λ_a here: {others or 'nothing does'}")
    edge = _boundary(block, names, axes, angle)
    reached = edge.shape[1] > 0
    if len(names) == 1 and not reached:
        best = grid[:, np.argmin(np.abs(angle))]
    else:
        best = _best(block, names, edge if reached else grid, gradient_only=reached)
    if len(names) == 2:  # once more, within a grid step
        near = [_around(*pair) for pair in zip(best, axes, strict=True)]
        points = _mesh(near)
        if reached:
            edge = _boundary(block, names, near, _angles(block, names, points))
            points = np.concatenate([best[:, None], edge], axis=1)
        best = _best(block, names, points, gradient_only=reached)
    found = dict(zip(names, best.tolist(), strict=True))
    values = exponents(replace(block, **found))
    return Critical(
        replace(block, **found), found, values, depth * values.angle, depth * values.gradient, reached
    )


def _mesh(axes: list[Array]) -> Array:
    """All points of a grid, [names, points], the last name fastest."""
    return np.array([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])


def _around(value: float, axis: Array) -> Array:
    """Values within a step of one, inside the axis."""
    step = axis[1] - axis[0]
    return np.linspace(max(value - step, axis[0]), min(value + step, axis[-1]), POINTS)


def _angles(block: Block, names: tuple[str, ...], points: Array) -> Array:
    return angle_exponents(block, dict(zip(names, points, strict=True)))


def _varies(angle: Array) -> bool:
    usable = angle[np.isfinite(angle)]
    return usable.size > 0 and float(np.ptp(usable)) > 1e-12


def _changes_angle(block: Block, name: str, depth: int) -> bool:
    """Whether λ_a depends on one hyperparameter, the others as in the block."""
    return _varies(_angles(block, (name,), np.linspace(*_range(name, depth, {}), 5)[None]))


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
    grid, angle = _mesh(axes).reshape(-1, *[POINTS] * len(names)), angle.reshape([POINTS] * len(names))
    found = []
    for axis in range(len(names)):
        points, values = np.moveaxis(grid, axis + 1, -1), np.moveaxis(angle, axis, -1)
        turns = np.sign(values[..., :-1]) * np.sign(values[..., 1:]) < 0
        low, high, at_low = points[..., :-1][:, turns], points[..., 1:][:, turns], values[..., :-1][turns]
        for _ in range(HALVINGS if turns.any() else 0):
            middle = (low + high) / 2
            same = np.sign(_angles(block, names, middle)) == np.sign(at_low)
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        found.append((low + high) / 2)
    return np.concatenate([*found, grid[:, np.abs(angle) <= CRITICAL]], axis=1)


def _best(block: Block, names: tuple[str, ...], points: Array, *, gradient_only: bool) -> Array:
    """The point where |λ_g|, or both exponents, are smallest."""
    values = exponents_grid(block, dict(zip(names, points, strict=True)))
    distance = np.abs(values.gradient) if gradient_only else np.hypot(values.angle, values.gradient)
    return points[:, np.argmin(distance)]
