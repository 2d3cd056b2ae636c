"""The README's picture, which make results draws.

Left, the mean cosine of two tokens behind every layer of three of transformers' models with random weights, as
docs/tables/real-models.csv has it; python docs/figures/readme.py makes that table again, in about ten minutes of one
core, by benchmarks/real_models.py. Right, the demo's run (docs/records/demo).
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl

from auxin.report.theme import BLUE, GREEN, VERMILION, Panel
from auxin.runs import open_run

HERE = Path(__file__).parent
DOCS = HERE.parent
TABLES = DOCS / "tables"
FAMILIES, DRAWS = ("Llama", "BERT", "GPT-2"), 24
WIDTH, DEPTH = 512, 8
SPLITS = {"val": "in domain", "gen": "generalization"}


def measure() -> pl.DataFrame:
    """Layer by layer: what the config alone predicts, and the mean over networks with its standard error."""
    sys.path.append(str(HERE.parents[1] / "benchmarks"))
    import auxin
    from real_models import configs, drawn, summary  # pyright: ignore[reportMissingImports]

    rows = []
    for name in FAMILIES:
        config = configs(WIDTH, DEPTH)[name]
        grams = np.stack([gram for gram, _ in drawn(config, DRAWS)])
        causal = name != "BERT"
        found = auxin.propagate_gram(auxin.network_of(config), grams.mean(0)[0], causal=causal, draws=1024)
        predicted, cosines = summary(found["gram"])[1], np.stack([summary(gram)[1] for gram in grams])
        error = cosines.std(0, ddof=1) / DRAWS**0.5
        for layer in range(DEPTH + 1):
            numbers = predicted[layer], cosines[:, layer].mean(), error[layer]
            rows.append((name, layer, *(round(float(number), 5) for number in numbers)))
    return pl.DataFrame(rows, schema=["model", "layer", "predicted", "measured", "error"], orient="row")


def start(table: pl.DataFrame) -> Panel:
    """Measured points on the predicted lines."""
    bars = table.with_columns(
        low=pl.col("measured") - 2 * pl.col("error"), high=pl.col("measured") + 2 * pl.col("error")
    )
    x = alt.X(
        "layer:Q",
        title="layer",
        axis=alt.Axis(values=list(range(DEPTH + 1))),
        scale=alt.Scale(domain=[0, DEPTH + 1]),
    )
    y = alt.Y("predicted:Q", title="mean cosine of two tokens", scale=alt.Scale(domain=[0, 1]))
    color = alt.Color(
        "model:N", legend=None, scale=alt.Scale(domain=list(FAMILIES), range=[VERMILION, GREEN, BLUE])
    )
    chart = alt.Chart(bars)
    line = chart.mark_line(strokeWidth=2).encode(x, y, color)
    rule = chart.mark_rule(strokeWidth=1.5).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color)
    point = chart.mark_point(filled=True, size=55, opacity=1).encode(x, alt.Y("measured:Q"), color)
    names = chart.transform_filter(alt.datum.layer == DEPTH).mark_text(align="left", dx=9, fontSize=12)
    title = alt.Title(
        "Before training: predicted from config.json",
        subtitle="line: prediction; points: the model, measured",
    )
    return alt.layer(
        line, rule, point, names.encode(x, alt.Y("predicted:Q"), color, text="model:N")
    ).properties(title=title, width=330, height=250)


def emergence(table: pl.DataFrame) -> Panel:
    """The demo's two curves."""
    rows = table.filter(pl.col("split").is_in(list(SPLITS)), name="accuracy").with_columns(
        curve=pl.col("split").replace_strict(SPLITS)
    )
    x = alt.X("step:Q", title="optimizer steps")
    y = alt.Y("value:Q", title="accuracy", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1]))
    color = alt.Color(
        "curve:N", legend=None, scale=alt.Scale(domain=list(SPLITS.values()), range=[BLUE, VERMILION])
    )
    line = alt.Chart(rows).mark_line(strokeWidth=2).encode(x, y, color)
    said = pl.DataFrame({"curve": list(SPLITS.values()), "step": [500, 2600], "value": [0.82, 0.42]})
    names = alt.Chart(said).mark_text(align="left", fontSize=12).encode(x, y, color, text="curve:N")
    title = alt.Title("In training: the rule emerges late", subtitle="auxin demo: one model, seed 0")
    return alt.layer(line, names).properties(title=title, width=330, height=250)


def picture(docs: Path = DOCS) -> alt.HConcatChart:
    """Both panels."""
    left, right = pl.read_csv(docs / "tables/real-models.csv"), open_run(docs / "records/demo").metrics
    return alt.hconcat(start(left), emergence(right), spacing=36).resolve_scale(color="independent")


if __name__ == "__main__":
    measure().write_csv(TABLES / "real-models.csv")
