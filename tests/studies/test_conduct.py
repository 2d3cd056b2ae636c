"""Every study from its runs to its files, at a size for tests; and the verb that conducts it."""

import dataclasses
import json
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from auxin.cli import UsageError, main
from auxin.cli.study import StudyOptions
from auxin.config import RunConfig
from auxin.errors import ConfigError
from auxin.lab.named import NamedRun, Outcome
from auxin.lab.places import Owner
from auxin.lab.session import Session
from auxin.studies import conduct
from auxin.studies.conduct import answer_study, load_study
from auxin.studies.design import Scale, StudyName
from published import write_published

LINES = {"train": 100, "dev": 20, "test": 20, "gen": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few sentences of both tasks as published files: loading and scoring them takes no time."""
    directory = tmp_path_factory.mktemp("data")
    for name in ("question", "tense"):
        write_published(directory, name, LINES)
    return directory


@pytest.fixture
def small(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of ``minutes`` on that data and for a few steps."""

    def shrunk(name: str, scale: Scale) -> list[NamedRun]:
        changes = {"data_dir": str(data), "train_size": 0, "steps": 6, "log_every": 0, "checkpoint_every": 3}
        runs = load_study(name).configs(scale)
        return [dataclasses.replace(run, config=dataclasses.replace(run.config, **changes)) for run in runs]

    monkeypatch.setattr(conduct, "runs_of", shrunk)


def train_here(runs: list[NamedRun], out: Path) -> list[Outcome]:
    from auxin.experiment.train import train

    for run in runs:
        train(run.config, Path(out) / "runs" / run.name)
    return [Outcome(run.name, "finished", 1.5) for run in runs]


def in_session(session: Session, runs: list[NamedRun], *_: object) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in train_here(runs, Path(session.out))}


@pytest.mark.parametrize("name", get_args(StudyName))
def test_a_study_from_its_runs_to_its_files(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Session, "_train", in_session)
    outcomes = Session(tmp_path).train(conduct.runs_of(name, "minutes"), Owner(name, "minutes"))
    analysis = answer_study(name, "minutes", tmp_path, outcomes)
    assert analysis.answer.endswith(".")
    assert "nan" not in analysis.answer
    record = json.loads((tmp_path / "study.json").read_text())
    assert record["study"] == name
    assert record["scale"] == "minutes"
    assert record["command"] == f"auxin study {name} --scale minutes --out {tmp_path.name}"
    assert record["question"] == analysis.question
    assert record["answer"] == analysis.answer
    assert [f["sentence"] for f in record["findings"]] == [f.sentence for f in analysis.findings]
    assert [run["name"] for run in record["runs"]] == [o.name for o in outcomes]
    assert all(run["settings"] for run in record["runs"])
    assert record["sessions"][0]["workers"] >= 1
    metrics = pl.read_parquet(tmp_path / "metrics.parquet")
    assert metrics["run"].n_unique() == len(outcomes)
    written = sorted(path.stem for path in (tmp_path / "tables").iterdir())
    assert written == sorted(analysis.tables)
    for table in written:
        read = pl.read_csv(tmp_path / "tables" / f"{table}.csv", infer_schema_length=None)
        assert read.columns == analysis.tables[table].columns
        assert len(read) == len(analysis.tables[table])
    # and again, from the files alone: the same answer, nothing trained
    assert answer_study(name, "minutes", tmp_path).answer == analysis.answer


def test_the_verb_trains_answers_and_trains_nothing_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfig(data_dir=str(data), steps=12, batch_size=4, log_every=4, eval_size=20, threads=1)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, width=8, heads=1, depth=1))
    runs = [
        NamedRun(f"seed{s}", dataclasses.replace(config, seeds=(s,)), {"task": "question"}) for s in (0, 1)
    ]
    monkeypatch.setattr(conduct, "runs_of", lambda name, scale: runs)
    verb = ["grokking", "--scale", "minutes", "--out", str(tmp_path / "study"), "--workers", "1"]
    assert main(["study", *verb]) == 0
    shown = capsys.readouterr()
    assert "seed1" in shown.out
    assert "finished" in shown.out
    assert "Does generalization come long after" in shown.out
    assert "over 2 seeds" in shown.out
    assert "2/2 seed1 finished" in shown.err
    assert main(["study", *verb, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["findings"][0]["sentence"] in answer["answer"]
    assert main(["study", *verb, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 0


def test_a_dry_run_prints_the_plan_and_trains_nothing(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["depth", "--scale", "minutes", "--out", str(tmp_path / "x"), "--dry-run"]
    assert main(["study", *arguments]) == 0
    shown = capsys.readouterr().out
    for part in ("runs left to train", "3 (9 models)", "FLOPs", "memory", "disk", "wall time", "CPU"):
        assert part in shown
    assert not (tmp_path / "x").exists()


def test_failed_runs_are_shown_and_the_rest_answered(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_fails(session: Session, runs: list[NamedRun], *rest: object) -> dict[str, Outcome]:
        lost = Outcome(runs[0].name, "failed", 1.0, "of a bad disk")
        return {lost.name: lost, **in_session(session, runs[1:], *rest)}

    monkeypatch.setattr(Session, "_train", one_fails)
    assert main(["study", "grokking", "--scale", "minutes", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "of a bad disk" in shown
    assert "On tense" in shown


def test_so_far_answers_from_what_has_finished_and_trains_nothing(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_here([run for run in conduct.runs_of("grokking", "minutes") if "tense" not in run.name], tmp_path)
    arguments = ["grokking", "--scale", "minutes", "--out", str(tmp_path), "--so-far"]
    assert main(["study", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "1 of 2 runs have finished." in shown
    assert "On question" in shown
    assert "On tense" not in shown
    record = json.loads((tmp_path / "study.json").read_text())
    assert {run["status"] for run in record["runs"] if "tense" in run["name"]} == {"stopped"}
    with pytest.raises(UsageError, match="so_far is True; allowed: without --dry-run"):
        StudyOptions.parse("auxin study", [*arguments, "--dry-run"]).run()


@pytest.mark.parametrize("option", ["", "--dry-run"])
def test_a_negative_number_of_workers_is_refused_before_anything_is_written(
    option: str, tmp_path: Path
) -> None:
    arguments = f"grokking --scale minutes --out {tmp_path / 'x'} --workers -1 {option}".split()
    with pytest.raises(ConfigError, match="workers is -1; allowed: 0"):
        StudyOptions.parse("auxin study", arguments).run()
    assert not (tmp_path / "x").exists()


def test_without_any_finished_run_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"finished runs in .* is 0; allowed: at least one"):
        answer_study("grokking", "minutes", tmp_path)
