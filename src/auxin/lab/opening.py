"""The directories that auxin wrote, opened by what they hold."""

from __future__ import annotations

from pathlib import Path

from auxin.errors import RunError
from auxin.lab.sweep_record import SWEEP, Sweep, holds_sweep, open_sweep
from auxin.runs.run import CONFIG, Run, holds_run, open_run


def open(path: str | Path | Run) -> Run | Sweep:
    """The run or the sweep in a directory, finished or not; raises ``RunError`` saying what is missing or damaged.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> _ = train(config, "opened")
    >>> auxin.open("opened").finished
    True
    """
    path = Path(path)
    if holds_run(path):
        return open_run(path)
    if holds_sweep(path):
        return open_sweep(path)
    raise RunError(f"{path}: no run here ({CONFIG} is missing), and no sweep ({SWEEP} is missing)")
