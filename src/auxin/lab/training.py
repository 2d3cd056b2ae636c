"""A list of named runs, trained here or under Ray: finished ones are kept, unfinished ones resume, the rest go on
when one fails; and the tables of what they logged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from auxin.config import RunConfig
from auxin.errors import Interrupted
from auxin.experiment.data import Sentences, anchored
from auxin.experiment.signals import noted
from auxin.lab.cluster import run_on_ray
from auxin.lab.directory import LOG, RUNS, runs_directory
from auxin.lab.finished import is_finished
from auxin.lab.named import NamedRun, check_names
from auxin.lab.plan import estimated, free_memory, run_memory, step_flops
from auxin.lab.pool import Job, Outcome, run_locally
from auxin.lab.progress import SweepProgress
from auxin.runs import open_run
from auxin.runs.run import Data
from auxin.values import check

if TYPE_CHECKING:
    import polars


class SweepInterrupted(Interrupted):
    """A signal stopped a sweep; its runs are saved."""

    def __init__(self, finished: int, runs: int, number: int, out: str) -> None:
        super().__init__(0, number, out)
        self.finished = finished
        self.args = (
            f"stopped with {finished} of {runs} runs finished and the others saved; "
            f"the same command with --out {out} goes on from there",
        )


def train_runs(
    runs: Sequence[NamedRun],
    out: str | Path,
    *,
    workers: int = 0,
    ray: str = "",
    data: Data | None = None,
    progress: bool = False,
) -> list[Outcome]:
    """Train every run in ``out/runs/<name>`` and return their outcomes in order.

    Args:
        runs: what to train; names are directories.
        out: the directory of the study or sweep.
        workers: runs at a time on this machine; 0: as many as its cores, or GPUs, allow. Runs without a thread
            count of their own get cores // workers threads.
        ray: address of a Ray cluster that trains them instead, or "auto"; it must see ``out`` under the same path.
        data: digest of a config's sentences; by default they are read.
        progress: show a bar on stderr.

    A finished run is not trained again, an unfinished one resumes bit for bit, and a failure is an outcome, not
    an exception. A run that another process trains is left to it while there are others, then waited for, and taken
    over where that process dies. Ctrl-C and SIGTERM let all runs save, then raise ``SweepInterrupted``. Raises
    ``ConfigError`` for two runs of one name, ``RunError`` when ``out`` cannot be written.
    """
    check_names(runs)
    check_workers(workers)
    data = data or Sentences()
    directory = runs_directory(out).absolute()
    outcomes = {run.name: Outcome(run.name, "finished") for run in runs if is_finished(run, directory, data)}
    # anchored: a machine of Ray's stands elsewhere
    jobs = [
        Job(run.name, anchored(run.config), directory / run.name, data)
        for run in runs
        if run.name not in outcomes
    ]
    costs = {job.name: (job, estimated(step_flops, job.config) * job.config.steps) for job in jobs}
    workers = workers or default_workers([run.config for run in runs])
    threads = max(1, (os.cpu_count() or 1) // workers)
    with SweepProgress(costs, len(outcomes), progress) as bar, noted() as signals:
        stopping = lambda: signals.caught is not None
        if ray:
            ended = run_on_ray(jobs, ray, stopping=stopping, tick=bar.tick)
        else:
            log = Path(out) / LOG
            ended = run_locally(jobs, log, workers=workers, threads=threads, stopping=stopping, tick=bar.tick)
        for outcome in ended:
            outcomes[outcome.name] = outcome
            bar.ended(outcome)
    if signals.caught is not None:
        finished = sum(outcome.status == "finished" for outcome in outcomes.values())
        raise SweepInterrupted(finished, len(runs), signals.caught, str(out))
    return [outcomes[run.name] for run in runs]


def check_workers(workers: int) -> None:
    """Refuse a negative number of runs at a time."""
    check(workers >= 0, "workers", workers, "0 (all cores) or more")


def default_workers(configs: Sequence[RunConfig]) -> int:
    """Runs that this machine trains at a time: one a GPU, or as many as their threads leave cores for and fit
    into memory."""
    if any(config.device.startswith("cuda") for config in configs):
        return max(1, torch.cuda.device_count())
    threads = max((config.threads for config in configs), default=1) or 1
    workers = max(1, min(len(configs), (os.cpu_count() or 1) // threads))
    largest = max((estimated(run_memory, config) for config in configs), default=0.0) or 1.0
    return max(1, min(workers, int(free_memory("cpu") // largest)))


def tables(runs: Sequence[NamedRun], out: str | Path) -> polars.DataFrame:
    """What the finished runs logged, in one tidy table.

    Columns: run (its name), each setting, step, member (its seed), split, name, value. Runs that lack a setting
    have null there. Raises ``RunError`` naming a damaged file.
    """
    import polars as pl

    directory = Path(out) / RUNS
    frames: list[pl.DataFrame] = []
    for run in runs:
        if is_finished(run, directory):
            columns = [pl.lit(value).alias(name) for name, value in {"run": run.name, **run.settings}.items()]
            metrics = open_run(directory / run.name).metrics
            frames.append(metrics.select(*columns, *metrics.columns))
    check(len(frames) > 0, f"finished runs in {directory}", 0, "at least one")
    return pl.concat(frames, how="diagonal_relaxed")
