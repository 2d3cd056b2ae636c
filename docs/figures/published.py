"""Runs among those published: python docs/figures/published.py [--measure LOGS RUN ...] [--out DIR]

docs/tables/published-size.csv has, of every run and step that both logged, the accuracies and, of the published
models' generalization, how many there are, their lowest, mean and highest, and how many lie below this run's.
--measure makes it again, from the published logs, a CSV of task, depth, seed, step, in_domain and generalization, and
the directories of runs of one seed each, by whose names the table calls them (docs/published-study.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

from auxin.report.marks import share, steps
from auxin.report.theme import GRAY, LIGHT, PALETTE, VERSION, specification
from auxin.runs import open_run

HERE = Path(__file__).parent
TABLE = HERE.parent / "tables" / "published-size.csv"
TASK, DEPTH = "question", 6


def measure(logs: Path, runs: Sequence[Path]) -> pl.DataFrame:
    """The runs beside the published models, a row a run and step."""
    metrics = pl.concat([open_run(run).metrics.with_columns(run=pl.lit(run.name)) for run in runs])
    metrics = metrics.filter(pl.col("split").is_in(["val", "gen"]), name="accuracy")
    ours = metrics.pivot("split", index=["run", "step"], values="value").rename(
        {"val": "in_domain", "gen": "generalization"}
    )
    theirs = pl.read_csv(logs).filter(task=TASK, depth=DEPTH).select("step", other="generalization")
    other = pl.col("other")
    among = [
        pl.len().alias("published_models"),
        other.min().alias("published_lowest"),
        other.mean().alias("published_mean"),
        other.max().alias("published_highest"),
        (other < pl.col("generalization")).sum().alias("published_below"),
    ]
    both = ours.join(theirs, on="step").group_by("run", "step", "in_domain", "generalization").agg(among)
    return both.sort("run", "step").with_columns(pl.col(pl.Float64).round(4))


def draw(table: pl.DataFrame) -> alt.LayerChart:
    """Each run's generalization on the range and the mean of the published ones."""

    def y(column: str) -> alt.Y:
        return share("generalization accuracy", column)

    runs = table["run"].unique(maintain_order=True).to_list()
    colors = alt.Scale(domain=runs, range=PALETTE[: len(runs)])
    color = alt.Color("run:N", title="trained here", scale=colors, legend=alt.Legend(orient="top"))
    published = alt.Chart(table.unique("step", maintain_order=True))
    band = published.mark_area(color=GRAY, opacity=0.25).encode(steps())
    mean = published.mark_line(color=GRAY, strokeDash=[6, 4], strokeWidth=2).encode(steps())
    ours = alt.Chart(table).mark_line(strokeWidth=2, point={"size": 50}).encode(steps(), color)
    layers = [
        band.encode(y("published_lowest"), alt.Y2("published_highest:Q")),
        mean.encode(y("published_mean")),
        ours.encode(y("generalization")),
    ]
    count = table["published_models"].min()
    title = alt.Title(
        "The published size, trained here",
        subtitle=f"gray: range and mean of {count} published seeds",
    )
    return alt.layer(*layers).properties(title=title, width=480, height=260)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", type=Path, nargs="+", metavar=("LOGS", "RUN"))
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    if arguments.measure:
        logs, *runs = arguments.measure
        if not runs:
            parser.error("--measure: the logs, then one run or more")
        measure(logs, runs).write_csv(TABLE)
    spec = specification(draw(pl.read_csv(TABLE)))
    image = vl_convert.vegalite_to_png(spec, vl_version=VERSION, scale=2, config=LIGHT)
    (arguments.out / "published-size.png").write_bytes(image)


if __name__ == "__main__":
    main()
