"""A sweep is the same bytes whoever trains which part of it: one process, several, shards on machines of their own."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import auxin
from auxin.cli import main
from auxin.errors import AuxinError, ConfigError, RunError
from auxin.lab.sweep import part_of, sweep
from auxin.lab.sweep_file import read_sweep
from auxin.lab.sweep_record import Sweep, open_sweep
from auxin.report.sweep_figures import sweep_figures
from lab.sweeps import content, tiny

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
    run = auxin.open(swept.runs[0].path)
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


def test_three_parts_together_are_the_whole(file: Path, whole: Path, tmp_path: Path) -> None:
    parts = [tmp_path / str(i) for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        swept = sweep(file, part, workers=1, only=f"{i}/3")
        assert sum(run.status == "finished" for run in swept.runs) == 2
    sweep(file, tmp_path / "whole", workers=1, reuse=parts)
    assert same(tmp_path / "whole", whole)
    for i, part in enumerate(parts, 1):  # and in one directory, where the last one sees all
        sweep(file, tmp_path / "shared", workers=1, only=f"{i}/3", reuse=[part])
    assert same(tmp_path / "shared", whole)


def test_no_part_of_a_grid_has_one_value_alone(tmp_path: Path) -> None:
    text = FILE.replace("[0, 1]", "[0, 1, 2, 3]").replace("[1, 2, 3]", "[1, 2, 3, 4]")
    (tmp_path / "grid.toml").write_text(text)
    runs = read_sweep(tmp_path / "grid.toml").runs
    parts = [part_of(runs, f"{i}/4") for i in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [4] * 4
    for part in parts:
        assert len({run.config.model.depth for run in part}) > 1
        assert len({run.config.seeds for run in part}) > 1
    for only in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(ConfigError, match=f"only is '{only}'; allowed: "):
            part_of(runs, only)


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


SMALL = """
preset = "laptop"
seeds = [0]

[set]
task = "{task}"
data_dir = "{data}"
train_size = {size}
batch_size = 2
steps = {steps}
log_every = 2
checkpoint_every = 4
eval_size = 2
final_size = 2
"model.width" = 8
"model.heads" = 1
"optimizer.warmup" = 2

[axes]
"model.depth" = {depths}
"""


def small(path: Path, depths: str, **changes: object) -> Path:
    """The file of a sweep of a few steps."""
    fields = {"task": "question", "data": "", "size": 60, "steps": 4} | changes
    path.write_text(SMALL.format(depths=depths, **fields))
    return path


def names(swept: Sweep) -> dict[str, str]:
    return {run.name.removesuffix("-seed0"): run.status for run in swept.runs}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two depths."""
    folder = tmp_path_factory.mktemp("two")
    sweep(small(folder / "s.toml", "[1, 2]"), folder / "out", workers=1)
    return folder / "out"


def copied(sweep: Path, to: Path) -> Path:
    return Path(shutil.copytree(sweep, to))


def test_another_sweep_is_refused_before_anything_is_written(two: Path, tmp_path: Path) -> None:
    out, file = copied(two, tmp_path / "out"), tmp_path / "s.toml"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    others = {
        r"steps is 4 there, 6 here": small(file, "[1, 2]", steps=6).read_text(),
        r"steps is 4 there, 7 here": small(file, "[3]", steps=7).read_text(),  # other values of the axis, too
        r"axes is 'model\.depth' there, 'model\.norm' here": SMALL.replace(
            "model.depth", "model.norm"
        ).format(depths='["pre"]', task="question", data="", size=60, steps=4),
    }
    for message, text in others.items():
        file.write_text(text)
        with pytest.raises(
            RunError, match=rf"out: holds another study or sweep \({message}\); choose another directory"
        ):
            sweep(file, out, workers=1)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_has_finished_stays_in_the_table_when_an_axis_has_other_values(
    two: Path, tmp_path: Path
) -> None:
    out = copied(two, tmp_path / "out")
    swept = sweep(small(tmp_path / "s.toml", "[2]"), out, workers=1)
    assert names(swept) == {"depth=2": "finished", "depth=1": "finished"}
    assert swept.axes[0].values == (1, 2)
    assert swept.table["model.depth"].to_list() == [2, 1]
    sweep(small(tmp_path / "s.toml", "[1, 2]"), out, workers=1)
    assert (out / "table.csv").read_bytes() == (two / "table.csv").read_bytes()


