"""What a run comes to, as tables, figures and JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from altair import TopLevelMixin

from auxin.cli.output import print_json, print_table
from auxin.measures.grokking import GrokkingSummary, grokking_summary
from auxin.report.theme import save_inside
from auxin.report.training_figures import dynamics, learning_curves
from auxin.runs import Run

COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "saturation_step": ("val≥99%", lambda step: f"{step:,.0f}"),
    "at_saturation": ("gen then", lambda share: f"{share:.1%}"),
    "early_stopping": ("early stop", lambda share: f"{share:.1%}"),
    "final": ("final", lambda share: f"{share:.1%}"),
    "best": ("best", lambda share: f"{share:.1%}"),
    "grokking_step": ("gen>80%", lambda step: f"{step:,.0f}"),
    "delay_ratio": ("delay", lambda ratio: f"{ratio:.1f}×"),
    "total_variation": ("varies", lambda total: f"{total:.2f}"),
    "committed": ("keeps", lambda share: f"{share:.0%}"),
}
"""Quantities of the grokking summary: heading, and how a value is written."""


def report(run: Run, as_json: bool) -> None:
    """Print a trained run's grokking summary and draw its learning curves beside its metrics."""
    summary = grokking_summary(run.metrics)
    saturation = summary.members["saturation_step"].median()
    step = None if saturation is None else round(saturation)  # pyright: ignore[reportArgumentType]
    figure = learning_curves(run.metrics, saturation=step, note=stability(summary.members))
    paths = save_in_run(figure, run, "learning-curves")
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "members": summary.members.to_dicts(),
                "overall": summary.overall.to_dicts(),
                "accuracy": run.summary.get("accuracy", {}),
                "figures": [str(path) for path in paths],
            }
        )
        return
    print_members(summary)
    _print_overall(summary.overall)
    _print_paths(run, paths)


def save_in_run(figure: TopLevelMixin | str, run: Run, name: str) -> list[Path]:
    """Write a figure beside a run's metrics, where it is replaced the next time."""
    return save_inside(run.path, {name: figure})


def stability(members: pl.DataFrame) -> str:
    """How steady generalization was, for the figure: means over seeds."""
    varies, keeps = members["total_variation"].mean(), members["committed"].mean()
    kept = "" if keeps is None else f", committed to a rule {keeps:.0%} of the time since in-domain ≥ 99%"
    return f"generalization varies by {varies:.2f} in total{kept}"


def print_members(summary: GrokkingSummary) -> None:
    """Print the quantities of the grokking summary, a row a seed."""
    rows = [
        [
            str(member["member"]),
            *(_written(member[name], write) for name, (_, write) in COLUMNS.items()),
            "yes" if member["relapsed"] else "no",
        ]
        for member in summary.members.to_dicts()
    ]
    print_table(["seed", *(heading for heading, _ in COLUMNS.values()), "relapsed"], rows)


def _print_overall(overall: pl.DataFrame) -> None:
    """Means and shares over several members, with their 95% intervals."""
    if overall["members"].max() == 1:
        return
    rows: list[list[str]] = []
    for row in overall.filter(pl.col("members") > 0).to_dicts():
        heading, write = COLUMNS.get(row["quantity"], (row["quantity"], lambda share: f"{share:.0%}"))
        low, high = (_written(row[side], write) for side in ("low", "high"))
        rows.append([heading, _written(row["value"], write), f"{low} to {high}", str(row["members"])])
    print_table(["over seeds", "mean", "95% interval", "seeds"], rows)


def _print_paths(run: Run, figures: list[Path]) -> None:
    for split, scores in run.summary.get("accuracy", {}).items():
        found = [score for score in scores.values() if score is not None]
        if found:
            print(f"accuracy on {run.scored} of {split}: {sum(found) / len(found):.1%}")
    print(f"metrics: {run.path / 'metrics.jsonl'}")
    print(f"figures: {', '.join(str(path) for path in figures)}")


def _written(value: Any, write: Callable[[Any], str]) -> str:
    return "–" if value is None else write(value)


def report_measures(run: Run, baselines: dict[str, float], as_json: bool) -> None:
    """Print the structural measures by step, the mean over members, and draw them beside the metrics."""
    rows = run.metrics.filter(pl.col("split") == "train")
    names = ["t_score", "t_parseval", "weight_norm", "attention_sparsity"]
    means = rows.filter(pl.col("name").is_in(names)).group_by("step", "name").agg(pl.col("value").mean())
    table = means.pivot(on="name", index="step", values="value").sort("step")
    found = [name for name in names if name in table.columns]
    paths = save_in_run(dynamics(run.metrics, baselines), run, "dynamics")
    if as_json:
        figures = [str(path) for path in paths]
        measures = table.select("step", *found).to_dicts()
        print_json({"run": str(run.path), "measures": measures, "baselines": baselines, "figures": figures})
        return
    written = [
        [str(row["step"]), *(_written(row[name], lambda value: f"{value:z.4f}") for name in found)]
        for row in table.to_dicts()
    ]
    print_table(["step", *found], written, "structural measures, mean over seeds")
    if baselines:
        print(
            "t_parseval without a model: " + ", ".join(f"{name} {f1:.4f}" for name, f1 in baselines.items())
        )
    print(f"figures: {', '.join(str(path) for path in paths)}")
