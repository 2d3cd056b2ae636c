"""The figures of the studies, from the tables that the studies write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from polars.exceptions import PolarsError

from auxin.disk.folder import Folder, failing_clearly
from auxin.errors import DataError
from auxin.report.exponent_figures import (
    RULES,
    loss_by_scale,
    loss_by_totals,
    loss_map,
    predictions,
    rule_by_exponent,
    rule_over_steps,
    scores_by_predictor,
)
from auxin.report.grokking_figures import (
    accuracy_curves,
    by_depth,
    curves_by_depth,
    early_stopping,
    repair,
    repair_curves,
    structure,
    tree_scores,
)
from auxin.report.marks import Figure
from auxin.report.tables import Tables
from auxin.report.theme import save_own
from auxin.runs.record import StudyRecord
from auxin.values import check

STUDIES: Mapping[str, tuple[Callable[[Tables], Figure], ...]] = {
    "grokking": (accuracy_curves, early_stopping),
    "depth": (by_depth, curves_by_depth),
    "dynamics": (tree_scores, structure),
    "trainability": (loss_map, predictions, scores_by_predictor),
    "joint": (*(partial(rule_by_exponent, rule=rule) for rule in RULES), rule_over_steps),
    "repair": (repair, repair_curves),
    "totals": (predictions, scores_by_predictor),
    "architectures": (loss_by_totals, loss_by_scale),
}
"""Each study's figures, its headline first."""


def study_figures(study: str, tables: Tables) -> tuple[list[Figure], list[str]]:
    """A study's figures, and why those that are missing cannot be drawn: an unfinished study lacks numbers.

    Raises ``ConfigError`` for an unknown study.
    """
    check(study in STUDIES, "study", study, ", ".join(STUDIES))
    figures: list[Figure] = []
    missing: list[str] = []
    for draw in STUDIES[study]:
        try:
            figures.append(draw(tables))
        except DataError as error:
            missing.append(str(error))
        except (PolarsError, TypeError, ValueError) as error:  # a table of numbers that make no figure
            missing.append(f"its tables cannot be drawn ({type(error).__name__})")
    return figures, missing


def save_study_figures(record: StudyRecord) -> list[Path]:
    """Write what can be drawn of a study into its directory ``figures``: PNG, SVG and interactive page.

    Raises ``RunError`` when a table is damaged or a file cannot be written.
    """
    figures, _ = study_figures(record.study, record.tables)
    where = record.path / "figures"
    with Folder.open(record.path) as study, failing_clearly(where), study.make_sub("figures") as directory:
        return [path for each in figures for path in save_own(each.chart, directory, each.name)]
