"""Families: what is read from a config is what transformers builds, and what its weights are."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import auxin
from auxin import MLP, Attention, Layer, Norm, Sublayer
from auxin.config import ModelConfig, PresetName, preset
from auxin.errors import ConfigError
from auxin.models.transformer import TransformerLM
from auxin.probes.families.sources import describe
from probes import models, shapes


@pytest.mark.parametrize("kind", models.CLASSES)
def test_every_family_is_read_alike_from_a_file_and_from_a_model(kind: str, tmp_path: Path) -> None:
    model = models.build(kind)
    config: Any = model.config
    config.save_pretrained(tmp_path)
    intended = auxin.network_of(model)
    assert auxin.network_of(tmp_path) == auxin.network_of(config) == intended
    assert intended.depth == 3
    described = describe(model)
    assert described is not None
    assert described.meant
    roles = [m.role for m in described.matrices if m.layer == 1]
    gated = "gate" in roles
    assert sorted(roles) == sorted(("q", "k", "v", "out", "up", "down", *(("gate",) if gated else ())))
    counted = sum(m.entries.numel() for m in described.matrices)
    layers = [p for n, p in model.named_parameters() if p.ndim == 2 and (".layer" in n or ".h." in n)]
    assert counted == sum(p.numel() for p in layers)
    for matrix in described.matrices:
        expected = described.design.std(matrix.role, matrix.layer)
        assert matrix.std == pytest.approx(expected, rel=0.03), matrix.parameter
    actual, meant = (n.layers[1].sublayers[0].body for n in (auxin.network_of(model, actual=True), intended))
    assert actual != meant
    assert actual.sigma_v == pytest.approx(meant.sigma_v, rel=0.05)  # pyright: ignore[reportAttributeAccessIssue]


def test_numbers_of_a_family() -> None:
    attention, mlp = (
        auxin.network_of({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12})
        .layers[0]
        .sublayers
    )
    assert attention.body.sigma_q == pytest.approx(0.02 * math.sqrt(768))  # pyright: ignore[reportAttributeAccessIssue]
    assert attention.body.sigma_v == pytest.approx(0.02**2 * 768 / math.sqrt(24))  # pyright: ignore[reportAttributeAccessIssue]
    assert mlp.body.sigma_o == pytest.approx(0.02 * math.sqrt(4 * 768 / 24))  # pyright: ignore[reportAttributeAccessIssue]
    gemma = auxin.network_of({"model_type": "gemma2", **models.settings("gemma2", sliding_window=7)})
    windows = [layer.sublayers[0].body.window for layer in gemma.layers]  # pyright: ignore[reportAttributeAccessIssue]
    assert windows == [7, None, 7]
    neox = auxin.network_of({"model_type": "gpt_neox", **models.settings("gpt_neox")})
    assert neox.layers[0].parallel
    assert neox.layers[0].sublayers[0].body.rotary == auxin.Rotary(fraction=0.25)  # pyright: ignore[reportAttributeAccessIssue]


def test_torch_nanogpt_and_ours() -> None:
    encoder = describe(models.torch_encoder(norm_first=True))
    assert encoder is not None
    assert encoder.design.placement == "pre"
    assert encoder.design.said.startswith("torch's defaults")
    nano = describe(shapes.NanoGPT())
    assert nano is not None
    assert nano.design.said == "N(0, 0.02²), output maps of branches divided by √(2·layers)"
    lazy = describe(shapes.MinGPT())  # whose weights are as nn.Linear leaves them
    assert lazy is not None
    assert lazy.design.said == "torch's default of nn.Linear"
    for scheme in ("xavier", "pytorch", "normal", "gaussian"):
        config = ModelConfig(vocabulary_size=50, width=64, initialization=scheme, mlp_branch=0.5)
        model = TransformerLM(config, torch.Generator().manual_seed(0))
        assert auxin.network_of(model) == auxin.network_of(config) == config.network()
        ours = describe(model)
        assert ours is not None
        assert ours.intended.layers[0].sublayers[1].branch == 0.5
        for matrix in ours.matrices:
            assert matrix.std == pytest.approx(ours.design.std(matrix.role, matrix.layer), rel=0.05)
    assert auxin.network_of(preset("paper")).depth == 6


@pytest.mark.parametrize("name", ["gpt2", "llama", "pythia", "qwen3", "bert-encoder", "laptop"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_our_presets_are_known_with_their_branches_scaled(name: PresetName, scale: float) -> None:
    config = replace(preset(name).model, depth=3, vocabulary_size=50, branch_scale=scale)
    model = TransformerLM(config, torch.Generator().manual_seed(0))
    ours = describe(model)
    assert ours is not None
    for found, expected in zip(ours.intended.layers, config.network().layers, strict=True):
        assert found.parallel == expected.parallel
        for one, other in zip(found.sublayers, expected.sublayers, strict=True):
            assert (one.before, one.after, one.stream) == (other.before, other.after, other.stream)
            for field in fields(other.body):
                value, meant = (getattr(sublayer.body, field.name) for sublayer in (one, other))
                if field.name == "head_dim" and meant is None:  # plain attention does not need to know
                    continue
                same = pytest.approx(meant, rel=1e-12) if isinstance(meant, float) else meant
                assert value == same, field.name
    for matrix in ours.matrices:
        assert matrix.std == pytest.approx(ours.design.std(matrix.role, matrix.layer), rel=0.05)
    report = auxin.check(model, n_tokens=16)
    assert report.ok, report
    assert report.totals["predicted_gradient"] == pytest.approx(report.totals["gradient"], abs=0.6)
    assert report.remedies()[0].branch == 1


def test_layers_of_ours_that_are_no_family_are_measured_alone() -> None:
    attention, mlp = Sublayer(Attention(), before=Norm("rms")), Sublayer(MLP("gelu"), before=Norm("layer"))
    odd = (
        (Layer((attention, mlp)),),  # two kinds of norm
        (Layer((replace(mlp, before=Norm("rms")), attention)),),
        (Layer((attention, replace(mlp, before=Norm("rms")))), Layer((attention,))),
    )
    for layers in odd:
        config = ModelConfig(layers=layers, vocabulary_size=50, width=32, initialization="normal")
        model = TransformerLM(config, torch.Generator().manual_seed(0))
        assert describe(model) is None
        assert auxin.network_of(model) == config.network()


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model_type is 'mamba'; known: gpt2, .*which is measured"):
        auxin.network_of({"model_type": "mamba"})
    with pytest.raises(ConfigError, match="hidden_size is None; allowed: a whole number of 1 or more"):
        auxin.network_of({"model_type": "llama"})
    with pytest.raises(ConfigError, match="num_attention_heads is 'four'"):
        auxin.network_of({"model_type": "llama", **models.settings("llama", num_attention_heads="four")})
    with pytest.raises(ConfigError, match=r"config\.json cannot be read: No such file"):
        auxin.network_of(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is not JSON"):
        auxin.network_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="a JSON object of settings"):
        auxin.network_of(tmp_path)
    with pytest.raises(ConfigError, match="Linear is of no known family"):
        auxin.network_of(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="source is 'int'"):
        auxin.network_of(3)
