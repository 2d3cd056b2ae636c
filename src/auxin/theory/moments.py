"""How much a random softmax row concentrates, and how much two rows agree: R1, R2, T, T2.

Row i attends to token j with weight A_ij; B is the weights of another row. Over random query and key maps,

    R1 = E ΣA_j²    R2 = E ΣA_jB_j    T = E tr D_A²    T2 = E tr D_A D_B,    D_A = diag(A) − AAᵀ.

Tokens of cosine c and norm 1 give logits of spread s = σ_A√(1−c) within a row (what all tokens share drops
out of a softmax) and correlation c between rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from auxin.theory import softmax
from auxin.theory.chebyshev import Interpolant
from auxin.theory.states import Array
from auxin.values import check

LARGEST_SPREAD = 1e3
"""Rows of larger spread follow from rows of this one: all but one-hot, they scale (``_beyond``)."""
SMALLEST_TURN = 3e-4
"""1 − cosine from which two rows of that spread are unrelated in what makes them not quite one-hot."""


@dataclass(frozen=True)
class AttentionMoments:
    """Moments of softmax rows; floats or arrays of the arguments' common shape."""

    r1: Array
    """E ΣA_j², within [1/n, 1]: one over the number of tokens that a row attends to."""
    r2: Array
    """E ΣA_jB_j of two rows; equals r1 at cosine 1."""
    t: Array
    """E tr D_A²: how strongly a row responds to its logits."""
    t2: Array
    """E tr D_A D_B of two rows; equals t at cosine 1."""
    difference: Array
    """r1 − r2, with its own digits where the two nearly agree."""


Moments = Callable[[Array, Array, Array], AttentionMoments]
"""Moments as a function of n, of the logit scale and of 1 − cosine."""


def attention_moments(n_tokens: ArrayLike, spread: ArrayLike, cosine: ArrayLike) -> AttentionMoments:
    """Moments of softmax rows over ``n_tokens`` Gaussian logits of standard deviation ``spread``.

    By quadrature at finite n, about 1 ms an element: relative error below 2e-6 for s ≤ 50; beyond s = 1000 they are
    extrapolated (mostly below 0.5%).

    Args:
        n_tokens: 2 to 1,000,000. All arguments broadcast.
        spread: standard deviation s of a row's logits, σ_A√(1−c) for normalized tokens of cosine c.
        cosine: correlation c between the logits of two rows, from −1/(n−1) to 1.

    Raises ``ConfigError`` for an argument out of range.

    >>> uniform = attention_moments(16, 0.0, 0.0)  # logits without spread: every weight is 1/16
    >>> round(float(uniform.r1), 6)
    0.0625
    """
    n, s, c = np.broadcast_arrays(*(np.asarray(a, float) for a in (n_tokens, spread, cosine)))
    whole = np.isfinite(n) & (n >= 2) & (n <= 1e6) & (n == np.round(n))
    for name, values, inside, allowed in (
        ("n_tokens", n, whole, "a whole number from 2 to 1000000"),
        ("spread", s, np.isfinite(s) & (s >= 0), "a finite number, 0 or more"),
        ("cosine", c, (c * (n - 1) >= -1 - 1e-12 * n) & (c <= 1), "-1/(n_tokens - 1) to 1"),
    ):
        check(bool(np.all(inside)), name, float(values.flat[np.argmin(inside)]), allowed)
    values = np.array([_exact(*point) for point in zip(n.flat, s.flat, (1 - c).flat, strict=True)])
    return AttentionMoments(*(column.reshape(n.shape)[()] for column in values.reshape(-1, 5).T))


def exact_moments(n: Array, sigma: Array, gap: Array) -> AttentionMoments:
    """``attention_moments`` of tokens whose cosine is 1 − ``gap``, under the logit scale ``sigma``."""
    n, sigma, gap = np.broadcast_arrays(n, sigma, gap)
    points = np.stack([n.ravel(), (sigma * np.sqrt(gap)).ravel(), gap.ravel()], axis=1)
    distinct, index = np.unique(points, axis=0, return_inverse=True)  # at collapse, one for each length
    values = np.array([_exact(n, s, e) for n, s, e in distinct.tolist()]).reshape(-1, 5)
    return AttentionMoments(*(column.reshape(n.shape) for column in values[index.ravel()].T))


