"""``auxin simulate`` prints theory beside measurement and fails, with exit status 1, where they differ."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from auxin.architecture.block import Block
from auxin.cli import main
from auxin.cli.simulate import _nearest
from auxin.probes import simulate as comparison
from auxin.probes.simulate import Agreement, Sampling, compare

SIZES = {"depth": 2, "width": 96, "heads": 4, "draws": 4}
SMALL = [
    "--n-tokens",
    "5",
    "--activation",
    "relu",
    *(w for n, v in SIZES.items() for w in (f"--{n}", str(v))),
]
BLOCK = Block(activation="relu", n_tokens=5)


def result(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict:
    assert main(["simulate", *SMALL, *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("options", [[], ["--causal"]])
def test_theory_stands_beside_measurement_as_the_library_compares_them(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, *options)
    sampling = Sampling(*(SIZES[name] for name in ("width", "heads", "draws")))
    wanted = compare(BLOCK, depth=SIZES["depth"], causal=bool(options), sampling=sampling)
    assert found["passed"] is wanted.passed is True
    for name in ("norm", "cosine", "gradient", "small_gap"):
        agreement = wanted[name]
        assert found[name]["predicted"] == agreement.predicted.tolist()
        assert found[name]["measured"] == agreement.measured.tolist()
        assert found[name]["error"] == agreement.error.tolist()
        assert found[name]["tolerance"] == agreement.tolerance.tolist()
    for name in ("angle", "gradient"):
        numbers = found[f"{name}_exponent"]
        assert numbers["measured"] == wanted.simulation.exponents[name][0]
        assert abs(numbers["theory"] - numbers["measured"]) < 5 * numbers["standard_error"] + 0.05


def test_the_figure_draws_what_was_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (png, *_) = result(capsys, "--out", str(tmp_path / "layers"))["figures"]
    assert Path(png).read_bytes().startswith(b"\x89PNG")


def test_people_read_a_table_a_quantity_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "1 − cosine of nearly collapsed tokens" in shown
    assert "gradient exponent: theory +" in shown
    assert "\npass: the " in shown
    assert "!" not in shown


def test_a_wrong_prediction_fails_and_its_layers_are_marked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gain that is 15% too large, at the default width; what differs is the MLP's share of the norm."""
    true = comparison.propagate
    wrong = lambda network, cosine, **options: true(
        dataclasses.replace(BLOCK, sigma_w=1.15 * BLOCK.sigma_w), cosine, network.depth, **options
    )
    monkeypatch.setattr(comparison, "propagate", wrong)
    sizes = ["--width", "768", "--draws", "2", "--depth", "1"]
    assert result(capsys, *sizes, status=1)["passed"] is False
    assert main(["simulate", *SMALL, *sizes]) == 1
    shown = capsys.readouterr().out
    assert "\nFAIL: the " in shown
    assert "!" in shown


def test_a_deviation_that_is_no_number_is_the_one_reported() -> None:
    zero, one = np.zeros(2), np.ones(2)
    fine = Agreement(one, one, zero, zero, one)
    broken = Agreement(one, one, zero, np.array([0.0, np.nan]), one)
    assert "gradient norm in layer 1 is off by +nan%" in _nearest({"norm": fine, "gradient": broken})
