"""Whole runs: logged, reproducible, refused where foreign."""

import dataclasses
import json
from pathlib import Path

import pytest

from auxin.config import ModelConfig, OptimizerConfig, RunConfig
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


def test_another_run_in_the_directory_is_refused(undisturbed: Path) -> None:
    before = content(undisturbed)
    with pytest.raises(RunError, match="steps"):
        train(dataclasses.replace(CONFIG, steps=61), undisturbed)
    assert content(undisturbed) == before


def test_what_cannot_be_trained_is_named(tmp_path: Path) -> None:
    wrong = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, vocabulary_size=5))
    with pytest.raises(ConfigError, match="vocabulary_size is 5; allowed for task question: 0 or"):
        train(wrong, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_summary_scores_every_sentence(undisturbed: Path) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["accuracy"]) == {"val", "test", "gen"}
    assert all(0 <= summary["accuracy"]["gen"][seed] <= 1 for seed in ("0", "1"))
