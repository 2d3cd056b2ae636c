"""Accuracy on minimal pairs, of the rows that ``auxin pairs`` leaves in a run's metrics."""

from __future__ import annotations

import altair as alt
import polars as pl

from auxin.measures.intervals import bands
from auxin.measures.pairs import accuracies
from auxin.report.marks import facets, figure, share, steps, tips
from auxin.report.tables import in_words
from auxin.report.theme import BLUE, GRAY, Figure, Panel

PREFIX = "pairs:"
"""Of the split of such rows; the file's stem follows."""
CHANCE = 0.5


def pair_figures(metrics: pl.DataFrame) -> list[Figure]:
    """A figure a file of pairs: accuracy by phenomenon after one step, or over the steps where there are several."""
    rows = metrics.filter(pl.col("split").str.starts_with(PREFIX))
    found: list[Figure] = []
    for (split,), part in rows.group_by("split", maintain_order=True):
        table = scored(part)
        name = str(split).removeprefix(PREFIX)
        members = table["member"].n_unique()
        order = table["phenomenon"].unique(maintain_order=True).to_list()
        means = _means(table)
        over = "95% interval over seeds" if members > 1 else "95% interval over pairs"
        several = means["step"].n_unique() > 1
        chart = _over_steps(means, order) if several else _bars(means, table, order)
        last = means.filter(pl.col("step") == pl.col("step").max())
        words = in_words(last.select("phenomenon", "value", "low", "high").iter_rows(), ".0%")
        title = f"Minimal pairs: {name}", f"{'mean, ' * (members > 1)}{over}; dashed: chance"
        found.append(figure(f"pairs-{name}", chart, title, f"Accuracy after the last step: {words}."))
    return found


def scored(rows: pl.DataFrame) -> pl.DataFrame:
    """A row a step, member and phenomenon of one file: pairs, accuracy, and Wilson's interval."""
    named = rows.with_columns(pl.col("name").str.splitn("/", 2).struct.rename_fields(["kind", "phenomenon"]))
    wide = named.unnest("name").pivot(on="kind", index=["step", "member", "phenomenon"], values="value")
    pairs = pl.col("pairs").cast(pl.Int64)
    right = (pl.col("accuracy") * pl.col("pairs")).round().cast(pl.Int64)
    return accuracies(wide.select("step", "member", "phenomenon", pairs, right.alias("right")))


def _means(table: pl.DataFrame) -> pl.DataFrame:
    """Means over members with Student's interval, or of one member Wilson's."""
    if table["member"].n_unique() == 1:
        return table.rename({"accuracy": "value"})
    return bands(table.rename({"accuracy": "value"}), ["phenomenon", "step"], "accuracy")


def _bars(means: pl.DataFrame, table: pl.DataFrame, order: list[str]) -> Panel:
    """A point a phenomenon with its interval, and a small one a seed."""
    y = alt.Y("phenomenon:N", title=None, sort=order, axis=alt.Axis(labelLimit=260))
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("value:Q", title="accuracy", scale=scale, axis=alt.Axis(format=".0%"))
    chart, seeds = alt.Chart(means), alt.Chart(table.rename({"accuracy": "value"}))
    chance = alt.Chart(pl.DataFrame({"value": [CHANCE]}))
    tip = tips(".1%", "phenomenon:N")
    layers = [chance.mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x)]
    if table["member"].n_unique() > 1:
        layers += [seeds.mark_point(size=20, color=GRAY).encode(x, y, tooltip=["member:N"])]
    layers += [
        chart.mark_rule(color=BLUE, strokeWidth=2).encode(alt.X("low:Q"), alt.X2("high:Q"), y),
        chart.mark_point(filled=True, size=70, color=BLUE, opacity=1).encode(x, y, tooltip=tip),
    ]
    return alt.layer(*layers).properties(width=420, height=22 * len(order) + 20)


def _over_steps(means: pl.DataFrame, order: list[str]) -> alt.FacetChart:
    y, x = share("accuracy"), steps()
    chart = alt.Chart(means.with_columns(chance=pl.lit(CHANCE)))
    layers = [
        chart.mark_rule(color=GRAY, strokeDash=[4, 3]).encode(alt.Y("chance:Q")),
        chart.mark_area(opacity=0.18, color=BLUE).encode(x, alt.Y("low:Q"), alt.Y2("high:Q")),
        chart.mark_line(color=BLUE, point={"size": 18}).encode(
            x, y, tooltip=tips(".1%", "phenomenon:N", "step:Q")
        ),
    ]
    return facets(layers, "phenomenon", order, (220, 150))
