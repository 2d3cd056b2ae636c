"""Runs compared, few and many, and a sweep."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from auxin.config import ModelConfig, RunConfig
from auxin.lab.sweep_record import Axis, Sweep, SweepRun
from auxin.report.page import MOST_RUNS, page
from auxin.report.sections import RunView, runs_section, sweep_section
from auxin.report.theme import specification
from auxin.runs import Metric, RunDirectory, open_run

HOSTILE = "</script><img src=x onerror=alert(1)>"


def a_run(out: Path, config: RunConfig, logs: int = 3, *, finished: bool = True) -> RunView:
    with RunDirectory(out, config) as directory:
        directory.append_metrics(
            [
                Metric(step, seed, split, "accuracy", ((step * 7919 + seed) % 101) / 100)
                for step in range(logs)
                for seed in config.seeds
                for split in ("val", "gen")
            ]
        )
        if finished:
            directory.finish({})
    return RunView(open_run(out))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[RunView]:
    where, config = tmp_path_factory.mktemp("runs"), RunConfig(seeds=(0, 1))
    model = replace(config.model, depth=2, scale_embedding=False)
    return [
        a_run(where / "deep", replace(config, model=replace(model, depth=10))),
        a_run(where / "shallow", replace(config, model=model), finished=False),
        a_run(where / "other", replace(config, model=model, train_size=10)),
    ]


def test_the_table_has_what_differs_and_nothing_else(views: list[RunView]) -> None:
    section = runs_section(views, alone=True)
    table = section.values["runs"]
    assert table.heads == [
        "run",
        "depth (layers)",
        "training sentences",
        "passes 80%",
        "generalization at the end",
        "state",
    ]
    assert [row[:3] for row in table.rows][::2] == [["deep", "10", "0"], ["other", "2", "10"]]
    assert [row[-1] for row in table.rows] == ["finished", "at step 2", "finished"]
    same = runs_section(views[:1] * 2, alone=True)
    assert same.values["varied"] == {}


def test_runs_are_coloured_by_what_differs_in_its_order(views: list[RunView]) -> None:
    (figure,) = runs_section(views, alone=True).figures
    spec = specification(figure.chart)
    colors = [panel["layer"][0]["encoding"]["color"] for panel in spec["concat"]]
    assert len(colors) == 2
    for color in colors:
        assert (color["type"], color["title"]) == ("ordinal", "depth (layers)")
        assert color["scale"]["domain"] == ["2", "10"]


def test_few_runs_have_sections_and_many_are_compared_on_a_page_of_bounded_weight(
    views: list[RunView], tmp_path: Path
) -> None:
    few = page(views)
    assert [f'id="run-{i}"' in few for i in (1, 3, 4)] == [True, True, False]
    assert "3 runs compared" in few
    long = a_run(tmp_path / "long", RunConfig(model=ModelConfig(scale_embedding=False)), 2000)
    many = page([replace(long, note=str(i)) for i in range(200)])
    assert MOST_RUNS < 200
    assert 'id="run-1"' not in many
    assert "So many runs are shown together only" in many
    assert len(many) - len(page(views[:1])) < 1_200_000


def test_a_long_run_is_thinned_says_so_and_keeps_its_extremes(tmp_path: Path) -> None:
    config = RunConfig(seeds=tuple(range(10)), model=ModelConfig(scale_embedding=False))
    view = a_run(tmp_path / "long", config, 3000)
    text = page([view])
    assert "of every 15 evaluations the lowest and the highest" in text
    figures = json.loads(text.partition('id="specifications">')[2].partition("</script>")[0])["figures"]
    assert len(json.dumps(figures)) < 900_000
    members = [d for d in figures["figure-1"]["datasets"].values() if "member" in d[0]]
    assert {0.0, 1.0} <= {row["value"] for row in members[0]}


def a_sweep(path: Path, name: str = "model.depth") -> Sweep:
    axes = (Axis(name, (1, 2, 3)), Axis("optimizer.learning_rate", (1e-3, 1e-2), log=True))
    states = ["finished", "finished", "failed"]
    states = ["finished", "finished", "failed"] * 2
    runs = tuple(SweepRun(f"{i}", state, HOSTILE, {}, path) for i, state in enumerate(states))
    rows = [
        {"run": f"{d}-{r}", name: d, "optimizer.learning_rate": r, "seed": s, "loss": d + s / 10, "accuracy_gen": s / 2}
        | {"accuracy_val": 1.0, "grokked": s == 1, "angle_total": -0.7 * d, "gradient_total": None}
        for d in (1, 2) for r in (1e-3, 1e-2) for s in (0, 1)
    ]  # fmt: skip
    sweep = Sweep(path, axes, runs, "")
    sweep.__dict__["table"] = pl.DataFrame(rows, schema_overrides={"gradient_total": pl.Float64})
    return sweep


def test_a_sweep_has_a_row_a_point_and_says_what_is_missing(tmp_path: Path) -> None:
    sweep = a_sweep(tmp_path / "my sweep")
    section = sweep_section(sweep)
    assert section.title == "my sweep: a sweep over depth (layers) and learning rate"
    table = section.values["points"]
    assert table.heads[:3] == ["depth (layers)", "learning rate", "models"]
    assert "gradient total at initialization" not in table.heads
    assert table.rows[0][:4] == ["1", "0.001", "2", "1.05 (0.415 to 1.69)"]
    assert table.rows[0][4:] == ["100%", "25% (0 to 100)", "50% (0 to 100)", "−0.7"]
    text = page([sweep])
    assert "2 of 6 runs have not finished" in text
    assert HOSTILE not in text
    assert HOSTILE not in page([a_sweep(tmp_path / "x", HOSTILE)])