def test_an_empty_part_ends_well(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = small(tmp_path / "s.toml", "[1, 2]")
    assert main(["sweep", str(file), "--only", "7/8", "--out", str(tmp_path / "part")]) == 0
    assert "no run is in part 7/8" in capsys.readouterr().out
    whole = sweep(file, tmp_path / "all", workers=1, reuse=[tmp_path / "part", two])
    assert (whole.path / "table.csv").read_bytes() == (two / "table.csv").read_bytes()


def words(*nouns: str) -> str:
    return "".join(f"the {noun} hurt self .\tthe {noun} hurt itself .\n" * 2 for noun in nouns)


def test_runs_on_other_sentences_are_not_these(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    for name, nouns in {"train": "dog cat newt", "val": "dog", "gen": "newt yak"}.items():
        (tmp_path / "data" / f"{name}.tsv").write_text(words(*nouns.split()))
    options = {"task": "files", "data": "data", "size": 0}
    file = small(tmp_path / "s.toml", "[1]", **options)
    assert main(["sweep", str(file), "--out", str(tmp_path / "a"), "--workers", "1"]) == 0
    assert (
        f"warning: {tmp_path / 'data'}: words of gen that train lacks: 1 ('yak')" in capsys.readouterr().err
    )
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = small(tmp_path / "s.toml", "[1]", **options | {"data": "moved"})
    assert names(sweep(moved, tmp_path / "a", workers=1)) == {
        "depth=1": "finished"
    }  # the same sentences elsewhere
    (tmp_path / "moved" / "train.tsv").write_text(words("cat", "dog", "newt"))  # in another order
    with pytest.raises(RunError, match=r"a: holds another study or sweep \(SHA-256 of the sentences is "):
        sweep(moved, tmp_path / "a", workers=1)
    swept = sweep(moved, tmp_path / "b", workers=1, reuse=[tmp_path / "a"])
    data = [auxin.open(tmp_path / out / "runs" / "depth=1-seed0").environment["data"] for out in "ab"]
    assert data[0] != data[1]
    config = auxin.open(swept.runs[0].path).config
    (tmp_path / "moved" / "train.tsv").write_text(words("newt", "cat", "dog"))
    with pytest.raises(RunError, match=r"begun with other sentences than now in .*moved"):
        auxin.train(config, swept.runs[0].path)  # finished, and of the same settings
    with pytest.raises(RunError, match=r"r: holds another run .begun with other sentences"):
        auxin.sweep(
            [auxin.NamedRun("r", config)], copied_run(swept.runs[0].path, tmp_path / "list"), workers=1
        )


def copied_run(run: Path, to: Path) -> Path:
    """A directory with a run under the name r."""
    shutil.copytree(run, to / "runs" / "r")
    return to


def test_a_finished_run_of_another_sweep_takes_the_place_of_an_unfinished_one(
    two: Path, tmp_path: Path
) -> None:
    out, file = copied(two, tmp_path / "out"), small(tmp_path / "s.toml", "[1, 2]")
    unfinished = out / "runs" / "depth=2-seed0"
    (unfinished / "summary.json").unlink()
    swept = sweep(file, out, workers=1, reuse=[two])
    assert content(unfinished) == content(two / "runs" / "depth=2-seed0")
    assert all(run.status == "finished" for run in swept.runs)


def test_a_damaged_run_is_named_before_anything_is_copied(two: Path, tmp_path: Path) -> None:
    source, file = copied(two, tmp_path / "source"), small(tmp_path / "s.toml", "[1, 2]")
    run = source / "runs" / "depth=2-seed0"
    for damaged in (run / "metrics.jsonl", run / "checkpoints/step-000000004/member-0.safetensors"):
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-20] + b"x" + whole[-19:])
        with pytest.raises(AuxinError, match=rf"{damaged.name}: (damaged|not valid)"):
            sweep(file, tmp_path / "out", workers=1, reuse=[source])
        assert not (tmp_path / "out").exists()
        damaged.write_bytes(whole)


def test_exponents_are_those_of_the_model_that_is_there(tmp_path: Path) -> None:
    run = auxin.NamedRun("r", tiny("r", steps=2, log_every=2, checkpoint_every=2).config)
    deeper = dataclasses.replace(run.config, model=dataclasses.replace(run.config.model, depth=3))
    before = auxin.sweep([run], tmp_path / "out", workers=1).table["angle_total"][0]
    shutil.rmtree(tmp_path / "out" / "runs")
    after = auxin.sweep([dataclasses.replace(run, config=deeper)], tmp_path / "out", workers=1).table[
        "angle_total"
    ][0]
    found = auxin.exponents(deeper.model.network(), norm=deeper.model.input_norm())
    assert after == pytest.approx(found.angle_total, abs=1e-4)
    assert after != before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("warmup", None, "setting 'warmup' is None"), ("clip", float("inf"), "setting 'clip' is inf"),
        ("noise", float("nan"), "setting 'noise' is nan"), ("size", 2**70, "setting 'size' is"),
        ("word", "two\nlines", "setting 'word' is"), ('a, "b"', 1, "name of a setting is"),
        ("", 1, "name of a setting is"),
    ],
)  # fmt: skip
def test_settings_that_no_table_holds_are_refused_at_once(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        auxin.NamedRun("r", tiny("x").config, {name: value})  # pyright: ignore[reportArgumentType]


def test_settings_of_numpy_and_of_any_printable_name_are_drawn(tmp_path: Path) -> None:
    runs = [
        auxin.NamedRun(
            f"r{i}", tiny("x", int(i), steps=2, log_every=2).config, {"tokens/step": i, "tokens.step": i + 1}
        )
        for i in np.arange(2)
    ]
    swept = auxin.sweep(runs, tmp_path / "out", workers=1)
    assert swept.table.select("tokens/step", "tokens.step").rows() == [(0, 1), (1, 2)]
    assert [figure.name for figure in sweep_figures(swept)] == ["tokens-step-by-tokens-step"]
