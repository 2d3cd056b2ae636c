"""What a run comes to, as tables, figures and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from auxin.cli.output import Result, table
from auxin.measures.grokking import GrokkingSummary, grokking_summary
from auxin.report.theme import save_inside
from auxin.report.training_figures import dynamics, learning_curves
from auxin.runs import Run

_share = "{:.1%}".format
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "saturation_step": ("val≥99%", "{:,.0f}".format),
    "at_saturation": ("gen then", _share),
    "early_stopping": ("early stop", _share),
    "final": ("final", _share),
    "best": ("best", _share),
    "grokking_step": ("gen>80%", "{:,.0f}".format),
    "delay_ratio": ("delay", "{:.1f}×".format),
    "total_variation": ("varies", "{:.2f}".format),
    "committed": ("keeps", "{:.0%}".format),
}
"""Quantities of the grokking summary: heading, and how a value is written."""


def summarized(run: Run) -> Result:
    """A trained run's grokking summary; its learning curves are drawn beside its metrics."""
    summary = grokking_summary(run.metrics)
    note = stability(summary.members)
    figure = learning_curves(run.metrics, saturation=summary.saturation, note=note, accuracy=run.accuracy)
    accuracy = run.summary.get("accuracy", {})
    values = {
        "run": str(run.path),
        "members": summary.members.to_dicts(),
        "overall": summary.overall.to_dicts(),
        "accuracy": accuracy,
    }
    lines = [members_table(summary), *_overall(summary.overall)]
    for split, scores in accuracy.items():
        found = [score for score in scores.values() if score is not None]
        if found:
            what, chance = run.accuracy.get(split, ("", 0.0))
            of = f" ({what}; chance {chance:.0%})" if what else ""
            lines.append(f"accuracy on {run.scored} of {split}{of}: {sum(found) / len(found):.1%}")
    lines.append(f"metrics: {run.path / 'metrics.jsonl'}")
    return Result(values, "\n".join(lines), save_inside(run.path, {"learning-curves": figure}))


def stability(members: pl.DataFrame) -> str:
    """How steady generalization was, for the figure: means over seeds."""
    varies, keeps = members["total_variation"].mean(), members["committed"].mean()
    kept = "" if keeps is None else f", committed to a rule {keeps:.0%} of the time since in-domain ≥ 99%"
    return f"generalization varies by {varies:.2f} in total{kept}"


def members_table(summary: GrokkingSummary) -> str:
    """The quantities of the grokking summary, a row a seed."""
    rows = [
        [
            str(member["member"]),
            *(_written(member[name], write) for name, (_, write) in COLUMNS.items()),
            "yes" if member["relapsed"] else "no",
        ]
        for member in summary.members.to_dicts()
    ]
    return table(["seed", *(heading for heading, _ in COLUMNS.values()), "relapsed"], rows)


def _overall(overall: pl.DataFrame) -> list[str]:
    """Means and shares over several members, with their 95% intervals."""
    if overall["members"].max() == 1:
        return []
    rows: list[list[str]] = []
    for row in overall.filter(pl.col("members") > 0).to_dicts():
        heading, write = COLUMNS.get(row["quantity"], (row["quantity"], "{:.0%}".format))
        low, high = (_written(row[side], write) for side in ("low", "high"))
        rows.append([heading, _written(row["value"], write), f"{low} to {high}", str(row["members"])])
    return [table(["over seeds", "mean", "95% interval", "seeds"], rows)]


def _written(value: Any, write: Callable[[Any], str]) -> str:
    return "–" if value is None else write(value)


def measured(run: Run, baselines: dict[str, float]) -> Result:
    """The structural measures by step, means over members, drawn beside the metrics."""
    names = ["t_score", "t_parseval", "weight_norm", "attention_sparsity"]
    rows = run.metrics.filter(pl.col("name").is_in(names), split="train")
    means = rows.group_by("step", "name").agg(pl.col("value").mean())
    wide = means.pivot(on="name", index="step", values="value").sort("step")
    found = [name for name in names if name in wide.columns]
    steps = wide.select("step", *found).to_dicts()
    cells = [[str(row["step"]), *(_written(row[name], "{:z.4f}".format) for name in found)] for row in steps]
    lines = [table(["step", *found], cells, "structural measures, mean over seeds")]
    if baselines:
        known = ", ".join(f"{name} {f1:.4f}" for name, f1 in baselines.items())
        lines.append(f"t_parseval without a model: {known}")
    figures = save_inside(run.path, {"dynamics": dynamics(run.metrics, baselines)})
    values = {"run": str(run.path), "measures": steps, "baselines": baselines}
    return Result(values, "\n".join(lines), figures)
