"""Figures of the studies of failures and of remedies: who ranks failures, how right probabilities are, what mends."""

from __future__ import annotations

import altair as alt
import polars as pl

from auxin.report.marks import Figure, Groups, figure, grid, panel, share, tips
from auxin.report.tables import Tables, columns, drawable, in_words
from auxin.report.theme import BLUE, GRAY


def calibration(tables: Tables) -> Figure:
    """Share that failed against the probability that was said, in bins of equally many models, a colour a predictor."""
    bins = columns(tables, "calibration", "probability models failed failed_low failed_high", "predictor")
    bins = bins.rename({"predictor": "series", "failed": "value", "failed_low": "low", "failed_high": "high"})
    groups = Groups.of(bins)
    unit = alt.Scale(domain=[0, 1])
    x = alt.X(
        "probability:Q", title="probability of failure, as predicted", scale=unit, axis=alt.Axis(format="%")
    )
    ends = pl.DataFrame({"probability": [0.0, 1.0], "value": [0.0, 1.0]})
    diagonal = (
        alt.Chart(ends).mark_line(color=GRAY, strokeDash=[4, 3]).encode(x, alt.Y("value:Q", scale=unit))
    )
    points = groups.intervals(
        bins, x, share("share that failed"), tips(".0%", "series:N", "probability:Q", "models:Q")
    )
    errors = columns(tables, "scores", "error error_low error_high", "predictor")
    words = in_words(errors.select("predictor", "error", "error_low", "error_high").iter_rows(), ".2f")
    return figure(
        "calibration",
        grid([panel([diagonal, *points], "", 420, 320)], groups.chosen, 1),
        ("Failures, predicted and seen", "stacks left out; ten bins of equally many models, 95% intervals"),
        f"Share of models that failed against the probability that was predicted. Mean deviation, {words}.",
    )


def areas(tables: Tables) -> Figure:
    """Area under the ROC curve of every predictor on stacks left out."""
    scores = columns(tables, "scores", "area area_low area_high", "predictor")
    scores = drawable(scores.select("predictor", value="area", low="area_low", high="area_high"), "area")
    order = scores["predictor"].to_list()
    unit = alt.Scale(domain=[0.0, 1.0])
    y = alt.Y("predictor:N", title=None, sort=order)
    numbers = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")]
    chart = alt.Chart(scores)
    rule = chart.mark_rule(strokeWidth=1.5, color=BLUE).encode(alt.X("low:Q", scale=unit), y, x2="high")
    x = alt.X("value:Q", title="area under the ROC curve", scale=unit)
    dots = chart.mark_point(filled=True, size=60, opacity=1, color=BLUE).encode(
        x, y, tooltip=["predictor:N", *numbers]
    )
    chance = alt.Chart(pl.DataFrame({"value": [0.5]})).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x)
    return figure(
        "areas",
        alt.layer(chance, rule, dots).properties(width=360, height=150),
        ("What ranks the failures of a stack that it has not seen", "95% intervals; 0.5 is chance"),
        f"Area under the ROC curve, {in_words(scores.iter_rows(), '.2f')}.",
    )


def changes(tables: Tables) -> Figure:
    """What every rule changes in the loss: a dot a model, and the mean with its interval."""
    models = columns(tables, "models", "depth change", "stack arm")
    effects = columns(tables, "effects", "change change_low change_high models", "arm stack").filter(
        stack="all"
    )
    effects = drawable(effects.select("arm", value="change", low="change_low", high="change_high"), "change")
    order = effects["arm"].to_list()
    y = alt.Y("arm:N", title=None, sort=order, axis=alt.Axis(labelLimit=200))
    title = "change of the training loss (nats a token)"
    x = alt.X("change:Q", title=title)
    tip = ["stack:N", "depth:Q", alt.Tooltip("change:Q", format=".2f")]
    dots = alt.Chart(models.filter(pl.col("arm").is_in(order))).mark_tick(color=GRAY, opacity=0.6, size=16)
    chart = alt.Chart(effects)
    rule = chart.mark_rule(strokeWidth=2.5, color=BLUE).encode(alt.X("low:Q"), y, x2="high")
    means = chart.mark_point(filled=True, size=70, opacity=1, color=BLUE)
    numbers = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")]
    means = means.encode(alt.X("value:Q", title=title), y, tooltip=["arm:N", *numbers])
    none = alt.Chart(pl.DataFrame({"change": [0.0]})).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x)
    return figure(
        "changes",
        alt.layer(none, dots.encode(x, y, tooltip=tip), rule, means).properties(width=400, height=180),
        ("What mending a flagged model changes", "lines: models; dots: means, 95% intervals; left is better"),
        f"Change of the training loss, {in_words(effects.iter_rows(), '.2f')}.",
    )
