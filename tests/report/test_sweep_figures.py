"""Figures of sweeps: lines with bands, heat maps, dots; each axis as it was meant."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from auxin.lab.sweep_record import Axis, Sweep
from auxin.report.sweep_figures import sweep_figures
from auxin.report.theme import Figure, specification

DEPTH = Axis("model.depth", (1, 2, 4))
RATE = Axis("optimizer.learning_rate", (1e-4, 1e-3, 1e-2), log=True)
NORM = Axis("model.norm", ("pre", "post"))


def swept(*axes: Axis, **results: list[float | None]) -> Sweep:
    """A sweep of two seeds at every point of the grid of its axes, with one row for each."""
    points: list[dict[str, Any]] = [{}]
    for axis in axes:
        points = [{**point, axis.name: value} for point in points for value in axis.values]
    rows = [{"run": str(i), **point, "seed": seed} for i, point in enumerate(points) for seed in (0, 1)]
    nothing: list[float | None] = [None] * len(rows)
    columns = {name: results.get(name, nothing) for name in ("loss", "accuracy_val", "accuracy_gen")}
    sweep = Sweep(Path("x"), axes, (), "")
    sweep.__dict__["table"] = pl.DataFrame(rows).with_columns(
        pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items()
    )
    return sweep


def encodings(figure: Figure) -> list[dict[str, Any]]:
    """Every encoding in a figure's specification."""
    found: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "encoding" in node:
                found.append(node["encoding"])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(specification(figure.chart))
    return found


def test_one_axis_is_a_line_with_students_band() -> None:
    sweep = swept(DEPTH, loss=[1.0, 2.0, 1.0, 1.0, 0.5, None])
    (figure,) = sweep_figures(sweep)
    assert figure.name == "model-depth"
    # two models at depth 1: 1.5 ± 12.706·0.5, and no loss below zero; at depth 4 one alone
    assert (
        "1: 1.50 (0.00 to 7.85); 2: 1.00 (1.00 to 1.00); 4: 0.50."
        in specification(figure.chart)["description"]
    )
    assert all(encoding["x"]["scale"]["type"] == "linear" for encoding in encodings(figure))


def test_every_pair_of_axes_is_a_figure() -> None:
    accuracy = [0.5, 0.7] * 18
    figures = sweep_figures(swept(DEPTH, RATE, NORM, accuracy_gen=accuracy))
    assert [figure.name for figure in figures] == [
        "model-depth-by-optimizer-learning_rate",
        "model-depth-by-model-norm",
        "optimizer-learning_rate-by-model-norm",
    ]
    for figure, others in zip(figures, (2, 3, 3), strict=True):
        spec = specification(figure.chart)
        assert "over all other axes, too" in spec["title"]["subtitle"]
        assert f"1, {'0.0001' if others == 2 else 'pre'}: 60%" in spec["description"] or figure is figures[2]
    numbers = [e["x"] for e in encodings(figures[2]) if e.get("x", {}).get("type") == "quantitative"]
    assert {x["scale"]["type"] for x in numbers} == {"log"}
    texts = [e["text"]["field"] for e in encodings(figures[0]) if "text" in e]
    assert texts == ["value"]  # the number in each cell of the heat map


def test_drawn_points_are_dots() -> None:
    axes = (Axis("a", (1.0, 2.0, 3.0), drawn=True), Axis("b", (0.1, 0.2), log=True, drawn=True))
    (figure,) = sweep_figures(swept(*axes, loss=[float(i) for i in range(12)]))
    assert "a dot for each of 12 models" in specification(figure.chart)["title"]["subtitle"]
    (encoding,) = encodings(figure)
    assert (encoding["x"]["field"], encoding["y"]["field"], encoding["color"]["field"]) == ("x", "y", "value")
    assert encoding["y"]["scale"]["type"] == "log"
    (figure,) = sweep_figures(swept(axes[0], loss=[1.0] * 6))
    assert "color" not in encodings(figure)[0] or "field" not in encodings(figure)[0]["color"]


@pytest.mark.parametrize("axes", [(), (Axis("one", (1,)),)])
def test_without_two_values_or_any_result_there_is_no_figure(axes: tuple[Axis, ...]) -> None:
    assert sweep_figures(swept(*axes, loss=[1.0, 2.0])) == []
    assert sweep_figures(swept(DEPTH)) == []
