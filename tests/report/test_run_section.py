"""A run on the page."""

import dataclasses
import html
import re
import shlex
from pathlib import Path

import pytest

from auxin.cli.train import TrainOptions
from auxin.config import ModelConfig, RunConfig, preset
from auxin.errors import DataError
from auxin.report.page import page
from auxin.report.sections import RunView, command, run_section
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
    with RunDirectory(tmp_path / "a run", config):
        pass
    words = shlex.split(command(open_run(tmp_path / "a run")))
    assert words[:2] == ["auxin", "train"]
    assert words[-2:] == ["--out", str(tmp_path / "a run")]
    # elsewhere: where the run is, its own settings are the defaults
    parsed = TrainOptions.parse("auxin train", [*words[2:-1], str(tmp_path / "elsewhere")])
    model = dataclasses.replace(config.model, vocabulary_size=0)
    assert parsed.config == dataclasses.replace(config, model=model)


def test_accuracy_curves_measures_and_trees_are_shown(tmp_path: Path) -> None:
    section = run_section(a_run(tmp_path / "x"))
    assert section.title == "x: tense, 2 layers, 2 seeds"
    assert section.values["accuracy"].heads == ["seed", "gen", "newt", "odd"]
    assert section.values["accuracy"].rows == [["0", "25.0%", "100.0%", "–"], ["7", "–", "–", "–"]]
    assert [figure.name for figure in section.figures] == ["learning-curves", "dynamics"]
    (_, first), (last, drawing) = section.values["trees"]
    assert (last.caption, last.f1) == ("step 20", 1.0)
    assert [word for _, _, word in drawing.words] == ["newt", "a", "b"]
    assert len(first.nodes) == 4


def row(
    quantity: str, value: float | None, members: int, low: float | None = None, high: float | None = None
) -> dict[str, object]:
    return {"quantity": quantity, "value": value, "low": low, "high": high, "members": members}


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        (
            [
                row("grokked", 1, 1, 0.2, 1),
                row("saturation_step", 600, 1),
                row("grokking_step", 2000, 1),
                row("final", 0.91, 1),
            ],
            "In-domain accuracy reaches 99% after 600 steps; generalization passes 80% after 2,000, and ends at 91%.",
        ),
        (
            [
                row("grokked", 0.4, 5, 0.12, 0.77),
                row("saturation_step", 700, 4, 1, 2),
                row("grokking_step", 9.0, 2, 1, 2),
                row("final", 0.5, 5, 0.0, 1.0),
            ],
            "In-domain accuracy reaches 99% in 4 of 5 seeds after 700 steps on average; generalization passes 80% in 2 "
            "of 5, 40% (12 to 77), and ends at 50% (0 to 100).",
        ),
        (
            [
                row("grokked", 0, 1, 0, 0.8),
                row("final", 0.0, 1),
                row("saturation_step", None, 0),
                row("grokking_step", None, 0),
            ],
            "In-domain accuracy never reaches 99%; generalization never passes 80%, and ends at 0%.",
        ),
    ],
)
def test_a_summary_is_put_in_words(rows: list[dict[str, object]], answer: str, tmp_path: Path) -> None:
    view = a_run(tmp_path / "x")
    view.__dict__["quantities"] = {str(row["quantity"]): row for row in rows}
    text = page([view])
    (shown,) = re.findall(r'<p class="answer">(.*?)</p>', text, re.DOTALL)
    assert html.unescape(re.sub("<.*?>", "", shown)) == answer


def test_an_unfinished_run_says_where_it_is_and_one_without_curves_is_an_error(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "x", RunConfig()) as directory:
        with pytest.raises(DataError, match="no accuracy of val or gen"):
            run_section(RunView(open_run(tmp_path / "x")))
        directory.append_metrics([Metric(30, 0, "gen", "accuracy", 0.5)])
    section = run_section(RunView(open_run(tmp_path / "x")))
    assert section.values["accuracy"].rows == []
    assert "Not finished: at step 30 of 4,000." in page([RunView(open_run(tmp_path / "x"))])
