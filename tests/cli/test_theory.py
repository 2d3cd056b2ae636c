"""The theory's verbs print what the library computes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auxin.architecture.block import Block
from auxin.cli import main
from auxin.cli.exponents import ExponentsOptions
from auxin.cli.phase import PhaseOptions, _point
from auxin.config import preset
from auxin.theory.critical import critical
from auxin.theory.exponents import exponents
from auxin.theory.propagation import propagate

PAPER = ["--alpha-attention", "0.5", "--alpha-mlp", "0.5", "--sigma-w", "2"]


def result(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict:
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_exponents_of_the_papers_block(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "exponents", *PAPER, "--depth", "10")
    block = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)
    wanted = exponents(block)
    assert found["angle"] == wanted.angle == pytest.approx(-0.2357, abs=1e-4)
    assert found["gradient_total"] == exponents(block, depth=10).gradient_total
    assert found["input_norm"] == 1
    assert Block(**found["block"]) == block
    assert main(["exponents", *PAPER]) == 0
    assert "ordered (tokens collapse, gradients explode)" in capsys.readouterr().out


def test_where_the_norm_grows_for_ever_totals_are_those_of_the_layers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plain pre-norm: both exponents vanish in the limit, and nothing else does."""
    found = result(capsys, "exponents", "--depth", "12")
    layers = propagate(Block(), 0.3, 12)
    assert found["gradient"] == 0 < 2 < found["gradient_total"] == pytest.approx(np.log(layers.gradient[0]))
    near = propagate(Block(), 1 - 1e-6, 12).cosine
    assert found["angle_total"] == pytest.approx(np.log((1 - near[-1]) / 1e-6), rel=1e-3)
    assert main(["exponents"]) == 0
    shown = capsys.readouterr().out
    assert "for ever and a layer means its limit; over 12 layers tokens collapse, gradients explode" in shown
    assert "keep" not in shown


def test_a_preset_or_a_run_is_where_options_start_from(tmp_path: Path) -> None:
    from auxin.runs import RunDirectory

    config = preset("released-code")
    RunDirectory(tmp_path / "x", config).close()
    block = Block.of(config.model)
    for origin in (["--preset", "released-code"], ["--run", str(tmp_path / "x")]):
        assert ExponentsOptions.parse("auxin exponents", origin).block == block
        changed = ExponentsOptions.parse(
            "auxin exponents", [*origin, "--norm", "pre", "--activation", "gelu"]
        ).block
        assert (changed.norm, changed.activation, changed.sigma_w) == ("pre", "gelu", block.sigma_w)


def test_totals_start_from_the_norm_that_the_stream_has(capsys: pytest.CaptureFixture[str]) -> None:
    """24 layers like GPT-2's, whose embeddings have norm² 0.0008: squared gradients grow 96-fold, not by 7%."""
    gpt = [
        "--activation=gelu",
        "--sigma-a=0.3",
        "--sigma-v=0.01",
        "--sigma-w=0.55",
        "--sigma-o=0.16",
        "--depth=24",
    ]
    wide, true = (result(capsys, "exponents", *gpt, "--input-norm", norm) for norm in ("1", "0.0008"))
    assert wide["gradient_total"] == pytest.approx(0.067, abs=1e-3)
    assert true["gradient_total"] == pytest.approx(4.559, abs=1e-3)
    assert wide["angle"] == true["angle"] == 0
    assert "angles barely change, gradients barely change" in _shown(capsys, "exponents", *gpt)


def test_a_described_preset_has_totals_in_words_that_fit_them(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "exponents", "--preset", "gpt2", "--depth", "3")
    assert found["input_norm"] == pytest.approx(0.0008)
    assert found["depth"] == len(found["network"]["layers"]) == 3
    assert 0.1 < found["gradient_total"] < 1
    assert "gradients grow" in _shown(capsys, "exponents", "--preset", "gpt2", "--depth", "3")
    assert main(["phase", "--preset", "llama"]) == 1
    assert "preset or run is 'llama'; allowed: one with classic layers, for phase" in capsys.readouterr().err


