"""Fixed points of the forward map: where norm and cosine settle after many layers.

With pre- and post-norm the norm follows from the gap e = 1 − c, so one root of e'(e) = e is sought, in the
direction in which e moves from its start; a monotone map stops at the first one, which is the stable one
reached. Without norm the two-dimensional map is iterated.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auxin.theory.attention import Moments, MomentsTable, exact_moments
from auxin.theory.forward import Kernels, KernelTable, Sublayers, exact_kernels, layer, take

Array = NDArray[np.float64]
Index = NDArray[np.intp]

FEW = 4
"""Up to this many blocks the moments are computed where needed; beyond, tables are faster."""
SLOWEST = 1e-6
"""1 − s_A²s_M² taken where a norm grows without bound: the root then differs from its limit by O(1e-6)."""
DOWN = np.array([0.8, 0.6, 0.4, 0.25, 0.12, 0.05, 0.02, 5e-3, 1e-3, 1e-4, 1e-6, 1e-8])
UP = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
LARGEST = 1e6
"""Norm² beyond which, or below one over which, a network without norm counts as diverged or dead."""
LAYERS = 3000
TOLERANCE = 1e-11


class Map:
    """The forward map of a flat grid of blocks, with tables of moments for all but a few blocks."""

    def __init__(self, blocks: SimpleNamespace, exact: bool = False) -> None:
        self.blocks = blocks
        seen = np.array([1 / LARGEST, LARGEST]) if blocks.norm == "none" else np.ones(1)
        self.moments: Moments = exact_moments
        self.kernels: Kernels = exact_kernels(blocks.activation)
        if len(blocks.n_tokens) > FEW and not exact:
            self.moments = MomentsTable(blocks.n_tokens, blocks.sigma_a * seen[:, None])
            hidden = blocks.sigma_w**2 * seen[:, None] + blocks.sigma_b**2
            self.kernels = KernelTable(blocks.activation, hidden)
        self.skips = (blocks.attention_skip * blocks.mlp_skip) ** 2

    def layer(self, r: Array, gap: Array, index: Any = slice(None)) -> Sublayers:
        return layer(take(self.blocks, index), self.moments, self.kernels, r, gap)

    def inverse_norm(self, gap: Array, slowest: float = 0.0, index: Any = slice(None)) -> Array:
        """1/q at which a layer keeps the norm of tokens with this gap: its growth s_A²s_M² + r·supply is 1."""
        if self.blocks.norm == "post":
            return np.ones_like(gap)
        skips = self.skips[index]
        step = self.layer(np.ones_like(gap), gap, index)
        supply = step.growth_attention * step.growth_mlp - skips
        supply = np.where(supply > 1e-15 * skips, supply, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(supply > 0, np.maximum(1 - skips, slowest) / supply, 0)

    def drift(self, gap: Array, index: Any = slice(None)) -> Array:
        """e'/e − 1 at the norm that belongs to e; 0 where only rounding is left."""
        drift = self.layer(self.inverse_norm(gap, SLOWEST, index), gap, index).gap_out / gap - 1
        return np.where(np.abs(drift) > 1e-14, drift, 0)


def settle(forward: Map, cosine: float) -> tuple[Array, Array]:
    """r = 1/q and e = 1 − c of the stable fixed point reached from ``cosine``; e = 0 for full collapse."""
    size = len(forward.blocks.n_tokens)
    start = np.full(size, min(max(1 - cosine, 1e-9), 1.0))
    if forward.blocks.norm == "none":
        return iterate(forward, np.ones(size), start)
    gap = _first_root(forward.drift, start)
    return forward.inverse_norm(gap), gap


def collapsed(forward: Map) -> Array:
    """r of the fixed point at which all tokens are equal."""
    zero = np.zeros(len(forward.blocks.n_tokens))
    if forward.blocks.norm == "none":
        return iterate(forward, np.ones_like(zero), zero)[0]
    return forward.inverse_norm(zero)


def iterate(forward: Map, r: Array, gap: Array) -> tuple[Array, Array]:
    """Apply the layer until nothing changes any more, at most ``LAYERS`` times."""
    r, gap = r.copy(), gap.copy()
    active = np.arange(len(r))
    for _ in range(LAYERS):
        step = forward.layer(r[active], gap[active], active)
        new_r = np.clip(np.nan_to_num(step.r_out, nan=LARGEST), 1 / LARGEST, LARGEST)
        new_gap = np.where(step.gap_out >= 1e-10, np.clip(step.gap_out, 0, 1), 0)  # dead tokens have none
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
