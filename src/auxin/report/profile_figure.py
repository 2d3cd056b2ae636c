"""The figure of profiles: what was predicted as lines, what was simulated or measured as points, layer by layer."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from auxin.report.theme import BLUE, VERMILION, Panel
from auxin.theory.profile import Profile

TITLES = {
    "cosine": "mean cosine of two tokens",
    "norm": "norm² of the stream, per dimension",
    "gradient": "squared gradient, relative to the output's",
}


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
    heading = alt.Title(title, subtitle="; ".join(words) or "nothing measured")
    panels = (_panel(name, predicted, measured) for name in TITLES)
    return alt.hconcat(*panels).properties(title=heading, description=_words(predicted, measured))


def _panel(name: str, predicted: Profile | None, measured: Profile | None) -> Panel:
    frames = {
        how: _intervals(profile, name)
        for how, profile in (("predicted", predicted), ("measured", measured))
        if profile is not None
    }
    shown = np.concatenate(
        [frame.select("value", "low", "high").to_numpy().ravel() for frame in frames.values()]
    )
    x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(padding=8, nice=False))
    y = _linear(TITLES[name]) if name == "cosine" else _logarithmic(TITLES[name], shown)
    ends = alt.Y("low:Q"), alt.Y2("high:Q")
    tip = ["layer:Q", alt.Tooltip("value:Q", format=".4g")]
    layers: list[alt.Chart] = []
    if "predicted" in frames:
        line = alt.Chart(frames["predicted"])
        layers.append(line.mark_line(strokeWidth=2, color=BLUE).encode(x, y, tooltip=tip))
        if predicted is not None and name in predicted.errors:
            layers.append(line.mark_area(opacity=0.18, color=BLUE).encode(x, *ends))
    if "measured" in frames:
        points = alt.Chart(frames["measured"])
        if measured is not None and name in measured.errors:
            layers.append(points.mark_rule(color=VERMILION).encode(x, *ends))
        dots = points.mark_point(filled=True, size=45, color=VERMILION, opacity=1)
        layers.append(dots.encode(x, y, tooltip=tip))
    return alt.layer(*layers).properties(width=210, height=210)


def _intervals(profile: Profile, name: str) -> pl.DataFrame:
    """A row a layer with the ends of its interval, within what can be; on a logarithmic axis above zero."""
    values = profile[name]
    margins = profile.error(name) * (stdtrit(profile.draws - 1, 0.975) if profile.draws else 2)
    if name == "cosine":
        low, high = np.maximum(values - margins, -1), np.minimum(values + margins, 1)
    else:
        low, high = np.maximum(values - margins, values / 100), values + margins
    frame = pl.DataFrame({"layer": range(len(values)), "value": values, "low": low, "high": high})
    return frame.filter(pl.col("value").is_finite())


def _words(predicted: Profile | None, measured: Profile | None) -> str:
    """What the panels show, in numbers."""
    said: list[str] = []
    for name, what in TITLES.items():
        for profile, how in ((measured, "measured"), (predicted, "predicted")):
            if profile is not None:
                first, last = profile[name][0], profile[name][-1]
                said.append(
                    f"{what}, {how}: from {first:.3g} at the input to {last:.3g} after the last layer"
                )
    return "; ".join(said) + "."


def _linear(title: str) -> alt.Y:
    return alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, padding=8))


def _logarithmic(title: str, shown: NDArray[np.float64]) -> alt.Y:
    """An axis over all that is ``shown``, intervals too, with few ticks: 1, 2, 5, or powers of ten where it is long."""
    low, high = shown[shown > 0].min(initial=np.inf), shown[np.isfinite(shown)].max(initial=0)
    if not 0 < low <= high:
        return _linear(title)
    domain = [low / 1.15, high * 1.15]
    powers = np.arange(np.floor(np.log10(domain[0])), np.ceil(np.log10(domain[1])) + 1)
    steps = [1, 2, 5] if len(powers) <= 3 else [1]
    ticks = [
        step * 10.0**power
        for power in powers
        for step in steps
        if domain[0] <= step * 10.0**power <= domain[1]
    ]
    axis = (
        alt.Axis(values=ticks[:: -(-len(ticks) // 6) or 1], format="~g")
        if len(ticks) > 1
        else alt.Axis(tickCount=3)
    )
    return alt.Y("value:Q", title=title, axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))
