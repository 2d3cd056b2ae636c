"""The verb train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import tyro

from auxin.cli.options import Following, Result, parse_known, refused, table
from auxin.config import PresetName, RunConfig, preset
from auxin.models.devices import check_device
from auxin.values import check

if TYPE_CHECKING:
    from auxin.runs import Run


@dataclass(frozen=True, kw_only=True)
class _Defaults:
    """What decides about the defaults of everything else."""

    preset: PresetName = "laptop"
    task: str = "question"
    out: Path | None = None

    def config(self, arguments: Sequence[str]) -> RunConfig:
        """The preset's; where none is named and a run is there, that run's own, so that ``--out`` goes on with it."""
        typed = {argument.split("=")[0] for argument in arguments}
        if "--preset" not in typed and self.out is not None and (self.out / "config.toml").is_file():
            from auxin.runs import open_run

            return open_run(self.out).config
        config = preset(self.preset, self.task)
        return replace(config, model=config.model.for_layers()) if "--model.layers" in typed else config


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Following):
    """Train a stack of seeds on a task; a run that was stopped goes on where it was.

    Example: auxin train --task question --steps 3000 --seeds 0 1 --out runs/q
    """

    EVERYDAY = (
        "help", "json", "out", "preset", "task", "data-dir", "grammar", "train-size", "steps", "seeds", "batch-size",
        "measures", "device", "threads", "model.depth", "model.width", "model.heads", "optimizer.learning-rate",
    )  # fmt: skip

    out: Path
    """Directory of the run: metrics, checkpoints, figures."""
    preset: PresetName = "laptop"
    """Where the defaults of all other options come from; unless it is named, from a run that is in --out."""
    watch: int = 0
    """Steps between two looks at each member's signals (docs/watch.md); 0: none."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str], default: Any = None) -> Self:
        chosen = parse_known(_Defaults, program, arguments)
        with refused():
            default = cls(out=tyro.MISSING, preset=chosen.preset, config=chosen.config(arguments))
        return super().parse(program, arguments, default)

    def run(self) -> Result:
        """Train the run; its summary."""
        check_device(self.config.device)
        kinds = ("data_dir", Path.is_dir, "a directory"), ("grammar", Path.is_file, "a text file")
        for name, fits, allowed in kinds:
            path = getattr(self.config, name)
            check(not path or fits(Path(path)), name, path, allowed)
        from auxin.experiment.train import train

        return summarized(train(self.config, self.out, progress=True, watched=self.watch, **self.sinks))


def summarized(run: Run) -> Result:
    """A trained run's grokking summary; its learning curves are drawn beside its metrics."""
    from auxin.measures.grokking import grokking_summary
    from auxin.report.tables import members, overall, stability
    from auxin.report.theme import save_inside
    from auxin.report.training_figures import learning_curves

    summary = grokking_summary(run.metrics)
    note = stability(summary.members)
    figure = learning_curves(run.metrics, saturation=summary.saturation, note=note, accuracy=run.accuracy)
    accuracy = run.summary.get("accuracy", {})
    tables = {name: getattr(summary, name).to_dicts() for name in ("members", "overall")}
    values = {"run": str(run.path), **tables, "accuracy": accuracy}
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
