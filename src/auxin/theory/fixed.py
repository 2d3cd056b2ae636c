"""Fixed points of a layer's map of symmetric tokens: where norm and cosine settle after many layers.

Where branches do not see the stream's norm, or a norm ends the layer, the norm follows from the gap e = 1 − c: one
root of e'(e) = e is sought, in the direction in which e moves from its start; a monotone map stops at the first one,
which is the stable one reached. Otherwise the two-dimensional map is iterated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import Layer
from auxin.theory.compose import LARGEST, SymmetricLayer
from auxin.theory.states import Array

Index = NDArray[np.intp]

FEW = 4
"""Up to this many layers the moments are computed where needed; beyond, tables are faster."""
SLOWEST = 1e-6
"""1 − Πs² taken where a norm grows without bound: the root then differs from its limit by O(1e-6)."""
DOWN = np.array([0.8, 0.6, 0.4, 0.25, 0.12, 0.05, 0.02, 5e-3, 1e-3, 1e-4, 1e-6, 1e-8])
UP = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
LAYERS = 3000
TOLERANCE = 1e-11


class LayerMap(SymmetricLayer):
    """The map of ``size`` layers: a grid, with tables of moments for all but a few; or one layer many times."""

    def __init__(self, layer: Layer, n_tokens: Any, size: int, exact: bool = False) -> None:
        super().__init__(layer, n_tokens, tables=size > FEW and not exact)
        self.size = size

    @property
    def settles(self) -> bool:
        """Whether the norm follows from the gap."""
        return self.normalized or self.blind

    def inverse_norm(self, gap: Array, slowest: float = 0.0, index: Any = slice(None)) -> Array:
        """1/q at which the layer keeps the norm of tokens with this gap: its growth Πs² + r·supply is 1."""
        if self.normalized:
            return np.broadcast_to(1 / self.end_norm, self.size)[index]
        skips = np.broadcast_to(self.skips, self.size)[index]
        supply = self(np.ones_like(gap), gap, index).growth - skips
        supply = np.where(supply > 1e-15 * skips, supply, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(supply > 0, np.maximum(1 - skips, slowest) / supply, 0)

    def drift(self, gap: Array, index: Any = slice(None)) -> Array:
        """e'/e − 1 at the norm that belongs to e; 0 where only rounding is left."""
        drift = self(self.inverse_norm(gap, SLOWEST, index), gap, index).gap / gap - 1
        return np.where(np.abs(drift) > 1e-14, drift, 0)


def settle(forward: LayerMap, cosine: float) -> tuple[Array, Array]:
    """r = 1/q and e = 1 − c of the stable fixed point reached from ``cosine``; e = 0 for full collapse."""
    size = forward.size
    start = np.full(size, min(max(1 - cosine, 1e-9), 1.0))
    if not forward.settles:
        return iterate(forward, np.ones(size), start)
    gap = _first_root(forward.drift, start)
    return forward.inverse_norm(gap), gap


def collapsed(forward: LayerMap) -> Array:
    """r of the fixed point at which all tokens are equal."""
    zero = np.zeros(forward.size)
    if not forward.settles:
        return iterate(forward, np.ones_like(zero), zero)[0]
    return forward.inverse_norm(zero)


def iterate(forward: LayerMap, r: Array, gap: Array) -> tuple[Array, Array]:
    """Apply the layer until nothing changes any more, at most ``LAYERS`` times."""
    r, gap = r.copy(), gap.copy()
    active = np.arange(len(r))
    for _ in range(LAYERS):
        step = forward(r[active], gap[active], active)
        new_r = np.clip(np.nan_to_num(step.r, nan=LARGEST), 1 / LARGEST, LARGEST)
        new_gap = np.where(step.gap >= 1e-10, np.clip(step.gap, 0, 1), 0)  # dead tokens have none
        moving = np.abs(new_r / r[active] - 1) + np.abs(new_gap - gap[active]) > 1e-10
        r[active], gap[active] = new_r, new_gap
        active = active[moving]
        if not len(active):
            break
    return r, gap


def _first_root(drift: Callable[..., Array], start: Array) -> Array:
    """The zero that e reaches when it moves from ``start`` in the direction of its drift; 0 if none is met."""
    first = drift(start)
    up = first > 0
    result = np.where(first == 0, start, 0.0)
    near, near_value = start.copy(), first
    far, far_value = start.copy(), first.copy()
    active = np.flatnonzero(first)
    bracketed: list[Index] = []
    for k in range(len(DOWN)):
        upward = start + (1 - start) * UP[min(k, len(UP) - 1)]
        level = np.where(up, upward, start * DOWN[k])[active]
        value = drift(level, active)
        crossed = (value > 0) != up[active]
        done = active[crossed]
        far[done], far_value[done] = level[crossed], value[crossed]
        bracketed.append(done)
        active, level, value = active[~crossed], level[~crossed], value[~crossed]
        near[active], near_value[active] = level, value
    index = np.concatenate(bracketed)
    result[index] = _refine(drift, index, near[index], near_value[index], far[index], far_value[index])
    return result


def _refine(drift: Callable[..., Array], index: Index, a: Array, fa: Array, b: Array, fb: Array) -> Array:
    """Bracketed roots in log e: regula falsi with the Illinois rule, bisection when it stalls."""
    a, b, result = np.log(a), np.log(b), np.log(b)
    todo = np.arange(len(index))
    for iteration in range(80):
        if not len(todo):
            break
        x = np.where(fb == 0, b, b - fb * (b - a) / np.where(fb == fa, 1, fb - fa))
        x = np.where(iteration % 4 == 3, (a + b) / 2, x)
        value = drift(np.exp(x), index[todo])
        result[todo] = x
        opposite = (value > 0) != (fb > 0)
        a, fa = np.where(opposite, b, a), np.where(opposite, fb, fa / 2)
        moved = np.abs(x - b)
        b, fb = x, value
        keep = (value != 0) & (moved > TOLERANCE) & (np.abs(b - a) > TOLERANCE)
        todo, a, fa, b, fb = todo[keep], a[keep], fa[keep], b[keep], fb[keep]
    return np.exp(result)
