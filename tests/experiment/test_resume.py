"""A run lives on: from its own config, with other threads or places, and longer than it was meant to be."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from auxin.cli import main
from auxin.config import RunConfig
from auxin.errors import ConfigError, DataError, RunError
from auxin.experiment.train import resume, train
from auxin.runs import open_run
from experiment.test_train import CONFIG, content
from published import write_published

LONG = dataclasses.replace(CONFIG, steps=60, checkpoint_every=10)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "longer"
    train(LONG, path)
    return path


@pytest.mark.parametrize("steps", [10, 30, 50])
def test_an_extended_run_has_the_bits_of_a_longer_one(longer: Path, tmp_path: Path, steps: int) -> None:
    out = tmp_path / "run"
    train(dataclasses.replace(LONG, steps=steps), out)
    assert open_run(out).finished
    resume(out, steps=60)
    assert content(out) == content(longer)
    assert f"steps 60 instead of {steps}, at step {steps}" in (out / "events.log").read_text()


def test_a_last_step_between_two_logs_adds_its_rows_and_changes_no_other(
    longer: Path, tmp_path: Path
) -> None:
    train(dataclasses.replace(LONG, steps=33), tmp_path / "run")
    ours, theirs = resume(tmp_path / "run", steps=60), open_run(longer)
    assert set(ours.metrics["step"]) - set(theirs.metrics["step"]) == {33}
    assert ours.metrics.filter(ours.metrics["step"] != 33).equals(theirs.metrics)
    weights = [run / "checkpoints" / "step-000000060" / "member-0.safetensors" for run in (ours.path, longer)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_extending_is_no_way_around_other_settings(longer: Path, tmp_path: Path) -> None:
    before = content(longer)
    with pytest.raises(ConfigError, match=r"steps is 20; allowed: 60 .the run's. or more"):
        resume(longer, steps=20)
    with pytest.raises(ConfigError, match="setting to change is 'batch_size'; allowed: threads, device"):
        resume(longer, batch_size=2)
    assert resume(longer).finished  # there is nothing to do
    assert content(longer) == before


def test_a_rate_that_decays_to_the_end_is_asked_about(tmp_path: Path) -> None:
    decaying = dataclasses.replace(CONFIG.optimizer, schedule="linear")
    config = dataclasses.replace(LONG, steps=20, optimizer=decaying)
    train(config, tmp_path / "run")
    with pytest.raises(
        ConfigError, match="schedule is 'linear' to the end of the run, and was one of 20 steps"
    ):
        resume(tmp_path / "run", steps=40)
    run = resume(tmp_path / "run", steps=40, stretch=True)
    rates = run.metrics.filter(name="learning_rate", member=0)["value"].to_list()
    assert rates[1] < rates[0]
    assert rates[2] > rates[1]  # up again: that of step 30 of 40
    fixed = dataclasses.replace(config, optimizer=dataclasses.replace(decaying, decay_steps=40))
    train(fixed, tmp_path / "fixed")
    resume(tmp_path / "fixed", steps=40)
    train(dataclasses.replace(fixed, steps=40), tmp_path / "whole")
    assert content(tmp_path / "fixed") == content(tmp_path / "whole")


def test_threads_and_schedules_may_differ_and_are_noted(longer: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(dataclasses.replace(LONG, steps=30), out)
    run = resume(out, steps=60, threads=2, log_every=30)
    assert (run.config.threads, run.config.log_every, run.config.steps) == (2, 30, 60)
    assert "threads 2 instead of 1, at step 30" in (out / "events.log").read_text()
    weights = [path / "checkpoints" / "step-000000060" / "member-1.safetensors" for path in (out, longer)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_moved_data_are_taken_and_other_data_refused(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("train", "dev", "gen"), 40)
    (tmp_path / "data").mkdir()
    write_published(tmp_path / "data", "question", sizes)
    config = dataclasses.replace(LONG, data_dir=str(tmp_path / "data"), steps=10, eval_size=5)
    train(config, tmp_path / "run")
    shutil.move(tmp_path / "data", tmp_path / "moved")
    run = resume(tmp_path / "run", steps=20, data_dir=str(tmp_path / "moved"))
    assert run.config.data_dir == str(tmp_path / "moved")
    lines = (tmp_path / "moved" / "question.train").read_text().splitlines()
    (tmp_path / "moved" / "question.train").write_text("\n".join(lines[1:]) + "\n")
    before = content(tmp_path / "run")
    with pytest.raises(RunError, match="begun with other sentences"):
        resume(tmp_path / "run", steps=30)
    assert content(tmp_path / "run") == before


def test_a_task_that_is_handed_over(tmp_path: Path) -> None:
    task = RunConfig(train_size=400).load_task()
    train(dataclasses.replace(LONG, steps=10), tmp_path / "run", task=task)
    with pytest.raises(DataError, match="hand it over"):
        resume(tmp_path / "run", steps=20)
    run = resume(tmp_path / "run", steps=20, task=task)
    assert (run.config.task, run.finished) == ("custom", True)


def test_resuming_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(dataclasses.replace(LONG, steps=10), tmp_path / "run")
    assert main(["resume", str(tmp_path / "run"), "--steps", "20"]) == 0
    assert open_run(tmp_path / "run").summary["steps"] == 20
    sentence = "my newt who does sleep doesn't read"
    assert main(["trees", str(tmp_path / "run"), "--checkpoint", "20", "--sentence", sentence]) == 0
    printed = capsys.readouterr().out
    assert "step 20: (" in printed
    assert "gold" not in printed
    assert main(["trees", str(tmp_path / "run"), "--sentence", "my nwet reads"]) == 1
    assert "word 'nwet' is not in the vocabulary; closest: newt" in capsys.readouterr().err
