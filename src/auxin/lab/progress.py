"""The progress bar of many runs: how many are done, the share of all steps, and time left; read off the runs' files."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping

from auxin.errors import RunError
from auxin.experiment.bars import Bar
from auxin.files import reading
from auxin.lab.named import Job, Outcome
from auxin.runs.rows import METRICS

TAIL = 8192  # bytes; several rows


class SweepProgress(Bar):
    """The bar of many runs, or a line a finished run.

    ``costs`` say how much work each job is (any unit); looking at a run's metrics costs one small read.
    """

    def __init__(self, costs: Mapping[Job, float], finished: int, enabled: bool) -> None:
        super().__init__("{task.percentage:>3.0f}%", sum(costs.values()), enabled)
        self._costs = {job.name: cost for job, cost in costs.items()}
        self._open = {job.name: job for job in costs}
        self._finished, self._runs = finished, finished + len(costs)
        self._shares = {job.name: _share(job) for job in costs}
        self._looked = time.monotonic()
        self._show()

    def tick(self) -> None:
        """Look at the runs' progress, once a second at most."""
        now = time.monotonic()
        if not self.bar.disable and now - self._looked > 1.0:
            self._looked = now
            self._shares |= {name: _share(job) for name, job in self._open.items()}
            self._show()

    def ended(self, outcome: Outcome) -> None:
        """A run has ended."""
        self._open.pop(outcome.name, None)
        self._shares[outcome.name] = 1.0
        self._finished += 1
        self._show()
        if self.lines:
            detail = f": {outcome.detail}" if outcome.detail else ""
            line = f"{self._finished}/{self._runs} {outcome.name} {outcome.status}{detail}"
            print(line, file=self.screen, flush=True)
        elif outcome.status == "failed":
            line = f"{outcome.name} failed: {outcome.detail}"
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        done = sum(self._shares[name] * cost for name, cost in self._costs.items())
        self.update(completed=done, description=f"{self._finished}/{self._runs} runs")


def _share(job: Job) -> float:
    """The share of a run's steps that its metrics have seen."""
    with contextlib.suppress(RunError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        with reading(job.path / METRICS) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            line = file.read(TAIL).rsplit(b"\n", 2)[-2]
        return min(1.0, json.loads(line)["step"] / job.config.steps)
    return 0.0
