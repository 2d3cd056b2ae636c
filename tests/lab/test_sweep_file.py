"""Sweep files: what they mean, and one clear line for each that means nothing."""

from pathlib import Path

import pytest

from auxin.cli import main
from auxin.config import preset
from auxin.errors import ConfigError
from auxin.lab.sweep_file import read_sweep
from auxin.values import to_toml

HEAD = 'preset = "laptop"\n'


def swept(folder: Path, text: str):
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    return read_sweep(folder / "sweep.toml")


@pytest.mark.parametrize(
    ("values", "log"),
    [((1e-4, 1e-3, 1e-2, 3e-2), True), ((10, 1, 3), True), ((1, 2, 3), False), ((0.0, 1.0, 10.0), False)],
)
def test_listed_values_are_drawn_on_the_scale_where_they_lie_more_evenly(
    values: tuple[float, ...], log: bool, tmp_path: Path
) -> None:
    text = f'preset = "laptop"\n[axes]\n"optimizer.weight_decay" = {list(values)}'
    assert [axis.log for axis in swept(tmp_path, text).axes] == [log]


def test_a_grid_of_a_preset(tmp_path: Path) -> None:
    text = """
    preset = "laptop"
    seeds = [3, 4]
    [set]
    steps = 200
    model.width = 16                   # TOML takes this for a table; it means the same as the quoted name
    [axes]
    "model.depth" = [1, 2, 4]
    "optimizer.learning_rate" = { log = [1e-4, 1e-2], points = 3 }
    """
    design = swept(tmp_path, text)
    depth, rate = design.axes
    assert (depth.name, depth.values, depth.log) == ("model.depth", (1, 2, 4), True)  # evenly spaced by ratio
    assert (rate.values, rate.log, rate.drawn) == ((1e-4, 1e-3, 1e-2), True, False)
    assert len(design.runs) == len({run.name for run in design.runs}) == 3 * 3 * 2
    first = design.runs[0]
    assert first.name == "depth=1-learning_rate=0.0001-seed3"
    assert first.settings == {"model.depth": 1, "optimizer.learning_rate": 1e-4}
    config = first.config
    assert (config.steps, config.seeds, config.threads) == (200, (3,), 1)
    assert (config.model.width, config.model.depth, config.optimizer.learning_rate) == (16, 1, 1e-4)
    assert config.model.max_length == preset("laptop").model.max_length
    assert [run.config.seeds for run in design.runs[:9]] == [(3,)] * 9  # the first seed of all points first


def test_on_a_gpu_seeds_are_a_stack(tmp_path: Path) -> None:
    design = swept(tmp_path, HEAD + 'seeds = [0, 1]\n[set]\ndevice = "cuda"\n[axes]\nsteps = [5, 6]\n')
    assert [(run.name, run.config.seeds) for run in design.runs] == [("steps=5", (0, 1)), ("steps=6", (0, 1))]


def test_presets_files_and_tables_can_be_axes(tmp_path: Path) -> None:
    design = swept(
        tmp_path, 'seeds = [0]\n[axes]\npreset = ["laptop", "gpt2"]\ntask = ["question", "tense"]\n'
    )
    assert [(r.settings["preset"], r.config.task, len(r.config.model.layers)) for r in design.runs] == [
        ("laptop", "question", 0), ("laptop", "tense", 0), ("gpt2", "question", 1), ("gpt2", "tense", 1),
    ]  # fmt: skip
    (tmp_path / "wide.toml").write_text("[model]\nwidth = 32\nvocabulary_size = 71\n")
    (tmp_path / "deep.toml").write_text("[model]\ndepth = 6\n")
    (tmp_path / "run.toml").write_text(to_toml(preset("gpt2")))
    text = (
        'config = "run.toml"\n[axes]\nmodel = ["wide.toml", "deep.toml"]\n"model.branch_scale" = [0.5, 1.0]\n'
    )
    models = [run.config.model for run in swept(tmp_path, text).runs]
    assert [(m.width, m.depth, m.branch_scale) for m in models] == [
        (32, 4, 0.5), (32, 4, 1.0), (128, 6, 0.5), (128, 6, 1.0),
    ]  # fmt: skip
    assert {model.vocabulary_size for model in models} == {0}  # that of the task, whatever it was of a run
    text = HEAD + '[axes]\nmeasures = [[], ["norms", "entropy"]]\n'
    design = swept(tmp_path, text)
    assert [run.config.measures for run in design.runs] == [(), ("norms", "entropy")]
    assert design.axes[0].values == ("[]", '["norms","entropy"]')


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweeps").mkdir()
    monkeypatch.chdir(tmp_path)
    (run,) = swept(Path("sweeps"), HEAD + '[set]\ntask = "files"\ndata_dir = "lines"\n').runs
    assert run.config.data_dir == "sweeps/lines"


