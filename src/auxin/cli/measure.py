"""The verb measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auxin.cli.options import DataVerb, Result, RunPath, table
from auxin.config import MeasureName
from auxin.values import check

if TYPE_CHECKING:
    from auxin.runs import Run


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(DataVerb):
    """Take structural measures of checkpoints, of a run or of all that a sweep has finished.

    What was measured before is not measured again.

    Example: auxin measure runs/question --measures norms --checkpoint 1000 3000
    """

    run_path: RunPath
    """The run's directory, or a sweep's."""
    checkpoint: tuple[int, ...] = ()
    """Steps whose checkpoints are measured; by default all."""
    measures: tuple[MeasureName, ...] = ("norms", "entropy", "projection")
    """Which: norms, entropy, projection, signals."""
    sentences: int = 0
    """Training sentences measured; 0 means the published 10,000 (dyck 500)."""

    def __post_init__(self) -> None:
        check(self.sentences >= 0, "sentences", self.sentences, "0 (the published number) or more")

    def run(self) -> Result:
        """Measure the run; its structural measures."""
        from auxin.lab.sweep_record import holds_sweep, open_sweep
        from auxin.runs import open_run

        if not holds_sweep(self.run_path):
            return self._measured(open_run(self.run_path))
        found = [self._measured(run) for run in open_sweep(self.run_path).finished]
        text = "\n\n".join(f"{result.values['run']}\n{result.text}" for result in found)
        figures = [path for result in found for path in result.figures or ()]
        return Result({"runs": [result.values for result in found]}, text or "no run has finished", figures)

    def _measured(self, run: Run) -> Result:
        """The structural measures by step, means over members, drawn beside the metrics."""
        import polars as pl

        from auxin.experiment.data import task_of
        from auxin.experiment.measure import measure
        from auxin.report.tables import written
        from auxin.report.theme import save_inside
        from auxin.report.training_figures import baselines_of, dynamics

        task = task_of(run, self.data_dir)
        options = {"measures": self.measures, "sentences": self.sentences, "task": task}
        run = measure(run, self.checkpoint or None, progress=True, **options)
        baselines = baselines_of(run.metrics)
        names = ["t_score", "t_parseval", "weight_norm", "attention_sparsity"]
        rows = run.metrics.filter(pl.col("name").is_in(names), split="train")
        means = rows.group_by("step", "name").agg(pl.col("value").mean())
        wide = means.pivot(on="name", index="step", values="value").sort("step")
        found = [name for name in names if name in wide.columns]
        steps = wide.select("step", *found).to_dicts()
        cells = [
            [str(row["step"]), *(written(row[name], "{:z.4f}".format) for name in found)] for row in steps
        ]
        lines = [table(["step", *found], cells, "structural measures, mean over seeds")]
        if baselines:
            known = ", ".join(f"{name} {f1:.4f}" for name, f1 in baselines.items())
            lines.append(f"t_parseval without a model: {known}")
        figures = save_inside(run.path, {"dynamics": dynamics(run.metrics)})
        values = {"run": str(run.path), "measures": steps, "baselines": baselines}
        return Result(values, "\n".join(lines), figures)
