"""What a study costs, before it starts: steps, FLOPs, memory, disk, and hours from a short measurement here."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from auxin.config import ModelConfig, RunConfig
from auxin.errors import AuxinError, ConfigError
from auxin.experiment.train import MEASURED_SENTENCES, settled
from auxin.lab.named import NamedRun
from auxin.models.transformer import TransformerLM
from auxin.tasks import Dials
from auxin.tasks.registry import kind
from auxin.training.loop import Trainer
from auxin.training.optimizer import milestones
from auxin.training.steps import padded_size

VOCABULARY = 100
"""Tokens of a vocabulary, where it is left to the task; the three have 43 to 101."""
SCORED = 15_000
"""Sentences of val, test and gen that the summary of a finished run scores, about."""
PROCESS = 0.35e9
"""Bytes of a worker without its model: torch and a task."""
DATA = ("task", "scoring", "data_seed", "train_size", "data_dir", "grammar", "dials")
"""Settings of a run that its data depend on."""
START = 3.0
"""Seconds in which a run loads its task."""


@dataclass(frozen=True)
class Plan:
    """The cost of a list of runs."""

    runs: int
    members: int
    """Models trained, over all runs."""
    steps: int
    """Optimizer steps, over all runs."""
    flops: float
    """Floating-point operations of training, evaluation and measures."""
    memory: float
    """Bytes that the largest runs need side by side."""
    disk: float
    """Bytes of all checkpoints that stay."""
    workers: int
    """Runs at a time."""
    hours: float
    """Wall time here, from the measured time of a step."""
    device: str
    """What it was measured on."""


def plan(runs: Sequence[NamedRun], out: str | Path, *, workers: int) -> Plan:
    """The cost of training the runs here, ``workers`` at a time; takes seconds.

    Steps of the cheapest and the costliest run are timed (a line through them gives the others). Raises
    ``ConfigError`` for what cannot fit into memory or on the disk of ``out``.
    """
    memory, disk = check_fits(runs, out, workers)
    configs = [run.config for run in runs]
    if not configs:
        return Plan(0, 0, 0, 0.0, 0.0, 0.0, workers, 0.0, "nothing")
    device = configs[0].device
    seconds = _timed_steps(configs, max(1, (os.cpu_count() or 1) // workers))
    training = [step_flops(c) * c.steps for c in configs]
    others = [evaluation_flops(c) for c in configs]
    total = sum(
        START + c.steps * seconds(step_flops(c)) * (1 + other / own)
        for c, own, other in zip(configs, training, others, strict=True)
    )
    return Plan(
        runs=len(configs),
        members=sum(len(c.seeds) for c in configs),
        steps=sum(c.steps for c in configs),
        flops=sum(training) + sum(others),
        memory=memory,
        disk=disk,
        workers=workers,
        hours=total / min(workers, len(configs)) / 3600,
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU",
    )


def check_fits(runs: Sequence[NamedRun], out: str | Path, workers: int) -> tuple[float, float]:
    """Bytes of memory and of disk that the runs need; raises ``ConfigError`` when there are not so many."""
    configs = [run.config for run in runs]
    sizes = sorted(estimated(run_memory, config) for config in configs)
    disk = sum(estimated(run_disk, config) for config in configs)
    if configs:
        device = configs[0].device
        gpus = max(1, torch.cuda.device_count()) if device == "cuda" else 1  # which workers are spread over
        largest = sum(sizes[-math.ceil(workers / gpus) :])
        there = next(p for p in (Path(out).absolute(), *Path(out).absolute().parents) if p.exists())
        for what, needed, free, remedy in (
            ("memory", largest, free_memory(device), "fewer --workers"),
            ("disk", disk, shutil.disk_usage(there).free, "another --out"),
        ):
            if needed > free:
                raise ConfigError(
                    f"{what} needed is {needed / 1e9:.1f} GB; allowed: the {free / 1e9:.1f} GB free here ({remedy}?)"
                )
    return sum(sizes[-workers:]), disk


def default_workers(configs: Sequence[RunConfig]) -> int:
    """Runs that this machine trains at a time: one a GPU, or as many as their threads leave cores for and fit
    into memory."""
    if any(config.device.startswith("cuda") for config in configs):
        return max(1, torch.cuda.device_count())
    threads = max((config.threads for config in configs), default=1) or 1
    largest = max((estimated(run_memory, config) for config in configs), default=0.0) or 1.0
    most = min(len(configs), (os.cpu_count() or 1) // threads, int(free_memory("cpu") // largest))
    return max(1, most)


def estimated(estimate: Callable[[RunConfig], float], config: RunConfig) -> float:
    """An estimate of a run; 0 for one that cannot be trained, which fails alone and says why."""
    try:
        return estimate(config)
    except AuxinError:
        return 0.0


def lengths(config: RunConfig) -> tuple[int, int]:
    """Mean and longest number of tokens of a training sequence that predict another, as generated or read."""
    return _lengths(RunConfig(**{name: getattr(config, name) for name in DATA}))


@cache
def _lengths(config: RunConfig) -> tuple[int, int]:
    if (known := kind(config.task).lengths) and not config.data_dir and config.dials == Dials():
        return known
    counts = [len(text) - 1 for text in config.load_task().encoded("train")]
    return round(fmean(counts)), max(counts)


def step_flops(config: RunConfig) -> float:
    """FLOPs of one optimizer step of all members, about: six a parameter and token (Kaplan et al. 2020)."""
    tokens = lengths(config)[0] * config.batch_size * len(config.seeds)
    return 6.0 * tokens * parameters(config.model)


def evaluation_flops(config: RunConfig) -> float:
    """FLOPs of all evaluations, of the final one, and of the tree projections: two a parameter and token."""
    length, members = lengths(config)[0], len(config.seeds)
    evaluations = _milestones(config.steps, config.log_every, 0.01)
    passes = length * (2 * config.eval_size * evaluations + (3 * config.final_size or SCORED))
    if "projection" in config.measures:
        sources = 1 + int(length * kind(config.task).source_share)
        kept = _milestones(config.steps, config.checkpoint_every, 0.05)
        passes += kept * MEASURED_SENTENCES * sources * (sources + 1) // 2
    return 2.0 * members * passes * parameters(config.model)


def run_memory(config: RunConfig) -> float:
    """Bytes of a run at its largest: weights, gradients, two moments, their copies while a checkpoint is written,
    and activations (about 32 widths a token and layer, measured on a CPU)."""
    model, members, mean = config.model, len(config.seeds), lengths(config)[0]
    sequences, tokens, longest = config.batch_size * members, mean * config.batch_size * members, mean
    if (
        config.device != "cpu"
    ):  # pads all members to the one with most tokens, and attention to the longest sequence
        longest = padded_size(lengths(config)[1])
        tokens = members * padded_size(mean * config.batch_size + 7 * longest // 4)
    layer = tokens * 32 * model.width + sequences * 4 * model.heads * longest**2
    floats = 9 * members * parameters(model) + model.depth * layer + tokens * 4 * VOCABULARY
    return PROCESS + 4.0 * floats


def run_disk(config: RunConfig) -> float:
    """Bytes of a finished run: every kept checkpoint's weights and the last one's moments."""
    kept = _milestones(config.steps, config.checkpoint_every, 0.05)
    return 4.0 * (kept + 2) * len(config.seeds) * parameters(config.model)


def parameters(model: ModelConfig) -> int:
    """Trained parameters of a model: every round of its layers adds as many, so that two shallow ones tell."""
    period = max(1, len(model.layers))
    shallow = model.depth % period + period
    sized = dataclasses.replace(model, vocabulary_size=model.vocabulary_size or VOCABULARY, branch_scale=1.0)
    low, high = (_counted(dataclasses.replace(sized, depth=d)) for d in (shallow, shallow + period))
    return low + (high - low) * ((model.depth - shallow) // period)


@cache
def _counted(model: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in TransformerLM(model).parameters())


def free_memory(device: str) -> float:
    """Bytes that new processes on this machine can have; on ``cuda``, on whichever of its GPUs."""
    if device == "cuda":
        return float(min(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())))
    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def step_time(low: tuple[float, float], high: tuple[float, float]) -> Callable[[float], float]:
    """Seconds of a step as a line in its FLOPs, through two measurements of both."""
    (x, y), (x2, y2) = low, high
    slope = max(0.0, (y2 - y) / (x2 - x)) if x2 > x else 0.0
    return lambda flops: y + slope * (flops - x)


def _timed_steps(configs: Sequence[RunConfig], threads: int) -> Callable[[float], float]:
    ordered = sorted(configs, key=step_flops)
    before = torch.get_num_threads()
    try:
        low, high = ((step_flops(c), _time_step(c, c.threads or threads)) for c in (ordered[0], ordered[-1]))
    finally:
        torch.set_num_threads(before)
    return step_time(low, high)


def _time_step(config: RunConfig, threads: int, seconds: float = 1.5) -> float:
    """Median time of a real training step, over about ``seconds`` after a first one."""
    torch.set_num_threads(threads)
    task = config.load_task()
    trainer = Trainer(settled(config, task), task.encoded("train"))
    for _ in range(1 if config.device == "cpu" else 50):  # a GPU records its graphs first
        trainer.step()
    times: list[float] = []
    while sum(times) < seconds and len(times) < 50:
        since = time.perf_counter()
        trainer.step().losses.tolist()  # which waits for them
        times.append(time.perf_counter() - since)
    return float(np.median(times))


def _milestones(steps: int, every: int, automatic: float) -> int:
    """How many ``milestones`` there are, without a list of what may be millions."""
    return -(-steps // every) + 1 if every else len(milestones(steps, every, automatic))
