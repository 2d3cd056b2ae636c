"""Whole runs: logged, reproducible, resumed bit for bit after a kill or a signal, refused where foreign."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auxin.config import ModelConfig, OptimizerConfig, RunConfig, to_json
from auxin.errors import ConfigError, RunError
from auxin.experiment.train import train
from auxin.runs import open_run

CONFIG = RunConfig(
    train_size=400,
    model=ModelConfig(depth=1, width=16, heads=2),
    optimizer=OptimizerConfig(learning_rate=0.01, warmup=10),
    steps=60,
    batch_size=8,
    seeds=(0, 1),
    log_every=10,
    checkpoint_every=7,
    eval_size=20,
    threads=1,
)
PROGRAM = """
import sys
from auxin.config import RunConfig, from_json
from auxin.experiment.train import train
train(from_json(RunConfig, sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(CONFIG, path)
    return path


def content(run: Path) -> dict[str, bytes]:
    """Every byte of a finished run that its config determines."""
    files = [run / "metrics.jsonl", run / "config.toml", run / "summary.json"]
    files += [p for p in run.glob("checkpoints/*/*") if p.name != "state.json"]
    return {str(p.relative_to(run)): p.read_bytes() for p in files}


def start(path: Path, config: RunConfig = CONFIG) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, to_json(config), str(path)], text=True, stderr=subprocess.PIPE
    )


def test_a_run_logs_every_member_and_split(undisturbed: Path) -> None:
    run = open_run(undisturbed)
    assert run.finished
    table = run.metrics
    assert set(table["member"]) == {0, 1}
    assert set(table["split"]) == {"train", "val", "gen"}
    accuracy = table.filter(name="accuracy", split="gen", member=1)
    assert accuracy["step"].to_list() == list(range(0, 61, 10))
    losses = table.filter(name="loss", member=0)["value"].to_list()
    assert losses[-1] < losses[0]
    assert [c.step for c in run.checkpoints] == [*range(0, 60, 7), 60]


def test_same_config_same_bytes_and_a_finished_run_is_left_alone(undisturbed: Path, tmp_path: Path) -> None:
    train(CONFIG, tmp_path / "again")
    assert content(tmp_path / "again") == content(undisturbed)
    before = (undisturbed / "metrics.jsonl").stat().st_mtime_ns
    train(CONFIG, undisturbed)
    assert (undisturbed / "metrics.jsonl").stat().st_mtime_ns == before


def test_killed_at_random_moments_resumes_to_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    path, rng, kills = tmp_path / "killed", random.Random(0), 0
    for _ in range(60):
        process = start(path)
        while process.poll() is None and not (path / "metrics.jsonl").exists():
            time.sleep(0.02)  # start-up: nothing to lose yet
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
    train(CONFIG, path)
    assert kills >= 1
    assert content(path) == content(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_where(undisturbed: Path, tmp_path: Path, number: int) -> None:
    path = tmp_path / "stopped"
    process = start(path)
    while process.poll() is None and not (path / "checkpoints" / "step-000000007").exists():
        time.sleep(0.005)
    began = time.monotonic()
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    if process.returncode:  # it may have come to the end before the signal did
        assert "stopped at step" in errors
    train(CONFIG, path)
    assert content(path) == content(undisturbed)


def test_a_member_alone_logs_what_it_logs_in_a_stack(undisturbed: Path, tmp_path: Path) -> None:
    import dataclasses

    alone = train(dataclasses.replace(CONFIG, seeds=(1,)), tmp_path / "alone").metrics.filter(name="loss")
    stacked = open_run(undisturbed).metrics.filter(name="loss", member=1)
    assert alone["value"].to_list() == stacked["value"].to_list()


def test_another_run_in_the_directory_is_refused(undisturbed: Path) -> None:
    import dataclasses

    before = content(undisturbed)
    with pytest.raises(RunError, match="steps"):
        train(dataclasses.replace(CONFIG, steps=61), undisturbed)
    assert content(undisturbed) == before


def test_what_cannot_be_trained_is_named(tmp_path: Path) -> None:
    import dataclasses

    wrong = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, vocabulary_size=5))
    with pytest.raises(ConfigError, match="vocabulary_size is 5; allowed for task question: 0 or"):
        train(wrong, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_summary_scores_every_sentence(undisturbed: Path) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["accuracy"]) == {"val", "test", "gen"}
    assert all(0 <= summary["accuracy"]["gen"][seed] <= 1 for seed in ("0", "1"))
