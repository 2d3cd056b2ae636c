"""Figures of training: what they show, and that nothing to show is an error."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from auxin.errors import DataError, RunError
from auxin.measures.projection import Projection
from auxin.report.marks import line_ends
from auxin.report.theme import save, specification
from auxin.report.training_figures import (
    dynamics,
    learning_curves,
    rule_shares,
    run_figures,
    span_chart,
    tree_strip,
)

SCHEMA = ["step", "member", "split", "name", "value"]


def metrics(members: int, nan_after: int = 10**9) -> pl.DataFrame:
    noise = np.random.default_rng(0)
    rows = [
        (step, member, split, "accuracy", float(noise.uniform()) if step <= nan_after else float("nan"))
        for member in range(members)
        for split in ("val", "gen", "test")
        for step in (0, 100, 200)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def drawn(figure, mark: str) -> list[list[dict]]:
    """The data of the layers with this mark."""
    spec = figure.to_dict()
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]
    return [spec["datasets"][layer["data"]["name"]] for layer in layers]


def test_mean_and_band_come_from_the_members() -> None:
    frame = metrics(5)
    (band,) = drawn(learning_curves(frame), "area")
    assert len(band) == 6  # two splits, three steps: test is not drawn
    for point in band:
        split = {"in-domain": "val", "generalization": "gen"}[point["series"]]
        values = frame.filter(pl.col("split") == split, pl.col("step") == point["step"])["value"]
        assert point["value"] == pytest.approx(values.mean(), rel=1e-4)
        expected = ttest_1samp(values, 0).confidence_interval()
        assert (point["low"], point["high"]) == pytest.approx(
            (max(expected.low, 0), min(expected.high, 1)), rel=1e-4
        )


def test_one_seed_has_a_line_and_no_band() -> None:
    figure = learning_curves(metrics(1))
    assert drawn(figure, "area") == []
    assert "seed 0" in str(figure.to_dict()["title"])


def test_members_that_diverged_end() -> None:
    assert {point["step"] for point in drawn(learning_curves(metrics(1, 100)), "line")[0]} == {0, 100}


def test_saturation_is_marked() -> None:
    caption = {"place": 100, "name": "in-domain ≥ 99%"}
    assert caption in drawn(learning_curves(metrics(1), saturation=100), "text")[1]


def test_splits_that_count_otherwise_have_a_panel_each_with_their_chance() -> None:
    word = ("word where the rules differ", 0.02)
    same = learning_curves(metrics(2), accuracy={"val": word, "gen": word}).to_dict()
    assert "layer" in same
    assert "accuracy: word where the rules differ (chance 2%)" in same["title"]["subtitle"]
    spec = learning_curves(metrics(2), accuracy={"val": ("whole answer", 0.0), "gen": word}).to_dict()
    headings = [part["title"]["text"] for part in spec["concat"]]
    assert headings == [
        "accuracy: whole answer (chance 0%)",
        "accuracy: word where the rules differ (chance 2%)",
    ]
    fields = [
        {layer["encoding"].get("y", {}).get("field") for layer in part["layer"]} for part in spec["concat"]
    ]
    assert ["chance" in field for field in fields] == [False, True]


def test_shares_of_both_rules_are_drawn_where_they_are_known() -> None:
    gen = metrics(2).filter(split="gen")
    frame = pl.concat(
        [metrics(2), *(gen.with_columns(name=pl.lit(n)) for n in ("hierarchical", "linear", "neither"))]
    )
    assert [figure.name for figure in run_figures(frame)] == ["learning-curves", "rules"]
    (data,) = rule_shares(frame).to_dict()["datasets"].values()
    assert {point["series"] for point in data} == {"hierarchical rule", "linear rule", "neither"}
    assert len(data) == 9


def test_a_runs_tree_f1_is_drawn_with_its_baselines() -> None:
    gen = metrics(2).filter(split="gen").with_columns(split=pl.lit("train"))
    frame = pl.concat(
        [metrics(2), *(gen.with_columns(name=pl.lit(n)) for n in ("t_parseval", "t_parseval/right"))]
    )
    figure = run_figures(frame)[1]
    names = [
        row["name"] for rows in figure.chart.to_dict()["datasets"].values() for row in rows if "name" in row
    ]
    assert (figure.name, set(names)) == ("dynamics", {"right"})


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(DataError, match="no accuracy of val or gen to draw"):
        learning_curves(metrics(0).with_columns(pl.col("value").cast(pl.Float64)))
    with pytest.raises(DataError, match="no accuracy of val or gen"):
        learning_curves(metrics(2).with_columns(name=pl.lit("loss")))
    with pytest.raises(DataError, match="no structural measure"):
        dynamics(metrics(2).with_columns(split=pl.lit("test")))


def test_labels_keep_their_distance_stay_on_the_axis_and_where_they_can_at_their_line() -> None:
    means = pl.DataFrame({"series": list("abcd"), "step": [1] * 4, "value": [0.99, 1.0, 0.98, 0.3]})
    heights = line_ends(means, 0.07).data["value"].to_list()
    assert heights == pytest.approx([0.3, 0.86, 0.93, 1.0])


def test_dynamics_draws_a_panel_for_each_measure_and_rules_for_baselines() -> None:
    frame = metrics(3).filter(pl.col("split") == "gen")
    parseval = frame.with_columns(split=pl.lit("train"), name=pl.lit("t_parseval"))
    known = parseval.with_columns(name=pl.lit("t_parseval/right"), value=0.66)
    rows = pl.concat([frame, parseval, known])
    spec = dynamics(pl.concat([rows.with_columns(group=pl.lit(depth)) for depth in (2, 4)])).to_dict()
    assert len(spec["concat"]) == 2
    data = str(spec["datasets"])
    assert "'right'" in data
    assert "'series': '2'" in data


def test_saving_writes_three_files_and_the_page_needs_no_network(tmp_path: Path) -> None:
    paths = save(learning_curves(metrics(2)), tmp_path / "curves")
    assert [p.name for p in paths] == ["curves.png", "curves.svg", "curves.html"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.html", "curves.png", "curves.svg"]
    png, svg, page = (p.read_bytes() for p in paths)
    assert png.startswith(b"\x89PNG")
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    assert width > 1120
    assert height > 640
    assert svg.startswith(b"<svg")
    assert b"generalization" in svg
    assert b"<link" not in page
    assert b"src=" not in page.partition(b"<script>")[0]
    assert b"window.vegaEmbed" in page


def test_text_from_data_cannot_leave_its_place(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>{{bundle}}"
    frame = metrics(2).with_columns(group=pl.lit(evil), split=pl.lit("gen"))
    page = save(dynamics(frame), tmp_path / "x")[2].read_text()
    assert evil not in page
    assert page.count("</script>") == 3
    strip = tree_strip([(evil, '<svg width="1" height="1"/>')])
    assert "<script" not in strip
    assert "{{bundle}}" in save(strip, tmp_path / "t")[2].read_text()


def test_trees_stand_side_by_side_under_their_captions(tmp_path: Path) -> None:
    tree = '<svg width="40.0px" height="30px" xmlns="http://www.w3.org/2000/svg"><line stroke="black"/></svg>'
    strip = tree_strip([("step 3", tree), ("gold", tree)])
    assert strip.startswith('<svg xmlns="http://www.w3.org/2000/svg" width="108.0" height="62.0"')
    assert ">step 3<" in strip
    assert ' width="40.0" height="152.0"' in tree_strip([("a", tree), ("b", tree)], wrap=100)
    assert save(strip, tmp_path / "trees")[0].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="the drawing of 'gold' is not an SVG"):
        tree_strip([("gold", "(the newt)")])


def test_a_figure_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing: no such directory"):
        save(learning_curves(metrics(1)), tmp_path / "missing" / "x")


def test_a_long_run_draws_what_a_screen_can_show() -> None:
    steps = range(100_000)
    rows = [(step, 0, split, "accuracy", step / 1e5) for step in steps for split in ("val", "gen")]
    metrics = pl.DataFrame(rows, schema=["step", "member", "split", "name", "value"], orient="row")
    text = json.dumps(specification(learning_curves(metrics)))
    assert len(text) < 500_000
    assert '"step": 0' in text
    assert '"step": 99999' in text


def test_a_sentences_chart_outlines_the_spans_of_its_tree(tmp_path: Path) -> None:
    chart = np.full((3, 3), np.nan)
    chart[np.triu_indices(3)] = [1.0, 0.9, 1.0, 0.8, 0.2, 0.7]  # ((the newt) sleeps)
    projection = Projection(("the", "newt", "the"), chart)
    assert projection.spans == {(0, 1), (0, 2)}
    spec = span_chart(projection).to_dict()
    cells, outlined = (spec["datasets"][layer["data"]["name"]] for layer in spec["layer"])
    assert len(cells) == 6
    assert {(cell["first"], cell["last"]) for cell in outlined} == {("1 the", "2 newt"), ("1 the", "3 the")}
    assert [cell["score"] for cell in cells if cell["span"] == "newt the"] == [0.2]
    assert save(span_chart(projection), tmp_path / "chart")[0].read_bytes().startswith(b"\x89PNG")
