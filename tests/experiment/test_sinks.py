"""TensorBoard and Weights & Biases get every point of a run once, and training does not notice."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from auxin.cli import main
from auxin.errors import ConfigError
from auxin.experiment import sinks
from auxin.experiment.train import resume, train
from auxin.runs import open_run
from auxin.values import to_json
from experiment.test_train import CONFIG, content

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytest.importorskip("wandb")

Points = list[tuple[int, int, str, float]]
HANGS = """
import sys, time
from auxin.config import RunConfig
from auxin.experiment.train import train
from auxin.training.loop import Trainer
from auxin.values import from_json

step = Trainer.step
Trainer.step = lambda trainer: step(trainer) if trainer.count < 150 else time.sleep(600)
train(from_json(RunConfig, sys.argv[1]), sys.argv[2], tensorboard=sys.argv[3], wandb="auxin-test")
"""
"""Trains 150 steps and hangs there, so that it can be killed as late as W&B's own process likes."""
LONG = dataclasses.replace(CONFIG, steps=20, log_every=1, checkpoint_every=5)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def rows(path: Path) -> Points:
    found = open_run(path).metrics.to_dicts()
    return sorted((r["step"], r["member"], f"{r['split']}/{r['name']}", r["value"]) for r in found)


def on_tensorboard(folder: Path) -> Points:
    """Every event, also of steps that TensorBoard itself would purge."""
    found: Points = []
    for path in sorted(folder.glob("seed-*")):
        reader = event_accumulator.EventAccumulator(
            str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False
        )
        reader.Reload()
        seed = int(path.name.removeprefix("seed-"))
        for tag in reader.Tags()["scalars"]:
            found += [(event.step, seed, tag, event.value) for event in reader.Scalars(tag)]
    return sorted(found)


def on_wandb(run: Path) -> Points:
    """Every point of all logs of the one run that is there."""
    from wandb.proto.wandb_internal_pb2 import Record

    logs = sorted(run.glob("wandb/*run-*/run-*.wandb"))
    assert len({path.name for path in logs}) == 1
    found: Points = []
    for path in logs:
        for data in sinks._records(path.read_bytes()):
            record: Any = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                for item in record.history.item:
                    key = item.key or "/".join(item.nested_key)
                    if not key.startswith("_"):
                        name, _, seed = key.partition("/seed-")
                        value = json.loads(item.value_json)
                        found.append((record.history.step.num, int(seed or 0), name, value))
    return sorted(found)


def same(found: Points, wanted: Points) -> None:
    assert [point[:3] for point in found] == [point[:3] for point in wanted]
    assert [point[3] for point in found] == pytest.approx([point[3] for point in wanted], rel=1e-6)


def test_every_point_is_there_and_training_is_the_same(tmp_path: Path) -> None:
    train(LONG, tmp_path / "plain")
    train(LONG, tmp_path / "run", tensorboard=tmp_path / "tb", wandb="auxin-test")
    assert content(tmp_path / "run") == content(tmp_path / "plain")
    same(on_tensorboard(tmp_path / "tb" / "run"), rows(tmp_path / "run"))
    same(on_wandb(tmp_path / "run"), rows(tmp_path / "run"))


def test_killed_and_resumed_each_point_is_there_once(tmp_path: Path) -> None:
    config = dataclasses.replace(LONG, steps=200, log_every=10, checkpoint_every=25)
    out = tmp_path / "run"
    command = [sys.executable, "-c", HANGS, to_json(config), str(out), str(tmp_path / "tb")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("WANDB_SERVICE", None)  # this process's, which would be taken for the other's
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        log = next(out.glob("wandb/*run-*/run-*.wandb"), None)
        if log is not None and sinks_steps(log) and (out / "checkpoints" / "step-000000025").is_dir():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read() if process.stderr else ""
    time.sleep(1)  # for W&B's own process to write what it has got
    before = on_wandb(tmp_path / "run")
    assert before
    last = max(step for step, *_ in rows(out))
    run = resume(out, tensorboard=tmp_path / "tb", wandb="auxin-test")
    assert last < 200
    same(on_tensorboard(tmp_path / "tb" / "run"), rows(run.path))
    same(on_wandb(tmp_path / "run"), rows(run.path))
    assert on_wandb(tmp_path / "run")[: len(before)] == before


def test_a_tensorboard_that_is_open_shows_what_a_resumed_run_adds(tmp_path: Path) -> None:
    config = dataclasses.replace(LONG, seeds=(0,))
    train(config, tmp_path / "run", tensorboard=tmp_path / "tb")
    viewer = event_accumulator.EventAccumulator(
        str(tmp_path / "tb" / "run" / "seed-0"), size_guidance={"scalars": 0}
    )
    viewer.Reload()
    assert [event.step for event in viewer.Scalars("train/loss")] == list(range(1, 21))
    resume(tmp_path / "run", steps=24, tensorboard=tmp_path / "tb")
    viewer.Reload()
    assert [event.step for event in viewer.Scalars("train/loss")] == list(range(1, 25))
    shutil.rmtree(tmp_path / "run")
    train(
        dataclasses.replace(config, steps=5), tmp_path / "run", tensorboard=tmp_path / "tb"
    )  # another run of its name
    same(on_tensorboard(tmp_path / "tb" / "run"), rows(tmp_path / "run"))


def sinks_steps(log: Path) -> bool:
    return len(list(sinks._records(log.read_bytes()))) > 8


def test_a_finished_run_is_sent_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.replace(LONG, seeds=(0,))
    train(config, tmp_path / "run")
    command = [
        "export",
        str(tmp_path / "run"),
        "--tensorboard",
        str(tmp_path / "tb"),
        "--wandb",
        "auxin-test",
    ]
    for _ in range(2):
        assert main(command) == 0
    same(on_tensorboard(tmp_path / "tb" / "run"), rows(tmp_path / "run"))
    same(on_wandb(tmp_path / "run"), rows(tmp_path / "run"))
    assert f"TensorBoard in {tmp_path / 'tb'}" in capsys.readouterr().out
    foreign = tmp_path / "tb" / "run" / "seed-0" / "events.out.tfevents.1.other"
    foreign.write_bytes(b"")
    train(config, tmp_path / "run", tensorboard=tmp_path / "tb")  # nothing left to train
    assert foreign.exists()
    same(on_tensorboard(tmp_path / "tb" / "run"), rows(tmp_path / "run"))


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_before_anything_is_done(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wanted = f"{package} is not installed; install it in a clone of auxin with pip install '.[{package}]'"
    with pytest.raises(ConfigError) as raised:
        train(CONFIG, tmp_path / "run", **{package: "x"})
    assert str(raised.value) == wanted
    assert not (tmp_path / "run").exists()
    assert main(["train", "--out", str(tmp_path / "run"), f"--{package}", "x"]) == 1
    assert capsys.readouterr().err == f"auxin train: {wanted}\n"


def test_a_sink_that_fails_does_not_stop_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tb").write_text("a file")
    run = train(LONG, tmp_path / "run", tensorboard=tmp_path / "tb")
    assert run.finished
    told = " ".join(capsys.readouterr().err.split())
    assert f"warning: TensorBoard in {tmp_path / 'tb'} gets no more:" in told
    with pytest.raises(ConfigError, match=r"TensorBoard in .* gets no more"):
        sinks.send(run, sinks.sinks_of(tmp_path / "tb", None))
