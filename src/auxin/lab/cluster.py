"""Workers of a Ray cluster, on many machines: idempotent directories on a file system that all share."""

from __future__ import annotations

import signal
import time
from typing import Any

import torch

from auxin.config import RunConfig
from auxin.errors import ConfigError
from auxin.lab.named import ATTEMPTS, Job, Outcome
from auxin.lab.workers import train_one
from auxin.values import from_json, to_json


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
