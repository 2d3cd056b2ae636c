"""A run on the page."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from auxin.cli.training import Train
from auxin.config import ModelConfig, RunConfig, preset
from auxin.errors import DataError
from auxin.report.drawings import Drawings
from auxin.report.run_section import RunView, command, run_section
from auxin.runs import Metric, RunDirectory, open_run
from auxin.tasks import Dials
from report.answered import a_run


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        preset("paper", "dyck"),
        dataclasses.replace(preset("released-code", "tense"), measures=("norms",), data_dir="a b"),
        RunConfig(dials=Dials(centre_embedded=0.5, disambiguating=3), scoring="choices"),
        RunConfig(model=ModelConfig(scale_embedding=False, tied=True, vocabulary_size=71), seeds=(3,)),
    ],
)
def test_the_command_trains_the_same_run(tmp_path: Path, config: RunConfig) -> None:
    with RunDirectory.open(tmp_path / "a run", config):
        pass
    words = shlex.split(command(open_run(tmp_path / "a run")))
    assert words[:2] == ["auxin", "train"]
    assert words[-2:] == ["--out", str(tmp_path / "a run")]
    # elsewhere: where the run is, its own settings are the defaults
    parsed = Train.parse("auxin train", [*words[2:-1], str(tmp_path / "elsewhere")])
    model = dataclasses.replace(config.model, vocabulary_size=0)
    assert parsed.config == dataclasses.replace(config, model=model)


def test_accuracy_curves_measures_and_trees_are_shown(tmp_path: Path) -> None:
    drawings = Drawings()
    section = run_section(a_run(tmp_path / "x"), "part-1", drawings)
    assert "x: tense, 2 layers, 2 seeds" in section
    assert '<th scope="row">0</th><td>25.0%</td><td>100.0%</td><td>–</td>' in section
    assert '<th scope="row">7</th><td>–</td><td>–</td><td>–</td>' in section
    titles = [str(spec["title"]) for spec in drawings.specifications.values()]
    assert len(titles) == 2
    assert "Learning curves" in titles[0]
    assert section.count('<img src="data:image/svg+xml;base64,') == 2
    assert 'alt="gold: (newt)"' in section
    assert 'type="range" min="0" max="1" value="1"' in section


def test_an_unfinished_run_says_where_it_is_and_one_without_curves_is_an_error(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "x", RunConfig()) as directory:
        with pytest.raises(DataError, match="no metric 'accuracy'"):
            run_section(RunView(open_run(tmp_path / "x")), "part-1", Drawings())
        directory.append_metrics([Metric(30, 0, "gen", "accuracy", 0.5)])
    section = run_section(RunView(open_run(tmp_path / "x")), "part-1", Drawings())
    assert "Not finished: at step 30 of 4000." in section
    assert "<img" not in section
