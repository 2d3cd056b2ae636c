"""The record of a study: read back as it was written, kept without checkpoints, and damage named in one line."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auxin.config import ModelConfig, RunConfig
from auxin.errors import RunError
from auxin.experiment.train import train
from auxin.files import dump_signed
from auxin.lab.named import Outcome
from auxin.report.page import page
from auxin.runs import open_run
from auxin.runs.record import keep, open_study, runs_as_recorded, wall_time
from auxin.studies.conduct import answer_again, load_study
from auxin.values import flat
from report.answered import answered, everything
from studies.synthetic import table


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failed = Outcome("tense", "failed", 0.0, "loss is not finite")
    return answered(tmp_path_factory.mktemp("study") / "grokking", "grokking", {"tense": failed})


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "grokking"))


def rewrite(study: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """With other values, signed."""
    values = json.loads((study / "study.json").read_text())
    values.pop("sha256", None)
    change(values)
    (study / "study.json").write_bytes(dump_signed(values))


def test_a_study_has_its_tables_its_metrics_and_its_runs(study: Path) -> None:
    record = open_study(study)
    assert record.study == "grokking"
    assert set(record.tables) == {"seeds", "curves", "stopping"}
    assert record.metrics.equals(table(load_study("grokking").configs("minutes"), everything))
    question, tense = record.runs
    assert (question.name, question.status) == ("question", "finished")
    for run in record.runs:
        there = open_run(study / "runs" / run.name)
        assert run.config == json.loads(json.dumps(flat(there.config)))
        assert run.environment == there.environment
        assert run.settings == {"task": run.name}
    assert (tense.status, tense.detail) == ("failed", "loss is not finite")


def test_wall_time_is_that_of_the_sessions_whose_end_is_known(study: Path) -> None:
    times = [("00", "created"), ("10", "stopped by signal 2 at step 5"), ("20", "resumed from step 5")]
    times += [("25", "warning: begun with torch 1"), ("27", "resumed from step 5"), ("30", "finished")]
    log = "".join(f"2026-01-01T00:00:{second}+00:00 {event}\n" for second, event in times)
    run = study / "runs" / "question"
    (run / "events.log").write_text(log)
    assert wall_time(run) == 13
    (run / "events.log").write_text("2026-01-01T00:00:00+00:00 created\n")
    assert wall_time(run) is None
    (run / "events.log").write_text("yesterday created\ntoday finished\n")
    assert wall_time(run) == 0


@pytest.mark.parametrize("name", ["gone", "link"])
def test_a_run_that_is_not_there_or_is_a_link_has_no_settings(study: Path, name: str) -> None:
    secret = study.parent / "secret"
    shutil.copytree(study / "runs" / "question", secret)
    (study / "runs" / "link").symlink_to(secret)
    _, (row,) = runs_as_recorded([{"name": name}], study / "runs")
    assert row == {"name": name, "seconds": None}


def test_what_is_kept_makes_the_same_page_and_the_same_answer(study: Path, tmp_path: Path) -> None:
    kept = tmp_path / "records" / "grokking"
    keep(study, kept)
    assert str(tmp_path) not in (kept / "study.json").read_text()
    names = sorted(path.name for path in kept.iterdir())
    assert names == ["lock", "metrics.parquet", "study.json", "tables"]
    views = re.compile(r"\b(view|param)_\d+")  # altair 5 counts them over the whole process
    there, here = (views.sub(r"\1", page([open_study(path)])) for path in (study, kept))
    assert here == there
    before = (kept / "study.json").read_bytes()
    answer_again(kept)
    assert (kept / "study.json").read_bytes() == before
    keep(study, kept)  # in its own place
    assert (kept / "study.json").read_bytes() == before


def test_what_is_kept_of_a_run_is_all_but_its_checkpoints(tmp_path: Path) -> None:
    tiny = ModelConfig(depth=1, width=8, heads=2)
    config = RunConfig(train_size=40, steps=4, log_every=2, eval_size=2, final_size=2, model=tiny)
    run = train(config, tmp_path / "run")
    keep(run, tmp_path / "kept")
    kept = open_run(tmp_path / "kept")
    assert kept.metrics.equals(run.metrics)
    assert (kept.config, kept.summary, kept.environment) == (run.config, run.summary, run.environment)
    assert len(kept.environment["data"]) == 64
    assert kept.checkpoints == []
    with pytest.raises(RunError, match=r"holds something else \(checkpoints\)"):
        keep(tmp_path / "run", tmp_path / "run")


def test_nothing_else_is_replaced_by_a_record(study: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(RunError, match=r"mine: holds something else \(notes\); choose an empty directory"):
        keep(study, tmp_path / "mine")


def test_a_changed_number_of_a_table_or_the_answer_is_noticed(study: Path) -> None:
    for file, message in (
        (study / "tables" / "seeds.csv", r"tables/seeds\.csv: damaged"),
        (study / "study.json", "SHA-256"),
    ):
        content = file.read_text()
        index = max(i for i, character in enumerate(content) if character in "123456")
        file.write_text(content[:index] + "9" + content[index + 1 :])
        with pytest.raises(RunError, match=message):
            _ = open_study(study).tables
        file.write_text(content)
    assert open_study(study).tables
    (study / "metrics.parquet").write_bytes((study / "metrics.parquet").read_bytes()[:-9])
    with pytest.raises(RunError, match=r"metrics\.parquet: damaged"):
        _ = open_study(study).metrics


def with_digest(study: Path, name: str, content: bytes) -> None:
    (study / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(study, lambda values: values["files_sha256"].update({name: digest}))


def test_what_is_not_there_or_no_table_is_an_error(study: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such directory"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"no answered study here \(study.json is missing\)"):
        open_study(study / "runs")
    written = json.loads((study / "study.json").read_text())
    with_digest(study, "tables/seeds.csv", b'a,b\n1,2,3\n"')
    with pytest.raises(RunError, match=r"seeds\.csv: not a table"):
        _ = open_study(study).tables
    (study / "study.json").write_text(json.dumps(written))
    with_digest(study, "metrics.parquet", b"PAR1")
    with pytest.raises(RunError, match=r"metrics\.parquet: not a table"):
        _ = open_study(study).metrics
    rewrite(study, lambda values: values.update(files_sha256={"tables/../../secret.csv": "x"}))
    with pytest.raises(RunError, match=r"lists 'tables/\.\./\.\./secret\.csv'; allowed: "):
        _ = open_study(study).tables
    (study / "study.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        open_study(study)
