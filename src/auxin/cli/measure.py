"""The verb measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auxin.cli.options import RunPath, Verb
from auxin.cli.output import Result
from auxin.values import check

if TYPE_CHECKING:
    from auxin.runs import Run


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(Verb):
    """Take structural measures of checkpoints, of a run or of all that a sweep has finished.

    What was measured before is not measured again.

    Example: auxin measure runs/question --measures norms --checkpoint 1000 3000
    """

    run_path: RunPath
    """The run's directory, or a sweep's."""
    checkpoint: tuple[int, ...] = ()
    """Steps whose checkpoints are measured; by default all."""
    measures: tuple[Literal["norms", "entropy", "projection", "signals"], ...] = (
        "norms",
        "entropy",
        "projection",
    )
    """Which: norms, entropy, projection, signals."""
    sentences: int = 0
    """Training sentences measured; 0 means the published 10,000 (dyck 500)."""
    data_dir: str = ""
    """Where the sentences of a run with a --data-dir are now, if they have moved."""

    def __post_init__(self) -> None:
        check(len(self.measures) > 0, "measures", "", "one or more of norms, entropy, projection, signals")
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
        from auxin.cli.summary import measured
        from auxin.experiment.data import task_of
        from auxin.experiment.measure import measure

        options = {
            "measures": self.measures,
            "sentences": self.sentences,
            "task": task_of(run, self.data_dir),
        }
        run = measure(run, self.checkpoint or None, progress=True, **options)
        return measured(run, self._baselines(run))

    def _baselines(self, run: Run) -> dict[str, float]:
        """F1 of trees that know nothing of the model, on the sentences measured last."""
        from auxin.experiment.data import task_of
        from auxin.measures.structure import measured_sentences, parseval_baselines

        counts = run.metrics.filter(run.metrics["name"] == "projection_sentences")["value"]
        if counts.is_empty():
            return {}
        sentences = measured_sentences(task_of(run, self.data_dir), int(counts[-1]))
        known = [sentence for sentence in sentences if sentence.has_gold]
        if not known:
            return {}
        baselines = parseval_baselines([s.words for s in known], [s.gold for s in known])
        return {name.removeprefix("t_parseval/"): f1 for name, f1 in baselines.items()}
