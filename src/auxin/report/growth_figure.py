"""What two exponents come to over the layers of a network."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from auxin.report.theme import BLUE, VERMILION

TITLES = {
    "angle": "1 − cosine, relative to the input's",
    "gradient": "squared gradient norm, relative to the output's",
}


def growth(angle: float, gradient: float, depth: int, phase: str) -> alt.HConcatChart:
    """e^{λ_a·l} forwards and e^{λ_g·(L − l)} backwards, over the layers l = 0 … L of a depth L."""
    layers = np.arange(depth + 1)
    logs = {"angle": angle * layers, "gradient": gradient * (depth - layers)}
    panels: list[alt.Chart] = []
    for name, color in (("angle", BLUE), ("gradient", VERMILION)):
        frame = pl.DataFrame({"layer": layers, "value": np.exp(np.clip(logs[name], -690, 690))})
        y = alt.Y("value:Q", title=TITLES[name], scale=alt.Scale(type="log"), axis=alt.Axis(format="~g"))
        x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1))
        line = alt.Chart(frame).mark_line(strokeWidth=2, color=color)
        tip = ["layer:Q", alt.Tooltip("value:Q", format=".4g")]
        panels.append(line.encode(x, y, tooltip=tip).properties(width=280, height=260))
    said = f"angle exponent {angle:.3g}, gradient exponent {gradient:.3g} a layer"
    return alt.hconcat(*panels).properties(title=alt.Title(f"Over {depth} layers: {phase}", subtitle=said))
