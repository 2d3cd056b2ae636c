"""Phase diagrams: layout, agreement with single blocks, both phases, refusals."""

import numpy as np
import pytest

from auxin.architecture.block import Block, replace
from auxin.errors import ConfigError
from auxin.theory.exponents import exponents
from auxin.theory.phase import phase_diagram

BLOCK = Block.cowsik(alpha_attention=0.3, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)


def test_rows_run_over_x_first() -> None:
    table = phase_diagram(BLOCK, x=("alpha_mlp", [0.2, 0.8]), y=("sigma_w", [1.0, 3.0, 9.0]))
    assert table.columns == ["x", "y", "angle", "gradient", "cosine", "phase"]
    assert table["x"].to_list() == [0.2, 0.8] * 3
    assert table["y"].to_list() == [1.0, 1.0, 3.0, 3.0, 9.0, 9.0]
    assert set(table["phase"]) == {"ordered", "chaotic"}


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (("alpha_attention", [0.1, 0.5, 0.9]), ("sigma_a", [0.0, 1.0, 8.0])),
        (("n_tokens", [2, 17, 64]), ("sigma_b", [0.0, 0.3])),
        (("mlp_branch", [0.0, 1.0]), ("sigma_o", [0.0, 0.7, 2.0])),
        (("sigma_v", [0.5, 1.0]), ("sigma_b_out", [0.0, 0.5, 1.0])),
    ],
)
def test_every_point_is_the_blocks_own(x, y) -> None:
    """Tables over any pair of hyperparameters, against one exact computation a point."""
    for row in phase_diagram(BLOCK, x=x, y=y).iter_rows(named=True):
        one = exponents(replace(BLOCK, **{x[0]: row["x"], y[0]: row["y"]}))
        assert row["angle"] == pytest.approx(one.angle, abs=1e-5)
        assert row["gradient"] == pytest.approx(one.gradient, abs=1e-4)
        assert row["cosine"] == pytest.approx(one.cosine, abs=1e-4)
        assert row["phase"] == one.phase


def test_a_users_activation_is_tabulated_once() -> None:
    calls = []

    def function(x):
        calls.append(1)
        return np.tanh(x)

    own = phase_diagram(
        Block.cowsik(
            alpha_attention=0.3, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32, activation=function
        ),
        x=("alpha_mlp", np.linspace(0.1, 0.9, 30)),
        y=("alpha_attention", np.linspace(0.1, 0.9, 30)),
    )
    named = phase_diagram(
        BLOCK,
        x=("alpha_mlp", np.linspace(0.1, 0.9, 30)),
        y=("alpha_attention", np.linspace(0.1, 0.9, 30)),
    )
    assert own["gradient"].to_numpy() == pytest.approx(named["gradient"].to_numpy(), abs=1e-4)
    assert len(calls) < 5000  # a few hundred nodes for 900 points


def test_without_norm_a_diagram_has_no_holes() -> None:
    table = phase_diagram(
        Block(norm="none", activation="tanh", sigma_a=1e-5, n_tokens=4),
        x=("mlp_skip", [0.2, 0.9]),
        y=("attention_skip", [0.2, 0.5, 0.9]),
    )
    assert not table.select("angle", "gradient", "cosine").fill_nan(None).null_count().to_numpy().any()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (("alpha_mlp", [0.5]), ("alpha_mlp", [0.5]), "y is 'alpha_mlp'; allowed: another"),
        (("depth", [1.0]), ("sigma_w", [1.0]), "hyperparameter is 'depth'"),
        (("alpha_mlp", []), ("sigma_w", [1.0]), "x is .*allowed: a name and a list"),
        (("alpha_mlp", [0.2, 1.2]), ("sigma_w", [1.0]), "alpha_mlp is 1.2; allowed: 0 to 1"),
        (("alpha_mlp", [0.2]), ("n_tokens", [2.5]), "n_tokens is 2.5"),
        (("alpha_mlp", [0.2]), ("sigma_w", [float("nan")]), "sigma_w is nan"),
        (("alpha_mlp", [0.2]), ("mlp_skip", [1.0]), "each strength set once"),
    ],
)
def test_out_of_range_is_refused_by_name(x, y, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        phase_diagram(BLOCK, x=x, y=y)
