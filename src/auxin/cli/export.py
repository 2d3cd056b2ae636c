"""The verb export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from auxin.cli.options import DataVerb, Following, Result, RunPath, Writing
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Following, DataVerb, Writing):
    """Write a run's metrics as one table, or for TensorBoard, or its model as a folder that transformers loads.

    The table's columns are step, member, split, name and value; that of a sweep has the run and its settings, too.

    Example: auxin export runs/question --out question.parquet

    Example: auxin export runs/question --hf model --checkpoint 3000
    """

    run_path: RunPath
    """The run's directory; with --out alone, also a sweep's."""
    out: Path | None = None
    """File of the table; its ending decides: .parquet or .csv."""
    hf: Path | None = None
    """Folder of the model and its vocabulary, for transformers."""
    checkpoint: int | None = None
    """Step of the model; by default the last one kept."""
    member: int | None = None
    """Seed of the model; by default the run's first."""

    def __post_init__(self) -> None:
        given = (self.out, self.hf, self.tensorboard, self.wandb)
        allowed = "one or more of --out FILE, --hf DIR, --tensorboard DIR, --wandb PROJECT"
        check(any(place is not None for place in given), "out", self.out, allowed)

    def run(self) -> Result:
        """Write the run to every place that is named."""
        from auxin.lab.sweep_record import holds_sweep, open_sweep
        from auxin.runs import export, open_run

        if self.out is not None and holds_sweep(self.run_path):
            other = [name for name in ("hf", "tensorboard", "wandb") if getattr(self, name) is not None]
            check(not other, "run", str(self.run_path), f"a run, with --{other and other[0]}")
            export(open_sweep(self.run_path).metrics, self.out, force=self.force)
            return Result({"written": [str(self.out)]}, str(self.out))
        run = open_run(self.run_path)
        written: list[str] = []
        if self.out is not None:
            export(run.metrics, self.out, force=self.force)
            written.append(str(self.out))
        if self.tensorboard is not None or self.wandb is not None:
            from auxin.experiment.sinks import send, sinks_of

            sinks = sinks_of(self.tensorboard, self.wandb)
            send(run, sinks)
            written += [sink.name for sink in sinks]
        if self.hf is not None:
            from auxin.experiment.data import task_of

            model, words = run.model(self.checkpoint, self.member), task_of(run, self.data_dir).vocabulary
            written.append(str(model.to_transformers(self.hf, words, force=self.force)))
        return Result({"written": written}, "\n".join(written))
