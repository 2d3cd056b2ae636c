"""The progress bar of a sweep: runs done, the share of all steps, and time left; read off the runs' own files."""

from __future__ import annotations

import contextlib
import json
import os
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from auxin.errors import RunError
from auxin.files import reading
from auxin.lab.pool import Job, Outcome
from auxin.runs.rows import METRICS
from auxin.screen import errors_screen

TAIL = 8192  # bytes; several rows


class SweepProgress:
    """A bar on a terminal, a line a finished run elsewhere, nothing when not enabled; all on stderr.

    ``costs`` say how much work each job is (any unit); looking at a run's metrics costs one small read.
    """

    def __init__(self, jobs: dict[str, tuple[Job, float]], finished: int, enabled: bool) -> None:
        self._screen = errors_screen()
        console = Console(file=self._screen)  # pyright: ignore[reportArgumentType]
        self._live = enabled and console.is_terminal
        self._lines = enabled and not self._live
        self._jobs, self._open = jobs, set(jobs)
        self._finished, self._runs = finished, finished + len(jobs)
        self._shares = {name: _share(job) for name, (job, _) in jobs.items()}
        self._looked = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[runs]} runs"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        total = sum(cost for _, cost in jobs.values())
        self._task = self._bar.add_task("", total=total, runs=self._count())
        self._bar.update(self._task, completed=self._done())

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._bar.stop()

    def tick(self) -> None:
        """Look at the runs' progress, once a second at most."""
        now = time.monotonic()
        if self._live and now - self._looked > 1.0:
            self._looked = now
            for name in self._open:
                self._shares[name] = _share(self._jobs[name][0])
            self._bar.update(self._task, completed=self._done(), runs=self._count())

    def ended(self, outcome: Outcome) -> None:
        """A run has ended."""
        self._open.discard(outcome.name)
        self._shares[outcome.name] = 1.0
        self._finished += 1
        self._bar.update(self._task, completed=self._done(), runs=self._count())
        failed = outcome.status == "failed"
        if self._lines:
            detail = f": {outcome.detail}" if outcome.detail else ""
            print(f"{self._count()} {outcome.name} {outcome.status}{detail}", file=self._screen, flush=True)
        elif failed:
            self._bar.console.print(
                f"{outcome.name} failed: {outcome.detail}", markup=False, highlight=False, soft_wrap=True
            )

    def _done(self) -> float:
        return sum(self._shares[name] * cost for name, (_, cost) in self._jobs.items())

    def _count(self) -> str:
        return f"{self._finished}/{self._runs}"


def _share(job: Job) -> float:
    """The share of a run's steps that its metrics have seen."""
    with contextlib.suppress(RunError, ValueError, IndexError, KeyError, TypeError, RecursionError):
        with reading(job.path / METRICS) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            line = file.read(TAIL).rsplit(b"\n", 2)[-2]
        return min(1.0, json.loads(line)["step"] / job.config.steps)
    return 0.0
