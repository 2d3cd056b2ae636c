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
from auxin.architecture import MLP, Attention, CrossAttention, Layer, Network, Norm, Rotary, Sublayer
from auxin.architecture.attention import Relative
from auxin.cli import main
from auxin.errors import ConfigError
from auxin.families.layers import find_stacks
from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.recognition import recognize
from auxin.probes.remedy import scaled_branches
from probes import models, own, shapes

RMS, LAYER = Norm("rms"), Norm()


def layer(attention: Attention, mlp: MLP, norm: Norm, *places: str, parallel: bool = False) -> Layer:
    norms: Any = dict.fromkeys(places, norm)
    return Layer((Sublayer(attention, **norms), Sublayer(mlp, **norms)), parallel)


ROTARY = Attention(head_dim=32, rotary=Rotary())
SWIGLU = MLP("silu", gated=True)
LIT = dataclasses.replace(ROTARY, scale=0.25, softcap=20.0)
T5_ATTENTION = Attention(head_dim=32, scale=1.0, relative=Relative())
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
    "DiT": (layer(Attention(head_dim=32), MLP("gelu"), LAYER, "before"),),
    "T5": (
        Layer(
            tuple(
                Sublayer(body, before=RMS)
                for body in (T5_ATTENTION, CrossAttention(head_dim=32, scale=1.0), MLP("relu"))
            )
        ),
    ),
}


def without_epsilon(norm: Norm | None) -> Norm | None:
    return None if norm is None else dataclasses.replace(norm, epsilon=0.0)


def without_table(body: Any) -> Any:
    relative = getattr(body, "relative", None)
    return (
        body
        if relative is None
        else dataclasses.replace(body, relative=dataclasses.replace(relative, sigma=1.0))
    )


def form(of: Layer) -> Layer:
    """A layer without the ε of its norms, which are seen only where the stream is as small, and sizes of biases."""
    sublayers = (
        dataclasses.replace(
            s,
            body=without_table(s.body),
            **{p: without_epsilon(getattr(s, p)) for p in ("before", "after", "stream")},
        )
        for s in of.sublayers
    )
    return dataclasses.replace(of, sublayers=tuple(sublayers))


@pytest.mark.parametrize("name", own.MODELS)
def test_layers_of_any_code_are_recognized(name: str) -> None:
    model = own.built(name, depth=2)
    described = recognize(model, find_stacks(model)[-1], Reading(own.inputs(name)))
    recipe = described.recipe
    expected = [EXPECTED[name][i % len(EXPECTED[name])] for i in range(2)]
    if name == "DiT":  # its gates begin at zero
        expected = [scaled_branches(Network((of,)), 0.0).layers[0] for of in expected]
    assert [form(found) for found in recipe.network.layers] == expected
    assert recipe.causal == (name not in ("ViT", "post-norm encoder", "DiT"))
    assert described.recognized
    for matrix in described.matrices:
        expected_std = recipe.std(matrix.role, matrix.layer)
        assert matrix.std == pytest.approx(expected_std, rel=0.06), matrix
    roles = {"query", "key", "value", "out", "up", "down"} | (
        {"gate"} if expected[0].sublayers[-1].body.gated else set()
    )  # pyright: ignore[reportAttributeAccessIssue]
    if name == "T5":
        roles |= {f"cross_{role}" for role in ("query", "key", "value", "out")}
    assert {m.role for m in described.matrices} == roles
    if name == "Llama, complex":
        assert (recipe.sizes.heads, recipe.sizes.key_heads, recipe.sizes.hidden) == (4, 2, 320)
        assert recipe.network.layers[0].sublayers[0].before == Norm("rms", epsilon=1e-5)


def test_heads_of_many_dimensions_turn_as_few_do() -> None:
    for name in ("litgpt", "torchtune"):  # a cap, and norms of queries and keys
        model = own.built(name, depth=1, width=512)
        (found,) = recognize(model, find_stacks(model)[-1]).recipe.network.layers
        attention, expected = found.sublayers[0].body, EXPECTED[name][0].sublayers[0].body
        assert attention == dataclasses.replace(expected, head_dim=128)  # pyright: ignore[reportArgumentType]


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


@pytest.mark.parametrize(
    ("name", "slip", "words"),
    [
        ("Llama, complex", "depth scaling left out", "the scaling by 1/√(2·4) has been left out"),
        ("post-norm encoder", "fan_in and fan_out exchanged", "fan_in and fan_out have been exchanged"),
        ("nanoGPT", "queries × 3", "its query part, has std 0.06"),
        ("DiT", "queries × 3", "its query part"),
    ],
)
def test_slips_in_ones_own_code_are_named(name: str, slip: str, words: str) -> None:
    model, names = own.harmed(name, slip, drawn=False)
    (finding,) = check(model, own.inputs(name), n_tokens=16).findings
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


def test_a_condition_that_gates_branches_is_a_strength_and_one_that_shifts_them_is_refused() -> None:
    model, inputs = own.built("DiT", depth=2), own.inputs("DiT")
    d = own.D
    with torch.no_grad():
        for block in model.blocks:
            block.modulation[1].bias[2 * d : 3 * d] = 0.5
            block.modulation[1].bias[4 * d : 5 * d] = 1.0
    attention, mlp = (
        recognize(model, find_stacks(model)[-1], Reading(inputs)).recipe.network.layers[0].sublayers
    )
    assert (attention.branch, mlp.branch) == (0.5, 0.0)
    assert mlp.before is not None
    assert mlp.before.gain == pytest.approx(2.0)
    with torch.no_grad():
        model.blocks[1].modulation[1].bias[:d] = 1.0
    note = "not recognized (blocks.1.modulation.1.weight shifts what blocks.1.qkv.weight reads)"
    assert note in check(model, inputs).notes[0]


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


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: own.built("minGPT", depth=3), "blocks.1.mlp.2"),
        (lambda: models.build("olmo2"), "model.layers.1.post_feedforward_layernorm"),
    ],
)
def test_what_is_put_back_after_rescaling_is_named(build: Any, name: str) -> None:
    model = build()
    weight = model.get_submodule(name).weight
    before = weight.detach().clone()
    auxin.rescale_(model, 0.3)
    report = check(model, n_tokens=8, branch=0.3)
    assert report.ok, report.findings
    with torch.no_grad():
        weight.copy_(before)
    (finding,) = check(model, n_tokens=8, branch=0.3).findings
    assert finding.module == name


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
