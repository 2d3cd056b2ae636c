"""A sweep is the same bytes whoever trains which part of it: one process, several, shards on machines of their own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import auxin
from auxin.cli import main
from auxin.errors import ConfigError, RunError
from auxin.report.sweep_figures import sweep_figures
from auxin.report.sweep_record import open_sweep
from auxin.studies.sweep import merge, sweep
from studies.sweeps import content, last_step, process_with_open, tiny

FILE = """
preset = "laptop"
seeds = [0, 1]

[set]
train_size = 200
batch_size = 4
steps = 24
log_every = 4
checkpoint_every = 8
eval_size = 5
final_size = 5
"model.width" = 8
"model.heads" = 1
"optimizer.warmup" = 4

[axes]
"model.depth" = [1, 2, 3]
"""
NAMES = [f"depth={depth}-seed{seed}" for seed in (0, 1) for depth in (1, 2, 3)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "sweep.toml"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def whole(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert all(run.status == "finished" for run in sweep(file, out, workers=2).runs)
    return out


def same(out: Path, whole: Path) -> bool:
    """Whether two sweeps have the same runs and tables, byte for byte."""
    assert sorted(path.name for path in (out / "runs").iterdir() if path.name[0] != ".") == sorted(NAMES)
    runs = all(content(out / "runs" / name) == content(whole / "runs" / name) for name in NAMES)
    return runs and all(
        (out / n).read_bytes() == (whole / n).read_bytes() for n in ("table.csv", "sweep.json")
    )


def test_the_table_has_settings_results_and_exponents(whole: Path) -> None:
    swept = open_sweep(whole)
    assert [run.name for run in swept.runs] == NAMES
    table = swept.table
    assert table.columns[:3] == ["run", "model.depth", "seed"]
    assert table.select("model.depth", "seed").rows() == [(d, s) for s in (0, 1) for d in (1, 2, 3)]
    row = table.row(0, named=True)
    run = auxin.open_run(swept.runs[0].path)
    late = run.metrics.filter(pl.col("step") > 0.8 * 24, split="train", name="loss")["value"].mean()
    assert row["loss"] == late
    assert row["accuracy_gen"] == run.summary["accuracy"]["gen"]["0"]
    assert row["best"] == auxin.grokking_summary(run.metrics).members["best"][0]
    assert row["diverged"] is None
    found = auxin.exponents(run.config.model.network(), norm=run.config.model.input_norm())
    assert row["angle_total"] == pytest.approx(found.angle_total, abs=1e-4)
    assert row["gradient_total"] == pytest.approx(found.gradient_total, abs=1e-4)
    (figure,) = sweep_figures(swept)
    assert figure.name == "model-depth"


def test_three_shards_merged_are_the_whole(file: Path, whole: Path, tmp_path: Path) -> None:
    parts = [tmp_path / str(i) for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        swept = sweep(file, part, workers=1, only=f"{i}/3")
        assert [run.name for run in swept.runs if run.status == "finished"] == NAMES[i - 1 :: 3]
    assert main(["merge", *map(str, parts[:2]), "--out", str(tmp_path / "some")]) == 1  # some are lacking
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "merged")]) == 0
    assert same(tmp_path / "merged", whole)
    # and in one directory, where the last one sees all
    for i in (1, 2, 3):
        sweep(file, tmp_path / "shared", workers=1, only=f"{i}/3", reuse=[parts[i - 1]])
    assert same(tmp_path / "shared", whole)


def test_what_does_not_fit_is_not_merged(file: Path, whole: Path, tmp_path: Path) -> None:
    for name, change in {"longer": ("steps = 24", "steps = 28"), "else": ("model.depth", "steps")}.items():
        (tmp_path / f"{name}.toml").write_text(FILE.replace("steps = 24\n", "") if name == "else" else FILE)
        text = (tmp_path / f"{name}.toml").read_text().replace(*change)
        (tmp_path / f"{name}.toml").write_text(text)
        sweep(tmp_path / f"{name}.toml", tmp_path / name, only="1/6", workers=1)
    with pytest.raises(ConfigError, match=r"config of .*longer.*; allowed: that of .*whole"):
        merge([whole, tmp_path / "longer"], tmp_path / "x")
    with pytest.raises(
        ConfigError, match=r"axes of a sweep to merge is \['steps'\]; allowed: .* model\.depth"
    ):
        merge([whole, tmp_path / "else"], tmp_path / "x")
    with pytest.raises(RunError, match="no sweep here"):
        merge([whole, file.parent], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    for only in ("0/3", "4/3", "1", "a/b", "7/7"):
        with pytest.raises(ConfigError, match=f"only is '{only}'; allowed: "):
            sweep(file, whole, only=only)


def started(file: Path, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "auxin", "sweep", str(file), "--out", str(out), "--workers", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_share_a_sweep(file: Path, whole: Path, tmp_path: Path) -> None:
    both = [started(file, tmp_path) for _ in "ab"]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert same(tmp_path, whole)
    times = [re.findall(r"^ depth\S+ +finished +(.*?) *$", text, re.MULTILINE) for text in said]
    trained = [sum(time != "before" for time in each) for each in times]
    assert sum(trained) >= len(NAMES)  # one that ends between a look and a start is told of by both
    assert min(trained) >= 1


def stopped_at_a_run(runs: Path) -> tuple[str, int]:
    """A run that a process is at, and that process, which SIGSTOP keeps there."""
    while True:
        for name in NAMES:
            with contextlib.suppress(AssertionError):
                worker = process_with_open(runs / name / "lock")
                os.kill(worker, signal.SIGSTOP)
                if last_step(runs / name) >= 0 and not (runs / name / "summary.json").exists():
                    return name, worker
                os.kill(worker, signal.SIGCONT)
        time.sleep(0.01)


def test_what_a_killed_process_was_at_is_taken_over(file: Path, whole: Path, tmp_path: Path) -> None:
    killed = started(file, tmp_path)
    held, worker = stopped_at_a_run(tmp_path / "runs")
    other = started(file, tmp_path)
    rest = [tmp_path / "runs" / name / "summary.json" for name in NAMES if name != held]
    while not all(summary.exists() for summary in rest):
        time.sleep(0.05)  # the other one goes on with the rest
    os.kill(killed.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    killed.communicate()
    said, _ = other.communicate()
    assert other.returncode == 0, said
    assert same(tmp_path, whole)


def test_a_list_of_runs_has_the_settings_that_differ(tmp_path: Path) -> None:
    runs = [auxin.NamedRun(f"r{i}", tiny("x", i, steps=4 + i).config) for i in (0, 1)]
    broken = auxin.NamedRun("broken", tiny("x", data_dir=str(tmp_path / "none"), steps=4).config)
    swept = auxin.sweep([*runs, broken], tmp_path / "out", workers=1)
    assert [axis.name for axis in swept.axes] == ["data_dir", "steps"]
    assert swept.table.select("run", "steps", "seed").rows() == [("r0", 4, 0), ("r1", 5, 1)]
    assert [run.status for run in swept.runs] == ["finished", "finished", "failed"]
    assert "none" in swept.runs[2].detail
    with pytest.raises(ConfigError, match="name of a setting is 'seed'; allowed: none of run, seed"):
        auxin.sweep([tiny("a")], tmp_path / "out")


def test_a_sweep_that_was_changed_is_not_believed(whole: Path, tmp_path: Path) -> None:
    record = json.loads((whole / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_bytes((whole / "sweep.json").read_bytes())
    (tmp_path / "table.csv").write_text("run\n")
    with pytest.raises(RunError, match=r"table\.csv: damaged"):
        _ = open_sweep(tmp_path).table
    record["runs"][0]["name"] = "../up"
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"sweep\.json: damaged"):
        open_sweep(tmp_path)
    with pytest.raises(RunError, match="no sweep here"):
        open_sweep(tmp_path.parent)
