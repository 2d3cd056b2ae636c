"""Moments of random softmax rows, exact at finite length: one-row integrals in 1-D, pairs of rows in 2-D.

A row has logits s·x_j, j = 1…n, x_j ~ N(0, 1), weights A_j = w_j/Z, w_j = e^{s·x_j}, Z = Σ w_j. With
1/Z^m = ∫ t^{m−1} e^{−tZ} dt/(m−1)! the logits decouple; in τ = log t, with g = e^{τ + s·x},

    E Σ A_j^m = n/(m−1)! ∫ k_m k_0^{n−1} dτ,     k_m(τ) = E[g^m e^{−g}]

and for two rows, correlation c between x_j and y_j, h = e^{τ' + s·y}, M_ab(τ, τ') = E[g^a h^b e^{−g−h}],

    E Σ A_j B_j = n ∬ M_11 M_00^{n−1} dτ dτ'.

T = E tr D_A² and T2 = E tr D_A D_B, D_A = diag(A) − AAᵀ, are sums of positive terms once Σ A_j = 1 is used:

    tr D_A D_B = 2 Σ_{j≠k} A_jB_jA_kB_k + Σ_{j,k,l distinct} A_jB_j A_k B_l.

All integrands are analytic and decay fast both ways, so the trapezoid rule converges exponentially. Powers
of k_0 and M_00 are taken through 1 − k_0 and 1 − M_00, which are computed without cancellation.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri_exp

from auxin.theory.states import Array

STEP = 0.4
"""Trapezoid step, in units of the width of what is integrated."""
DIGITS = 24.0
"""Integrands are followed until they fall below e^−DIGITS."""
ALMOST_ONE = 1 - 1e-16
"""1 − k_0 where k_0 is nothing but rounding."""
SMALLEST = 1e-7
"""Spreads below this one are raised to it: the moments differ by less than its square."""


@lru_cache(4096)
def row_moments(n: float, s: float) -> tuple[float, float]:
    """R1 = E ΣA_j² and T = E tr D_A² for one row of ``n`` logits of spread ``s``."""
    s = max(s, SMALLEST)
    low, high = _range(n, s)
    step = STEP * _width(n, s)
    k = _powers(low, step, int((high - low) / step) + 2, s, 2)
    decay = np.log1p(-np.minimum(k[0], ALMOST_ONE))
    one, two, three = n * step * _others(n, decay)
    return float(one @ k[2]), float(two @ k[2] ** 2 / 3 + three @ (k[2] * k[1] ** 2) / 6)


def pair_moments(n: float, s: float, c: float) -> tuple[float, float]:
    """R2 = E ΣA_jB_j and T2 = E tr D_A D_B for two rows of logit correlation ``c``.

    Coordinates τ, τ' = m ± δ. The part of the logits that the rows share moves both: M(m, δ) is a Gaussian
    blur, of width s√|c|, of products of one-row functions of the part that they do not share.
    """
    if n == 2 and c < 0:  # the second of two weights is one minus the first: turn one row around
        r2, t2 = pair_moments(n, s, -c)
        return 1 - r2, t2
    s = max(s, SMALLEST)
    shared, own = s * abs(c) ** 0.5, max(s * (1 - abs(c)) ** 0.5, SMALLEST)
    low, high = _range(n, s)
    step = STEP * _width(n, own)
    count = int(min((high - low) / 2, -_level(2, -DIGITS, own)) / step) + 1
    if c < 0 or shared < 1.2 * step:
        spacing = step
        moments = _blur_by_nodes((low, high), step, count, (shared, own), -1 if c < 0 else 1)
    else:
        spacing = step * max(1, int(_width(n, s) / _width(n, own)))
        from_own = _level(2, -DIGITS - 2 * np.log(n), own) - count * step
        moments = _blur_on_grid((low, high), from_own, step, count, (shared, own), round(spacing / step))
    area = 2 * spacing * step * np.where(np.arange(count) > 0, 2.0, 1.0)[:, None]  # dτ dτ' = 2 dm dδ; ±δ
    one, two, three = n * area * _others(n, np.log1p(-np.minimum(moments[0], ALMOST_ONE)))
    both, first, second = moments[1:]
    return float(np.sum(one * both)), float(np.sum(both * (2 * two * both + three * first * second)))


def _others(n: float, log_k: Array) -> Array:
    """k^{n−1}, (n − 1)k^{n−2}, (n − 1)(n − 2)k^{n−3}: ways to choose the tokens that are left, and their part."""
    factors = np.array([1, n - 1, (n - 1) * (n - 2)]).reshape(3, *(1,) * log_k.ndim)
    return factors * np.exp(np.array([n - 1, n - 2, n - 3]).reshape(factors.shape) * log_k)


def _blur_by_nodes(
    m_range: tuple[float, float], step: float, count: int, spreads: tuple[float, float], sign: int
) -> Array:
    """1 − M_00, M_11, M_10, M_01 on (δ, m): a few nodes for the shared part, the narrow one."""
    (low, high), (shared, own) = m_range, spreads
    nodes, weights = _hermite(4 + round(14 * min(shared / _width(2, own), 1)))
    m_count = int((high - low) / step) + 2
    start, length = low - (count - 1) * step, m_count + 2 * count - 2
    sums = np.zeros((4, count, m_count))
    for z, w in zip(nodes, weights, strict=True):
        a = _powers(start + shared * z, step, length, own, 1)
        b = a if sign > 0 else _powers(start - shared * z, step, length, own, 1)
        sums += w * _products(_shifted(a, count, 1), _shifted(b, count, -1))
    return sums


def _blur_on_grid(
    m_range: tuple[float, float],
    low: float,
    step: float,
    count: int,
    spreads: tuple[float, float],
    stride: int,
) -> Array:
    """The same when the shared part is wide: a product with the Gaussian on a grid of y, m every ``stride``.

    1 − M_00 is integrated by parts, −∂(k_0 k_0)/∂y being k_1 k_0 + k_0 k_1, so that its tail is local.
    """
    shared, own = spreads
    top = np.log(DIGITS) + own * (2 * DIGITS) ** 0.5  # above it k_0 and k_1 vanish
    y_count = int((top - low) / step) + 2
    k = _powers(low - (count - 1) * step, step, y_count + 2 * count - 2, own, 1)
    a, b = _shifted(k, count, 1), _shifted(k, count, -1)
    first, last = (int(np.floor((end - low) / step)) for end in m_range)
    m = np.arange(first, last + stride + 1, stride)
    lags = np.arange(first - y_count + 1, m[-1] + 1) * (step / shared)
    rows = m - first - np.arange(y_count)[:, None] + y_count - 1
    gaussian = (np.exp(-(lags**2) / 2) * (step / shared / np.sqrt(2 * np.pi)))[rows]
    below = (ndtr(lags) * step)[rows]
    products = _products(a, b)
    return np.concatenate([((products[2] + products[3]) @ below)[None], products[1:] @ gaussian])


def _shifted(k: Array, count: int, sign: int) -> Array:
    """View k(y ± δ) on (·, δ, y), δ = 0 … count − 1 steps, of functions on a grid of y with that margin."""
    rows, step = k.strides
    shape = (len(k), count, k.shape[1] - 2 * count + 2)
    return np.lib.stride_tricks.as_strided(
        k[:, count - 1 :], shape, (rows, sign * step, step), writeable=False
    )


def _products(a: Array, b: Array) -> Array:
    """Of one-row functions (1 − k_0, k_1): 1 − k_0k_0', k_1k_1', k_1k_0', k_0k_1'."""
    return np.stack([a[0] + b[0] - a[0] * b[0], a[1] * b[1], a[1] * (1 - b[0]), (1 - a[0]) * b[1]])


def _powers(low: float, step: float, count: int, s: float, highest: int) -> Array:
    """1 − k_0, k_1, …, k_highest at τ = low + i·step: means over x where s is small, over log g otherwise.

    Over v = log g they are convolutions of e^{mv − e^v} with the normal density of log g, for 1 − k_0 (by
    parts) of e^{v − e^v} with its distribution function.
    """
    if s < 0.6:
        x, weights = _hermite(16)
        g = np.exp(low + step * np.arange(count)[:, None] + s * x)
        k, local = [-np.expm1(-g) @ weights], np.exp(-g)
        for _ in range(highest):
            local *= g
            k.append(local @ weights)
        return np.array(k)
    stride = int(np.ceil(step / STEP))
    fine = step / stride
    v = np.arange(max(min(low, 0.0), -1.5 * DIGITS) - 4.0, 3.6, fine)
    local = np.exp(np.outer(np.arange(1, highest + 1), v) - np.exp(v)) * fine
    z = (low - v[0] + fine * np.arange(1 - len(v), (count - 1) * stride + 1)) / s
    density = np.exp(-(z**2) / 2) / (s * np.sqrt(2 * np.pi))
    k = [np.convolve(ndtr(z), local[0], "valid"), *(np.convolve(density, row, "valid") for row in local)]
    return np.array(k)[:, ::stride]


@cache
def _hermite(count: int) -> tuple[Array, Array]:
    """Nodes and weights of means over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def _width(n: float, s: float) -> float:
    """Scale on which k_0^n varies: 1 in log g, and that of the largest of n normal variables."""
    return (1 + s**2 / (1 + 2 * np.log(n))) ** 0.5


def _range(n: float, s: float) -> tuple[float, float]:
    """The τ outside of which n²·E min(g, 1)² or k_0^{n−1} is below e^−DIGITS."""
    low = _level(2, -DIGITS - 2 * np.log(n), s)
    all_large = np.log(DIGITS) - s * float(ndtri_exp(-DIGITS / (n - 1)))  # P(g < DIGITS)^{n−1}
    enough = DIGITS / (1 - np.exp(-1)) / (n - 1)  # k_0 ≤ exp(−(1 − 1/e) E min(g, 1))
    return low, min(all_large, _level(1, np.log(enough), s)) if enough < 1 else all_large


def _level(power: int, target: float, s: float) -> float:
    """The τ at which log E[min(g, 1)^power] is ``target`` ≤ 0, to a tenth and from below, by bisection."""
    low, high = target / power - power * s**2 / 2 - 1, 40 * s + 1.0
    while high - low > 0.1 * max(s, 1):
        middle = (low + high) / 2
        small = power * middle + (power * s) ** 2 / 2 + log_ndtr(-middle / s - power * s)
        below = np.logaddexp(small, log_ndtr(middle / s)) < target
        low, high = (middle, high) if below else (low, middle)
    return low
