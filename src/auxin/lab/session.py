"""One sitting at a list of runs, of a study or of a sweep, in its directory: its cost, its training, its bar."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxin import files
from auxin.errors import AuxinError, Interrupted, RunError
from auxin.experiment.bars import Bar
from auxin.experiment.data import Sentences, anchored
from auxin.experiment.signals import Signals
from auxin.files import reading
from auxin.lab import places
from auxin.lab.named import Job, NamedRun, Outcome, check_names
from auxin.lab.plan import Plan, check_fits, default_workers, estimated, plan, step_flops
from auxin.lab.workers import LocalWorkers, RayWorkers
from auxin.runs import Run
from auxin.runs.rows import METRICS
from auxin.runs.store import is_held
from auxin.screen import errors_screen
from auxin.values import check

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


@dataclass(frozen=True)
class Session:
    """How runs are trained in a directory: a finished run is not trained again, an unfinished one resumes."""

    out: str | Path
    """The directory of the study or sweep."""
    workers: int = 0
    """Runs at a time on this machine; 0: as many as its cores, or GPUs, allow."""
    ray: str = ""
    """Address of a Ray cluster that trains them instead, or "auto"; it must see ``out`` under the same path."""
    reuse: Sequence[str | Path] = ()
    """Directories of other studies or sweeps, whose finished runs are copied where they are the same."""
    progress: bool = False
    """Whether to show a bar on stderr."""

    def plan(self, runs: Sequence[NamedRun], owner: places.Owner) -> Plan:
        """What remains to be trained, and its cost here; raises ``ConfigError`` for what cannot fit."""
        data = Sentences()
        same = self._checked(runs, owner, data)
        left = [run for run in self._left(runs, data) if run.name not in same]
        return plan(left, self.out, workers=self._workers(left))

    def train(
        self, runs: Sequence[NamedRun], owner: places.Owner, data: Sentences | None = None
    ) -> list[Outcome]:
        """Train what remains of the runs in ``out/runs/NAME`` and return the outcomes of all in order.

        A failure is an outcome, not an exception. A run that another process trains is left to it while there are
        others, then waited for, and taken over where that process dies. Ctrl-C and SIGTERM let all runs save, then
        raise ``Interrupted``. Raises ``ConfigError`` for two runs of one name and for what cannot fit, and, before
        anything is written, ``RunError`` where ``out`` is another owner's or has another run of a name.
        """
        data = data or Sentences()
        same = self._checked(runs, owner, data)
        for run in same.values():
            run.verify()
        places.claim(self.out, owner)
        places.take_over(same, places.runs_directory(self.out))
        left = self._left(runs, data)
        for problem in data.problems if self.progress else ():
            print(f"warning: {problem}", file=errors_screen())
        workers = self._workers(left)
        if not self.ray:
            check_fits(left, self.out, workers)
        since = time.monotonic()
        try:
            trained = self._train(left, len(runs) - len(left), workers, data)
        finally:
            sitting = {"seconds": round(time.monotonic() - since, 1), "workers": workers}
            path = Path(self.out) / places.SESSIONS
            with files.failing_clearly(path), files.appending(path) as file:
                file.write(json.dumps(sitting) + "\n")
        return [trained.get(run.name, Outcome(run.name, "finished")) for run in runs]

    def _checked(self, runs: Sequence[NamedRun], owner: places.Owner, data: Sentences) -> dict[str, Run]:
        """The runs that can be copied, by name, after all has been looked at that could be refused."""
        check(self.workers >= 0, "workers", self.workers, "0 (all cores) or more")
        check_names(runs)
        out = Path(self.out)
        if out.exists():
            places.check_owner(out, owner)
        places.check_places(runs, out / places.RUNS, data)
        return places.reusable(runs, out / places.RUNS, self.reuse, data)

    def _left(self, runs: Sequence[NamedRun], data: Sentences) -> list[NamedRun]:
        directory = Path(self.out) / places.RUNS
        return [run for run in runs if not places.has_finished(run.config, directory / run.name, data)]

    def _workers(self, runs: Sequence[NamedRun]) -> int:
        return self.workers or default_workers([run.config for run in runs])

    def _train(
        self, runs: Sequence[NamedRun], finished: int, most: int, data: Sentences
    ) -> dict[str, Outcome]:
        """The outcomes of the runs by name; those without a thread count of their own share the cores."""
        directory = places.runs_directory(self.out).absolute()
        # anchored: a machine of Ray's stands elsewhere
        jobs = [Job(run.name, anchored(run.config), directory / run.name, data) for run in runs]
        costs = {job: estimated(step_flops, job.config) * job.config.steps for job in jobs}
        outcomes: dict[str, Outcome] = {}
        stopping = lambda: signals.caught is not None
        with SweepProgress(costs, finished, self.progress) as bar, Signals() as signals:
            if self.ray:
                workers = RayWorkers(self.ray)
            else:
                threads = max(1, (os.cpu_count() or 1) // most)
                workers = LocalWorkers(jobs, Path(self.out) / places.LOG, most, threads)
            for outcome in train_jobs(jobs, workers, stopping=stopping, tick=bar.tick):
                outcomes[outcome.name] = outcome
                bar.ended(outcome)
        if signals.caught is not None:
            done = finished + sum(outcome.status == "finished" for outcome in outcomes.values())
            where = f"with {done} of {finished + len(runs)} runs finished and the others saved"
            raise Interrupted(where, signals.caught, str(self.out))
        return outcomes


def read_sessions(out: str | Path) -> list[dict[str, Any]]:
    """Seconds and workers of every sitting; a line that a kill cut short is left out."""
    path = Path(out) / places.SESSIONS
    sessions: list[dict[str, Any]] = []
    for line in files.read_text(path).splitlines() if files.is_file(path) else ():
        with contextlib.suppress(ValueError):
            sessions.append(json.loads(line))
    return sessions


def train_jobs(
    jobs: Sequence[Job],
    workers: LocalWorkers | RayWorkers,
    *,
    stopping: Callable[[], object],
    tick: Callable[[], None],
) -> Iterator[Outcome]:
    """Train the jobs, as many at a time as there are workers, and yield the outcome of each as it ends.

    ``tick`` is called several times a second. Once ``stopping`` says so, no run begins, those that train save and
    stop, and the iterator ends. A job that another process is at waits until it is finished or free.
    """
    waiting, busy = deque(jobs), 0
    try:
        while waiting or busy:
            if stopping():
                waiting.clear()
                workers.stop()
            while busy < workers.most and (job := next((job for job in waiting if _is_free(job)), None)):
                waiting.remove(job)
                if places.has_finished(job.config, job.path, job.data):  # by another process, meanwhile
                    yield Outcome(job.name, "finished")
                else:
                    workers.start(job)
                    busy += 1
            for job, outcome in workers.ended():
                busy -= 1
                if outcome.status != "again":
                    yield outcome
                elif not stopping():
                    waiting.append(job)
            tick()
    finally:
        workers.close()


def _is_free(job: Job) -> bool:
    try:
        return not is_held(job.path)
    except AuxinError:
        return True  # training it will say what is wrong
