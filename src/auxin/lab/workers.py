"""Worker processes on this machine, which train one run after another, and what starts them.

``python -m auxin.lab.workers THREADS DESCRIPTOR`` takes jobs as JSON lines on stdin, results leave by a descriptor. The
end of its input means: finish the step, save, and go. So a worker never outlives the process that started it, however
that one ended.
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
from auxin.errors import AuxinError, Interrupted
from auxin.experiment.train import train
from auxin.files import Busy, appending
from auxin.lab.named import ATTEMPTS, Job, Outcome
from auxin.runs.store import is_held
from auxin.values import from_dict, to_dict


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


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as out:
        serve(int(sys.argv[1]), out)
