"""Figures of the theory: the zero line is where the function is zero; nothing is drawn from holes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auxin.errors import DataError
from auxin.report.marks import zero_contour
from auxin.report.theory_figures import (
    bifurcation,
    phase_diagram,
    profile_figure,
)
from auxin.theory.profile import Profile


def grid(function, count: int = 21) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    xs, ys = np.linspace(-2, 2, count), np.linspace(-1, 1, count + 3)
    return xs, ys, function(*np.meshgrid(xs, ys))


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 1))
def test_the_zero_line_of_a_plane_is_exact(a: float, b: float, c: float) -> None:
    xs, ys, values = grid(lambda x, y: a * x + b * y + c)
    ends = zero_contour(xs, ys, values).reshape(-1, 2)
    assert np.allclose(ends @ [a, b] + c, 0, atol=1e-9)


def test_the_zero_line_of_a_circle_closes_at_second_order() -> None:
    def error(count: int) -> float:
        segments = zero_contour(*grid(lambda x, y: x**2 + y**2 - 0.64, count))
        length = np.hypot(*(segments[:, 2:] - segments[:, :2]).T).sum()
        return abs(length - 2 * np.pi * 0.8)

    assert error(160) < 1e-3
    assert error(40) / error(160) == pytest.approx(16, rel=0.5)


def test_values_that_are_not_finite_cut_the_line() -> None:
    xs, ys, values = grid(lambda x, y: np.where(x > 0, np.nan, y))
    ends = zero_contour(xs, ys, values).reshape(-1, 2)
    assert len(ends)
    assert ends[:, 0].max() <= 0
    assert len(zero_contour(xs, ys, np.ones_like(values))) == 0


def diagram() -> pl.DataFrame:
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 5), np.linspace(1, 3, 4)))
    return pl.DataFrame({"x": x, "y": y, "angle": x - 0.5, "gradient": y - 2.5}).sample(
        20, shuffle=True, seed=0
    )


def test_a_phase_diagram_has_two_panels_centred_at_zero_with_the_point() -> None:
    spec = phase_diagram(diagram(), ("α", "y"), (0.3, 2.0)).to_dict()
    for panel in spec["hconcat"]:
        heat, line, point = panel["layer"]
        low, high = heat["encoding"]["color"]["scale"]["domain"]
        assert low == -high
        assert spec["datasets"][line["data"]["name"]]
        assert spec["datasets"][point["data"]["name"]] == [{"x_0": 0.3, "y_0": 2.0}]
    (angle, _) = (spec["datasets"][panel["layer"][1]["data"]["name"]] for panel in spec["hconcat"])
    assert {row["x_0"] for row in angle} == {0.5}


def test_colours_span_the_finite_values() -> None:
    frame = diagram().with_columns(angle=pl.when(pl.col("x") == 1).then(-np.inf).otherwise(pl.col("angle")))
    domain = phase_diagram(frame).to_dict()["hconcat"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert domain == [-0.5, 0.5]


def test_a_grid_with_holes_is_refused() -> None:
    with pytest.raises(DataError, match="19 points are no grid of 5 × 4"):
        phase_diagram(diagram().head(19))
    with pytest.raises(DataError, match="no grid of 1 × 1"):
        phase_diagram(diagram().head(1))


def test_predicted_and_measured_share_their_panels() -> None:
    layers = np.arange(1.0, 4.0)
    columns = {"cosine": layers / 4, "norm": layers, "gradient": layers[::-1]}
    student = 10 * float(stats.t(df=3).ppf(0.975))
    assert [len(p["layer"]) for p in profile_figure(Profile(columns)).to_dict()["hconcat"]] == [1, 1, 1]
    measured = Profile(columns, {name: np.full(3, 10.0) for name in columns}, draws=4)
    spec = profile_figure(Profile(columns), measured).to_dict()
    for panel, log in zip(spec["hconcat"], (False, True, True), strict=True):
        rows = spec["datasets"][panel["layer"][1]["data"]["name"]]
        for row in rows:
            assert row["high"] == (pytest.approx(row["value"] + student) if log else 1)
            assert row["low"] > 0 if log else row["low"] == -1
    assert "95% interval" in spec["title"]["subtitle"]
    assert "from 0.25 at the input to 0.75 after the last layer" in spec["description"]


def test_empty_tables_are_errors() -> None:
    empty = pl.DataFrame(schema={"x": pl.Float64, "cosine": pl.Float64, "r1": pl.Float64})
    with pytest.raises(DataError, match="no cosine to draw"):
        bifurcation(empty)


def test_each_curve_has_its_label() -> None:
    curves = pl.DataFrame({"x": [0.0, 1.0], "cosine": [1.0, 0.3], "curve": ["σ = 1", "σ = 2"]})
    assert "σ = 2" in str(bifurcation(curves).to_dict()["datasets"])
