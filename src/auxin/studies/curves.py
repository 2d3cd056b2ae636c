"""Numbers of whole runs, read off the tidy metrics of a study: one row a model trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from auxin.lab.table import curve, late
from auxin.measures.grokking import grokking_summary
from auxin.measures.intervals import limits
from auxin.studies.statistics import mean


def outcomes(
    metrics: pl.DataFrame, settings: Sequence[str], late_values: Mapping[str, tuple[str, str]] = {}
) -> pl.DataFrame:
    """Every model's grokking summary, and means over the last fifth of the steps.

    Columns: run, the settings, those of ``grokking_summary(…).members``, and those of ``late_values``, each a metric
    of a split.
    """
    rows: list[pl.DataFrame] = []
    for key, group in metrics.group_by("run", *settings, maintain_order=True):
        summary = grokking_summary(group).members
        columns = [pl.lit(v).alias(n) for n, v in zip(("run", *settings), key, strict=True)]
        rows.append(summary.select(*columns, *summary.columns))
    models = pl.concat(rows, how="vertical_relaxed")
    for column, (split, name) in late_values.items():
        values = late(metrics, split, name, settings).rename({name: column})
        models = models.join(values, on=["run", *settings, "member"], how="left")
    return models


def summarized(models: pl.DataFrame, by: Sequence[str], columns: Mapping[str, str]) -> pl.DataFrame:
    """A row a group: ``by``, models, those that ``grokked``, and each column's mean with its interval.

    ``columns`` say what metric each is.
    """
    rows: list[dict[str, object]] = []
    for key, group in models.group_by(by, maintain_order=True):
        row: dict[str, object] = dict(zip(by, key, strict=True))
        row |= {"models": len(group), "grokked": int(group["grokked"].sum())}
        for column, metric in columns.items():
            row |= mean(group[column].drop_nulls().to_numpy(), *limits(metric)).columns(column)
        rows.append(row)
    return pl.DataFrame(rows)


def first_task(metrics: pl.DataFrame) -> pl.DataFrame:
    """The rows of the task that comes first."""
    return metrics.filter(pl.col("task") == metrics["task"][0])


def fewest(models: pl.DataFrame, by: str) -> int:
    """Models in the smallest group."""
    return int(models[by].value_counts()["count"].min())  # pyright: ignore[reportArgumentType]


def first_below(metrics: pl.DataFrame, name: str, threshold: float, settings: Sequence[str]) -> pl.DataFrame:
    """The first logged step at which a training metric is below a threshold, null where it never is.

    Columns: run, settings, member, ``step``.
    """
    below = pl.col("step").filter(pl.col("value") < threshold).min().alias("step")
    return curve(metrics, "train", name).group_by("run", *settings, "member", maintain_order=True).agg(below)
