"""The same runs handed to Ray, for many machines: idempotent directories on a file system that all share."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from auxin.config import RunConfig
from auxin.errors import ConfigError
from auxin.lab.finished import is_trained
from auxin.lab.pool import ATTEMPTS, Job, Outcome, next_free
from auxin.lab.worker import train_one
from auxin.values import from_json, to_json


def run_on_ray(
    jobs: Sequence[Job], address: str, *, stopping: Callable[[], object], tick: Callable[[], None]
) -> Iterator[Outcome]:
    """Train the jobs on the Ray cluster at ``address`` ("auto": the one running here); as ``run_locally``.

    A run asks for as many cores as its config has threads (1 for 0), and for a GPU if it trains on one. When its
    worker or machine is lost, Ray starts it once more elsewhere, where it resumes. Raises ``ConfigError`` when Ray
    is not installed or not there.
    """
    ray = _connected(address)
    train = ray.remote(max_retries=ATTEMPTS - 1)(_train)
    pending: dict[Any, Job] = {}
    waiting, cancelled = deque(jobs), False
    while pending or waiting:
        if stopping():
            waiting.clear()
            if not cancelled:
                cancelled = True
                for task in pending:
                    ray.cancel(task)  # interrupts the run, which saves
        while job := next_free(waiting):
            if is_trained(job.config, job.path, job.data):  # by another process, meanwhile
                yield Outcome(job.name, "finished")
                continue
            gpus = int(job.config.device.startswith("cuda"))
            placed = train.options(name=job.name, num_cpus=job.config.threads or 1, num_gpus=gpus)
            pending[placed.remote(to_json(job.config), str(job.path))] = job
        done: list[Any] = []
        if pending:
            done, _ = ray.wait(list(pending), num_returns=1, timeout=0.25)
        else:
            time.sleep(0.25)
        for task in done:
            job = pending.pop(task)
            outcome = _outcome(ray, task, job)
            if outcome.status == "held":
                waiting.append(job)
            else:
                yield outcome
        tick()


def _connected(address: str) -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("ray is not installed; allowed: pip install 'auxin[ray]', or no --ray") from None
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


def _outcome(ray: Any, task: Any, job: Job) -> Outcome:
    try:
        status, seconds, detail = ray.get(task)
    except ray.exceptions.TaskCancelledError:
        return Outcome(job.name, "stopped")
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()  # of a task: its traceback
        raised = isinstance(error, ray.exceptions.RayTaskError)
        return Outcome(job.name, "failed", 0.0, lines[-1 if raised else 0])
    return Outcome(job.name, status, seconds, detail)
