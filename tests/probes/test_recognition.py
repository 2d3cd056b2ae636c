"""Layers of other people's own code, recognized by what they do."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import auxin
from auxin.architecture import MLP, Attention, Layer, Network, Norm, Rotary, Sublayer
from auxin.cli import main
from auxin.errors import ConfigError
from auxin.families.layers import find_layers
from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.recognition import recognize
from probes import own, shapes

RMS, LAYER = Norm("rms"), Norm()


def layer(attention: Attention, mlp: MLP, norm: Norm, *places: str, parallel: bool = False) -> Layer:
    norms: Any = dict.fromkeys(places, norm)
    return Layer((Sublayer(attention, **norms), Sublayer(mlp, **norms)), parallel)


ROTARY = Attention(head_dim=32, rotary=Rotary())
SWIGLU = MLP("silu", gated=True)
LIT = dataclasses.replace(ROTARY, scale=0.25, softcap=20.0)
EXPECTED: dict[str, tuple[Layer, ...]] = {
    "nanoGPT": (layer(Attention(head_dim=32), MLP("gelu"), LAYER, "before"),),
    "minGPT": (layer(Attention(head_dim=16), MLP("gelu"), LAYER, "before"),),
    "ViT": (layer(Attention(head_dim=32), MLP("gelu"), LAYER, "before"),),
    "Llama, complex": (layer(ROTARY, SWIGLU, RMS, "before"),),
    "Llama, halves": (layer(Attention(head_dim=32, rotary=Rotary(5e5)), SWIGLU, RMS, "before"),),
    "GPT-J": (
        layer(
            Attention(head_dim=32, rotary=Rotary(fraction=0.5)), MLP("gelu"), LAYER, "before", parallel=True
        ),
    ),
    "torchtune": (layer(Attention(head_dim=32, rotary=Rotary(5e5), qk_norm=True), SWIGLU, RMS, "before"),),
    "litgpt": (
        layer(dataclasses.replace(LIT, window=8), MLP("gelu", gated=True), RMS, "before", "after"),
        layer(LIT, MLP("gelu", gated=True), RMS, "before", "after"),
    ),
    "x-transformers": (layer(Attention(head_dim=32, alibi=4), MLP("relu2"), LAYER, "before"),),
    "post-norm encoder": (layer(Attention(head_dim=32), MLP("relu"), LAYER, "stream"),),
}


def without_epsilon(norm: Norm | None) -> Norm | None:
    return None if norm is None else dataclasses.replace(norm, epsilon=0.0)


def form(of: Layer) -> Layer:
    """A layer without the ε of its norms, which are seen only where the stream is as small."""
    sublayers = (
        dataclasses.replace(s, **{p: without_epsilon(getattr(s, p)) for p in ("before", "after", "stream")})
        for s in of.sublayers
    )
    return dataclasses.replace(of, sublayers=tuple(sublayers))


@pytest.mark.parametrize("name", own.MODELS)
def test_layers_of_any_code_are_recognized(name: str) -> None:
    model = own.built(name, depth=2)
    described = recognize(model, find_layers(model), Reading(own.inputs(name)))
    recipe = described.recipe
    expected = [EXPECTED[name][i % len(EXPECTED[name])] for i in range(2)]
    assert [form(found) for found in recipe.network.layers] == expected
    assert recipe.causal == (name not in ("ViT", "post-norm encoder"))
    assert described.recognized
    for matrix in described.matrices:
        expected_std = recipe.std(matrix.role, matrix.layer)
        assert matrix.std == pytest.approx(expected_std, rel=0.06), matrix
    roles = {"query", "key", "value", "out", "up", "down"} | (
        {"gate"} if expected[0].sublayers[1].body.gated else set()
    )  # pyright: ignore[reportAttributeAccessIssue]
    assert {m.role for m in described.matrices} == roles
    if name == "Llama, complex":
        assert (recipe.sizes.heads, recipe.sizes.key_heads, recipe.sizes.hidden) == (4, 2, 320)
        assert recipe.network.layers[0].sublayers[0].before == Norm("rms", epsilon=1e-5)


@pytest.mark.parametrize("name", ["Llama, halves"])
def test_recognized_layers_are_predicted(name: str) -> None:
    measured = []
    for seed in range(4):
        report = check(own.built(name, seed, depth=3), n_tokens=16)
        assert report.ok, report.findings
        seen, predicted = report.observation, report.predicted
        assert seen is not None
        assert predicted is not None
        measured.append(
            [
                seen.cosine - predicted.cosine,
                seen.norm / predicted.norm - 1,
                seen.gradient / predicted.gradient - 1,
            ]
        )
    cosine, norm, gradient = np.abs(np.mean(measured, 0)).max(1)
    assert cosine < 0.03
    assert norm < 0.06
    assert gradient < 0.12


def harmed(name: str, role: str, change: Any, *, drawn: bool) -> tuple[Any, set[str]]:
    """A model with a slip in all layers, and the names it may be found under; with or without fresh draws of it."""
    model, end = own.built(name, 5), getattr(own.MODELS[name], role)
    chosen = {
        n: p
        for n, p in model.named_parameters()
        if p.ndim == 2 and n.removesuffix(".weight").endswith("." + end)
    }
    with torch.no_grad():
        for p in chosen.values():
            change(p)
    if not drawn:
        del model.depth
    return model, {n.removesuffix(".weight") for n in chosen} | {n.rpartition(".")[0] for n in chosen}


@pytest.mark.parametrize(
    ("name", "role", "change", "words"),
    [
        (
            "Llama, complex",
            "out",
            lambda p: p.mul_(math.sqrt(8)),
            "the scaling by 1/√(2·4) has been left out",
        ),
        ("post-norm encoder", "down", lambda p: p.mul_(2), "fan_in and fan_out have been exchanged"),
        ("nanoGPT", "query", lambda p: p[: own.D].mul_(3), "its query part, has std 0.06"),
    ],
)
def test_slips_in_ones_own_code_are_named(name: str, role: str, change: Any, words: str) -> None:
    model, names = harmed(name, role, change, drawn=False)
    (finding,) = check(model, n_tokens=16).findings
    assert finding.module in names
    assert words in finding.sentence


class Wide(own.SmallLlama):
    """Draws one of its maps otherwise, by design or by a slip."""

    def __init__(self, std: float) -> None:
        super().__init__(depth=3)
        self.std = std
        for block in self.layers:
            nn.init.normal_(block.w3.weight, std=std)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def test_what_a_class_draws_otherwise_is_flagged_where_a_known_slip_explains_it() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert check(Wide(0.03), n_tokens=16).ok
        (finding,) = check(Wide(1 / math.sqrt(3 * own.D)), n_tokens=16).findings
    assert finding.module == "layers.0.w3"
    assert "what nn.Linear leaves by itself" in finding.sentence


def test_what_is_not_recognized_is_named_and_measured() -> None:
    report = check(own.Modulated())
    assert report.predicted is None
    assert "not recognized (its branches do not account for the stream" in report.notes[0]
    with pytest.raises(ConfigError, match=r"Modulated is of no known family, and is not recognized: .*"):
        auxin.network_of(own.Modulated())


def test_a_network_is_given_for_what_is_not_recognized() -> None:
    model = shapes.ListOfLists()
    for mlp in (m for m in model.modules() if isinstance(m, shapes.Mlp)):
        mlp.gelu = nn.Hardswish()  # pyright: ignore[reportAttributeAccessIssue]
    assert check(model, n_tokens=16).predicted is None
    third = 3**-0.5
    mlp = MLP("silu", sigma_w=third, sigma_o=third, sigma_b=(3 * 32) ** -0.5)
    attention = Attention(sigma_q=third, sigma_k=third, sigma_v=1 / 3)
    network = Network.repeat(layer(attention, mlp, LAYER, "before"), 3)
    report = check(model, n_tokens=16, network=network)
    assert report.ok, report.findings
    assert report.notes[0] == "the given network"
    assert report.intended == network
    assert report.predicted is not None
    with pytest.raises(ConfigError, match="depth of network is 2; allowed: that of the model, 3"):
        check(model, network=Network.repeat(layer(attention, mlp, LAYER, "before"), 2))
    with pytest.raises(ConfigError, match="network is 'int'; allowed: a Network or a Recipe"):
        check(model, network=3)  # pyright: ignore[reportArgumentType]


def test_the_network_of_ones_own_code() -> None:
    model = own.built("torchtune", depth=2)
    network = auxin.network_of(model)
    body = network.layers[0].sublayers[0].body
    assert isinstance(body, Attention)
    assert body.sigma_q == pytest.approx(3**-0.5)
    assert auxin.exponents(network).gradient_total == pytest.approx(0.2, abs=0.2)


def test_a_deep_design_without_scaling_is_no_all_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = own.built("minGPT", depth=10)
    report = check(model, n_tokens=8)
    assert (report.ok, report.known) == (True, "followed")
    rule = 20**-0.5
    assert f"For 10 layers: multiply output maps by {rule:.3f} (GPT-2's rule: cosine" in report.advice
    assert "Whether it is the intended one is not known" in " ".join(report.summary().split())
    assert "Nothing found" not in report.summary()
    assert report.summary().index("The design:") < report.summary().index("Nothing else found:")
    auxin.rescale_(model, rule)
    assert not check(model, n_tokens=8).advice
    source = tmp_path / "unknown.py"
    source.write_text("from probes.own import Modulated\n\n\ndef build():\n    return Modulated()\n")
    main(["check", f"{source}:build", "--n-tokens", "8", "--target", "-1"])
    assert "--target -1: no factor is looked for, as the network is not known." in capsys.readouterr().out


class Plain(own.SmallLlama):
    """Divides its output maps by √(2·layers) only where it is told to."""

    def __init__(self, depth: int = 4, scaled: bool = False) -> None:
        super().__init__(depth)
        own.drawn(self, writers=("wo", "w2") if scaled else ())
        self.scaled = False  # fresh draws are without


@pytest.mark.parametrize(("scaled", "factor"), [(False, 8**-0.5), (False, 0.3), (True, 1.0)])
def test_output_maps_that_are_scaled_on_purpose_are_as_expected(scaled: bool, factor: float) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Plain(scaled=scaled)
    if factor != 1:
        auxin.rescale_(model, factor)
    report = check(model, n_tokens=8, branch=factor)
    assert report.ok, report.findings
    assert report.recipe is not None
    assert report.recipe.std("out", 0) == pytest.approx(0.02 * (factor if factor != 1 else 8**-0.5))
    with torch.no_grad():
        for block in model.layers:
            block.attention.wq.weight.mul_(3)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    (finding,) = check(model, n_tokens=8, branch=factor).findings
    assert finding.module == "layers.0.attention.wq"
