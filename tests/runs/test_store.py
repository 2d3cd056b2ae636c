"""The writing side: create, resume, roll back, prune, refuse."""

import datetime
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.files import dump_signed
from auxin.runs import Metric, RunDirectory, open_run
from auxin.values import from_toml

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
    with RunDirectory(out, CONFIG) as run:
        assert run.saved is None
        assert (run.step, run.finished, run.warnings) == (0, False, [])
    assert from_toml(RunConfig, (out / "config.toml").read_text()) == CONFIG
    environment = (out / "environment.json").read_text()
    assert json.loads(environment)["seeds"] == [3, 5]
    assert str(Path(__file__).parents[2]) not in environment


def test_state_comes_back_as_it_was_saved(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        advance(run, 10)
    with RunDirectory(out, CONFIG) as run:
        saved = run.saved
    assert saved is not None
    assert (saved.step, saved.state, saved.info) == (10, b"state 10", {"epoch": 1})
    assert saved.members == {3: b"weights 3 10", 5: b"weights 5 10"}


def test_rows_after_the_last_checkpoint_are_dropped_and_a_cut_line_too(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        advance(run, 10)
        before = (out / "metrics.jsonl").read_bytes()
        run.append_metrics([row(20)])
    with open(out / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 20, "mem')
    RunDirectory(out, CONFIG).close()
    assert (out / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        for step in range(10, 60, 10):
            advance(run, step)
        run.finish({"best": 1.0})
    for step in range(10, 50, 10):  # a process for every step; each also stops between steps and loses rows
        with RunDirectory(tmp_path / "y", CONFIG) as run:
            assert run.step == (step - 5 if step > 10 else 0)
            run.append_metrics([row(step - 1)])
        with RunDirectory(tmp_path / "y", CONFIG) as run:
            advance(run, step)
            run.save_checkpoint(step + 5, {3: b"three", 5: b"five"}, b"state", {}, keep=False)
    with RunDirectory(tmp_path / "y", CONFIG) as run:
        advance(run, 50)
        run.finish({"best": 1.0})
    assert contents(tmp_path / "y") == contents(out)
    assert [c.step for c in open_run(out).checkpoints if c.has_state] == [50]


def test_only_the_newest_two_keep_their_state_and_resume_only_checkpoints_go(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        for step in range(10, 60, 10):
            advance(run, step, keep=step != 20)
    saved = open_run(out).checkpoints
    assert [(c.step, c.has_state) for c in saved] == [(10, False), (30, False), (40, True), (50, True)]
    assert not (saved[0].path / "state.safetensors").exists()
    assert saved[0].read(5) == b"weights 5 10"


def test_a_finished_run_is_left_as_it_is(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        advance(run, 100)
        run.append_metrics([row(100, value=float("nan"))])
        run.finish({"best": float("inf")})
    before = contents(out)
    with RunDirectory(out, CONFIG) as run:
        assert run.finished
    assert contents(out) == before
    assert open_run(out).summary["best"] is None
    (out / "metrics.jsonl").unlink()
    RunDirectory(out, CONFIG).close()
    with pytest.raises(RunError, match=r"metrics\.jsonl: [Nn]o such file"):
        _ = open_run(out).metrics


def test_another_config_is_refused_by_the_name_of_the_setting(out: Path) -> None:
    RunDirectory(out, CONFIG).close()
    other = replace(CONFIG, model=replace(CONFIG.model, depth=7))
    with pytest.raises(RunError, match=r"holds another run \(model\.depth is 4 there, 7 here\)"):
        RunDirectory(out, other)


def test_a_file_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"something else \(thesis\.tex\)"):
        RunDirectory(tmp_path, CONFIG)
    with pytest.raises(RunError, match="a file, not a directory"):
        RunDirectory(tmp_path / "thesis.tex", CONFIG)
    with pytest.raises(RunError, match="Not a directory"):
        RunDirectory(tmp_path / "thesis.tex" / "run", CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_lost_a_part_is_called_one(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        advance(run, 10)
    (out / "config.toml").rename(out.parent / "config.toml")
    with pytest.raises(RunError, match=r"x: holds something else"):
        RunDirectory(out, CONFIG)
    (out.parent / "config.toml").rename(out / "config.toml")
    shutil.rmtree(out / "checkpoints")
    (out / "checkpoints").touch()
    with pytest.raises(RunError, match=r"x/checkpoints: a file, not a directory"):
        RunDirectory(out, CONFIG)


def test_a_second_writer_in_the_same_process_is_refused(out: Path) -> None:
    with RunDirectory(out, CONFIG), pytest.raises(RunError, match="another process is writing"):
        RunDirectory(out, CONFIG)
    RunDirectory(out, CONFIG).close()


def test_an_error_while_opening_gives_the_lock_back(out: Path) -> None:
    RunDirectory(out, CONFIG).close()
    with pytest.raises(RunError, match="holds another run"):
        RunDirectory(out, replace(CONFIG, steps=7))
    RunDirectory(out, CONFIG).close()


def test_another_environment_is_a_warning(out: Path) -> None:
    RunDirectory(out, CONFIG).close()
    file = out / "environment.json"
    values = json.loads(file.read_text())
    file.write_bytes(dump_signed({k: v for k, v in values.items() if k != "sha256"} | {"torch": "1.0"}))
    with RunDirectory(out, CONFIG) as run:
        assert run.warnings == [f"begun with torch 1.0, now {values['torch']}: last bits may differ"]


def test_the_gpu_and_its_cuda_are_part_of_the_environment(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, device="cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    RunDirectory(out, config).close()
    begun = json.loads((out / "environment.json").read_text())
    assert (begun["gpu"], begun["cuda"]) == ("GPU of cuda:1", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another")
    monkeypatch.setattr(torch.version, "cuda", "13.1")
    with RunDirectory(out, config) as run:
        assert [warning.partition(",")[0] for warning in run.warnings] == [
            "begun with gpu GPU of cuda:1", "begun with cuda 13.0",
        ]  # fmt: skip


def test_the_threads_recorded_are_those_in_use(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 777)
    RunDirectory(out, CONFIG).close()
    assert json.loads((out / "environment.json").read_text())["threads"] == 777


def test_a_metrics_file_changed_by_someone_else_is_noticed(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        advance(run, 10)
        with open(out / "metrics.jsonl", "a") as file:
            file.write("note to self\n")
        with pytest.raises(
            RunError, match="another program changed this file; the last checkpoint is of step 10"
        ):
            run.append_metrics([row(20)])
    with RunDirectory(out, CONFIG) as run:
        run.append_metrics([row(20)])
    assert open_run(out).metrics["step"].to_list() == [10, 10, 20]


def test_results_do_not_depend_on_the_clock(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole_run(path: Path) -> dict[str, bytes]:
        for step in (10, 20):
            with RunDirectory(path, CONFIG) as run:
                advance(run, step)
        return contents(path)

    normal = whole_run(out)
    year = iter(range(2030, 1970, -1))

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(next(year), 1, 1, tzinfo=tz)

    monkeypatch.setattr("auxin.runs.store.datetime.datetime", Backwards)
    assert whole_run(tmp_path / "y") == normal
    assert (tmp_path / "y" / "events.log").read_text().startswith("2030")
