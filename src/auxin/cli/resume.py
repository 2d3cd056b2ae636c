"""The verb resume."""

from __future__ import annotations

from dataclasses import dataclass

from auxin.cli.options import Flag, Following, Result, RunPath
from auxin.models.devices import check_device


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(Following):
    """Go on with a run from its own settings: to its last step, or, also where it is finished, to more steps.

    Example: auxin resume runs/question --steps 20000
    """

    run_path: RunPath
    """The run's directory."""
    steps: int = 0
    """Optimizer steps in all; 0 means the run's."""
    stretch: Flag = False
    """Extend a run whose learning rate decays to its end: the rate goes on as that of the longer run."""
    data_dir: str | None = None
    """Where the run's data are now; they must be the same."""
    grammar: str | None = None
    """Where the run's grammar file is now; its data must be the same."""
    log_every: int | None = None
    """Steps between evaluations from here on."""
    checkpoint_every: int | None = None
    """Steps between checkpoints kept from here on."""
    device: str | None = None
    """Device that trains from here on; another one changes last bits."""
    threads: int | None = None
    """CPU threads from here on."""

    def run(self) -> Result:
        """Train the run on; its summary."""
        from auxin.runs import open_run
        from auxin.runs.run import CHANGEABLE

        run = open_run(self.run_path)
        check_device(self.device or run.config.device)
        from auxin.cli.train import summarized
        from auxin.experiment.train import resume

        given = {name: getattr(self, name) for name in CHANGEABLE if getattr(self, name) is not None}
        settings = {"steps": self.steps, "stretch": self.stretch, **self.sinks, **given}
        return summarized(resume(run, progress=True, **settings))
