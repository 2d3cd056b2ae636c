"""Runs that wait for workers, here or under Ray: bad runs don't stop the others, and runs survive dead workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from auxin.config import RunConfig
from auxin.errors import AuxinError
from auxin.lab.places import has_finished
from auxin.runs.run import Data
from auxin.runs.store import is_held

ATTEMPTS = 2  # a run whose worker was killed is resumed once; the second death is taken to be its own doing


@dataclass(frozen=True)
class Job:
    """A run to be trained in a directory."""

    name: str
    config: RunConfig
    path: Path
    data: Data
    """Digest of a config's sentences."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended; ``detail`` says why it failed."""

    name: str
    status: Literal["finished", "failed", "stopped", "again"]
    """``again``: back to the queue, as another process was at it or its worker died; no sweep ends with it."""
    seconds: float = 0.0
    """Wall time of the last attempt."""
    detail: str = ""


class Workers(Protocol):
    """What trains jobs, ``most`` at a time."""

    most: float

    def start(self, job: Job) -> None:
        """Begin with a job."""

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The jobs that have ended, after a quarter of a second at most."""
        ...

    def stop(self) -> None:
        """Let the runs save and end."""

    def close(self) -> None:
        """Wait for the end of all workers."""


def train_jobs(
    jobs: Sequence[Job], workers: Workers, *, stopping: Callable[[], object], tick: Callable[[], None]
) -> Iterator[Outcome]:
    """Train the jobs and yield the outcome of each as it ends.

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
                if has_finished(job.config, job.path, job.data):  # by another process, meanwhile
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
