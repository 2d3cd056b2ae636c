"""What a notebook shows: HTML that escapes, figures, and a real notebook executed."""

import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import Any

import altair
import numpy as np
import polars as pl
import pytest

import auxin
from auxin.errors import AuxinError
from auxin.measures.projection import Projection
from auxin.probes.simulate import Sampling
from auxin.runs import Run
from auxin.studies.analysis import Analysis, Claim
from experiment.test_train import CONFIG

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = dataclasses.replace(CONFIG, steps=10, log_every=5, eval_size=5, final_size=5)
    return auxin.train(config, tmp_path_factory.mktemp("runs") / "a<b>")


def shown(value: Any) -> str:
    html = value._repr_html_()
    assert "<script" not in html
    assert html.count("<table") == html.count("</table>")
    return html


def test_a_run_shows_its_settings_its_summary_and_its_curves(run: Run) -> None:
    html = shown(run)
    assert "a&lt;b&gt;" in html
    assert "<b>" not in html
    assert "10, finished" in html
    assert "<svg" in html
    assert "generalization" in html
    chart = run.plot()
    assert isinstance(chart, altair.LayerChart)
    summary = shown(auxin.grokking_summary(run))
    assert re.search(r">seed</th>.*>0</th>.*>1</th>.*Over seeds", summary, re.DOTALL)


def test_a_run_without_curves_says_so(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=1, log_every=1, eval_size=2, final_size=2)
    auxin.train(config, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"")
    html = shown(auxin.open(tmp_path / "run"))
    assert "not finished" in html
    assert "<svg" not in html


def test_exponents_and_what_propagates_have_figures() -> None:
    block = auxin.Block(norm="post", activation="relu")
    assert "ordered" in shown(auxin.exponents(block))
    assert "over the depth" in shown(auxin.exponents(block, depth=3))
    spec = auxin.exponents(block, depth=3).plot().to_dict()
    assert len(spec["hconcat"]) == 2
    assert spec["title"]["text"] == "Over 3 layers: ordered"
    found = auxin.simulate(block, depth=2, sampling=Sampling(width=40, draws=2))
    for drawn in (auxin.propagate(block, depth=3), found, auxin.check({"model_type": "gpt2"} | SIZES)):
        assert isinstance(drawn.plot(), altair.HConcatChart)


SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 50}


def test_a_phase_diagram_is_a_table_that_draws_itself() -> None:
    diagram = auxin.phase_diagram(auxin.Block(), ("sigma_w", [0.5, 1.0]), ("sigma_b", [0.0, 0.5]))
    assert isinstance(diagram, pl.DataFrame)
    spec = diagram.plot().to_dict()
    axes = spec["hconcat"][0]["layer"][0]["encoding"]
    assert (axes["x"]["title"], axes["y"]["title"]) == ("MLP's gain σ", "MLP's bias σ")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert isinstance(diagram.to_pandas(), pandas.DataFrame)
    assert diagram.to_pandas().shape == (4, 6)


def test_trees_and_answers_are_drawn_and_escaped() -> None:
    chart = np.where(np.triu(np.ones((3, 3))) > 0, 0.5, np.nan)
    html = shown(Projection(("a", EVIL, "b"), chart))
    assert "<svg" in html
    claim = Claim(EVIL, "us", "supported", "1 < 2")
    html = shown(Analysis("Is it?", EVIL, "", (), (claim,), (), {}))
    assert "&lt;script&gt;" in html
    assert "1 &lt; 2" in html


MODEL = auxin.ModelConfig(depth=2, width=16, heads=2, vocabulary_size=9)
BLOCK = auxin.Block()


def test_what_is_clearly_meant_is_taken(run: Run, tmp_path: Path) -> None:
    """A run for its path or metrics, a config for its network, a run's config for its model's."""
    preset = auxin.preset("laptop")
    network = preset.network()
    assert auxin.exponents(preset) == auxin.exponents(preset.model) == auxin.exponents(network)
    assert np.array_equal(auxin.propagate(preset).cosine, auxin.propagate(network).cosine)
    assert np.array_equal(
        auxin.propagate_gram(MODEL, np.eye(3), draws=64)["gram"],
        auxin.propagate_gram(MODEL.network(), np.eye(3), draws=64)["gram"],
    )
    small = auxin.simulate(MODEL, sampling=Sampling(width=40, draws=2))
    assert np.array_equal(
        small.cosine, auxin.simulate(MODEL.network(), sampling=Sampling(width=40, draws=2)).cosine
    )
    assert auxin.network_of(preset) == network
    assert auxin.Block.of(preset) == auxin.Block.of(preset.model)
    config = dataclasses.replace(CONFIG, model=MODEL)
    assert auxin.TransformerLM(config).config == MODEL  # pyright: ignore[reportArgumentType]
    assert auxin.open(run).config == run.config
    assert auxin.resume(run).finished
    assert auxin.measure(run, [10], measures=["norms"]).path == run.path
    ours, theirs = auxin.grokking_summary(run), auxin.grokking_summary(run.metrics)  # pyright: ignore
    assert ours.members.equals(theirs.members)


WRONG: dict[str, Any] = {
    "exponents of a path": lambda run: auxin.exponents("runs/x"),  # pyright: ignore
    "exponents of a run": lambda run: auxin.exponents(run),
    "propagate a preset's name": lambda run: auxin.propagate("laptop"),  # pyright: ignore
    "propagate_gram of a number": lambda run: auxin.propagate_gram(3, np.eye(2)),  # pyright: ignore
    "simulate a path": lambda run: auxin.simulate("config.json"),  # pyright: ignore
    "from_pretrained of a run": lambda run: auxin.TransformerLM.from_pretrained(run),
    "tree_projections of a path": lambda run: auxin.tree_projections("model", ["a b"], auxin.Vocabulary(["a"])),  # pyright: ignore
    "tree_projections of a run": lambda run: auxin.tree_projections(run, ["a b"], auxin.Vocabulary(["a"])),
    "rescale_ of a config": lambda run: auxin.rescale_(MODEL, branch=0.5),  # pyright: ignore
    "check a run": lambda run: auxin.check(run),
    "check a number": lambda run: auxin.check(3),
    "assert_healthy of a number": lambda run: auxin.assert_healthy(3),  # pyright: ignore
    "network_of a run": lambda run: auxin.network_of(run),
    "load_task of a path": lambda run: auxin.load_task(Path("x")),  # pyright: ignore
    "preset of a config": lambda run: auxin.preset(MODEL),  # pyright: ignore
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused_in_one_line(
    name: str, run: Run, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AuxinError) as raised:
        WRONG[name](run)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_notebook_runs_from_first_to_last_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shows = [
        output["data"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "execute_result"
    ]
    html = "".join(data.get("text/html", "") for data in shows)
    assert all(said in html for said in ("ordered", "Run runs/notebook", "Grokking", "tree score", "<svg"))
    assert len(shows) == 8
