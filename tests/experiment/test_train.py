"""Whole runs: logged, reproducible, refused where foreign."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.errors import ConfigError, DataError, RunError
from auxin.experiment.train import train
from auxin.report.training_figures import run_figures
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


def test_a_device_that_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, here in ((0, "cpu \\(this machine has no CUDA device\\)"), (2, "cpu, cuda:0 to cuda:1")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(ConfigError, match=f"device is 'cuda:7'; allowed: {here}"):
            train(dataclasses.replace(CONFIG, device="cuda:7"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_number_of_threads_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, inside = torch.get_num_threads(), []
    monkeypatch.setattr(RunConfig, "load_task", lambda _: inside.append(torch.get_num_threads()))
    for threads in (before + 2, 0):
        with pytest.raises(AttributeError):  # there is no task
            train(dataclasses.replace(CONFIG, threads=threads), tmp_path / "x")
    assert inside == [before + 2, before]
    assert torch.get_num_threads() == before


def test_what_cannot_be_trained_leaves_the_directory_to_what_can(tmp_path: Path) -> None:
    out, model = tmp_path / "x", CONFIG.model
    with pytest.raises(ConfigError, match="batch_size is 1000; allowed: up to the 400"):
        train(dataclasses.replace(CONFIG, batch_size=1000), out)
    with pytest.raises(
        ConfigError, match=r"max_length is 4; allowed here: at least \d+, the longest training"
    ):
        train(dataclasses.replace(CONFIG, model=dataclasses.replace(model, max_length=4)), out)
    assert not out.exists()
    train(dataclasses.replace(CONFIG, steps=1), out)


def test_what_cannot_be_scored_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    short = "the newt does read . quest\tdoes the newt read ?\n"
    longer = "the newt who does read does read . quest\tdoes the newt who does read read ?\n"
    declared = "the newt does read . decl\tthe newt does read .\n"
    model = dataclasses.replace(CONFIG.model, max_length=12)
    config = dataclasses.replace(CONFIG, data_dir=str(tmp_path), batch_size=2, steps=1, model=model)
    for split in ("train", "dev", "gen"):
        (tmp_path / f"question.{split}").write_text(short * 4)
    (tmp_path / "question.test").write_text(declared)
    with pytest.raises(DataError, match="test of question has no line to score"):
        train(config, tmp_path / "x")
    (tmp_path / "question.test").write_text(short + longer)
    with pytest.raises(
        ConfigError, match="max_length is 12; allowed here: at least 18, the longest sequence"
    ):
        train(config, tmp_path / "x")
    (tmp_path / "question.gen").unlink()
    with pytest.raises(DataError, match="split is 'gen'"):
        train(dataclasses.replace(config, model=CONFIG.model), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "question.gen").write_text(short)
    train(dataclasses.replace(config, model=dataclasses.replace(model, max_length=18)), tmp_path / "x")


def test_the_summary_scores_every_sentence(undisturbed: Path) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["accuracy"]) == {"val", "test", "gen"}
    assert all(0 <= summary["accuracy"]["gen"][seed] <= 1 for seed in ("0", "1"))


def test_a_watched_run_has_the_same_weights_and_more_metrics(undisturbed: Path, tmp_path: Path) -> None:
    run = train(CONFIG, tmp_path / "run", watched=20)
    for one, other in zip(run.checkpoints, open_run(undisturbed).checkpoints, strict=True):
        weights = [
            sorted(p.read_bytes() for p in c.path.glob("*.safetensors") if "state" not in p.name)
            for c in (one, other)
        ]
        assert weights[0] == weights[1]
    rows = run.metrics.filter(split="watch", name="norm")
    assert rows["step"].to_list() == [20, 20, 40, 40, 60, 60]
    assert [figure.name for figure in run_figures(run.metrics)][-1] == "watch"
