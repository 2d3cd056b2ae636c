"""The writing side: create, resume, roll back, prune, refuse."""

import json
from pathlib import Path

import pytest

from auxin.config import RunConfig, from_toml
from auxin.runs import Metric, RunDirectory, open_run

CONFIG = RunConfig(seeds=(3, 5), steps=100)


def row(step: int, member: int = 3, value: float = 0.5) -> Metric:
    return Metric(step, member, "val", "accuracy", value)


def advance(run: RunDirectory, step: int, keep: bool = True) -> None:
    """What one logged step does: rows, then a checkpoint; its content is a function of the step alone."""
    run.append_metrics([row(step, seed, step / 7) for seed in CONFIG.seeds])
    members = {seed: f"weights {seed} {step}".encode() for seed in CONFIG.seeds}
    run.save_checkpoint(step, members, f"state {step}".encode(), {"epoch": step // 10}, keep=keep)


def contents(path: Path) -> dict[str, bytes]:
    """Every file that must not depend on interruptions."""
    varying = ("events.log", "lock", "environment.json")
    files = (p for p in path.rglob("*") if p.is_file() and p.name not in varying)
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "x"


def test_a_new_run_describes_itself_completely(out: Path) -> None:
    with RunDirectory.open(out, CONFIG) as run:
        assert run.latest_state() is None
        assert (run.step, run.finished, run.warnings) == (0, False, [])
    assert from_toml(RunConfig, (out / "config.toml").read_text()) == CONFIG
    environment = (out / "environment.json").read_text()
    assert json.loads(environment)["seeds"] == [3, 5]
    assert str(Path(__file__).parents[2]) not in environment


def test_state_comes_back_as_it_was_saved(out: Path) -> None:
    with RunDirectory.open(out, CONFIG) as run:
        advance(run, 10)
    with RunDirectory.open(out, CONFIG) as run:
        saved = run.latest_state()
    assert saved is not None
    assert (saved.step, saved.state, saved.info) == (10, b"state 10", {"epoch": 1})
    assert saved.members == {3: b"weights 3 10", 5: b"weights 5 10"}


def test_rows_after_the_last_checkpoint_are_dropped_and_a_cut_line_too(out: Path) -> None:
    with RunDirectory.open(out, CONFIG) as run:
        advance(run, 10)
        before = (out / "metrics.jsonl").read_bytes()
        run.append_metrics([row(20)])
    with open(out / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 20, "mem')
    RunDirectory.open(out, CONFIG).close()
    assert (out / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    with RunDirectory.open(out, CONFIG) as run:
        for step in range(10, 60, 10):
            advance(run, step)
        run.finish({"best": 1.0})
    for step in range(10, 50, 10):  # a process for every step; each also stops between steps and loses rows
        with RunDirectory.open(tmp_path / "y", CONFIG) as run:
            assert run.step == (step - 5 if step > 10 else 0)
            run.append_metrics([row(step - 1)])
        with RunDirectory.open(tmp_path / "y", CONFIG) as run:
            advance(run, step)
            run.save_checkpoint(step + 5, {3: b"three", 5: b"five"}, b"state", {}, keep=False)
    with RunDirectory.open(tmp_path / "y", CONFIG) as run:
        advance(run, 50)
        run.finish({"best": 1.0})
    assert contents(tmp_path / "y") == contents(out)
    assert [c.step for c in open_run(out).checkpoints if c.has_state] == [50]
