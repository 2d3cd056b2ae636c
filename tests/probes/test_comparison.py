"""Comparison: what is exact agrees, what is wrong is caught, and the tolerance is the stated one."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from auxin.architecture.block import Block
from auxin.probes import simulate as comparison
from auxin.probes.simulate import Sampling, compare

SAMPLING = Sampling(width=96, heads=4, draws=4)
SMALL: dict[str, Any] = {"depth": 2, "sampling": SAMPLING}
BLOCK = Block(norm="pre", activation="relu", n_tokens=5)


@pytest.mark.parametrize("causal", [False, True])
def test_theory_and_networks_agree(causal: bool) -> None:
    result = compare(BLOCK, causal=causal, **SMALL)
    assert result.passed
    for name in ("norm", "cosine", "gradient", "small_gap"):
        agreement = result[name]
        np.testing.assert_array_equal(agreement.predicted, result.theory[name])
        np.testing.assert_array_equal(agreement.measured, result.simulation[name])
        assert (agreement.error >= result.simulation.errors[name]).all()
        relative = agreement.measured / agreement.predicted - 1
        np.testing.assert_allclose(agreement.deviation, relative, atol=1e-12)  # no cosine is below 0.1 here


def test_the_tolerance_is_the_stated_one() -> None:
    agreement = compare(BLOCK, **SMALL)["gradient"]
    behind, width, draws = np.arange(2, -1, -1), 96, 4
    chance = 4 / (draws + 3) * behind / (width * draws * 8)
    expected = 4 * np.sqrt((agreement.error / agreement.predicted) ** 2 + chance) + behind / width
    np.testing.assert_allclose(agreement.tolerance, expected, atol=1.1e-4)


def test_tokens_that_collapse_below_single_precision_agree() -> None:
    """Published code in 36 layers: 1 − cosine falls to 1e-16, of which networks in single precision show 1e-13."""
    ordered = Block(norm="post", activation="relu", n_tokens=5)
    gaps = compare(ordered, depth=36, sampling=SAMPLING)["small_gap"]
    assert gaps.passed
    assert 0 < gaps.predicted[-1] < 1e-15 < gaps.measured[-1]
    np.testing.assert_allclose(gaps.predicted[1:] / gaps.predicted[:-1], 0.5, atol=1e-3)
    chance = 4 * np.sqrt((gaps.error[20] / gaps.predicted[20]) ** 2 + 4 / 7 * 20 / (96 * 4 * 2))
    assert gaps.tolerance[20] - chance < 20 / 96 + 0.03  # 1e-11 is resolved


def test_unequal_tokens_are_predicted_by_their_gram_matrix() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6)) + 0.5
    result = compare(dataclasses.replace(BLOCK, n_tokens=9), tokens=x @ x.T / 6, **SMALL)
    assert result.simulation["gram"].shape == (3, 4, 4)
    assert result.passed


def test_a_wrong_theory_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    propagate = comparison.propagate
    wrong = dataclasses.replace(BLOCK, sigma_w=1.2 * BLOCK.sigma_w)
    monkeypatch.setattr(
        comparison,
        "propagate",
        lambda network, cosine, **options: propagate(wrong, cosine, network.depth, **options),
    )
    result = compare(BLOCK, **SMALL)
    assert not result["norm"].passed
    assert not result.passed
