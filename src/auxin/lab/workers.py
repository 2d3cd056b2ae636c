"""What trains one run after another: worker processes on this machine, or a Ray cluster of many.

``python -m auxin.lab.workers THREADS DESCRIPTOR`` takes jobs as JSON lines on stdin, results leave by a descriptor. The
end of its input means: finish the step, save, and go. So a worker never outlives the process that started it, however
that one ended. Under Ray directories are idempotent, on a file system that all machines share.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Literal, TextIO

import torch

from auxin.config import RunConfig
from auxin.errors import AuxinError, ConfigError, Interrupted
from auxin.experiment.train import train
from auxin.files import Busy, appending
from auxin.lab.named import ATTEMPTS, Job, Outcome
from auxin.runs.store import is_held
from auxin.values import from_dict, from_json, to_dict, to_json


class LocalWorkers:
    """Up to ``most`` processes of ``auxin.lab.workers`` with ``threads`` each.

    What they print goes to the file ``log``. Where all jobs that want a GPU want any (``cuda``), each process sees
    but one.
    """

    def __init__(self, jobs: Sequence[Job], log: Path, most: int, threads: int) -> None:
        self.most: float = most
        self._log, self._threads = log, threads
        wanted = {job.config.device for job in jobs} - {"cpu"}
        self._gpus = visible_gpus() if wanted == {"cuda"} else []
        self._errors = appending(log)
        self._selector = selectors.DefaultSelector()
        self._pool: list[_Worker] = []
        self._deaths = Counter[str]()

    def start(self, job: Job) -> None:
        """Give the job to an idle process; if need be to a new one, on the GPU with the fewest."""
        worker = next((worker for worker in self._pool if worker.job is None), None)
        if worker is None:
            taken = Counter(worker.gpu for worker in self._pool)
            gpu = min(self._gpus, key=lambda gpu: taken[gpu], default=None)
            worker = _Worker(self._threads, self._errors, gpu)
            self._selector.register(worker.results, selectors.EVENT_READ, worker)
            self._pool.append(worker)
        worker.start(job)

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The jobs that have ended, after a quarter of a second at most."""
        found: list[tuple[Job, Outcome]] = []
        for key, _ in self._selector.select(timeout=0.25):
            worker: _Worker = key.data
            job, outcome = worker.job, worker.outcome()
            if outcome is None:  # the process has ended
                self._selector.unregister(worker.results)
                self._pool.remove(worker)
                why = worker.end()
                if job:
                    self._deaths[job.name] += 1
                    lost = self._deaths[job.name] >= ATTEMPTS
                    why = f"its worker died twice, {why}; what it said is in {self._log}"
                    outcome = Outcome(job.name, "failed" if lost else "again", 0.0, why)
            if job and outcome:
                found.append((job, outcome))
        return found

    def stop(self) -> None:
        """Let the runs save and end."""
        for worker in self._pool:
            worker.stop()

    def close(self) -> None:
        """Wait for the end of all processes."""
        self.stop()
        for worker in self._pool:
            worker.end()
        self._selector.close()
        self._errors.close()


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return (list(map(str, range(count))) if named is None else named.split(","))[:count]


class _Worker:
    """A process, the GPU that it sees if only one, and the job that it is at."""

    def __init__(self, threads: int, errors: IO[str], gpu: str | None) -> None:
        self.gpu = gpu
        # Results have a pipe of their own: any library, or Python as it starts, may print to standard output.
        reading, writing = os.pipe()
        module = ["-P", "-m", "auxin.lab.workers"]  # -P: not from where the user stands
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


def train_one(config: RunConfig, path: str) -> tuple[Literal["finished", "failed", "stopped", "again"], str]:
    """Train a run; how it ended, and for a failure why in one line. Only a kill or a Ctrl-C gets out of here.

    ``again``: another process is at it.
    """
    try:
        if is_held(path):
            return "again", ""
        train(config, path)
    except Busy:  # it has just begun
        return "again", ""
    except Interrupted as error:
        return "stopped", str(error)
    except AuxinError as error:
        return "failed", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it is, a library's panic too, the study's other runs must go on
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return "finished", ""


def serve(threads: int, results: TextIO) -> None:
    """Train what comes in until the input ends."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # except inside a run, which saves and stops
    jobs: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while (job := jobs.get()) is not None:
        since = time.monotonic()
        status, detail = train_one(from_dict(RunConfig, job["config"]), job["path"])
        result = {"status": status, "detail": detail, "seconds": time.monotonic() - since}
        results.write(json.dumps(result) + "\n")
        results.flush()


def _listen(jobs: SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    jobs.put(None)
    while True:  # again and again: a run that is still loading its data does not hear the first
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)


class RayWorkers:
    """The cluster at ``address`` ("auto": the one running here), which has its own queue.

    A run asks for as many cores as its config has threads (1 for 0), and for a GPU if it trains on one. When its
    worker or machine is lost, Ray starts it once more elsewhere, where it resumes. Raises ``ConfigError`` when Ray
    is not installed or not there.
    """

    most = float("inf")

    def __init__(self, address: str) -> None:
        self._ray = _connected(address)
        self._train = self._ray.remote(max_retries=ATTEMPTS - 1)(_train)
        self._pending: dict[Any, Job] = {}
        self._cancelled = False

    def start(self, job: Job) -> None:
        """Hand a job to Ray."""
        gpus = int(job.config.device.startswith("cuda"))
        placed = self._train.options(name=job.name, num_cpus=job.config.threads or 1, num_gpus=gpus)
        self._pending[placed.remote(to_json(job.config), str(job.path))] = job

    def ended(self) -> list[tuple[Job, Outcome]]:
        """The jobs that have ended, after a quarter of a second at most."""
        if not self._pending:
            time.sleep(0.25)
            return []
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=0.25)
        jobs = [(self._pending.pop(task), task) for task in done]
        return [(job, self._outcome(task, job.name)) for job, task in jobs]

    def stop(self) -> None:
        """Let the runs save and end."""
        if not self._cancelled:
            self._cancelled = True
            for task in self._pending:
                self._ray.cancel(task)  # interrupts the run, which saves

    def close(self) -> None:
        """The cluster goes on."""

    def _outcome(self, task: Any, name: str) -> Outcome:
        exceptions = self._ray.exceptions
        try:
            return Outcome(name, *self._ray.get(task))
        except exceptions.TaskCancelledError:
            return Outcome(name, "stopped")
        except exceptions.RayError as error:
            lines = str(error).strip().splitlines()  # of a task: its traceback
            raised = isinstance(error, exceptions.RayTaskError)
            return Outcome(name, "failed", 0.0, lines[-1 if raised else 0])


def _connected(address: str) -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "ray is not installed; allowed: pip install '.[ray]' in a clone of auxin, or no --ray"
        ) from None
    if not ray.is_initialized():
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False)
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would exit before the runs are saved
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"ray is {address!r}; allowed: auto or a cluster's address ({reason})"
            ) from None
    return ray


def _train(config: str, path: str) -> tuple[str, float, str]:
    """Runs in Ray's worker."""
    since = time.monotonic()
    parsed = from_json(RunConfig, config)
    torch.set_num_threads(parsed.threads or 1)
    status, detail = train_one(parsed, path)
    return status, time.monotonic() - since, detail


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as out:
        serve(int(sys.argv[1]), out)
