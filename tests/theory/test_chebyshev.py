"""Chebyshev interpolants: exactness, convergence, degenerate axes, boundaries."""

import numpy as np
import pytest

from auxin.theory.chebyshev import Interpolant


def test_polynomials_are_reproduced_exactly() -> None:
    cubic = Interpolant(lambda x, y: np.stack([x**3 * y**2, x - y], 1), [(-1.0, 3.0), (0.0, 2.0)], (4, 3))
    x, y = np.random.default_rng(0).uniform([-1, 0], [3, 2], (5000, 2)).T
    assert cubic(x, y) == pytest.approx(np.stack([x**3 * y**2, x - y], 1), abs=1e-12)


def test_the_error_of_an_analytic_function_falls_geometrically() -> None:
    """1/(1 + x²): poles at ±i, so the error shrinks by 1 + √2 a node."""
    x = np.linspace(-1, 1, 1001)
    errors = [
        np.abs(
            Interpolant(lambda x: 1 / (1 + x[:, None] ** 2), [(-1.0, 1.0)], (n,))(x)[:, 0] - 1 / (1 + x**2)
        ).max()
        for n in (11, 21, 31)
    ]
    rates = -np.diff(np.log(errors)) / 10
    assert rates == pytest.approx(np.log(1 + 2**0.5), rel=0.1)


def test_an_axis_without_width_costs_one_node() -> None:
    calls = []

    def product(x, y, z):
        calls.append(len(x))
        return (x * y * z)[:, None]

    table = Interpolant(product, [(2.0, 2.0), (0.0, 1.0), (3.0, 3.0)], (9, 5, 9))
    assert calls == [5]
    assert table(np.full(3, 2.0), np.array([0.0, 0.4, 1.0]), np.full(3, 3.0))[:, 0] == pytest.approx(
        [0, 2.4, 6]
    )


def test_coordinates_outside_are_taken_to_the_boundary() -> None:
    table = Interpolant(lambda x: x[:, None], [(0.0, 1.0)], (2,))
    assert table(np.array([-5.0, 5.0]))[:, 0] == pytest.approx([0, 1])
