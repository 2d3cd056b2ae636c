"""Seconds and memory of reading and showing large runs, each in a process of its own.

Writes with auxin's own writer a run of two million metric rows (10 seeds, 12 numbers at each of 16,667 steps) and 200
small trained runs, then reads the large one's metrics and makes the page of it and the page of all small ones.

    python benchmarks/report.py [--rows 2000000] [--runs 200] [--keep DIR]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import auxin
from auxin.config import ModelConfig, RunConfig
from auxin.runs import Metric, RunDirectory

SEEDS, EVERY = 10, 10
SMALL = RunConfig(
    model=ModelConfig(depth=2, width=16, heads=2),
    train_size=500,
    steps=100,
    log_every=EVERY,
    checkpoint_every=20,
    eval_size=20,
    final_size=20,
    threads=1,
)
NAMES = [
    *(("train", name) for name in ("loss", "gradient_norm", "learning_rate")),
    *(("val", name) for name in ("accuracy", "first_auxiliary", "full_sentence")),
    *(
        ("gen", name)
        for name in ("accuracy", "first_auxiliary", "full_sentence", "hierarchical", "linear", "neither")
    ),
]
"""What a run of the question task logs."""
PAGE, SECONDS, MEGABYTES = 3.0, 20, 500
"""What a page should stay below: its size in MB, the seconds and the peak MB that it takes."""


def write_large_run(path: Path, rows: int, small: Path) -> int:
    """A finished run of at least so many noisy rows, how many; its twenty checkpoints are a small run's last one."""
    logs = -(-rows // (SEEDS * len(NAMES)))
    trained = auxin.open(small)
    config = replace(trained.config, seeds=tuple(range(SEEDS)), steps=logs * EVERY)
    members = dict.fromkeys(config.seeds, trained.checkpoints[-1].read(0))
    generator = np.random.default_rng(0)
    with RunDirectory(path, config) as run:
        for first in range(1, logs + 1, 1000):
            steps = range(first, min(first + 1000, logs + 1))
            values = generator.random((len(steps), SEEDS, len(NAMES))).tolist()
            run.append_metrics(
                Metric(step * EVERY, seed, split, name, value)
                for step, members in zip(steps, values, strict=True)
                for seed, numbers in enumerate(members)
                for (split, name), value in zip(NAMES, numbers, strict=True)
            )
        for i in range(1, 21):
            run.save_checkpoint(config.steps * i // 20, members, b"", {})
        shares = {str(seed): 0.5 for seed in range(SEEDS)}
        accuracy = dict.fromkeys(("val", "test", "gen"), shares)
        run.finish({"steps": config.steps, "accuracy": accuracy, "frozen": {}})
    return logs * SEEDS * len(NAMES)


def write_small_runs(path: Path, count: int) -> list[Path]:
    """Copies of a small trained run, checkpoints included."""
    paths = [path / f"run-{i:03}" for i in range(count)]
    auxin.train(SMALL, out=paths[0])
    for copy in paths[1:]:
        shutil.copytree(paths[0], copy)
    return paths


def measured(program: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak MB of a Python program in a fresh process (Linux)."""
    ending = "print(re.findall(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[0], file=sys.stderr)"
    program = f"import atexit, re, sys; atexit.register(lambda: {ending}); {program}"
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    after, seconds = os.times(), time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, processor, int(done.stderr.split()[-1]) * 1024 / 1e6


def show(name: str, figures: tuple[float, float, float], page: Path | None = None) -> None:
    seconds, processor, peak = figures
    size = f"  page {page.stat().st_size / 1e6:6.2f} MB" if page else ""
    print(f"{name:44} {seconds:6.1f} s  processor {processor:6.1f} s  peak {peak:6.0f} MB{size}", flush=True)


def benchmark(directory: Path, rows: int, runs: int) -> None:
    large, page = directory / "large", directory / "page.html"
    small = [str(path) for path in write_small_runs(directory / "small", runs)]
    count = write_large_run(large, rows, Path(small[0]))
    size = (large / "metrics.jsonl").stat().st_size / 1e6
    print(
        f"{count:,} rows, {size:.0f} MB; bounds of a page: {PAGE} MB, {SECONDS} s, {MEGABYTES} MB of memory"
    )
    show("imports alone", measured("import auxin, polars"))
    read = "import auxin; assert len(auxin.open(sys.argv[1]).metrics) == int(sys.argv[2])"
    show(".metrics", measured(read, str(large), str(count)))
    report = ("from auxin.cli import main; sys.exit(main())", "report", "--force", "--out", str(page))
    show("auxin report RUN", measured(*report, str(large)), page)
    show(f"auxin report, {runs} small runs", measured(*report, *small), page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="an empty directory to leave runs and page in")
    options = parser.parse_args()
    if options.keep:
        benchmark(options.keep, options.rows, options.runs)
        return
    with tempfile.TemporaryDirectory() as directory:
        benchmark(Path(directory), options.rows, options.runs)


if __name__ == "__main__":
    main()
