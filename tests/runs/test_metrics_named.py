"""Rows of certain names: those of ``metrics``, every other line checked all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.runs import Metric, RunDirectory, open_run


def test_rows_of_certain_names_are_those_of_all(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "run", RunConfig()) as directory:
        names = ("loss", "accuracy", "weight_norm")
        rows = [Metric(step, 0, "gen", name, step / 100) for step in (1, 2, 3) for name in names]
        directory.append_metrics(rows)
    run = open_run(tmp_path / "run")
    named = run.metrics_named(["accuracy", "weight_norm", "absent"])
    assert_frame_equal(named, run.metrics.filter(run.metrics["name"] != "loss"))
    assert_frame_equal(run.metrics_named(()), run.metrics)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": -1, "member": 0, "split": "gen", "name": "loss", "value": 0.5}\n')
    with pytest.raises(RunError, match="line 10 is step is not a whole number"):
        run.metrics_named(["accuracy"])
