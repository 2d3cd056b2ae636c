"""A run finds its sentences from anywhere, knows them when they have moved, and does without them on the page."""

import dataclasses
from pathlib import Path

import pytest

from auxin.cli import main
from auxin.config import ModelConfig, RunConfig
from auxin.errors import DataError, RunError
from auxin.experiment.data import task_of
from auxin.experiment.measure import measure
from auxin.experiment.train import train
from auxin.runs import open_run
from auxin.tasks import registry
from published import write_published

MODEL = ModelConfig(depth=1, width=8, heads=1)
CONFIG = RunConfig(model=MODEL, data_dir="data", steps=2, batch_size=2, eval_size=2, threads=1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trained on a relative ``data_dir``, and looked at from elsewhere."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_published(tmp_path / "data", "question", {"train": 100, "dev": 20, "test": 20, "gen": 20})
    monkeypatch.chdir(tmp_path)
    train(CONFIG, "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "run"


def test_sentences_are_found_from_another_directory(run: Path) -> None:
    assert open_run(run).config.data_dir == str(run.parent / "data")
    assert measure(run, measures=["norms"]).metrics.height > 0
    assert main(["trees", str(run)]) == 0


def test_sentences_that_have_moved_are_given_and_compared(run: Path) -> None:
    moved = run.parent / "moved"
    (run.parent / "data").rename(moved)
    with pytest.raises(DataError, match=str(run.parent / "data")):
        measure(run, measures=["entropy"])
    assert measure(run, measures=["entropy"], task=task_of(open_run(run), str(moved))).metrics.height > 0
    train(dataclasses.replace(CONFIG, data_dir=str(moved)), run)  # the same run, and finished
    lines = (moved / "question.train").read_text().splitlines(keepends=True)
    (moved / "question.train").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="trained on other sentences than now in"):
        task_of(open_run(run), str(moved))
    with pytest.raises(RunError, match=r"holds another run \(data_dir is"):
        train(dataclasses.replace(CONFIG, data_dir=str(moved)), run)


def test_a_report_needs_no_sentences(run: Path) -> None:
    assert main(["report", str(run), "--out", "with.html"]) == 0
    assert "What tree does its computation follow?" in Path("with.html").read_text()
    (run.parent / "data").rename(run.parent / "moved")
    assert main(["report", str(run), "--out", "without.html"]) == 0
    page = Path("without.html").read_text()
    assert "What tree does its computation follow?" not in page
    assert "No trees: data_dir is" in page


def test_a_report_generates_little_for_a_run_on_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, data_dir="", train_size=500)
    train(config, tmp_path / "run")
    from auxin.runs.run import config_bytes

    claims = dataclasses.replace(open_run(tmp_path / "run").config, train_size=10**7)
    (tmp_path / "run" / "config.toml").write_bytes(config_bytes(claims))
    asked: list[int] = []
    load = registry.load_task
    monkeypatch.setattr(
        "auxin.config.load_task", lambda *a, **o: (asked.append(o["train_size"]), load(*a, **o))[1]
    )
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    assert asked == [10_000]
    assert "What tree does its computation follow?" in (tmp_path / "page.html").read_text()
