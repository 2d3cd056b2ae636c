"""A study's directory: one study, one scale, nothing through a link."""

import os
import shutil
from pathlib import Path

import pytest

from auxin.errors import AuxinError, RunError
from auxin.experiment.data import Sentences
from auxin.lab.places import Owner, claim, reusable, runs_directory, take_over
from auxin.lab.session import Session, read_sessions
from auxin.runs import RunDirectory, open_run
from auxin.studies.conduct import runs_of
from lab.sweeps import tiny


def test_a_directory_belongs_to_one_study_and_scale(tmp_path: Path) -> None:
    claim(tmp_path, Owner("depth", "minutes"))
    claim(tmp_path, Owner("depth", "minutes"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = {"study is 'depth' there, 'grokking' here": Owner("grokking", "minutes")}
    others |= {"scale is 'minutes' there, 'laptop' here": Owner("depth", "laptop")}
    for use in (Session(tmp_path).train, Session(tmp_path).plan):
        for message, owner in others.items():
            with pytest.raises(RunError, match=rf"holds another study or sweep \({message}\)"):
                use(runs_of(owner.study, "minutes"), owner)
    with pytest.raises(RunError, match="study is 'depth' there, '' here"):
        claim(tmp_path, Owner())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"something else \(thesis\.tex\)"):
        claim(tmp_path, Owner("depth", "minutes"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["runs", "runs/a", "claim.json", "lock"])
def test_a_study_never_writes_through_a_link(tmp_path: Path, name: str) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (outside.mkdir if name.startswith("runs") else outside.touch)()
    (out / name).symlink_to(outside)
    use = (
        (lambda: runs_directory(out))
        if name.startswith("runs")
        else (lambda: claim(out, Owner("depth", "minutes")))
    )
    with pytest.raises(RunError, match="symbolic link"):
        use()
    assert (list(outside.iterdir()) if outside.is_dir() else outside.read_bytes()) in ([], b"")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    run = tiny("a")
    with RunDirectory(tmp_path / "source" / "runs" / "a", run.config) as directory:
        directory.save_checkpoint(10, {0: b"weights"}, b"state", {})
        directory.finish({})
    return tmp_path / "source"


def test_what_is_reused_is_copied_file_by_file(source: Path, tmp_path: Path) -> None:
    run = source / "runs" / "a"
    (run / "notes.txt").write_text("not auxin's")
    (run / "again").symlink_to(run)
    (run / "checkpoints" / "again").symlink_to(run)
    same = reusable([tiny("b")], tmp_path / "out" / "runs", [source], Sentences())
    take_over(same, tmp_path / "out" / "runs")
    copy = open_run(tmp_path / "out" / "runs" / "b")
    assert (copy.finished, copy.checkpoints[0].read(0)) == (True, b"weights")
    names = sorted(path.name for path in copy.path.iterdir())
    assert names == sorted(
        {"checkpoints", "config.toml", "environment.json", "events.log", "metrics.jsonl", "summary.json"}
    )


@pytest.mark.parametrize("name", ["events.log", "checkpoints/step-000000010/manifest.json"])
def test_a_link_is_not_copied_as_what_it_leads_to(source: Path, tmp_path: Path, name: str) -> None:
    secret, file = tmp_path / "secret", source / "runs" / "a" / name
    secret.write_text("private")
    file.unlink()
    file.symlink_to(secret)
    same = reusable([tiny("b")], tmp_path / "out", [source], Sentences())
    with pytest.raises(RunError, match="symbolic link"):
        take_over(same, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_what_may_not_be_looked_into_or_is_too_long_is_our_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AuxinError):
        reusable([tiny("b")], tmp_path / "out", [tmp_path / ("x" * 5000)], Sentences())
    shutil.rmtree(source / "runs")
    os.mkfifo(source / "runs")
    with pytest.raises(AuxinError, match="reuse is"):
        reusable([tiny("b")], tmp_path / "out", [source], Sentences())


def test_a_sitting_whose_line_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sessions.jsonl").write_text('{"seconds": 2.5, "workers": 2}\n{"seconds": 3')
    assert read_sessions(tmp_path) == [{"seconds": 2.5, "workers": 2}]
