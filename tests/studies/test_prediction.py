"""The smooth predictor learns a smooth function of its features and nothing from noise, on unseen points."""

import numpy as np
import pytest

from auxin.studies.prediction import KernelRidge, cross_validated
from auxin.studies.statistics import r_squared

FOLDS = np.random.default_rng(0).permutation(np.arange(64) % 8)


def surface(points: np.ndarray) -> np.ndarray:
    return np.tanh(points[:, 0]) + 0.3 * points[:, 1] ** 2


def test_a_smooth_function_is_predicted_where_it_was_not_seen() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (64, 2))
    values = surface(points) + 0.05 * rng.standard_normal(64)
    predicted = cross_validated(points, values, FOLDS)
    assert r_squared(values, predicted) > 0.9
    fresh = rng.uniform(-2, 2, (200, 2))
    assert r_squared(surface(fresh), KernelRidge(points, values)(fresh)) > 0.9


def test_nothing_is_predicted_from_noise() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(64)
    predicted = cross_validated(rng.standard_normal((64, 2)), values, FOLDS)
    assert r_squared(values, predicted) < 0.2


def test_leave_one_out_errors_are_those_of_leaving_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxin.studies.prediction.LENGTHS", (1.0,))
    monkeypatch.setattr("auxin.studies.prediction.RIDGES", (0.1,))
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20, 2))
    values = surface(points)
    kernel = np.exp(-((points[:, None] - points) ** 2).sum(2) / 4)
    residuals = []
    for i in range(20):
        rest = np.arange(20) != i
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.1 * np.eye(19), values[rest])
        residuals.append(values[i] - kernel[i, rest] @ weights)
    inverse = np.linalg.inv(kernel + 0.1 * np.eye(20))
    np.testing.assert_allclose(inverse @ values / np.diag(inverse), residuals)
    # and the class solves the same system, on standardized and centered numbers
    model = KernelRidge(points, values)
    scaled = (points - points.mean(0)) / points.std(0)
    kernel = np.exp(-((scaled[:, None] - scaled) ** 2).sum(2) / 4)
    expected = values.mean() + kernel @ np.linalg.solve(kernel + 0.1 * np.eye(20), values - values.mean())
    np.testing.assert_allclose(model(points), expected)


def test_a_constant_feature_is_ignored() -> None:
    points = np.random.default_rng(0).standard_normal((20, 2))
    points[:, 1] = 3.0
    assert np.isfinite(KernelRidge(points, surface(points))(points)).all()
