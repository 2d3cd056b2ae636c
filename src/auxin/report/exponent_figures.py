"""Figures of the studies of the exponents: what they predict of the final loss, and of the rule learned."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from auxin.errors import DataError
from auxin.report.marks import (
    Groups,
    band_words,
    cell_sides,
    facets,
    figure,
    grid,
    number,
    panel,
    share,
    steps,
    tips,
    zero_contour,
)  # fmt: skip
from auxin.report.markup import minus
from auxin.report.tables import Tables, columns, estimates, in_words, layers_of
from auxin.report.theme import BLUE, GRAY, Figure, Panel

LINES = {"angle": "angle exponent = 0", "gradient": "gradient exponent = 0"}
RULES = {
    "hierarchical": "Answers by the hierarchical rule",
    "linear": "Answers by the linear rule",
    "neither": "Answers by neither rule",
}
REACHED = "training loss reached (nats a token)"
DODGE = 0.09
"""Shift between depths at one exponent, so that their intervals can be told apart."""


def loss_map(tables: Tables) -> Figure:
    """The final loss over α_M and σ_w with the lines where an exponent vanishes."""
    points = columns(tables, "points", "alpha_mlp sigma_w loss angle gradient depth", "place")
    points = points.filter(place="grid")
    for name in ("alpha_mlp", "sigma_w"):
        values = points[name].unique().sort().to_numpy()
        if len(values) < 2:
            raise DataError(f"a map of the loss needs two values of {name}, has {len(values)}")
        points = points.join(cell_sides(name, values, log=name == "sigma_w"), on=name)
    flat, log = alt.Scale(nice=False, zero=False), alt.Scale(type="log", nice=False)
    x = alt.X("alpha_mlp_0:Q", title="MLP strength α", scale=flat, axis=alt.Axis(tickCount=10))
    axis = alt.Axis(values=[0.25, 0.5, 1, 2, 4, 8, 16], format="~g")
    y = alt.Y("sigma_w_0:Q", title="MLP gain σ (logarithmic)", scale=log, axis=axis)
    fields = ("alpha_mlp", "sigma_w", "loss", "angle", "gradient")
    scale = alt.Scale(scheme="viridis", reverse=True)
    heat = alt.Chart(points).mark_rect(aria=False).encode(
        x, y, alt.Color("loss:Q", title="final loss (nats)", scale=scale), x2="alpha_mlp_1", y2="sigma_w_1",
        tooltip=[alt.Tooltip(f"{field}:Q", format=".3g") for field in fields],
    )  # fmt: skip
    phase = columns(tables, "phase", "x y angle gradient")
    zero = pl.concat(_zero_line(phase, name).with_columns(line=pl.lit(line)) for name, line in LINES.items())
    signs = [
        f"{line.partition(' = ')[0]} {'>' if phase[name].min() >= 0 else '<'} 0 throughout"  # pyright: ignore[reportOperatorIssue]
        for name, line in LINES.items()
        if line not in zero["line"]
    ]
    legend = alt.Legend(
        orient="top", values=[line for line in LINES.values() if line in zero["line"]],
        labelLimit=400, symbolType="stroke", symbolStrokeColor=GRAY, symbolSize=400,
    )  # fmt: skip
    scale = alt.Scale(domain=list(LINES.values()), range=[[1, 0], [5, 3]])
    lines = alt.Chart(zero).encode(x, y, x2="alpha_mlp_1", y2="sigma_w_1")
    halo = lines.mark_rule(strokeWidth=5, color="white", opacity=0.7, aria=False, strokeCap="round")
    rule = lines.mark_rule(strokeWidth=2, color="black")
    rule = rule.encode(alt.StrokeDash("line:N", title=None, scale=scale, legend=legend))
    losses = points["loss"]
    return figure(
        "loss-map",
        alt.layer(heat, halo, rule).properties(width=420, height=360),
        (
            "Final loss over the phase diagram",
            "; ".join(["line: where an exponent vanishes, by theory alone", *signs]),
        ),
        f"Final training loss over MLP strength α and MLP gain σ, {len(points)} networks of "
        f"{points['depth'][0]:.0f} layers, from {losses.min():.3f} to {losses.max():.3f} nats, with the lines "
        "where the angle and the gradient exponent vanish.",
    )


def _zero_line(phase: pl.DataFrame, name: str) -> pl.DataFrame:
    """Segments on which an exponent vanishes; y is interpolated by its logarithm."""
    xs, ys = (phase[axis].unique().sort().to_numpy() for axis in "xy")
    if len(phase) != len(xs) * len(ys):
        raise DataError(f"table 'phase' with {len(phase)} rows is no grid of {len(xs)} × {len(ys)}")
    segments = zero_contour(xs, np.log(ys), phase.sort("y", "x")[name].to_numpy().reshape(len(ys), len(xs)))
    segments[:, 1::2] = np.exp(segments[:, 1::2])
    ends = ["alpha_mlp_0", "sigma_w_0", "alpha_mlp_1", "sigma_w_1"]
    return pl.DataFrame(segments, schema=ends, orient="row")


def predictions(tables: Tables) -> Figure:
    """Predicted against measured, a panel a test; the page lets readers choose the predictor."""
    frame = columns(tables, "predictions", "loss predicted", "run predictor test")
    names = frame["predictor"].unique(maintain_order=True).to_list()
    picker = alt.binding_select(options=names, name="predicted from: ")
    chosen = alt.param(name="predictor", bind=picker, value=names[0])
    values = frame.select("loss", "predicted").to_numpy()
    scale = alt.Scale(domain=[float(values.min()), float(values.max())], nice=True, zero=False)
    x = alt.X("predicted:Q", title="predicted loss (nats)", scale=scale)
    y = alt.Y("loss:Q", title="measured loss (nats)", scale=scale)
    chart = alt.Chart(frame).transform_filter(alt.datum.predictor == chosen)
    diagonal = chart.mark_line(color=GRAY, strokeDash=[4, 3]).encode(x, alt.Y("predicted:Q", scale=scale))
    tip = ["run:N", *(alt.Tooltip(f"{field}:Q", format=".3f") for field in ("predicted", "loss"))]
    dots = chart.mark_point(filled=True, size=40, color=BLUE, opacity=0.7).encode(x, y, tooltip=tip)
    tests = frame["test"].unique(maintain_order=True).to_list()
    return figure(
        "predictions",
        facets([diagonal, dots], "test", tests, (220, 220)).add_params(chosen),
        (
            "Final loss, predicted and measured",
            f"from {names[0]}, for points that the prediction has not seen",
        ),
        "Measured against predicted final loss with the diagonal, a panel for each way of leaving points out.",
    )


def scores_by_predictor(tables: Tables) -> Figure:
    """R² of every predictor with its interval, a panel a test."""
    scores = columns(tables, "scores", "r2 r2_low r2_high points", "predictor test").rename({"r2": "value"})
    order = scores["predictor"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=[-1, 1], clamp=True)
    x, ends = alt.X("value:Q", title="R²", scale=scale), alt.X("r2_low:Q", scale=scale)
    numbers = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "r2_low", "r2_high")]
    y = alt.Y("predictor:N", title=None, sort=order)
    chart = alt.Chart(scores)
    zero = chart.mark_rule(color=GRAY, strokeWidth=0.5).encode(alt.XDatum(0))
    rule = chart.mark_rule(strokeWidth=1.5, color=BLUE).encode(ends, y, x2="r2_high")
    dot = chart.mark_point(filled=True, size=60, color=BLUE, opacity=1)
    layers = [zero, rule, dot.encode(x, y, tooltip=["predictor:N", "points:Q", *numbers])]
    tests = scores["test"].unique(maintain_order=True).to_list()
    both = scores.filter(predictor=order[0]).select("test", "value", "r2_low", "r2_high")
    return figure(
        "scores",
        facets(layers, "test", tests, (220, 170)),
        ("What predicts the final loss", "R² for unseen points, 95% interval; what is below −1 stands at −1"),
        f"R² of each predictor. From {order[0]}: {in_words(both.iter_rows(), '.2f')}.",
    )


def loss_by_scale(tables: Tables) -> Figure:
    """Loss of the stacks against the scale of their branches, a colour a stack."""
    cells = estimates(tables, "cells", "loss", "branch_scale models failed", "stack")
    cells = cells.rename({"stack": "series"})
    groups = Groups.of(cells)
    axis = alt.Axis(values=[0.25, 0.5, 1, 2, 4], format="~g", grid=False)
    title = "factor on the branches' output maps (logarithmic)"
    x = alt.X("branch_scale:Q", title=title, scale=alt.Scale(type="log", base=2, padding=14), axis=axis)
    tip = tips(".2f", "series:N", "branch_scale:Q", "models:Q", "failed:Q")
    label = pl.format("{} × {}", "series", "branch_scale")
    words = in_words(cells.select(label, "value", "low", "high").iter_rows(), ".2f")
    return figure(
        "loss-by-scale",
        grid([panel(groups.intervals(cells, x, number(REACHED), tip), "", 460, 300)], groups.chosen, 1),
        (
            "Loss of five stacks by the scale of their branches",
            "1: as published; mean over seeds, 95% interval",
        ),
        f"Training loss of each stack at each scale of its branches. {words}.",
    )


def loss_by_totals(tables: Tables) -> Figure:
    """Loss of every model against both totals of its initialization, a colour a stack."""
    models = columns(tables, "models", "branch_scale member loss angle_total gradient_total", "stack")
    models = models.rename({"stack": "series"})
    groups = Groups.of(models)
    panels: list[Panel] = []
    for name in ("angle_total", "gradient_total"):
        title = f"|{name.replace('_', ' ')}| at initialization"
        axis = alt.Axis(values=[0, 1, 2, 5, 10, 20, 50])
        x = alt.X("size:Q", title=title, scale=alt.Scale(type="symlog", domainMin=0), axis=axis)
        tip = ["series:N", "branch_scale:Q", *(alt.Tooltip(f"{f}:Q", format=".3g") for f in (name, "loss"))]
        chart = alt.Chart(models.with_columns(size=pl.col(name).abs())).mark_point(size=50)
        opacity = groups.opacity(0.9)
        dots = chart.encode(x, number(REACHED, "loss"), groups.color, opacity=opacity, tooltip=tip)
        panels.append(panel([dots], "", 330, 250))
    apart = models.group_by("series", maintain_order=True).agg(
        pl.col("loss").max(), low=pl.col("angle_total").min(), high=pl.col("angle_total").max()
    )
    return figure(
        "loss-by-totals",
        grid(panels, groups.chosen, 2),
        ("Loss of every model by the totals of its initialization", "a point a model; logarithmic from 1 on"),
        f"Largest training loss of each stack, with the range of its angle totals. "
        f"{in_words(apart.iter_rows(), '.2f')}.",
    )


def rule_by_exponent(tables: Tables, rule: str) -> Figure:
    """Share of answers by a rule against L·λ_a, one colour a depth, a panel for every task and norm."""
    points = columns(tables, "points", "depth exponent share low high models", "task norm rule")
    points = points.filter(rule=rule).rename({"share": "value"}).sort("exponent", maintain_order=True)
    depths = points["depth"].unique().sort().to_list()
    groups = Groups([f"{depth:.0f}" for depth in depths], "depth (layers)", ordered=True)
    shift = {depth: DODGE * (i - (len(depths) - 1) / 2) for i, depth in enumerate(depths)}
    points = points.with_columns(
        series=pl.col("depth").cast(pl.Int64).cast(pl.String),
        arm=pl.format("{}, {}-norm", "task", "norm"),
        shown=pl.col("exponent") + pl.col("depth").replace_strict(shift),
    )
    x = alt.X("shown:Q", title="angle total at initialization")
    tip = tips(".0%", "series:N", "exponent:Q", "models:Q")
    layers = groups.intervals(points, x, share("share of answers"), tip)
    arms = points["arm"].unique(maintain_order=True).to_list()
    label = pl.format("{}, {} layers at {}", "arm", "series", "exponent")
    words = in_words(points.select(label, "value", "low", "high").iter_rows(), ".0%")
    subtitle = (
        "share of generalization answers against accumulated angle exponent: mean over seeds, 95% interval"
    )
    return figure(
        f"{rule}-by-exponent",
        groups.choosing(facets(layers, "arm", arms, (250, 230))),
        (RULES[rule], subtitle),
        f"{RULES[rule]}: share against accumulated angle exponent. {words}.",
    )


def rule_over_steps(tables: Tables) -> Figure:
    """The hierarchical share over steps for the first task and norm, a panel a depth, a colour an exponent."""
    curves = columns(tables, "curves", "depth exponent step value low high", "task norm name")
    curves = curves.filter(name="hierarchical", task=curves["task"][0], norm=curves["norm"][0])
    exponents = curves["exponent"].unique().sort(descending=True).to_list()
    names = [minus(f"{exponent:g}") for exponent in exponents]
    groups = Groups(names, "angle total at initialization", ordered=True)
    curves = curves.sort("depth", maintain_order=True).with_columns(
        series=pl.col("exponent").replace_strict(dict(zip(exponents, names, strict=True))),
        panel=layers_of("depth"),
    )
    layers = groups.bands(curves, steps(), share("share of answers"), tips(".1%", "series:N", "step:Q"))
    panels = curves["panel"].unique(maintain_order=True).to_list()
    return figure(
        "rule-over-steps",
        groups.choosing(facets(layers, "panel", panels, (330, 180), wrap=2)),
        (
            "Answers by the hierarchical rule over steps",
            f"{curves['task'][0]}, {curves['norm'][0]}-norm; {band_words(groups)}",
        ),
        "Share of answers by the hierarchical rule against steps, a panel a depth, a colour an exponent.",
    )
