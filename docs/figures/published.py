"""A run among those published: python docs/figures/published.py [--measure RUN LOGS] [--out DIR]

docs/tables/published-size.csv has, at every step that both logged, the run's accuracies and, of the published models'
generalization, how many there are, their lowest, mean and highest, and how many lie below the run's. --measure makes
it again, from the directory of the run (docs/evidence-plans.md) and the published logs: a CSV of task, depth, seed,
step, in_domain and generalization.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

from auxin.report.marks import share, steps
from auxin.report.theme import GRAY, LIGHT, VERMILION, VERSION, specification
from auxin.runs import open_run

HERE = Path(__file__).parent
TABLE = HERE.parent / "tables" / "published-size.csv"
TASK, DEPTH = "question", 6


def measure(run: Path, logs: Path) -> pl.DataFrame:
    """The run beside the published models, a row a step."""
    metrics = open_run(run).metrics.filter(pl.col("split").is_in(["val", "gen"]), name="accuracy")
    ours = metrics.pivot("split", index="step", values="value").rename(
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
    both = ours.join(theirs, on="step").group_by("step", "in_domain", "generalization").agg(among)
    return both.sort("step").with_columns(pl.col(pl.Float64).round(4))


def draw(table: pl.DataFrame) -> alt.LayerChart:
    """The run's generalization on the range and the mean of the published ones."""

    def y(column: str) -> alt.Y:
        return share("generalization accuracy", column)

    chart = alt.Chart(table).encode(steps())
    band = chart.mark_area(color=GRAY, opacity=0.25)
    mean = chart.mark_line(color=GRAY, strokeDash=[6, 4], strokeWidth=2)
    ours = chart.mark_line(color=VERMILION, strokeWidth=2, point={"color": VERMILION, "size": 50})
    layers = [
        band.encode(y("published_lowest"), alt.Y2("published_highest:Q")),
        mean.encode(y("published_mean")),
        ours.encode(y("generalization")),
    ]
    count = table["published_models"].min()
    title = alt.Title(
        "The published size, trained here",
        subtitle=f"red: seed 42 here; gray: range and mean of {count} published seeds",
    )
    return alt.layer(*layers).properties(title=title, width=480, height=260)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", type=Path, nargs=2, metavar=("RUN", "LOGS"))
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure).write_csv(TABLE)
    spec = specification(draw(pl.read_csv(TABLE)))
    image = vl_convert.vegalite_to_png(spec, vl_version=VERSION, scale=2, config=LIGHT)
    (arguments.out / "published-size.png").write_bytes(image)


if __name__ == "__main__":
    main()
