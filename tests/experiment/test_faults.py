"""A training run comes to the same bytes whatever happens on the way: kills, full disks, signals, damage."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.errors import Interrupted, RunError
from auxin.experiment import train as module
from auxin.experiment.train import train
from auxin.measures.accuracy import Evaluator
from auxin.runs import RunDirectory, open_run
from auxin.training.loop import Trainer
from auxin.values import to_json
from published import write_published

TESTS = Path(__file__).parents[1]
STEPS, LIVES = 24, 37


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run of a second with many checkpoints, on a few sentences."""
    data = tmp_path_factory.mktemp("data")
    write_published(data, "question", dict.fromkeys(("train", "dev", "gen"), 40))
    return RunConfig(
        data_dir=str(data),
        model=ModelConfig(depth=1, width=8, heads=2),
        optimizer=OptimizerConfig(learning_rate=0.01, warmup=10),
        steps=STEPS,
        batch_size=4,
        seeds=(0, 1),
        log_every=3,
        checkpoint_every=2,
        eval_size=5,
        measures=("norms",),
        threads=1,
    )


@pytest.fixture(scope="module")
def undisturbed(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(config, path)
    return content(path)


def content(run: Path) -> dict[str, bytes]:
    """Every byte of a finished run that its config determines."""
    assert open_run(run).finished
    varying = ("events.log", "environment.json")
    return {
        str(p.relative_to(run)): p.read_bytes()
        for p in run.rglob("*")
        if p.is_file() and p.name not in varying
    }


def test_thirty_kills_and_seven_full_disks_later_the_bytes_are_the_same(
    config: RunConfig, tmp_path: Path
) -> None:
    """Before operations on the disk, half-way through writes and at random moments; see ``experiment.lives``."""
    path = tmp_path / "x"
    config = dataclasses.replace(config, steps=100)  # more than so many lives come to
    program = [sys.executable, "-m", "experiment.lives", str(path), to_json(config), "0", str(LIVES)]
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    result = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    ends = json.loads(result.stdout)
    assert ends == {"killed": 15, "killed at a moment": 15, "disk full": 7}
    for name in ("x", "undisturbed"):
        train(config, tmp_path / name)
    assert content(path) == content(tmp_path / "undisturbed")


Interrupt = Callable[[], None]


def at_call(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, act: Interrupt) -> None:
    """Do something before a function's call of that number."""
    real, calls = getattr(owner, name), []

    def counted(*arguments: object, **options: object) -> object:
        calls.append(name)
        if len(calls) == number:
            act()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)


SIGNALS = [
    (signal.SIGTERM, Trainer, "step", 13, 13),  # a step at which nothing is logged or kept
    (signal.SIGTERM, Trainer, "step", STEPS, STEPS),
    (signal.SIGINT, Evaluator, "__call__", 1, 0),
    (signal.SIGTERM, Evaluator, "__call__", 4 * 4 + 2, 12),  # of a step that is also kept
    (signal.SIGINT, Evaluator, "__call__", (STEPS // 3 + 1) * 4 + 2, STEPS),  # of all sentences, at the end
    (signal.SIGTERM, module, "structure", 4, 2),
    (signal.SIGINT, RunDirectory, "append_metrics", 5, 7),
    (signal.SIGTERM, RunDirectory, "save_checkpoint", 4, 7),
]


@pytest.mark.parametrize(("number", "owner", "name", "call", "step"), SIGNALS)
def test_a_signal_saves_at_once_and_the_run_goes_on_to_the_same_bytes(
    config: RunConfig,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    owner: object,
    name: str,
    call: int,
    step: int,
) -> None:
    path = tmp_path / "x"
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, call, lambda: signal.raise_signal(number))
        with pytest.raises(Interrupted, match=f"stopped at step {step} and saved") as stopped:
            train(config, path)
    assert stopped.value.signal == number
    assert open_run(path).checkpoints[-1].step == step
    train(config, path)
    assert content(path) == undisturbed


def test_a_run_that_only_began_does_not_log_its_beginning_twice(
    config: RunConfig, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise SystemExit

    path = tmp_path / "x"
    with monkeypatch.context() as patch:
        at_call(patch, Trainer, "step", 1, die)
        with pytest.raises(SystemExit):
            train(config, path)
    assert [c.step for c in open_run(path).checkpoints] == [0]
    train(config, path)
    assert content(path) == undisturbed


@pytest.mark.parametrize("name", ["member-1.safetensors", "state.json"])
def test_from_a_damaged_checkpoint_the_run_goes_back_one_and_on_to_the_same_bytes(
    config: RunConfig,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    path = tmp_path / "x"
    with monkeypatch.context() as patch:
        at_call(patch, Trainer, "step", 11, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(config, path)
    file = path / "checkpoints" / "step-000000011" / name
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    file.write_bytes(damaged)
    train(config, path)
    assert "step-000000011" in (path / "events.log").read_text()
    assert "resumed from step 10" in (path / "events.log").read_text()
    assert content(path) == undisturbed


def test_a_run_does_not_go_on_with_other_sentences(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "x", Path(shutil.copytree(config.data_dir, tmp_path / "data"))
    config = dataclasses.replace(config, data_dir=str(data))
    with monkeypatch.context() as patch:
        at_call(patch, Trainer, "step", 5, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(config, path)
    file = data / "question.train"
    before = file.read_text()
    file.write_text("".join(reversed(before.splitlines(keepends=True))))
    with pytest.raises(RunError, match=r"x: begun with other sentences than now in .*data; train"):
        train(config, path)
    file.write_text(before)
    assert train(config, path).finished


def test_a_second_process_is_refused_while_the_first_trains(
    config: RunConfig, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"

    def intrude() -> None:
        with pytest.raises(RunError, match="another process is writing this run"):
            train(config, path)

    at_call(monkeypatch, Trainer, "step", 5, intrude)
    train(config, path)
    assert content(path) == undisturbed
