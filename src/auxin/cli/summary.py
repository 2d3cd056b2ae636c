"""What a run comes to, as tables, figures and JSON."""

from __future__ import annotations

from auxin.cli.output import Result, table
from auxin.measures.grokking import grokking_summary
from auxin.report.summaries import members, overall, stability
from auxin.report.theme import save_inside
from auxin.report.training_figures import learning_curves
from auxin.runs import Run


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
    several = overall(summary)
    lines = [table(*members(summary)), *([table(*several)] if several.rows else [])]
    for split, scores in accuracy.items():
        found = [score for score in scores.values() if score is not None]
        if found:
            what, chance = run.accuracy.get(split, ("", 0.0))
            of = f" ({what}; chance {chance:.0%})" if what else ""
            lines.append(f"accuracy on {run.scored} of {split}{of}: {sum(found) / len(found):.1%}")
    lines.append(f"metrics: {run.path / 'metrics.jsonl'}")
    return Result(values, "\n".join(lines), save_inside(run.path, {"learning-curves": figure}))
