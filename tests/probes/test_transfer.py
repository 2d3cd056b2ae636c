"""auxin.transfer: sound set-ups pass, slips of recipes are named."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from auxin.cli import main
from auxin.errors import ConfigError
from auxin.probes.transfer import RECIPES, TransferReport, transfer
from probes.models import settings
from probes.recipes import Setup, slipped, sound

SIZES = {"widths": (32, 128), "depths": (2, 8)}


@pytest.fixture(scope="module")
def healthy() -> TransferReport:
    return transfer(sound(1).build, **SIZES)


def test_a_sound_set_up_transfers(healthy: TransferReport) -> None:
    assert healthy.ok
    assert "Transfers" in healthy.summary()
    assert max(map(len, healthy.summary().splitlines())) <= 80
    assert {slope.axis for slope in healthy.slopes} == {"width", "depth"}


@pytest.mark.parametrize("seed", range(4))
def test_a_slip_is_the_first_finding(seed: int) -> None:
    setup, quantity = slipped(seed)
    report = transfer(setup.build, **SIZES)
    assert report.findings[0].quantity == quantity, report.summary()


def test_a_recipe_says_what_it_predicts() -> None:
    """Branches by 1/L: −½ over depth is CompleteP's, and not that of 1/√L."""
    setup = Setup(alpha=1.0)
    assert transfer(setup.build, **SIZES, recipe="completep").ok
    found = transfer(setup.build, **SIZES, recipe="completep-half").findings
    assert {(slope.axis, slope.kind) for slope in found} == {("depth", "branch")}
    assert [slope.target for slope in found] == [0, 0]


def test_the_exponent_is_that_of_the_law() -> None:
    """A matrix drawn with std d^-0.75 instead of d^-0.5: its branch goes as width^-0.25; AdamW's updates as width."""

    def build(width: int, depth: int) -> nn.Module:
        model, _ = Setup(heads=4).build(width, depth)
        for layer in model.layers:
            layer.down.weight.data.mul_((width / 32) ** -0.25)
        return model

    report = transfer(build, **SIZES, optimizer=lambda p: torch.optim.AdamW(p, 3e-4, eps=1e-12))
    slopes = {(slope.axis, slope.quantity): slope for slope in report.slopes}
    assert slopes["width", "branch mlp"].exponent == pytest.approx(-0.25, abs=0.06)
    assert slopes["width", "update of up.weight"].exponent == pytest.approx(1 - 0.25, abs=0.2)
    assert slopes["width", "update of down.weight"].exponent == pytest.approx(1, abs=0.2)


def test_torch_random_state_and_the_global_generator_are_left() -> None:
    before = torch.get_rng_state()
    transfer(Setup().build, widths=(32, 64), depths=(1, 2), seeds=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_builder_of_other_arguments_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"is a function of \(width\); allowed: one of width and depth"):
        transfer(lambda width: nn.Linear(width, width), (8, 16), (1, 2))  # pyright: ignore
    (tmp_path / "own.py").write_text("def build(size): ...")
    assert main(["transfer", f"{tmp_path / 'own.py'}:build"]) == 1
    assert (
        capsys.readouterr().err
        == "auxin transfer: build is a function of (size); allowed: one of width and depth\n"
    )


def test_what_cannot_be_measured_is_refused() -> None:
    build = Setup().build
    with pytest.raises(ConfigError, match="widths is \\(32,\\)"):
        transfer(build, widths=(32,))
    with pytest.raises(ConfigError, match="recipe is 'x'; allowed: standard, mup"):
        transfer(build, recipe="x")  # pyright: ignore[reportArgumentType]
    assert set(RECIPES) == {"standard", "mup", "completep", "completep-half", "gpt2", "deepnorm", "muon"}


def test_the_verb_measures_a_config_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **settings("gpt2")}))
    words = ["transfer", str(tmp_path / "config.json"), "--widths", "32", "64", "--depths", "1", "2"]
    words += ["--names", "n_embd", "n_layer", "--seeds", "1", "--out", str(tmp_path / "figure")]
    assert main(words) == 3
    printed = capsys.readouterr().out
    assert "mlp.c_fc.weight" in printed
    assert "stream, by theory" in printed
    assert (tmp_path / "figure.svg").stat().st_size > 1000
