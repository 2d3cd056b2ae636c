"""The runs of a study on this machine: worker processes that survive bad runs, runs that survive dead workers."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import torch

from auxin.config import RunConfig
from auxin.errors import AuxinError
from auxin.files import appending
from auxin.lab.finished import is_trained
from auxin.runs.run import Data
from auxin.runs.store import is_held
from auxin.values import to_dict

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
    status: Literal["finished", "failed", "stopped", "held"]
    """``held``, by another process, is what no sweep ends with."""
    seconds: float = 0.0
    """Wall time of the last attempt."""
    detail: str = ""


def next_free(waiting: deque[Job]) -> Job | None:
    """Take the first job off the queue that no other process is at."""
    for job in waiting:
        if not _is_held(job.path):
            waiting.remove(job)
            return job
    return None


def _is_held(path: Path) -> bool:
    try:
        return is_held(path)
    except AuxinError:
        return False  # training it will say what is wrong


def run_locally(
    jobs: Sequence[Job],
    log: Path,
    *,
    workers: int,
    threads: int,
    stopping: Callable[[], object],
    tick: Callable[[], None],
) -> Iterator[Outcome]:
    """Train the jobs, ``workers`` at a time with ``threads`` each, and yield each one's outcome as it ends.

    ``tick`` is called several times a second. Once ``stopping`` says so, no run begins, those that train save and
    stop, and the iterator ends. What workers print goes to the file ``log``. Where all runs that want a GPU want
    any (``cuda``), each worker sees but one. A job that another process is at waits until it is finished or free.
    """
    wanted = {job.config.device for job in jobs} - {"cpu"}
    gpus = visible_gpus() if wanted == {"cuda"} else []
    waiting, deaths = deque(jobs), Counter[str]()
    with appending(log) as errors, selectors.DefaultSelector() as selector:
        pool: list[_Worker] = []
        try:
            while True:
                if stopping():
                    for worker in pool:
                        worker.stop()
                else:
                    while sum(worker.job is not None for worker in pool) < workers and (
                        job := next_free(waiting)
                    ):
                        if is_trained(job.config, job.path, job.data):  # by another process, meanwhile
                            yield Outcome(job.name, "finished")
                        else:
                            _idle(pool, selector, threads, errors, gpus).start(job)
                if not any(worker.job for worker in pool) and (stopping() or not waiting):
                    return
                for key, _ in selector.select(timeout=0.25):
                    worker: _Worker = key.data
                    job, outcome = worker.job, worker.outcome()
                    if outcome is None:
                        selector.unregister(worker.results)
                        pool.remove(worker)
                        deaths.update([job.name] if job else [])
                        if job and deaths[job.name] < ATTEMPTS:
                            waiting.appendleft(job)
                        elif job:
                            why = f"its worker died twice, {worker.end()}; what it said is in {log}"
                            yield Outcome(job.name, "failed", 0.0, why)
                    elif outcome.status == "held" and job:
                        waiting.append(job)
                    else:
                        yield outcome
                tick()
        finally:
            for worker in pool:
                worker.stop()
            for worker in pool:
                worker.end()


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return (list(map(str, range(count))) if named is None else named.split(","))[:count]


class _Worker:
    """A process of ``auxin.lab.worker``, the GPU that it sees if only one, and the job that it is at."""

    def __init__(self, threads: int, errors: IO[str], gpu: str | None) -> None:
        self.gpu = gpu
        # Results have a pipe of their own: any library, or Python as it starts, may print to standard output.
        reading, writing = os.pipe()
        module = ["-P", "-m", "auxin.lab.worker"]  # -P: not from where the user stands
        # A session of its own: a Ctrl-C reaches it once, as the end of its input, whatever it is doing.
        self._process = subprocess.Popen(
            [sys.executable, *module, str(threads), str(writing)],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            text=True,
            env=None if gpu is None else os.environ | {"CUDA_VISIBLE_DEVICES": gpu},
            start_new_session=True,
            pass_fds=(writing,),
        )
        os.close(writing)
        assert self._process.stdin is not None
        self._jobs, self.results = self._process.stdin, os.fdopen(reading)
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # a dead worker is noticed by the end of its results
            self._jobs.write(json.dumps({"config": to_dict(job.config), "path": str(job.path)}) + "\n")
            self._jobs.flush()

    def outcome(self) -> Outcome | None:
        """The outcome of the job that has just ended; None when the process has."""
        line = self.results.readline()
        job, self.job = self.job, None
        return Outcome(job.name, **json.loads(line)) if line and job else None

    def stop(self) -> None:
        """Let it save and go."""
        with contextlib.suppress(OSError):
            self._jobs.close()

    def end(self) -> str:
        """Wait for the end of the process and say how it ended."""
        self.stop()
        code = self._process.wait()
        self.results.close()
        return f"by signal {-code}" if code < 0 else f"with exit status {code}"


def _idle(
    pool: list[_Worker], selector: selectors.BaseSelector, threads: int, errors: IO[str], gpus: Sequence[str]
) -> _Worker:
    """A worker without a job; if need be a new one, on the GPU with the fewest."""
    for worker in pool:
        if worker.job is None:
            return worker
    taken = Counter(worker.gpu for worker in pool)
    worker = _Worker(threads, errors, min(gpus, key=lambda gpu: taken[gpu], default=None))
    selector.register(worker.results, selectors.EVENT_READ, worker)
    pool.append(worker)
    return worker