@pytest.mark.parametrize("draw", ["{ sobol = 16 }", "{ random = 16, seed = 3 }"])
def test_points_are_drawn_in_the_ranges(tmp_path: Path, draw: str) -> None:
    axes = """
    "model.depth" = { linear = [2, 9] }
    "optimizer.learning_rate" = { log = [1e-4, 1e-2] }
    "model.norm" = ["pre", "post"]
    """
    design = swept(tmp_path, HEAD + f"seeds = [0]\ndraw = {draw}\n[axes]\n{axes}")
    assert len(design.runs) == 16
    rates = [run.config.optimizer.learning_rate for run in design.runs]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 4 <= sum(rate < 1e-3 for rate in rates) <= 12  # half, on a logarithmic scale
    assert {run.config.model.depth for run in design.runs} <= set(range(2, 10))
    assert {run.config.model.norm for run in design.runs} == {"pre", "post"}
    assert all(axis.drawn for axis in design.axes)
    more = swept(tmp_path, HEAD + f"seeds = [0]\ndraw = {draw.replace('16', '32')}\n[axes]\n{axes}")
    assert [run.name for run in more.runs[:16]] == [run.name for run in design.runs]


WRONG = {
    "seeds = [0\n": "not valid TOML",
    "seeds = [0]\n": "preset is None; allowed: a preset, or a config file",
    HEAD + 'config = "run.toml"\n': "config is 'run.toml'; allowed: nothing, beside preset",
    HEAD + '[axes]\npreset = ["gpt2"]\n': "preset is ['gpt2']; allowed: nothing, beside preset",
    'preset = "big"\n': "preset is 'big'; allowed: laptop, paper",
    'config = "none.toml"\n': "config is 'none.toml'; allowed: a TOML file",
    HEAD + "seed = 0\n": "a setting of a sweep is 'seed'; allowed: preset, config, seeds",
    HEAD + "seeds = []\n": "seeds is (); allowed: at least one seed",
    HEAD + "seeds = [1, 1]\n": "seeds is (1, 1); allowed: each seed once",
    HEAD + "[set]\nstep = 5\n": "[set] has 'step', no setting of a run; allowed: steps, ",
    HEAD + '[set]\n"model.dept" = 5\n': "no setting of a run; allowed: model.depth, ",
    HEAD + "[set]\nsteps = 0\n": "steps is 0; allowed: 1 to 10^9",
    HEAD + "[set]\nsteps = 5.5\n": "steps is 5.5; allowed: of type int",
    HEAD + "set = 5\n": "set is 5; allowed: a table, [set]",
    HEAD + "[axes]\nseeds = [1, 2]\n": "[axes] has 'seeds', no setting of a run",
    HEAD
    + '[axes]\n"model.wide" = [1, 2]\n': "[axes] has 'model.wide', no setting of a run; allowed: model.width, ",
    HEAD + '[axes]\n"model.depth" = [2, 0]\n': "at model.depth = 0: depth is 0; allowed: 1 to 10000",
    HEAD + '[axes]\n"model.depth" = []\n': "[axes] model.depth is []; allowed: one value or more",
    HEAD + '[axes]\n"model.depth" = [2, 2]\n': "[axes] model.depth is [2, 2]; allowed: each value once",
    HEAD + '[axes]\n"model.depth" = 2\n': "[axes] model.depth is 2; allowed: a list, { log = [low, high]",
    HEAD + '[axes]\n"model.depth" = { log = [1, 4], points = 9 }\n': "allowed: each value once; fewer points",
    HEAD
    + '[axes]\n"model.depth" = { log = [0, 4], points = 2 }\n': "allowed: [low, high], numbers with low < high and",
    HEAD + '[axes]\n"model.norm" = { linear = [0, 4], points = 2 }\n': "a list, of a field that is no number",
    HEAD
    + "[set]\nsteps = 5\n[axes]\nsteps = [5]\n": "[axes] steps is [5]; allowed: a field that is not in [set], too",
    HEAD + "draw = { sobol = 0 }\n[axes]\nsteps = [5]\n": "draw is {'sobol': 0}; allowed: 1 to 10000 points",
    HEAD + "draw = { grid = 2 }\n[axes]\nsteps = [5]\n": "draw is {'grid': 2}; allowed: { sobol = N }",
    HEAD
    + "draw = { sobol = 9 }\n[axes]\nsteps = [5, 6]\n": "a point of [axes] is {'steps': 6}; allowed: each point once",
    HEAD + "[axes]\nmodel = 'x.toml'\n": "[axes] model is 'x.toml'; allowed: a list",
    HEAD + "[axes]\nmodel = ['x.toml']\n": "at model = x: model is 'x.toml'; allowed: a TOML file",
    HEAD + "[axes]\nmodel = ['a/gpt2.toml', 'b/gpt2.toml']\n": "allowed: files of different stems",
    HEAD + "[axes]\nsteps = [2026-01-01]\n": "steps is 2026-01-01; allowed: a number",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=[*map(str, range(len(WRONG)))])
def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_sweep(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)
    assert main(["sweep", str(file), "--out", str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err == f"auxin sweep: {error.value}\n"
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        read_sweep(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_sweep(tmp_path / "b.toml")


def test_layers_of_ones_own_need_no_strengths_of_the_presets(tmp_path: Path) -> None:
    layer = '{ sublayers = [{ body = { part = "attention", window = 3 }, skip = 0.5 }] }'
    (tmp_path / "sweep.toml").write_text(f"{HEAD}seeds = [0]\n[set]\nmodel.layers = [{layer}]\n")
    (run,) = read_sweep(tmp_path / "sweep.toml").runs
    assert run.config.model.layers[0].sublayers[0].skip == 0.5
    assert run.config.model.attention_branch == 1
