"""The tables, figures and pages in docs are those that the committed records give; ``make results`` writes them."""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
import sys
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from auxin.runs.record import keep, open_study
from auxin.runs.run import holds_run
from auxin.studies.conduct import answer_again
from report.answered import answered

DOCS = Path(__file__).parents[1] / "docs"
KEPT = sorted(path.name for path in (DOCS / "records").glob("*") if path.is_dir())
STUDIES = [name for name in KEPT if not holds_run(DOCS / "records" / name)]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
MOST = 15_000_000
"""Bytes of all records together."""


@pytest.fixture(scope="module")
def results() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(DOCS / "figures" / "results.py")))


@pytest.fixture(scope="module")
def drawn(results: SimpleNamespace) -> dict[str, Any]:
    """The rows of every figure."""
    return {file: sys.modules["image"].datasets(chart) for file, chart, _ in results.charts()}


def difference(one: Any, other: Any, where: str = "") -> str:
    """Where two values differ by more than the last digits of their numbers; empty where nowhere."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{where}: {sorted(one)} and {sorted(other)}"
        return next(filter(None, (difference(one[k], other[k], f"{where}.{k}") for k in one)), "")
    if isinstance(one, list) and isinstance(other, list):
        pairs = enumerate(zip_longest(one, other))
        return next(filter(None, (difference(a, b, f"{where}[{i}]") for i, (a, b) in pairs)), "")
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (one, other))
    close = math.isclose(one, other, rel_tol=1e-3, abs_tol=2e-6) if numbers else one == other
    return "" if close else f"{where}: {one!r} and {other!r}"


def read(html: str) -> tuple[list[str], list[float], Any]:
    """A page's words but for the space around tags, its numbers and the rows that its figures draw."""
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
    (drawn,) = (json.loads(text) for kind, text in scripts if 'id="specifications"' in kind)
    rows = [list(spec.get("datasets", {}).values()) for spec in drawn["figures"].values()]
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", html, flags=re.DOTALL)
    text = re.sub(r"\s*(<[^>]*>)\s*", r"\1", text)
    return NUMBER.split(text), [float(number) for number in NUMBER.findall(text)], rows


def test_figures_show_the_numbers_of_the_records(drawn: dict[str, Any]) -> None:
    assert {f"{file}.png" for file in drawn} == {path.name for path in DOCS.glob("figures/*.png")}
    for file, rows in drawn.items():
        shown = sys.modules["image"].numbers_of((DOCS / "figures" / f"{file}.png").read_bytes())
        assert difference(shown, rows, file) == ""


def test_the_page_is_that_of_the_records(results: SimpleNamespace) -> None:
    committed, now = read((DOCS / "report.html").read_text()), read(results.report())
    for what, one, other in zip(("words", "numbers", "figures"), committed, now, strict=True):
        assert difference(one, other, what) == ""


def test_a_number_that_differs_is_found(results: SimpleNamespace, tmp_path: Path) -> None:
    image = sys.modules["image"]
    _, chart, _ = next(results.charts())
    image.write_png(chart, tmp_path / "drawn.png")
    shown = image.numbers_of((tmp_path / "drawn.png").read_bytes())
    assert difference(shown, image.datasets(chart)) == ""
    row = shown[0][0]
    row["value" if "value" in row else next(k for k, v in row.items() if isinstance(v, float))] *= 1.01
    assert difference(shown, image.datasets(chart)).startswith("[0][0].")
    page = results.report()
    answer = results.studies()[0].values["answer"].split(";")[0]
    number = NUMBER.search(page[page.index(answer[:20]) :])
    assert number is not None
    assert difference(list(read(page)), list(read(page.replace(number[0], f"9{number[0]}")))) != ""


@pytest.mark.parametrize("name", STUDIES)
def test_a_records_answer_and_tables_follow_from_its_metrics(name: str, tmp_path: Path) -> None:
    again = Path(shutil.copytree(DOCS / "records" / name, tmp_path / name))
    answer_again(again)
    kept, now = open_study(DOCS / "records" / name), open_study(again)
    for part in ("question", "answer", "claims", "findings"):
        assert difference(kept.values[part], now.values[part], part) == ""
    assert kept.tables.keys() == now.tables.keys()
    for table in kept.tables:
        assert difference(kept.tables[table].to_dicts(), now.tables[table].to_dicts(), table) == ""


def test_records_stay_small_and_name_no_place_on_a_machine() -> None:
    files = [path for name in KEPT for path in (DOCS / "records" / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST
    for path in files:
        assert not re.search(rb"/(home|root|work|tmp|Users)/", path.read_bytes()), path


@pytest.mark.parametrize("name", [name for name in KEPT if name not in (*STUDIES, "demo")])
def test_the_table_of_the_published_size_has_the_numbers_of_its_runs(
    results: SimpleNamespace, name: str
) -> None:
    published = sys.modules["published_size"]
    table = pl.read_csv(published.TABLE).filter(run=name).select("step", "in_domain", "generalization")
    scores = published.scores([DOCS / "records" / name]).drop("run")
    assert len(table) > 0
    assert difference(table.to_dicts(), scores.join(table.select("step"), on="step").to_dicts()) == ""


def test_runs_are_ranked_among_the_published_models(results: SimpleNamespace) -> None:
    published = sys.modules["published_size"]
    models = pl.DataFrame({"seed": range(20), "other": [i / 20 for i in range(20)]})
    theirs = models.join(pl.DataFrame({"step": [1, 2]}), how="cross")
    curves = {"low-1": -1.0, "low-2": -2.0, "middle-1": 0.475}
    ours = pl.DataFrame(
        [{"run": run, "step": step, "generalization": y} for run, y in curves.items() for step in (1, 2, 3)]
    )
    ranks = published.ranks(ours, theirs)
    assert ranks["mean_rank"].to_list() == [0.0, 0.0, 0.5]
    assert ranks["nearer"].to_list() == [18, 18, 0]  # two of the published models are at an end themselves
    presets = published.presets(ours, theirs)
    assert presets["runs"].to_list() == [2, 1, 3]
    low = 2 / math.comb(22, 2)  # of all pairs of 22 values, the lowest or the highest
    assert presets["p"].to_list()[:2] == pytest.approx([low, 1.0], abs=1e-4)


def test_a_study_that_is_kept_is_drawn_in_place_of_its_tables(
    results: SimpleNamespace, tmp_path: Path
) -> None:
    for folder in ("tables", "records"):
        shutil.copytree(DOCS / folder, tmp_path / folder)
    (record,) = (study for study in results.studies(tmp_path) if study.study == "trainability")
    assert record.path == tmp_path / "tables"
    assert record.runs == []
    kept = tmp_path / "records" / "trainability"
    keep(answered(tmp_path / "study", "trainability"), kept)
    (record,) = (study for study in results.studies(tmp_path) if study.study == "trainability")
    assert record.path == kept
    assert [run.status for run in record.runs] == ["finished"] * 12
    (chart,) = (chart for file, chart, _ in results.charts(tmp_path) if file == "trainability-loss-map")
    assert len(sys.modules["image"].datasets(chart)[0]) == 9  # the points of a grid of three by three
