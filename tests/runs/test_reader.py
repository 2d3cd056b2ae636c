"""The reading side: tidy tables from good runs, and nothing but ``AuxinError`` from bad ones."""

from collections.abc import Callable
from pathlib import Path

import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auxin.config import RunConfig, to_toml
from auxin.errors import AuxinError, ConfigError, RunError
from auxin.runs import MeasureFile, Metric, RunDirectory, export, open_run

FILES = (
    "config.toml",
    "metrics.jsonl",
    "measures.jsonl",
    "summary.json",
    "environment.json",
    "checkpoints/step-000000010/manifest.json",
    "checkpoints/step-000000010/state.json",
    "checkpoints/step-000000010/member-0.safetensors",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "x"
    with RunDirectory.open(path, RunConfig(seeds=(1, 0))) as run:
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
    with RunDirectory.open(tmp_path, RunConfig()) as run:
        run.append_metrics([Metric(10, 0, "train", "tree_score", 0.1), Metric(10, 0, "val", "loss", 2.0)])
    assert open_run(tmp_path).metrics.height == 2
    with MeasureFile(tmp_path) as measures:
        measures.append([Metric(10, 0, "train", "tree_score", 0.2), Metric(5, 0, "train", "norm", 3.0)])
    assert open_run(tmp_path).metrics.rows() == [
        (5, 0, "train", "norm", 3.0),
        (10, 0, "train", "tree_score", 0.2),
        (10, 0, "val", "loss", 2.0),
    ]


def test_a_run_that_has_just_begun_is_empty_and_readable(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, RunConfig()).close()
    run = open_run(tmp_path)
    assert (run.metrics.height, run.checkpoints, run.finished) == (0, [], False)
    with pytest.raises(RunError, match=r"summary\.json: no such file"):
        _ = run.summary


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such directory"):
        open_run(tmp_path / "missing")
    with pytest.raises(RunError, match=r"no run here \(config\.toml is missing\)"):
        open_run(tmp_path)
    (tmp_path / "config.toml").write_text(to_toml(RunConfig()).replace("depth = 4", "depth = 0"))
    with pytest.raises(RunError, match=r"config\.toml: depth is 0; allowed: 1 to 10000"):
        open_run(tmp_path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_exported_tables_hold_the_metrics(out: Path, tmp_path: Path, ending: str) -> None:
    run = open_run(out)
    export(run, tmp_path / f"metrics.{ending}")
    read = polars.read_parquet if ending == "parquet" else polars.read_csv
    assert read(tmp_path / f"metrics.{ending}").equals(run.metrics)
    assert [p.name for p in tmp_path.iterdir()] == [f"metrics.{ending}"]


def test_export_refuses_other_endings_and_lost_directories(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.xls'; allowed: \.parquet, \.csv"):
        export(open_run(out), tmp_path / "metrics.xls")
    with pytest.raises(RunError, match=r"metrics\.csv"):
        export(open_run(out), tmp_path / "missing" / "metrics.csv")


def only_our_errors(action: Callable[[], object]) -> None:
    """Run the action; an error must be an ``AuxinError`` of one line."""
    message = ""
    try:
        action()
    except AuxinError as error:
        message = str(error)
    assert "\n" not in message


def read_everything(path: Path) -> None:
    run = open_run(path)
    for read in (lambda: run.metrics, lambda: run.summary, lambda: run.environment):
        only_our_errors(read)
    for checkpoint in run.checkpoints:
        for member in checkpoint.members:
            only_our_errors(lambda: checkpoint.read(member))  # noqa: B023


junk = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(lambda value: repr(value).encode("utf-8", "replace"))


def damaged_copy(out: Path, copy: Path, name: str, content: bytes, at: int, insert: bool) -> Path:
    """A copy of a run's files with ``content`` in place of one of them, or inserted into it."""
    for file in FILES:
        original = (out / file).read_bytes() if (out / file).exists() else b""
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes(original)
    before = (copy / name).read_bytes()
    (copy / name).write_bytes(before[:at] + content + before[at:] if insert else content)
    return copy


damage = {
    "name": st.sampled_from(FILES),
    "content": junk | json_like,
    "at": st.integers(0, 2000),
    "insert": st.booleans(),
}
shared_directory = [HealthCheck.function_scoped_fixture]


@settings(max_examples=500, deadline=None, suppress_health_check=shared_directory)
@given(**damage)
def test_reading_arbitrary_bytes_gives_only_our_errors(out: Path, tmp_path: Path, **damage) -> None:
    copy = damaged_copy(out, tmp_path / "copy", **damage)
    only_our_errors(lambda: read_everything(copy))


@settings(max_examples=50, deadline=None, suppress_health_check=shared_directory)
@given(**damage)
def test_resuming_from_arbitrary_bytes_gives_only_our_errors(out: Path, tmp_path: Path, **damage) -> None:
    copy = damaged_copy(out, tmp_path / "copy", **damage)
    (copy / "summary.json").unlink()
    only_our_errors(lambda: RunDirectory.open(copy, RunConfig(seeds=(1, 0))).close())
