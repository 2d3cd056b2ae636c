"""Every table, figure and page that studies gave, anew from what is committed: make results.

A study's numbers are those of its record in docs/records, answered again by today's analysis, or of docs/tables where
its runs are gone. Written are the records' answers and tables, docs/figures and docs/report.html, and after them the
numbers that README.md, findings, limits and claims quote.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import altair as alt
import polars as pl

DOCS = Path(__file__).resolve().parents[1]
sys.path.append(str(DOCS / "figures"))

import published_size  # noqa: E402
import readme  # noqa: E402
from image import write_png  # noqa: E402

from auxin.report.page import page  # noqa: E402
from auxin.report.sections import RunView  # noqa: E402
from auxin.report.study_figures import study_figures  # noqa: E402
from auxin.report.theme import DARK, LIGHT  # noqa: E402
from auxin.runs import open_run  # noqa: E402
from auxin.runs.record import StudyRecord, open_study  # noqa: E402
from auxin.runs.run import holds_run  # noqa: E402
from auxin.studies.conduct import answer_again  # noqa: E402
from auxin.studies.design import StudyName  # noqa: E402

FIGURES = {
    "early-stopping-laptop": ("grokking", "early-stopping"),
    "depth-laptop": ("depth", "by-depth"),
    "dynamics-laptop": ("dynamics", "dynamics"),
    "trainability-loss-map": ("trainability", "loss-map"),
    "trainability-predictions": ("trainability", "predictions"),
    "joint-hierarchical-by-exponent": ("joint", "hierarchical-by-exponent"),
    "joint-rule-over-steps": ("joint", "rule-over-steps"),
    "repair-laptop": ("repair", "repair"),
    "totals-laptop": ("totals", "scores"),
    "architectures-laptop": ("architectures", "loss-by-totals"),
    "failure-laptop": ("failure", "areas"),
    "failure-calibration": ("failure", "calibration"),
    "remedies-laptop": ("remedies", "changes"),
}
"""Files of docs/figures, and of which study they are which figure."""


def studies(docs: Path = DOCS) -> list[StudyRecord]:
    """All studies that have run, each from its record or from its tables."""
    known = [
        name
        for name in get_args(StudyName)
        if (docs / "records" / name).is_dir() or (docs / "tables" / f"{name}.json").exists()
    ]
    return [_study(docs, name) for name in known]


def _study(docs: Path, name: str) -> StudyRecord:
    kept, tables = docs / "records" / name, docs / "tables"
    if kept.is_dir():
        return open_study(kept)
    values = json.loads((tables / f"{name}.json").read_text())
    made = {key: values[key] for key in ("commit", "machine", "runs", "wall_time") if key in values}
    gone = {"environment": made, "shared": {}, "runs": [], "sessions": values.get("sessions", [])}
    findings = [{"published": None, **finding} for finding in values["findings"]]
    study = StudyRecord(tables, {**values, **gone, "findings": findings, "files_sha256": {}})
    for path in sorted(tables.glob(f"{name}-*.csv")):
        table = path.stem.removeprefix(f"{name}-")
        study.tables[table] = pl.read_csv(path, infer_schema_length=None)
    return study


def runs(docs: Path = DOCS) -> list[RunView]:
    """The runs that have a record."""
    return [RunView(open_run(path)) for path in sorted((docs / "records").glob("*")) if holds_run(path)]


def charts(docs: Path = DOCS) -> Iterator[tuple[str, alt.TopLevelMixin, dict[str, Any]]]:
    """The files of docs/figures without their ending, what is drawn in each, and in which colours."""
    drawn: dict[str, dict[str, alt.TopLevelMixin]] = {}
    for study in studies(docs):
        figures, _ = study_figures(study.study, study.tables)
        drawn[study.study] = {figure.name: figure.chart for figure in figures}
    for file, (study, figure) in FIGURES.items():
        yield file, drawn[study][figure], LIGHT
    yield "published-size", published_size.draw(pl.read_csv(docs / "tables" / "published-size.csv")), LIGHT
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        yield f"readme-{name}", readme.picture(docs), colours


def report(docs: Path = DOCS) -> str:
    """The page of all studies and of the runs that have a record."""
    return page([*studies(docs), *runs(docs)]).replace(f"{docs.parent}/", "")  # where this checkout is


def main() -> None:
    for path in sorted((DOCS / "records").glob("*/study.json")):
        print(path.parent.name, answer_again(path.parent).answer, sep=": ")
    for file, chart, colours in charts():
        write_png(chart, DOCS / "figures" / f"{file}.png", colours)
    (DOCS / "report.html").write_text(report())
    for script in ("quote.py", "claims.py"):
        sys.argv[1:] = []
        runpy.run_path(str(DOCS / "tables" / script), run_name="__main__")


if __name__ == "__main__":
    main()
