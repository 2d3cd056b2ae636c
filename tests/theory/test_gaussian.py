"""Gaussian expectations: mixtures and closed forms against brute-force quadrature, limits, edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, ndtr

from auxin.errors import ConfigError
from auxin.theory import gaussian

FUNCTIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * ndtr(x),
    "erf": erf,
    "tanh": np.tanh,
    "silu": lambda x: x / 2 * (1 + np.tanh(x / 2)),
    "quick_gelu": lambda x: x / 2 * (1 + np.tanh(0.851 * x)),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}
DERIVATIVES = {
    "linear": np.ones_like,
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
    "gelu": lambda x: ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    "erf": lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)),
    "tanh": lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2,
    "silu": lambda x: (1 + np.tanh(x / 2)) / 2 + x / 4 / np.cosh(np.clip(x, -300, 300) / 2) ** 2,
    "quick_gelu": lambda x: (
        (1 + np.tanh(0.851 * x)) / 2 + 0.4255 * x / np.cosh(np.clip(0.851 * x, -300, 300)) ** 2
    ),
    "relu2": lambda x: 2 * np.maximum(x, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("q", [1e-6, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("c", [-0.9, 0.0, 0.3, 1 - 1e-12])
def test_builtin_kernels_match_the_numerical_quadrature(name: str, q: float, c: float) -> None:
    """Two independent routes, over ten decades of variance and to the edge of correlation."""
    qx, qy, p = np.asarray(q), np.asarray(3 * q), np.asarray(c * 3**0.5 * q)
    numerical = gaussian.kernel(FUNCTIONS[name], qx, qy, p) if c else quadrature_at_zero(name, q)
    slope = gaussian.kernel(DERIVATIVES[name], qx, qy, p)
    assert gaussian.kernel(name, qx, qy, p) == pytest.approx(numerical, rel=1e-8, abs=1e-15 * q)
    assert gaussian.kernel_derivative(name, qx, qy, p) == pytest.approx(slope, rel=1e-8)


def quadrature_at_zero(name: str, q: float) -> float:
    """Without correlation the kernel is a product of means, which may vanish exactly."""
    means = [mean_of(FUNCTIONS[name], v) for v in (q, 3 * q)]
    return means[0] * means[1]


def mean_of(function, q: float) -> float:
    """E φ(x) by adaptive quadrature."""
    density = lambda z: np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return quad(lambda z: (function(q**0.5 * z) + function(-(q**0.5) * z)) * density(z), 0, 12, epsabs=0)[0]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("q", [1e-6, 1e-2, 1.0, 100.0, 1e4])
def test_one_point_moments_match_adaptive_quadrature(name: str, q: float) -> None:
    square = mean_of(lambda x: FUNCTIONS[name](x) ** 2, q)
    slope = mean_of(lambda x: DERIVATIVES[name](x) ** 2, q)
    assert gaussian.second_moment(name, q) == pytest.approx(square, rel=1e-8)
    assert gaussian.kernel_derivative(name, q, q, q) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("q", [1e-6, 1.0, 100.0, 1e4])
def test_gap_keeps_its_digits_near_full_correlation(name: str, q: float) -> None:
    for gap in (2.0, 1.3, 0.5):
        direct = gaussian.second_moment(name, q) - gaussian.kernel(name, q, q, q * (1 - gap))
        assert gaussian.kernel_gap(name, q, gap) == pytest.approx(direct, rel=1e-9)
    for gap in (1e-3, 1e-8, 1e-12):
        squared = gaussian.kernel_gap(FUNCTIONS[name], q, gap)
        assert gaussian.kernel_gap(name, q, gap) == pytest.approx(float(squared), rel=2e-7)
    slope = q * float(gaussian.kernel_derivative(name, q, q, q))
    for gap, rel in ((1e-13, 1e-5), (1e-24, 1e-9), (1e-36, 1e-9)):
        jump = q * (2 * gap) ** 1.5 / (6 * np.pi) if name == "relu" else 0.0  # of its derivative
        assert gaussian.kernel_gap(name, q, gap) == pytest.approx(slope * gap - jump, rel=rel, abs=0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("gap", [1e-12, 1e-5, 0.5, 1.7])
def test_kernels_of_large_variances_have_their_limits(name: str, gap: float) -> None:
    """Gates become relus, sigmoids signs; the fourth power of 1e100 is no float."""
    q, c = 1e100, 1 - gap
    angle = 2 * np.arcsin((gap / 2) ** 0.5)
    if name in ("erf", "tanh"):
        expected, turned, unit = 1 - 2 * angle / np.pi, 2 * angle / np.pi, 1.0
    elif name == "linear":
        expected, turned, unit = c, gap, q
    elif name == "relu2":
        expected = (3 * np.sin(angle) * c + (np.pi - angle) * (1 + 2 * c**2)) / (2 * np.pi)
        turned, unit = gaussian.kernel_gap("relu2", 1.0, gap), q**2
    else:
        expected = (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi)
        turned, unit = gaussian.kernel_gap("relu", 1.0, gap), q
    assert gaussian.kernel(name, q, q, c * q) == pytest.approx(expected * unit, rel=1e-6)
    assert gaussian.kernel_gap(name, q, gap) == pytest.approx(turned * unit, rel=1e-6)
    assert gaussian.kernel_derivative(name, q, q, c * q) == pytest.approx(
        gaussian.kernel_derivative(name, 1e20, 1e20, c * 1e20) * {1.0: 1e-80, q: 1.0, q**2: 1e80}[unit],
        rel=1e-6,
    )


@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    q=st.sampled_from([0.0]) | st.floats(1e-30, 1e6),
    ratio=st.floats(0, 1e3),
    c=st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1),
)
@settings(max_examples=200, deadline=None)
def test_kernels_are_finite_symmetric_and_bounded(name: str, q: float, ratio: float, c: float) -> None:
    other = q * ratio
    p = c * q**0.5 * other**0.5
    value = gaussian.kernel(name, q, other, p)
    bound = gaussian.second_moment(name, q) ** 0.5 * gaussian.second_moment(name, other) ** 0.5
    assert np.isfinite(value)
    assert abs(value) <= bound * (1 + 1e-9) + 1e-170
    assert value == pytest.approx(float(gaussian.kernel(name, other, q, p)), rel=1e-9, abs=1e-300)
    assert np.isfinite(gaussian.kernel_derivative(name, q, other, p))
    assert gaussian.kernel_gap(name, q, 1 - c) >= 0


def test_kernels_broadcast_and_chunk_like_single_calls() -> None:
    q, c = np.linspace(0.1, 9, 70)[:, None], np.linspace(-1, 1, 90)
    whole = gaussian.kernel("tanh", q, q, q * c)
    assert whole.shape == (70, 90)
    assert whole[60, 30] == pytest.approx(
        float(gaussian.kernel("tanh", q[60, 0], q[60, 0], q[60, 0] * c[30]))
    )


def softplus(x):
    return np.logaddexp(0, x)


def leaky_relu(x):
    return np.where(x > 0, x, 0.1 * x)


def test_a_users_function_is_integrated_with_its_kink() -> None:
    """leaky relu is a sum of relus, so its kernel is known: φ(x) = relu(x) − 0.1·relu(−x)."""
    q, p = 2.0, 1.9
    same, flipped = gaussian.kernel("relu", q, q, p), gaussian.kernel("relu", q, q, -p)
    assert gaussian.kernel(leaky_relu, q, q, p) == pytest.approx(1.01 * same - 0.2 * flipped, rel=1e-7)
    slope = gaussian.kernel_derivative("relu", q, q, p), gaussian.kernel_derivative("relu", q, q, -p)
    expected = 1.01 * slope[0] + 0.2 * slope[1]
    assert gaussian.kernel_derivative(leaky_relu, q, q, p) == pytest.approx(expected, rel=1e-7)
    gap = gaussian.kernel_gap(leaky_relu, q, 1e-9)
    assert gap / 1e-9 == pytest.approx(2 * 0.505, rel=1e-4)


@pytest.mark.parametrize("function", [softplus, lambda x: np.sin(3 * x), lambda x: np.tanh(50 * x)])
def test_prices_theorem_holds_for_a_users_function(function) -> None:
    """∂E[φφ]/∂p, by a central difference of the kernel, is E[φ'φ']."""
    h = 1e-3
    difference = gaussian.kernel(function, 1.0, 1.0, 0.5 + h) - gaussian.kernel(function, 1.0, 1.0, 0.5 - h)
    assert gaussian.kernel_derivative(function, 1.0, 1.0, 0.5) == pytest.approx(
        difference / (2 * h), rel=2e-5
    )


def test_a_function_too_rough_to_integrate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Gaussian moments known only to .* continuous, and smooth except"):
        gaussian.kernel(lambda x: np.sign(np.sin(40 * x)), 1.0, 1.0, 0.5)
