"""Curves of two studies whose runs are gone, drawn anew: python docs/figures/curves.py [--out DIR]

Their means and ±2 standard errors are in docs/report.html, which the studies had made; what is drawn here has the same
means with Student's intervals of 95%, as all later figures do. Every mean is over five seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert
from scipy.stats import t

from auxin.report.exponent_figures import rule_over_steps
from auxin.report.grokking_figures import structure
from auxin.report.theme import LIGHT, VERSION, specification
from auxin.runs.rows import limits

HERE = Path(__file__).parent
SEEDS = 5
DRAWN = {
    "dynamics-laptop": ("What changes while the model generalizes", structure),
    "joint-rule-over-steps": ("Answers by the hierarchical rule over steps", rule_over_steps),
}
"""Files, the titles of their figures in the report, and what draws them."""


def specifications() -> dict[str, Any]:
    """The report's figures by title."""
    page = (HERE.parent / "report.html").read_text(encoding="utf-8")
    start = page.index(mark := '<script type="application/json" id="specifications">') + len(mark)
    figures = json.loads(page[start : page.index("</script>", start)])["figures"].values()
    return {figure["title"]["text"]: figure for figure in figures if figure.get("title")}


def curves(figure: dict[str, Any]) -> pl.DataFrame:
    """The rows of a figure with Student's intervals in place of ±2 standard errors, within what the metric can be."""
    rows = pl.DataFrame(
        [row for data in figure["datasets"].values() for row in data], infer_schema_length=None
    )
    error = pl.max_horizontal(pl.col("high") - pl.col("value"), pl.col("value") - pl.col("low")) / 2
    margin = error * float(t.ppf(0.975, SEEDS - 1))
    names = rows["name"].unique().to_list()
    least, most = (pl.col("name").replace_strict({n: limits(n)[end] for n in names}) for end in (0, 1))
    value = pl.col("value")
    return rows.with_columns(
        low=(value - margin).clip(lower_bound=least), high=(value + margin).clip(upper_bound=most)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=HERE)
    out = parser.parse_args().out
    figures = specifications()
    for name, (title, draw) in DRAWN.items():
        chart = draw({"curves": curves(figures[title])}).chart
        png = vl_convert.vegalite_to_png(specification(chart), vl_version=VERSION, scale=2, config=LIGHT)
        (out / f"{name}.png").write_bytes(png)


if __name__ == "__main__":
    main()
