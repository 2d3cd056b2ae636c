"""Reading a study's directory: what is missing or wrong is named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auxin.errors import RunError
from auxin.report.record import open_study
from auxin.studies.pool import Outcome
from report.answered import answered


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failed = Outcome("tense", "failed", 0.0, "loss is not finite")
    return answered(tmp_path_factory.mktemp("study") / "grokking", "grokking", {"tense": failed})


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "grokking"))


def rewrite(study: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """As if an earlier version, which signed nothing, had written it."""
    values = json.loads((study / "study.json").read_text())
    del values["sha256"], values["tables_sha256"]
    change(values)
    (study / "study.json").write_text(json.dumps(values))


def test_a_study_has_its_tables_and_its_runs(study: Path) -> None:
    record = open_study(study)
    assert record.study == "grokking"
    assert set(record.tables) == {"seeds", "curves", "stopping"}
    question, tense = record.runs
    assert (question.name, question.status) == ("question", "finished")
    assert question.config is not None
    assert question.config["model.width"] == 16
    assert question.config["seeds"] == [0, 1, 2]
    assert question.environment["torch"]
    assert (tense.status, tense.detail) == ("failed", "loss is not finite")


def test_wall_time_is_that_of_the_sessions_whose_end_is_known(study: Path) -> None:
    times = [("00", "created"), ("10", "stopped by signal 2 at step 5"), ("20", "resumed from step 5")]
    times += [("25", "warning: begun with torch 1"), ("27", "resumed from step 5"), ("30", "finished")]
    log = "".join(f"2026-01-01T00:00:{second}+00:00 {event}\n" for second, event in times)
    (study / "runs" / "question" / "events.log").write_text(log)
    (study / "runs" / "tense" / "events.log").write_text("2026-01-01T00:00:00+00:00 created\n")
    question, tense = open_study(study).runs
    assert question.seconds == 13
    assert tense.seconds is None
    (study / "runs" / "question" / "events.log").write_text("yesterday created\ntoday finished\n")
    assert open_study(study).runs[0].seconds == 0


@pytest.mark.parametrize("name", ["../../secret", "a/../../b", "..", "gone"])
def test_a_run_is_looked_for_in_the_study_only(study: Path, name: str) -> None:
    secret = study.parent / "secret"
    shutil.copytree(study / "runs" / "question", secret)
    rewrite(study, lambda values: values["runs"][0].update(name=name))
    assert open_study(study).runs[0].config is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("claims"), "study.json: claims is missing; allowed: list"),
        (lambda v: v.update(answer=3), "study.json: answer is a int; allowed: str"),
        (lambda v: v["findings"][0].update(low="x"), "findings: low is a str; allowed: int or float"),
        (lambda v: v["runs"].append(5), "study.json: runs is a int; allowed: dict"),
        (lambda v: v["claims"][0].pop("verdict"), "claims: verdict is missing; allowed: str"),
    ],
)
def test_a_wrong_record_is_named(study: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    rewrite(study, change)
    with pytest.raises(RunError) as caught:
        open_study(study)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_number_of_a_table_or_the_answer_is_noticed(study: Path) -> None:
    for file, message in (
        (study / "tables" / "seeds.csv", r"seeds\.csv: damaged"),
        (study / "study.json", "SHA-256"),
    ):
        content = file.read_text()
        index = max(i for i, character in enumerate(content) if character in "123456")
        file.write_text(content[:index] + "9" + content[index + 1 :])
        with pytest.raises(RunError, match=message):
            _ = open_study(study).tables
        file.write_text(content)
    assert open_study(study).tables


def test_what_is_not_there_or_no_table_is_an_error(study: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such directory"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"no answered study here \(study.json is missing\)"):
        open_study(study / "runs")
    rewrite(study, lambda values: None)
    (study / "tables" / "seeds.csv").write_text('a,b\n1,2,3\n"')
    with pytest.raises(RunError, match=r"seeds\.csv: not a table"):
        _ = open_study(study).tables
    (study / "study.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        open_study(study)
