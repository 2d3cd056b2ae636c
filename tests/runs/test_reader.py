"""The reading side: tidy tables from good runs."""

from pathlib import Path

import polars
import pytest

from auxin.config import RunConfig
from auxin.errors import ConfigError, RunError
from auxin.runs import Metric, RunDirectory, export, measuring, open_run
from auxin.values import to_toml


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "x"
    with RunDirectory(path, RunConfig(seeds=(1, 0))) as run:
        rows = [Metric(10, m, split, "accuracy", m / 2) for m in (1, 0) for split in ("val", "gen")]
        run.append_metrics(rows)
        run.save_checkpoint(10, {0: b"zero", 1: b"one"}, b"state", {"epoch": 0})
        run.finish({"best": 0.5})
    return path


def test_everything_reads_back(out: Path) -> None:
    run = open_run(out)
    assert run.config == RunConfig(seeds=(1, 0))
    assert run.finished
    assert run.summary["best"] == 0.5
    assert run.environment["seeds"] == [1, 0]
    assert [(c.step, list(c.members), c.read(1)) for c in run.checkpoints] == [(10, [0, 1], b"one")]
    assert run.metrics.schema == {
        "step": polars.Int64,
        "member": polars.Int64,
        "split": polars.String,
        "name": polars.String,
        "value": polars.Float64,
    }
    assert run.metrics.rows() == [
        (10, 0, "gen", "accuracy", 0.0),
        (10, 0, "val", "accuracy", 0.0),
        (10, 1, "gen", "accuracy", 0.5),
        (10, 1, "val", "accuracy", 0.5),
    ]


def test_measures_taken_later_join_the_metrics(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, RunConfig()) as run:
        run.append_metrics([Metric(10, 0, "train", "tree_score", 0.1), Metric(10, 0, "val", "loss", 2.0)])
    assert open_run(tmp_path).metrics.height == 2
    with measuring(tmp_path) as append:
        append([Metric(10, 0, "train", "tree_score", 0.2), Metric(5, 0, "train", "norm", 3.0)])
    assert open_run(tmp_path).metrics.rows() == [
        (5, 0, "train", "norm", 3.0),
        (10, 0, "train", "tree_score", 0.2),
        (10, 0, "val", "loss", 2.0),
    ]


def test_a_run_that_has_just_begun_is_empty_and_readable(tmp_path: Path) -> None:
    RunDirectory(tmp_path, RunConfig()).close()
    run = open_run(tmp_path)
    assert (run.metrics.height, run.checkpoints, run.finished) == (0, [], False)
    with pytest.raises(RunError, match=r"summary\.json: no such file"):
        _ = run.summary


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such directory"):
        open_run(tmp_path / "missing")
    with pytest.raises(RunError, match=r"no run here \(config\.toml is missing\)"):
        open_run(tmp_path)
    (tmp_path / "config.toml").write_text(to_toml(RunConfig()))
    with pytest.raises(RunError, match=r"config\.toml: changed or damaged"):
        open_run(tmp_path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_exported_tables_hold_the_metrics(out: Path, tmp_path: Path, ending: str) -> None:
    run = open_run(out)
    export(run.metrics, tmp_path / f"metrics.{ending}")
    read = polars.read_parquet if ending == "parquet" else polars.read_csv
    assert read(tmp_path / f"metrics.{ending}").equals(run.metrics)
    assert [p.name for p in tmp_path.iterdir()] == [f"metrics.{ending}"]


def test_export_refuses_other_endings_and_lost_directories(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.xls'; allowed: \.parquet, \.csv"):
        export(open_run(out).metrics, tmp_path / "metrics.xls")
    with pytest.raises(RunError, match=r"missing: no such directory"):
        export(open_run(out).metrics, tmp_path / "missing" / "metrics.csv")
