"""What a public function is given by mistake is named, with what is allowed; what works is left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import auxin
from auxin.arguments import explained
from auxin.errors import AuxinError, ConfigError

BLOCK = auxin.Block()
MODEL = auxin.TransformerLM(
    auxin.ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5), torch.Generator().manual_seed(0)
)
WORDS = auxin.Vocabulary(["a", "b"])
SIGMAS = ("sigma_w", [1, 2]), ("sigma_o", [1, 2])

CALLS: dict[str, Callable[[Any], Any]] = {
    "Block.of": auxin.Block.of,
    "exponents": auxin.exponents,
    "exponents, cosine": lambda v: auxin.exponents(BLOCK, v),
    "fixed_point": auxin.theory.fixed_point,
    "propagate": auxin.propagate,
    "propagate, depth": lambda v: auxin.propagate(BLOCK, 0.3, v),
    "propagate_gram": lambda v: auxin.propagate_gram(v, np.eye(2), 2),
    "propagate_gram, gram": lambda v: auxin.propagate_gram(BLOCK, v, 2),
    "attention_moments": lambda v: auxin.theory.attention_moments(v, 1.0, 0.0),
    "attention_moments, spread": lambda v: auxin.theory.attention_moments(4, v, 0.0),
    "phase_diagram": lambda v: auxin.phase_diagram(v, *SIGMAS),
    "phase_diagram, x": lambda v: auxin.phase_diagram(BLOCK, v, SIGMAS[1]),
    "phase_diagram, values": lambda v: auxin.phase_diagram(BLOCK, ("sigma_w", v), SIGMAS[1]),
    "critical": auxin.critical,
    "critical, vary": lambda v: auxin.critical(BLOCK, 24, v),
    "simulate, cosine": lambda v: auxin.simulate(BLOCK, v, depth=1, width=40, draws=2),
    "simulate, draws": lambda v: auxin.simulate(BLOCK, depth=1, width=40, draws=v),
    "simulate, seed": lambda v: auxin.simulate(BLOCK, depth=1, width=40, draws=2, seed=v),
    "initialize": lambda v: auxin.initialize_(v, BLOCK, torch.Generator()),
    "initialize, block": lambda v: auxin.initialize_(MODEL, v, torch.Generator()),
    "preset": auxin.preset,
    "RunConfig": lambda v: auxin.RunConfig(model=v),
    "TransformerLM": auxin.TransformerLM,
    "load_model": auxin.load_model,
    "save_model": lambda v: auxin.save_model(v, "never.safetensors"),
    "load_task": auxin.load_task,
    "load_task, data_dir": lambda v: auxin.load_task("question", data_dir=v),
    "train": lambda v: auxin.train(v, "never"),
    "measure": auxin.measure,
    "open_run": auxin.open_run,
    "grokking_summary": auxin.grokking_summary,
    "tree_projections": lambda v: auxin.tree_projections(v, ["a b"], WORDS),
    "tree_projections, sentences": lambda v: auxin.tree_projections(MODEL, v, WORDS),
    "tree_projections, vocabulary": lambda v: auxin.tree_projections(MODEL, ["a b"], v),
    "parseval": lambda v: auxin.trees.parseval(v, [("a", "b")]),
    "balanced": auxin.trees.balanced,
    "random_tree": lambda v: auxin.trees.random_tree(v, 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_named(name: str) -> None:
    for value in (object(), -0.5j):
        with pytest.raises(AuxinError) as raised:
            CALLS[name](value)
        assert "allowed: " in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auxin.exponents(0.5), "network is 0.5; allowed: a Network, a Layer or a Block"),  # pyright: ignore
        (lambda: auxin.train("runs/x", "y"), "config is 'runs/x'; allowed: a RunConfig"),  # pyright: ignore
        (lambda: auxin.load_model({0: Path("m")}), "path is {0: .*}; allowed: a path"),  # pyright: ignore
        (lambda: auxin.grokking_summary("runs/x"), "metrics is 'runs/x'; allowed: a DataFrame"),  # pyright: ignore
        (lambda: auxin.simulate(BLOCK, draws="8"), "draws is '8'; allowed: a whole number"),  # pyright: ignore
        (lambda: auxin.load_model(None), "path is None; allowed: a path"),  # pyright: ignore
    ],
)
def test_the_message_says_which_and_what_is_allowed(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_block_is_made_of_a_preset() -> None:
    assert auxin.Block.of(auxin.preset("laptop")) == auxin.Block.of(auxin.preset("laptop").model)


def test_only_what_fails_because_of_its_argument_is_explained() -> None:
    @explained
    def first(items: "list[int]", table: "missing.Table | None" = None) -> float:  # noqa: F821  # pyright: ignore
        return items[0] / 1

    assert first((3,)) == 3.0  # a tuple is no list, but it works  # pyright: ignore
    assert first([3], table=object()) == 3.0
    with pytest.raises(IndexError):
        first([])
    with pytest.raises(ConfigError, match=r"items is \{'a'\}; allowed: a list of whole numbers"):
        first({"a"})  # pyright: ignore
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        first()  # pyright: ignore


@pytest.mark.parametrize(
    "call",
    [
        lambda path: auxin.load_model(path),
        lambda path: auxin.load_task("question", data_dir=path),
        lambda path: auxin.load_task("files", data_dir=path),
        lambda path: auxin.load_task("grammar", grammar=path),
        lambda path: auxin.open_run(path),
        lambda path: auxin.network_of(path),
        lambda path: auxin.check(path),
    ],
)
def test_a_path_that_cannot_be_is_refused_in_one_line(call) -> None:
    with pytest.raises(auxin.AuxinError, match="File name too long"):
        call("x" * 5000)