def _shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--activation swish", "invalid choice 'swish' for argument '--activation'"),
        ("--n-tokens 1", "n_tokens is 1; allowed: a whole number from 2"),
        ("--run missing", "missing: no such directory"),
        ("--cosine 2", "cosine is 2.0; allowed: "),
        ("--alpha-mlp 0.5 --mlp-branch=0.9", "--alpha-mlp sets --mlp-branch, too; allowed: one of them"),
        ("--preset laptop --run missing", "run is 'missing'; allowed: one of --preset and --run"),
        ("--depth 0", "depth is 0; allowed: 1 or more"),
        ("--input-norm 0", "norm is 0.0; allowed: 0 < norm"),
        (
            "--preset llama --sigma-w 2",
            "preset or run is 'llama'; allowed: one with classic layers, beside options",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exponents", *arguments.split()]) in (1, 2)
    assert message in capsys.readouterr().err


def test_zero_has_no_minus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exponents", "--attention-branch", "0.003", "--mlp-branch", "0.003", "--depth", "2"]) == 0
    printed = capsys.readouterr().out
    assert "+0.0000" in printed
    assert "-0.000" not in printed


def test_phase_writes_table_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = [
        "--x",
        "alpha_mlp",
        "0.1",
        "1",
        "--y",
        "sigma_w",
        "1",
        "5",
        "--points",
        "4",
        "--activation",
        "erf",
    ]
    found = result(capsys, "phase", *PAPER, *axes, "--out", str(tmp_path / "phase"))
    assert sum(found["phases"].values()) == pytest.approx(1)
    table = pl.read_csv(found["table"])
    assert table.columns == ["x", "y", "angle", "gradient", "cosine", "phase"]
    assert table.height == 16
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"phase.csv"} | {
        f"phase{s}.{e}" for s in ("", "-bifurcation") for e in ("png", "svg", "html")
    }


def test_an_axis_that_was_typed_wins_over_the_other_ones_default() -> None:
    found = PhaseOptions.parse("auxin phase", ["--x", "sigma_w", "1", "5"])
    assert (found.x, found.y) == (("sigma_w", 1.0, 5.0), ("alpha_mlp", 0.05, 1.0))


def test_where_the_norm_grows_for_ever_phase_says_why_its_panels_are_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = ["--x", "mlp_branch", "0.1", "1", "--points", "3", "--out", str(tmp_path / "phase")]
    assert main(["phase", *axes]) == 0
    assert "both exponents are 0 everywhere: with skips of 1 the norm grows" in capsys.readouterr().out
    assert (tmp_path / "phase.svg").read_text().count("0 everywhere") >= 2


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            "critical --vary mlp_branch",
            1,
            "allowed: what changes λ_a here: attention_skip, mlp_skip, alpha_attention, alpha",
        ),
        (
            "critical --vary sigma_a --mlp-skip 0.5",
            1,
            "here: attention_skip, attention_branch, mlp_skip, mlp_branch, sigma_v",
        ),
    ],
)
def test_what_cannot_be_done_is_said_with_what_can(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == status
    assert message in capsys.readouterr().err


def test_a_block_has_a_point_only_where_it_lies_on_the_axes() -> None:
    block = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.25, sigma_w=2.0, sigma_a=1.0, n_tokens=32)
    assert _point(block, ("alpha_mlp", "sigma_w")) == pytest.approx((0.25, 2.0))
    assert _point(Block(), ("alpha_mlp", "sigma_w")) is None
    assert _point(Block(), ("mlp_branch", "sigma_w")) == (1.0, 2**0.5)
    assert _point(Block(sigma_b=0.3), ("sigma_b_out", "sigma_w")) == (0.3, 2**0.5)


def test_critical_prints_the_hyperparameters_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "critical", "--alpha-attention", "0.3", "--sigma-w", "2", "--vary", "alpha_mlp")
    block = Block.cowsik(alpha_attention=0.3, alpha_mlp=1.0, sigma_w=2.0, sigma_a=1.0, n_tokens=32)
    assert found["hyperparameters"] == critical(block, 24, ["alpha_mlp"]).hyperparameters
    assert abs(found["angle_total"]) < 1e-3


def test_a_model_begins_with_the_norm_of_its_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    """One answer, whoever asks: the verb, the config, its network, the layers one by one."""
    config = preset("gpt2").model
    assert config.network().input_norm == config.input_norm() == pytest.approx(0.0008)
    wanted = result(capsys, "exponents", "--preset", "gpt2")["gradient_total"]
    assert exponents(config.network()).gradient_total == wanted
    assert propagate(config.network()).norm[0] == config.input_norm()
    found = result(capsys, "critical", "--preset", "laptop", "--depth", "4", "--vary", "sigma_v")
    assert found["from_input"]["input_norm"] == preset("laptop").model.input_norm()
