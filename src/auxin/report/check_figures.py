"""The figure of a checked model: what was measured and what its initialization predicts, layer by layer."""

from __future__ import annotations

import altair as alt
import polars as pl

from auxin.report.theme import BLUE, VERMILION, Panel

TITLES = {
    "cosine": "mean cosine of two tokens",
    "norm": "norm² of the stream, per dimension",
    "gradient": "squared gradient, relative to the output's",
}


def signals(measured: pl.DataFrame, predicted: pl.DataFrame | None, *, title: str) -> alt.HConcatChart:
    """Three panels: measured as points, predicted as a line in its band.

    Args:
        measured: a row a layer with columns layer, cosine, norm and gradient; null where nothing was measured.
        predicted: the same with ``cosine_band`` … (half widths); None without a prediction.
        title: the model's name.
    """
    points = measured["norm"].is_not_null().any()
    parts = ["points: measured"] if points else []
    parts += ["line and band: predicted, ± 2 standard deviations"] if predicted is not None else []
    heading = alt.Title(f"{title} at initialization", subtitle="; ".join(parts) or "nothing measured")
    panels = (_panel(name, measured, predicted) for name in TITLES)
    return alt.hconcat(*panels).properties(title=heading, description=_words(measured, predicted))


def _words(measured: pl.DataFrame, predicted: pl.DataFrame | None) -> str:
    """What the panels show, in numbers."""
    said: list[str] = []
    for name, what in TITLES.items():
        for frame, how in ((measured, "measured"), (predicted, "predicted")):
            if frame is not None and frame[name].is_not_null().any():
                first, last = frame[name][0], frame[name][-1]
                said.append(
                    f"{what}, {how}: from {first:.3g} at the input to {last:.3g} after the last layer"
                )
    return "; ".join(said) + "."


def _panel(name: str, measured: pl.DataFrame, predicted: pl.DataFrame | None) -> Panel:
    log = name != "cosine"
    axis = alt.Axis(title="layer", tickMinStep=1)
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    x, y = alt.X("layer:Q", axis=axis), alt.Y("value:Q", title=TITLES[name], scale=scale)
    tip = ["layer:Q", alt.Tooltip("value:Q", format=".4g")]
    layers: list[alt.Chart] = []
    if predicted is not None:
        value, band = pl.col(name), pl.col(f"{name}_band")
        low, high = value - band, value + band
        if log:  # below 0 there is no logarithm: the band is as wide downwards as upwards, by a factor
            low = value / (1 + band / value)
        else:
            low, high = low.clip(-1, 1), high.clip(-1, 1)
        frame = predicted.select("layer", value=value, low=low, high=high).drop_nulls()
        band_y = alt.Y("low:Q", title=TITLES[name], scale=scale)
        layers.append(
            alt.Chart(frame).mark_area(opacity=0.18, color=BLUE).encode(x, band_y, alt.Y2("high:Q"))
        )
        layers.append(alt.Chart(frame).mark_line(strokeWidth=2, color=BLUE).encode(x, y, tooltip=tip))
    seen = measured.select("layer", value=pl.col(name)).drop_nulls()
    dots = alt.Chart(seen).mark_point(filled=True, size=45, color=VERMILION, opacity=1)
    layers.append(dots.encode(x, y, tooltip=tip))
    return alt.layer(*layers).properties(width=210, height=210)
