"""Figures of the theory: phases, bifurcations, growth by layer, profiles, slopes over sizes."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl
from scipy.special import stdtrit

from auxin.errors import DataError
from auxin.report.marks import cell_sides, line_ends, number, panel, zero_contour
from auxin.report.markup import label
from auxin.report.tables import drawable
from auxin.report.theme import BLUE, GRAY, PALETTE, VERMILION, Panel
from auxin.theory.profile import Profile

EXPONENTS = {
    "angle": ("Angle exponent", "below 0 tokens align, above 0 they separate"),
    "gradient": ("Gradient exponent", "below 0 gradients vanish, above 0 they explode"),
}
NOTHING = [
    "With skips of 1 before every norm the stream",
    "grows for ever, and a layer's part in it tends to 0:",
    "in the limit no exponent is left.",
    "auxin exponents --depth adds up the layers",
    "of a network as deep as yours.",
]
"""Why a panel of an ordinary pre-norm block is empty."""
PROFILED = {
    "cosine": "mean cosine of two tokens",
    "norm": "norm² of the stream, per dimension",
    "gradient": "squared gradient, relative to the output's",
}


def phase_diagram(
    frame: pl.DataFrame, names: tuple[str, str] = ("x", "y"), point: tuple[float, float] | None = None
) -> alt.HConcatChart:
    """Angle and gradient exponent over two hyperparameters, with their zero lines and, on the grid, a point.

    ``frame`` is a full grid with columns x, y, angle and gradient. Colours are centred at 0 and saturate at
    the 98th percentile of finite values. Raises ``DataError`` when the grid is smaller than 2 × 2 or has holes.
    """
    xs, ys = (frame[axis].unique().sort().to_numpy() for axis in "xy")
    if min(len(xs), len(ys)) < 2 or frame.height != len(xs) * len(ys):
        raise DataError(
            f"{frame.height} points are no grid of {len(xs)} × {len(ys)}; allowed: a full grid from 2 × 2"
        )
    frame = frame.sort("y", "x")
    cells = frame
    for axis, centers in zip("xy", (xs, ys), strict=True):
        cells = cells.join(cell_sides(axis, centers, outer=False), on=axis)
    limits = [alt.Scale(domain=[centers[0], centers[-1]], nice=False) for centers in (xs, ys)]
    x = alt.X("x_0:Q", title=label(names[0]), scale=limits[0])
    y = alt.Y("y_0:Q", title=label(names[1]), scale=limits[1])
    panels: list[Panel] = []
    for name, (title, subtitle) in EXPONENTS.items():
        values = frame[name].to_numpy().reshape(len(ys), len(xs))
        finite = np.abs(values[np.isfinite(values)])
        limit = float(np.quantile(finite, 0.98)) if finite.any() else 1.0
        scale = alt.Scale(scheme="blueorange", domain=[-limit, limit], domainMid=0, clamp=True)
        color = alt.Color(f"{name}:Q", title="per layer", scale=scale)
        tip = ["x:Q", "y:Q", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in EXPONENTS)]
        heat = alt.Chart(cells).mark_rect(
            clip=True, aria=False, x2Offset=0.7, y2Offset=-0.7
        )  # or the page shines through
        heat = heat.encode(x, y, color, x2="x_1", y2="y_1", tooltip=tip)
        ends = ["x_0", "y_0", "x_1", "y_1"]
        line = alt.Chart(pl.DataFrame(zero_contour(xs, ys, values), schema=ends, orient="row"))
        line = line.mark_rule(strokeWidth=1.5, color="black", clip=True, aria=False)
        layers = [heat, line.encode(x, y, x2="x_1", y2="y_1")]
        if not values.any():
            subtitle = "0 everywhere: no layer adds to those before it"
            text = alt.Chart(pl.DataFrame({"": [0]}))
            text = text.mark_text(text=NOTHING, fontSize=12, color="black", baseline="middle")
            layers.append(text.encode(x=alt.value(145), y=alt.value(110)))
        if point is not None and xs[0] <= point[0] <= xs[-1] and ys[0] <= point[1] <= ys[-1]:
            dot = alt.Chart(pl.DataFrame({"x_0": [point[0]], "y_0": [point[1]]}))
            layers.append(dot.mark_point(size=110, filled=True, color="black", stroke="white").encode(x, y))
        heading = alt.Title(title, subtitle=subtitle)
        panels.append(alt.layer(*layers).properties(title=heading, width=290, height=290))
    return alt.hconcat(*panels).resolve_scale(color="independent")


def bifurcation(frame: pl.DataFrame, x_name: str = "α") -> Panel:
    """Where the cosine of two tokens ends up (c*) against a hyperparameter: 1 is collapse, less is chaos.

    ``frame`` has columns x and cosine, and may have ``curve``, a name for each line.
    """
    curves = frame if "curve" in frame.columns else frame.with_columns(curve=pl.lit(""))
    curves = drawable(curves, "cosine", "cosine")
    color = alt.Color("curve:N", title=None, legend=None, scale=alt.Scale(range=list(PALETTE)))
    x = alt.X("x:Q", title=label(x_name), scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("cosine:Q", title="fixed point c* of the cosine")
    tip = ["curve:N", alt.Tooltip("x:Q", format=".3f"), alt.Tooltip("cosine:Q", format=".4f")]
    line = alt.Chart(curves).mark_line(strokeWidth=2.5).encode(x, y, color, tooltip=tip)
    ends = line_ends(curves.rename({"curve": "series", "cosine": "value", "x": "step"}), 0.06)
    labels = ends.mark_text(align="left", dx=6).encode(
        alt.X("step:Q"), alt.Y("value:Q"), alt.Color("series:N", legend=None), text="series:N"
    )
    return alt.layer(line, labels).properties(title="From order to chaos", width=420, height=280)


def sections(frame: pl.DataFrame, y_name: str, count: int = 5) -> pl.DataFrame:
    """Lines through a phase diagram at ``count`` values of y, as ``bifurcation`` draws them."""
    ys = frame["y"].unique().sort()
    chosen = ys.gather(np.linspace(0, len(ys) - 1, min(count, len(ys))).round().astype(int))
    curve = pl.format("{} = {}", pl.lit(label(y_name)), pl.col("y").round_sig_figs(3))
    found = frame.filter(pl.col("y").is_in(chosen.implode())).select("x", "cosine", curve=curve)
    return found.sort("curve", "x")


def growth(angle: float, gradient: float, depth: int, phase: str) -> alt.HConcatChart:
    """e^{λ_a·l} forwards and e^{λ_g·(L − l)} backwards, over the layers l = 0 … L of a depth L."""
    layers = np.arange(depth + 1)
    titles = "1 − cosine, relative to the input's", "squared gradient norm, relative to the output's"
    logs = angle * layers, gradient * (depth - layers)
    panels: list[alt.Chart] = []
    for title, color, log in zip(titles, (BLUE, VERMILION), logs, strict=True):
        frame = pl.DataFrame({"layer": layers, "value": np.exp(np.clip(log, -690, 690))})
        line = alt.Chart(frame).mark_line(strokeWidth=2, color=color)
        tip = ["layer:Q", alt.Tooltip("value:Q", format=".4g")]
        panels.append(line.encode(_layer(), _log(title), tooltip=tip).properties(width=280, height=260))
    subtitle = f"angle exponent {angle:.3g}, gradient exponent {gradient:.3g} a layer"
    return alt.hconcat(*panels).properties(
        title=alt.Title(f"Over {depth} layers: {phase}", subtitle=subtitle)
    )


def profile_figure(
    predicted: Profile | None, measured: Profile | None = None, *, title: str = "Signal propagation"
) -> alt.HConcatChart:
    """Three panels: predicted as a line in a band of 2 standard errors, measured as points with 95% intervals.

    Intervals are Student's, of the errors that columns have; without ``draws`` they are 2 standard errors wide.
    """
    words = ["line: predicted"] if predicted is not None else []
    if predicted is not None and predicted.errors:
        words = ["line and band: predicted, ± 2 standard errors"]
    words += ["points: measured, 95% interval"] if measured is not None else []
    profiles = [(measured, "measured"), (predicted, "predicted")]
    description = "; ".join(
        f"{what}, {how}: from {profile[name][0]:.3g} at the input to {profile[name][-1]:.3g} after the last layer"
        for name, what in PROFILED.items()
        for profile, how in profiles
        if profile is not None
    )
    heading = alt.Title(title, subtitle="; ".join(words) or "nothing measured")
    panels = (_profile_panel(name, predicted, measured) for name in PROFILED)
    return alt.hconcat(*panels).properties(title=heading, description=f"{description}.")


def _profile_panel(name: str, predicted: Profile | None, measured: Profile | None) -> Panel:
    frames = [None if profile is None else _intervals(profile, name) for profile in (predicted, measured)]
    log = name != "cosine" and any(frame is not None and (frame["value"] > 0).any() for frame in frames)
    if log:
        frames = [None if frame is None else frame.filter(pl.col("value") > 0) for frame in frames]
    x, y = _layer(), _log(PROFILED[name]) if log else number(PROFILED[name])
    ends = alt.Y("low:Q"), alt.Y2("high:Q")
    tip = ["layer:Q", alt.Tooltip("value:Q", format=".4g")]
    layers: list[alt.Chart] = []
    if predicted is not None:
        chart = alt.Chart(frames[0])
        layers.append(chart.mark_line(strokeWidth=2, color=BLUE).encode(x, y, tooltip=tip))
        if name in predicted.errors:
            layers.append(chart.mark_area(opacity=0.18, color=BLUE).encode(x, *ends))
    if measured is not None:
        chart = alt.Chart(frames[1])
        if name in measured.errors:
            layers.append(chart.mark_rule(color=VERMILION).encode(x, *ends))
        dots = chart.mark_point(filled=True, size=45, color=VERMILION, opacity=1)
        layers.append(dots.encode(x, y, tooltip=tip))
    return alt.layer(*layers).properties(width=210, height=210)


def _intervals(profile: Profile, name: str) -> pl.DataFrame:
    """A row a layer with the ends of its interval, within what can be; on a logarithmic axis above zero."""
    values = profile[name]
    margins = profile.error(name) * (stdtrit(profile.draws - 1, 0.975) if profile.draws else 2)
    least, most = (-1, 1) if name == "cosine" else (values / 100, np.inf)
    low, high = np.maximum(values - margins, least), np.minimum(values + margins, most)
    frame = pl.DataFrame({"layer": range(len(values)), "value": values, "low": low, "high": high})
    return frame.filter(pl.col("value").is_finite())


def _layer() -> alt.X:
    return alt.X(
        "layer:Q", title="layer", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(padding=8, nice=False)
    )


def _log(title: str) -> alt.Y:
    axis = alt.Axis(format="~g", tickCount=4)
    return alt.Y("value:Q", title=title, scale=alt.Scale(type="log", padding=8, nice=False), axis=axis)


def transfer_figure(slopes: pl.DataFrame) -> alt.ConcatChart:
    """A row a quantity, a panel an axis: dot and interval, vermilion where it is off; a tick where it should be.

    ``slopes`` has axis, quantity, exponent, low, high, target (null: not judged, and not drawn) and off.
    """
    judged = slopes.filter(pl.col("target").is_not_null())
    axes = [axis for axis in ("width", "depth") if (judged["axis"] == axis).any()]
    panels = [_slopes_panel(judged.filter(axis=axis), axis) for axis in axes]
    subtitle = "dot and line: exponent and 95% interval; tick: what it should be; vermilion: off"
    return alt.concat(*panels, columns=2).properties(
        title=alt.Title("Slopes over width and depth", subtitle=subtitle)
    )


def _slopes_panel(rows: pl.DataFrame, axis: str) -> Panel:
    ends = rows.select(
        least=pl.min_horizontal("exponent", "target").min(),
        most=pl.max_horizontal("exponent", "target").max(),
    )
    low, high = min(ends["least"][0], -0.5) - 0.25, max(ends["most"][0], 0.5) + 0.25
    scale = alt.Scale(domain=[low, high])
    chart = alt.Chart(rows)
    y = alt.Y("quantity:N", title=None, sort=None, axis=alt.Axis(labelLimit=240))
    color = alt.Color("off:N", scale=alt.Scale(domain=[False, True], range=[BLUE, VERMILION]), legend=None)
    tick = chart.mark_tick(color=GRAY, thickness=3, size=16).encode(alt.X("target:Q"), y)
    rule = chart.mark_rule(strokeWidth=1.5, clip=True).encode(alt.X("low:Q"), y, color, alt.X2("high:Q"))
    dot = chart.mark_point(filled=True, size=60).encode(
        alt.X("exponent:Q", title=f"exponent over {axis}", scale=scale),
        y,
        color,
        tooltip=[
            "quantity:N",
            *(alt.Tooltip(f"{n}:Q", format=".2f") for n in ("exponent", "low", "high", "target")),
        ],
    )
    return panel([tick, rule, dot], axis, 280, 22 * rows.height)
