"""Figures of studies: they show the tables' numbers, say what they show, and what is missing has a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from auxin.errors import ConfigError
from auxin.report.exponent_figures import loss_map, rule_by_exponent
from auxin.report.study_figures import by_depth, early_stopping, save_study_figures, study_figures
from auxin.report.theme import Figure, specification
from auxin.runs.record import open_study
from report.answered import STUDIES, analysis, answered

NAMES = {
    "grokking": ["learning-curves", "early-stopping"],
    "depth": ["by-depth", "curves-by-depth"],
    "dynamics": ["tree-scores", "dynamics"],
    "trainability": ["loss-map", "predictions", "scores"],
    "joint": ["hierarchical-by-exponent", "linear-by-exponent", "neither-by-exponent", "rule-over-steps"],
    "repair": ["repair", "repair-curves"],
    "totals": ["predictions", "scores"],
    "architectures": ["loss-by-totals", "loss-by-scale"],
    "failure": ["calibration", "areas"],
    "remedies": ["changes"],
}


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, pl.DataFrame]]:
    return {name: dict(analysis(name).tables) for name in STUDIES}


def units(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Every mark of a specification with its data, wherever it is nested."""
    found: list[dict[str, Any]] = []

    def visit(node: dict[str, Any], data: dict[str, Any] | None) -> None:
        data = node.get("data", data)
        if "mark" in node:
            found.append({**node, "rows": spec["datasets"][data["name"]] if data else []})
        for key in ("layer", "concat", "hconcat"):
            for child in node.get(key, ()):
                visit(child, data)
        if "spec" in node:
            visit(node["spec"], data)

    visit(spec, None)
    return found


def rows(figure: Figure, mark: str) -> list[dict[str, Any]]:
    """The data of all marks of a type."""
    return [
        row
        for unit in units(specification(figure.chart))
        if unit["mark"]["type"] == mark
        for row in unit["rows"]
    ]


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_is_drawn_and_says_what_it_shows(tables: dict, study: str) -> None:
    figures, missing = study_figures(study, tables[study])
    assert missing == []
    assert [figure.name for figure in figures] == NAMES[study]
    for figure in figures:
        spec = specification(figure.chart)
        assert spec["title"]["text"]
        assert len(spec["description"]) > 40
        assert "standard error" not in str(spec)  # one kind of interval on a page
        for unit in units(spec):
            assert unit["rows"]
            if unit["mark"]["type"] in ("point", "rect"):
                assert all("title" in unit["encoding"][axis] for axis in "xy"), figure.name


def test_intervals_are_those_of_the_tables(tables: dict) -> None:
    depths = tables["depth"]["depths"]
    shown = rows(by_depth(tables["depth"]), "point")
    assert [(r["depth"], r["low"], r["value"], r["high"]) for r in shown[: len(depths)]] == list(
        depths.select("depth", "ever_low", "ever", "ever_high").iter_rows()
    )


def test_each_seed_and_the_published_numbers_stand_beside_the_mean(tables: dict) -> None:
    figure = early_stopping(tables["grokking"])
    seeds = rows(figure, "line")
    final = {r["value"] for r in seeds if r["when"] == "end of training" and "member" in r}
    assert final == set(tables["grokking"]["seeds"]["final"])
    points = rows(figure, "point")
    assert {r["value"] for r in points if r["series"] == "published"} == {0.073, 0.929, 0.547, 0.835}


def test_depths_have_their_colours_and_stand_apart_by_less_than_exponents_do(tables: dict) -> None:
    figure = rule_by_exponent(tables["joint"], "hierarchical")
    points = rows(figure, "point")
    assert len(points) == len(tables["joint"]["points"]) / 3
    assert {r["series"] for r in points} == {"1", "2"}
    assert {r["arm"] for r in points} == {"question, post-norm", "tense, post-norm", "question, pre-norm"}
    shifts = {round(r["shown"] - r["exponent"], 6) for r in points}
    assert len(shifts) == 2
    assert max(map(abs, shifts)) < 0.25
    spec = specification(figure.chart)
    colors = [u["encoding"]["color"] for u in units(spec)]
    assert all(color["scale"] == {"domain": ["1", "2"]} for color in colors)
    assert {color["type"] for color in colors} == {"ordinal"}  # depth is ordered, and so are its colours
    assert "95% interval" in spec["title"]["subtitle"]


def test_cells_of_the_loss_map_tile_the_plane_and_lines_lie_where_exponents_vanish(tables: dict) -> None:
    xs, ys = np.linspace(0.2, 0.95, 21), np.geomspace(0.5, 8, 21)
    x, y = (a.ravel() for a in np.meshgrid(xs, ys))
    phase = pl.DataFrame({"x": x, "y": y, "angle": np.log(y) - x, "gradient": x})
    figure = loss_map(tables["trainability"] | {"phase": phase})
    cells = rows(figure, "rect")
    assert len(cells) == 9
    for axis, between in (("alpha_mlp", np.add), ("sigma_w", np.multiply)):
        edges = sorted({(c[f"{axis}_0"], c[axis], c[f"{axis}_1"]) for c in cells})
        assert [e[2] for e in edges[:-1]] == pytest.approx([e[0] for e in edges[1:]])
        for low, center, high in edges:
            middle = between(low, high)
            assert center == pytest.approx(middle / 2 if between is np.add else middle**0.5, rel=1e-3)
    lines = rows(figure, "rule")
    assert {r["line"] for r in lines} == {"angle exponent = 0"}
    ends = [(r[f"alpha_mlp_{i}"], r[f"sigma_w_{i}"]) for r in lines for i in (0, 1)]
    np.testing.assert_allclose([np.log(b) - a for a, b in ends], 0, atol=1e-9)
    assert "gradient exponent > 0 throughout" in specification(figure.chart)["title"]["subtitle"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "depths"}, "the study has no table 'depths'"),
        (lambda t: t | {"depths": t["depths"].drop("loss_high")}, 'unable to find column "loss_high"'),
        (lambda t: t | {"depths": t["depths"].clear()}, "table 'depths' is empty"),
        (
            lambda t: t | {"depths": t["depths"].with_columns(ever=pl.lit("many"))},
            "conversion from `str` to `f64` failed",
        ),
        (lambda t: t | {"depths": t["depths"].with_columns(late=pl.lit(None))}, "there is no value to draw"),
    ],
)
def test_what_cannot_be_drawn_has_a_reason_and_the_rest_is_drawn(
    tables: dict, change: Any, reason: str
) -> None:
    figures, missing = study_figures("depth", change(tables["depth"]))
    assert [figure.name for figure in figures] == ["curves-by-depth"]
    assert len(missing) == 1
    assert reason in missing[0]


def test_one_seed_has_points_without_intervals(tables: dict) -> None:
    depths = tables["depth"]["depths"].with_columns(pl.lit(None).alias("ever_low"))
    words = specification(by_depth(tables["depth"] | {"depths": depths}).chart)["description"]
    assert f"1 layer: {depths['ever'][0]:.0%}; 2 layers: " in words


def test_a_study_of_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="study is 'x'; allowed: grokking, depth"):
        study_figures("x", {})


def test_figures_are_written_beside_the_tables(tmp_path: Path) -> None:
    paths = save_study_figures(open_study(answered(tmp_path / "study", "depth")))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"study/figures/{name}.{ending}" for name in NAMES["depth"] for ending in ("png", "svg", "html")
    ]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert "Generalization and training loss by depth" in paths[1].read_text()
