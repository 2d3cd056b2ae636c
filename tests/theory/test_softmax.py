"""Softmax moments: quadrature against Monte Carlo, closed forms, identities, and its own refinement."""

import numpy as np
import pytest

from auxin.theory import softmax

CASES = [(2, 1.5, -0.8), (2, 1.5, 0.6), (3, 2.0, -0.4), (16, 0.3, 0.9), (16, 2.0, 0.3), (64, 4.0, 0.95)]


@pytest.mark.parametrize(("n", "s", "c"), [*CASES, (128, 1.0, 0.0), (128, 6.0, -0.005), (128, 50.0, 0.99)])
def test_moments_agree_with_sampled_softmax_rows(n: int, s: float, c: float) -> None:
    """Within five standard errors of 4,000 to 40,000 seeded draws, each moment by itself."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(400_000 // max(n, 10), n))
    y = c * x + (1 - c**2) ** 0.5 * rng.normal(size=x.shape)
    a, b = (np.exp(s * (z - z.max(axis=1, keepdims=True))) for z in (x, y))
    a, b = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    s2, overlap = (a**2).sum(axis=1), (a * b).sum(axis=1)
    sampled = [
        s2,
        s2 - 2 * (a**3).sum(axis=1) + s2**2,
        overlap,
        overlap - (a * b**2).sum(axis=1) - (a**2 * b).sum(axis=1) + overlap**2,
    ]
    exact = softmax.row_moments(n, s) + softmax.pair_moments(n, s, c)
    for draws, value in zip(sampled, exact, strict=True):
        error = draws.std() / len(draws) ** 0.5
        assert abs(draws.mean() - value) < 5 * error


def test_two_tokens_are_a_logistic_function() -> None:
    """n = 2: A = (σ(z), σ(−z)), z normal of variance 2s²; one-dimensional integrals of σ."""
    s = 1.7
    z = np.linspace(-30, 30, 60_001)
    p = 1 / (1 + np.exp(-z))
    weights = np.exp(-((z / s) ** 2) / 4)
    weights /= weights.sum()
    r1, t = softmax.row_moments(2, s)
    assert r1 == pytest.approx(weights @ (p**2 + (1 - p) ** 2), rel=1e-8)
    assert t == pytest.approx(weights @ (4 * (p * (1 - p)) ** 2), rel=1e-8)
    assert softmax.pair_moments(2, s, 0.0)[0] == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 32, 1024, 10**6])
def test_uniform_attention_without_spread(n: int) -> None:
    uniform = (1 / n, (n - 1) / n**2)
    assert softmax.row_moments(n, 0.0) == pytest.approx(uniform, rel=1e-6)
    for c in (-1 / (n - 1), 0.0, 0.5, 1 - 1e-12):
        assert softmax.pair_moments(n, 0.0, c) == pytest.approx(uniform, rel=1e-6)


@pytest.mark.parametrize(("n", "s", "c"), [(16, 2.0, 0.3), (3, 1.0, -0.3), (1024, 5.0, 0.8), (64, 0.3, 0.95)])
def test_overlap_grows_with_correlation_by_the_jacobian(n: int, s: float, c: float) -> None:
    """dR2/dc = s²T2, by interpolation between Gaussian fields: ties two separate integrals together."""
    h = 1e-3
    difference = (softmax.pair_moments(n, s, c + h)[0] - softmax.pair_moments(n, s, c - h)[0]) / (2 * h)
    assert difference == pytest.approx(s**2 * softmax.pair_moments(n, s, c)[1], rel=1e-5)


@pytest.mark.parametrize("n", [2, 16, 1024, 10**6])
@pytest.mark.parametrize("s", [0.05, 1.0, 6.0, 50.0])
def test_refining_the_grid_changes_nothing(n: int, s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to blur (nodes, grid), far from and near full correlation, against a finer, longer grid."""
    correlations = (0.0, 0.3, 0.97, 1 - 1e-12)
    coarse = [softmax.row_moments(n, s) + softmax.pair_moments(n, s, c) for c in correlations]
    monkeypatch.setattr(softmax, "STEP", 0.27)
    monkeypatch.setattr(softmax, "DIGITS", 32.0)
    fine = [softmax.row_moments(n, s) + softmax.pair_moments(n, s, c) for c in correlations]
    error = np.abs(np.array(coarse) / np.array(fine) - 1)
    assert error.max() < 2e-6
