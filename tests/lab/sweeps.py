"""Tiny runs for the tests of sweeps."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.lab.named import NamedRun, Outcome
from auxin.lab.places import Owner
from auxin.lab.session import Session
from auxin.runs import open_run


def tiny(name: str, seed: int = 0, **settings: object) -> NamedRun:
    """A run of a second or less."""
    options = {"steps": 30, "checkpoint_every": 5, "log_every": 5} | settings
    config = RunConfig(
        train_size=400,
        model=ModelConfig(depth=1, width=8, heads=1),
        optimizer=OptimizerConfig(learning_rate=0.01, warmup=5),
        batch_size=4,
        seeds=(seed,),
        eval_size=10,
        threads=1,
        **options,  # pyright: ignore[reportArgumentType]
    )
    return NamedRun(name, config, {"seed": seed})


def train_runs(runs: Sequence[NamedRun], out: Path, **options: Any) -> list[Outcome]:
    """Train the runs in a directory that belongs to a sweep of no settings."""
    return Session(out, **options).train(runs, Owner())


def content(run: Path) -> dict[str, bytes]:
    """What a finished run's config determines: every metric and weight."""
    assert open_run(run).finished
    files = [run / "metrics.jsonl", *run.glob("checkpoints/*/member-*.safetensors")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def last_step(run: Path) -> int:
    """The last step that a run has logged; −1 before the first."""
    try:
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return -1


def process_with_open(file: Path) -> int:
    """The process that has a file open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.resolve() == file.resolve():
                return int(link.parts[2])
    raise AssertionError(f"nobody holds {file}")
