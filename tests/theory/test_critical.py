"""Critical initializations: roots of the angle exponent, closest approach, ranges, refusals."""

import numpy as np
import pytest

from auxin.architecture.block import Block, replace
from auxin.errors import ConfigError
from auxin.theory.critical import critical
from auxin.theory.exponents import exponents, exponents_grid

BLOCK = Block.cowsik(alpha_attention=0.3, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)


@pytest.mark.parametrize("name", ["alpha_attention", "alpha_mlp", "sigma_w"])
def test_one_hyperparameter_is_solved_for(name: str) -> None:
    found = critical(BLOCK, depth=24, vary=(name,))
    assert found.reached
    assert found.exponents.angle == pytest.approx(0, abs=1e-9)
    assert found.block == replace(BLOCK, **found.hyperparameters)
    assert found.angle_total == 24 * found.exponents.angle
    assert found.gradient_total == 24 * found.exponents.gradient
    below = replace(BLOCK, **{name: found.hyperparameters[name] * 0.99})
    above = replace(BLOCK, **{name: found.hyperparameters[name] * 1.01})
    assert exponents(below).angle * exponents(above).angle < 0


def test_without_a_root_the_nearest_value_is_returned() -> None:
    found = critical(BLOCK, vary=("sigma_w",), ranges={"sigma_w": (0.1, 1.0)})
    assert not found.reached
    assert found.hyperparameters == {"sigma_w": pytest.approx(1.0)}
    assert found.exponents.phase == "ordered"


@pytest.mark.parametrize("depth", [10, 24])
def test_two_strengths_sit_on_the_edge_of_chaos_with_the_tamest_gradient(depth: int) -> None:
    found = critical(BLOCK, depth=depth)
    assert found.reached
    assert found.exponents.angle == pytest.approx(0, abs=1e-9)
    assert all(value >= depth**-0.5 for value in found.hyperparameters.values())
    others = np.linspace(depth**-0.5, 0.9, 40)
    grid = exponents_grid(BLOCK, {"alpha_attention": others[:, None], "alpha_mlp": others})
    edge = np.abs(grid.angle) < 0.003
    assert edge.any()
    assert np.abs(found.exponents.gradient) <= np.abs(grid.gradient[edge]).min() + 0.003


def test_depth_times_exponent_stays_of_order_one() -> None:
    """Strengths near 1/√L: accumulated gradient growth does not grow with depth."""
    totals = [critical(BLOCK, depth=depth).gradient_total for depth in (12, 48, 192)]
    assert max(totals) < 2
    assert max(totals) / min(totals) < 1.5


def test_two_hyperparameters_without_an_edge_give_the_nearest_point() -> None:
    found = critical(BLOCK, depth=16, vary=("alpha_mlp", "sigma_w"), ranges={"sigma_w": (0.2, 0.8)})
    assert not found.reached
    grid = exponents_grid(
        BLOCK, {"alpha_mlp": np.linspace(0.25, 1, 30)[:, None], "sigma_w": np.linspace(0.2, 0.8, 30)}
    )
    best = np.hypot(grid.angle, grid.gradient).min()
    assert np.hypot(found.exponents.angle, found.exponents.gradient) <= best + 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vary": ("sigma_a",)}, "vary is .* allowed: what changes λ_a here: attention_skip"),
        ({"vary": ("n_tokens",)}, "vary is .* allowed: one or two of"),
        ({"vary": ()}, "vary is"),
        ({"vary": ("sigma_w", "sigma_w")}, "vary is"),
        ({"vary": ("sigma_w", "sigma_o", "sigma_v")}, "vary is"),
        ({"depth": 0}, "depth is 0"),
        ({"vary": ("sigma_w",), "ranges": {"sigma_w": (2.0, 1.0)}}, "range of sigma_w is .* low < high"),
        ({"depth": 1}, "range of alpha_attention is .* low < high"),
        (
            {"vary": ("sigma_w",), "ranges": {"sigma_w": (2.0,)}},
            r"range of sigma_w is \(2.0,\)",
        ),
        ({"vary": ("sigma_w",), "ranges": {"sigmaw": (1.0, 2.0)}}, "name in ranges is 'sigmaw'; .*: sigma_w"),
        ({"vary": ("sigma_w",), "ranges": {"sigma_w": (-1.0, 1.0)}}, "sigma_w is -1.0"),
    ],
)
def test_impossible_requests_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        critical(BLOCK, **arguments)