class MomentsTable:
    """``exact_moments`` interpolated in n, the logit scale and the gap, for gaps from 0 to 1.

    Relative error below 1e-4, mostly 1e-7; logit scales beyond 1000 are taken as 1000. Tokens' spread and
    rows' correlation both follow from the gap, so one length and scale need a single line of 20 to 50 nodes
    (about 40 ms), kept for later calls.
    """

    def __init__(self, n: Array, sigma: Array) -> None:
        sigma = np.minimum(sigma, LARGEST_SPREAD)
        self.table = _table(_bounds(np.log(n - 1)), _bounds(np.log1p(sigma)))

    def __call__(self, n: Array, sigma: Array, gap: Array) -> AttentionMoments:
        n, sigma, gap = np.broadcast_arrays(n, np.minimum(sigma, LARGEST_SPREAD), gap)
        x = np.log1p((1 + sigma**2) * gap) / np.log1p(1 + sigma**2)
        flat = self.table(np.log(n - 1).ravel(), np.log1p(sigma).ravel(), x.ravel())
        r1, r2, slope, t, t2 = (column.reshape(n.shape) for column in np.exp(flat.T))
        r1 = np.clip(r1, 1 / n, 1)
        difference = (sigma * gap) ** 2 * slope
        far = difference > r1 / 2
        return AttentionMoments(
            r1, np.where(far, r2, r1 - difference), t, t2, np.where(far, r1 - r2, difference)
        )


def _bounds(values: Array) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))


@lru_cache(32)
def _table(log_n: tuple[float, float], log_sigma: tuple[float, float]) -> Interpolant:
    """Logarithms of r1, r2, (r1 − r2)/(σ·gap)², t, t2 in log(n − 1), log(1 + σ) and a logarithmic gap.

    The node counts grow with the sharpness of the transition at s = √(2 ln n), which sets the convergence.
    """
    counts = (
        4 + round(2 * (log_n[1] - log_n[0])),
        6 + round((4 + 0.6 * log_n[1]) * (log_sigma[1] - log_sigma[0])),
        12 + round(log_sigma[1] * (4 + log_n[1] / 2)),
    )
    return Interpolant(_log_moments, [log_n, log_sigma, (0.0, 1.0)], counts)


def _log_moments(log_n: Array, log_sigma: Array, x: Array) -> Array:
    n, sigma = 1 + np.exp(log_n), np.maximum(np.expm1(log_sigma), softmax.SMALLEST)
    gap = np.expm1(x * np.log1p(1 + sigma**2)) / (1 + sigma**2)
    m = exact_moments(n, sigma, gap)
    return np.log(np.stack([m.r1, m.r2, m.difference / (sigma * gap) ** 2, m.t, m.t2], axis=1))


def _exact(n: float, s: float, gap: float) -> tuple[float, ...]:
    if s > LARGEST_SPREAD:
        return _beyond(n, s / LARGEST_SPREAD, gap)
    if s <= softmax.SMALLEST:  # uniform, without the quadrature's rounding: opposite tokens must cancel
        t = (n - 1) / n**2
        return 1 / n, 1 / n - s**2 * gap * t, t, t, s**2 * gap * t
    r1, t = softmax.row_moments(n, s)
    r1 = min(max(r1, 1 / n), 1.0)
    if gap <= 0:
        return r1, r1, t, t, 0.0
    r2, t2 = softmax.pair_moments(n, s, 1 - gap)
    t2 = min(t2, t)  # as it must be by Cauchy–Schwarz, and the two quadratures may miss by 2e-6
    turn = s**2 * gap  # dR2/dc = s²T2, and T2 = T at c = 1: integrate where the difference would lose digits
    if turn < 1e-3:
        difference = turn * (t + t2) / 2
    elif turn < 0.1:
        difference = turn * (t + 4 * softmax.pair_moments(n, s, 1 - gap / 2)[1] + t2) / 6
    else:
        difference = r1 - r2
    difference = min(max(difference, 0.0), r1)
    return r1, r1 - difference, t, t2, difference


def _beyond(n: float, k: float, gap: float) -> tuple[float, ...]:
    """Moments at k times the largest spread: 1 − R1 and T fall as 1/k.

    Two rows differ by own = s√gap, and 1 − R2 = f(own)/s, T2 = h(own)/s, with f ~ own and h ~ 1/own once that is
    large. So they are taken at a gap j² times as large, j ≤ k, at which own is the same or is large, too. Error
    mostly below 0.5%, at worst 5% (T2 of a million tokens).
    """
    j = min(k, max(1.0, SMALLEST_TURN / gap) ** 0.5) if gap > 0 else k
    turned = j**2 * gap if gap > 0 else 0.0
    r1, _, t, t2, difference = _exact(n, LARGEST_SPREAD, turned)
    difference = difference / j + (1 - r1) * (1 / j - 1 / k)
    r1 = 1 - (1 - r1) / k
    return r1, r1 - difference, t / k, t2 * (j / k) / k, difference
