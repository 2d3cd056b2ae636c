"""Figures of the theory: phase diagrams, bifurcations, attention moments."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from auxin.errors import DataError
from auxin.report.figures import line_ends
from auxin.report.labels import label
from auxin.report.tables import drawable
from auxin.report.theme import BLUE, GREEN, PALETTE, VERMILION, Panel


def phase_diagram(
    frame: pl.DataFrame,
    point: tuple[float, float] | None = None,
    *,
    x_title: str = "x",
    y_title: str = "y",
) -> alt.HConcatChart:
    """Angle and gradient exponent over two hyperparameters, with their zero lines and, on the grid, a point.

    ``frame`` is a full grid with columns x, y, angle and gradient. Colours are centred at 0 and saturate at
    the 98th percentile of finite values. Raises ``DataError`` when the grid is smaller than 2 × 2 or has holes.
    """
    xs, ys = frame["x"].unique().sort().to_numpy(), frame["y"].unique().sort().to_numpy()
    if min(len(xs), len(ys)) < 2 or frame.height != len(xs) * len(ys):
        raise DataError(
            f"{frame.height} points are no grid of {len(xs)} × {len(ys)}; allowed: a full grid from 2 × 2"
        )
    frame = frame.sort("y", "x")
    cells = frame.join(_edges("x", xs), on="x").join(_edges("y", ys), on="y")
    axes = {
        "x": alt.X("x0:Q", title=label(x_title), scale=alt.Scale(domain=[xs[0], xs[-1]], nice=False)),
        "y": alt.Y("y0:Q", title=label(y_title), scale=alt.Scale(domain=[ys[0], ys[-1]], nice=False)),
    }
    titles = {
        "angle": alt.Title("Angle exponent", subtitle="below 0 tokens align, above 0 they separate"),
        "gradient": alt.Title("Gradient exponent", subtitle="below 0 gradients vanish, above 0 they explode"),
    }
    panels: list[Panel] = []
    for name, title in titles.items():
        values = frame[name].to_numpy().reshape(len(ys), len(xs))
        if not values.any():
            title.subtitle = "0 everywhere: no layer adds to those before it"
        finite = np.abs(values[np.isfinite(values)])
        limit = float(np.quantile(finite, 0.98)) if finite.size else 0.0
        scale = alt.Scale(
            scheme="blueorange", domain=[-(limit or 1.0), limit or 1.0], domainMid=0, clamp=True
        )
        tip = ["x:Q", "y:Q", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in titles)]
        heat = alt.Chart(cells).mark_rect(clip=True, aria=False).encode(
            **axes, x2="x1", y2="y1", color=alt.Color(f"{name}:Q", title="per layer", scale=scale), tooltip=tip
        )  # fmt: skip
        segments = pl.DataFrame(zero_contour(xs, ys, values), schema=["x0", "y0", "x1", "y1"], orient="row")
        line = alt.Chart(segments).mark_rule(strokeWidth=1.5, color="black", clip=True, aria=False)
        layers = [heat, line.encode(**axes, x2="x1", y2="y1")]
        if not values.any():
            layers.append(_in_the_middle(NOTHING))
        if point is not None and xs[0] <= point[0] <= xs[-1] and ys[0] <= point[1] <= ys[-1]:
            dot = alt.Chart(pl.DataFrame({"x0": [point[0]], "y0": [point[1]]}))
            layers.append(dot.mark_point(size=110, filled=True, color="black", stroke="white").encode(**axes))
        panels.append(alt.layer(*layers).properties(title=title, width=290, height=290))
    return alt.hconcat(*panels).resolve_scale(color="independent")


NOTHING = [
    "With skips of 1 before every norm the stream",
    "grows for ever, and a layer's part in it tends to 0:",
    "in the limit no exponent is left.",
    "auxin exponents --depth adds up the layers",
    "of a network as deep as yours.",
]
"""Why a panel of an ordinary pre-norm block is empty."""


def _in_the_middle(lines: list[str]) -> alt.Chart:
    text = alt.Chart(pl.DataFrame({"": [0]})).mark_text(
        text=lines, fontSize=12, color="black", baseline="middle"
    )
    return text.encode(x=alt.value(145), y=alt.value(110))


def zero_contour(xs: NDArray[Any], ys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Segments [k, 4] (x, y, x', y') of the line on which a function linear on triangles is zero.

    ``values`` [len(ys), len(xs)]; each cell of the grid is two triangles, so the line has no ambiguous case.
    Triangles with a value that is not finite are left out.
    """
    grid = np.stack([*np.meshgrid(xs, ys), values], axis=-1)  # [Y, X, (x, y, value)]
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    triangles = np.concatenate(
        [np.stack([a, b, c], 2).reshape(-1, 3, 3), np.stack([a, c, d], 2).reshape(-1, 3, 3)]
    )
    positive = triangles[..., 2] >= 0
    mixed = positive.any(1) & ~positive.all(1) & np.isfinite(triangles[..., 2]).all(1)
    triangles, positive = triangles[mixed], positive[mixed]
    alone = (positive == (positive.sum(1) == 1)[:, None]).argmax(1)  # the corner whose sign the others lack
    corners = np.take_along_axis(triangles, ((alone[:, None] + np.arange(3)) % 3)[..., None], axis=1)
    apex, others = corners[:, :1], corners[:, 1:]
    share = apex[..., 2:] / (apex[..., 2:] - others[..., 2:])
    return (apex + share * (others - apex))[..., :2].reshape(-1, 4)


