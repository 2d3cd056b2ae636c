"""Runs among those published: python docs/figures/published_size.py LOGS RUN ...

The score of the published curves is the share of questions whose first word is right among the four auxiliaries.
docs/tables/published-size.csv has, of every run and step that both logged, this score in domain and of generalization
and, of the published models' generalization, how many there are, their lowest, mean and highest, and how many lie below
this run's. docs/tables/published-ranks.csv has the mean rank of every run over those steps (how many published models
lie below, ties half, as a share), and how many of the published models, each ranked among the others, have one that is
nearer to 1/2. docs/tables/published-presets.csv compares the runs of each preset, and all, with the published models by
their mean score over those steps (Mann-Whitney, two-sided). This makes the three tables again, from the published logs,
a CSV of task, depth, seed, step, in_domain and generalization, and the directories or records of runs of one seed each,
which the tables call by their names, "released-42" (docs/corrected-data.md); make results draws the figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
from scipy.stats import mannwhitneyu

from auxin.report.marks import share, steps
from auxin.report.theme import GRAY, PALETTE
from auxin.runs import open_run

HERE = Path(__file__).parent
TABLE = HERE.parent / "tables" / "published-size.csv"
RANKS = TABLE.with_name("published-ranks.csv")
PRESETS = TABLE.with_name("published-presets.csv")
TASK, DEPTH = "question", 6


def scores(runs: Sequence[Path]) -> pl.DataFrame:
    """The score of each run in domain and of generalization, a row a run and step."""
    metrics = pl.concat([open_run(run).metrics.with_columns(run=pl.lit(run.name)) for run in runs])
    metrics = metrics.filter(pl.col("split").is_in(["val", "gen"]), name="first_auxiliary")
    wide = metrics.pivot("split", index=["run", "step"], values="value")
    return wide.rename({"val": "in_domain", "gen": "generalization"}).sort("run", "step")


def published(logs: Path) -> pl.DataFrame:
    """The published models' generalization, a row a seed and step."""
    return pl.read_csv(logs).filter(task=TASK, depth=DEPTH).select("seed", "step", other="generalization")


def among(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """The runs beside the published models, a row a run and step."""
    other = pl.col("other")
    summary = [
        pl.len().alias("published_models"),
        other.min().alias("published_lowest"),
        other.mean().alias("published_mean"),
        other.max().alias("published_highest"),
        (other < pl.col("generalization")).sum().alias("published_below"),
    ]
    both = ours.join(theirs, on="step").group_by("run", "step", "in_domain", "generalization").agg(summary)
    return both.sort("run", "step").with_columns(pl.col(pl.Float64).round(4))


def ranks(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Each run's mean rank among the published models, and how many of those are nearer to the middle."""
    rows = []
    for (run,), curve in ours.group_by("run", maintain_order=True):
        curve = curve.join(theirs.select("step").unique(), on="step").sort("step")
        grid = theirs.filter(pl.col("step").is_in(curve["step"].to_list())).pivot(
            "seed", index="step", values="other"
        )
        models = grid.sort("step").drop("step").to_numpy()  # [steps, seeds]
        mean = _mean_rank(curve["generalization"].to_numpy(), models)
        others = [_mean_rank(m, np.delete(models, i, 1)) for i, m in enumerate(models.T)]
        nearer = sum(abs(other - 0.5) < abs(mean - 0.5) for other in others)
        rows.append({"run": run, "steps": len(curve), "mean_rank": round(mean, 4), "nearer": nearer})
    return pl.DataFrame(rows)


def _mean_rank(curve: np.ndarray, models: np.ndarray) -> float:
    """The mean over steps of the share of models below a curve, ties half."""
    below, equal = models < curve[:, None], models == curve[:, None]
    return float((below + 0.5 * equal).mean())


def presets(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """The runs of each preset against the published models by their mean score over the steps that both logged."""
    models = theirs.join(ours, on="step", how="semi").group_by("seed").agg(pl.col("other").mean())["other"]
    runs = ours.join(theirs, on="step", how="semi").group_by("run").agg(pl.col("generalization").mean())
    preset = pl.col("run").str.replace(r"-\d+$", "").alias("preset")
    groups = [(name, group) for (name,), group in runs.sort("run").group_by(preset, maintain_order=True)]
    rows = []
    for name, group in [*groups, ("all", runs)]:
        means = group["generalization"]
        p = mannwhitneyu(means.to_numpy(), models.to_numpy()).pvalue
        rows.append({"preset": name, "runs": len(means), "mean_score": means.mean(), "p": p})
    table = pl.DataFrame(rows).with_columns(published_models=len(models), published_mean=models.mean())
    return table.with_columns(pl.col(pl.Float64).round(4))


def draw(table: pl.DataFrame) -> alt.LayerChart:
    """Each run's generalization on the range and the mean of the published ones."""

    def y(column: str) -> alt.Y:
        return share("generalization", column)

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


def main(logs: Path, runs: Sequence[Path]) -> None:
    ours, theirs = scores(runs), published(logs)
    among(ours, theirs).write_csv(TABLE)
    ranks(ours, theirs).write_csv(RANKS)
    presets(ours, theirs).write_csv(PRESETS)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(f"usage: python {sys.argv[0]} LOGS RUN ...")
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