def bifurcation(frame: pl.DataFrame, *, x_title: str = "α") -> Panel:
    """Where the cosine of two tokens ends up (c*) against a hyperparameter: 1 is collapse, less is chaos.

    ``frame`` has columns x and cosine, and may have ``curve``, a name for each line.
    """
    frame = drawable(
        frame if "curve" in frame.columns else frame.with_columns(curve=pl.lit("")), "cosine", "cosine"
    )
    color = alt.Color("curve:N", title=None, legend=None, scale=alt.Scale(range=list(PALETTE)))
    x = alt.X("x:Q", title=label(x_title), scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("cosine:Q", title="fixed point c* of the cosine")
    tip = ["curve:N", alt.Tooltip("x:Q", format=".3f"), alt.Tooltip("cosine:Q", format=".4f")]
    line = alt.Chart(frame).mark_line(strokeWidth=2.5).encode(x, y, color, tooltip=tip)
    ends = line_ends(frame.rename({"curve": "series", "cosine": "value", "x": "step"}), 0.06)
    labels = ends.mark_text(align="left", dx=6).encode(
        alt.X("step:Q"), alt.Y("value:Q"), alt.Color("series:N", legend=None), text="series:N"
    )
    return alt.layer(line, labels).properties(title="From order to chaos", width=420, height=280)


def sections(frame: pl.DataFrame, y_name: str, count: int = 5) -> pl.DataFrame:
    """Lines through a phase diagram at ``count`` values of y, as ``bifurcation`` draws them."""
    ys = frame["y"].unique().sort()
    chosen = ys.gather(np.linspace(0, len(ys) - 1, min(count, len(ys))).round().astype(int))
    label = pl.format("{} = {}", pl.lit(y_name), pl.col("y").round_sig_figs(3))
    return (
        frame.filter(pl.col("y").is_in(chosen.implode()))
        .select("x", "cosine", curve=label)
        .sort("curve", "x")
    )


def attention_moments(frame: pl.DataFrame) -> alt.HConcatChart:
    """R1, the mean sum of squared attention weights, against the logits' spread: exact and approximations.

    ``frame`` has columns n_tokens, spread, method (exact, annealed, rem) and r1; a panel for each n.
    Values above 1, which no softmax can have, are cut off: that is where an approximation has broken down.
    """
    frame = drawable(frame, "moment", "r1").with_columns(
        pl.col("method").replace("rem", "REM limit"),
        shown=pl.col("r1").clip(upper_bound=10),  # of a line to 1e14 a renderer draws nothing
    )
    domain = ["exact", "annealed", "REM limit"]
    color = alt.Color("method:N", title=None, scale=alt.Scale(domain=domain, range=[BLUE, VERMILION, GREEN]))
    dash = alt.StrokeDash(
        "method:N", title=None, scale=alt.Scale(domain=domain, range=[[1, 0], [6, 3], [2, 2]])
    )
    x = alt.X("spread:Q", title="spread of the logits")
    y = alt.Y("shown:Q", title="R1, the sum of squared weights", scale=alt.Scale(domain=[0, 1]))
    tip = ["method:N", "spread:Q", alt.Tooltip("r1:Q", format=".4g")]
    panels = [
        alt.Chart(frame.filter(pl.col("n_tokens") == n))
        .mark_line(strokeWidth=2, clip=True)
        .encode(x, y, color, dash, tooltip=tip)
        .properties(
            title=alt.Title(f"n = {n}", fontSize=12, fontWeight="normal", offset=4), width=200, height=200
        )
        for n in frame["n_tokens"].unique().sort()
    ]
    return alt.hconcat(*panels).properties(title="Attention at finite length")


def _edges(name: str, centers: NDArray[Any]) -> pl.DataFrame:
    """Where the cell around each grid value begins and ends; cells overlap, since seams would show."""
    middle = (centers[1:] + centers[:-1]) / 2
    low = np.concatenate([centers[:1], middle])
    high = np.concatenate([centers[1:], centers[-1:]])
    return pl.DataFrame({name: centers, f"{name}0": low, f"{name}1": high})
