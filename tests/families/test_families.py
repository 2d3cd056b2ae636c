"""Families: what is read from a config is what transformers builds, and what its weights are."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import auxin
from auxin import MLP, Attention, Experts, Layer, Norm, Sublayer
from auxin.config import ModelConfig, PresetName, preset
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily, recipe_of
from auxin.families.description import describe
from auxin.families.layers import find_layers
from auxin.families.matrices import matrices
from auxin.families.table import BY_TYPE, FAMILIES
from auxin.models.transformer import TransformerLM
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
    assert described.source == "family"
    for layer, maps in enumerate(described.recipe.maps):
        assert sorted(m.role for m in described.matrices if m.layer == layer) == sorted(maps)
    counted = sum(m.entries.numel() for m in described.matrices)
    layers = [
        p
        for n, p in model.named_parameters()
        if p.ndim > 1 and (".layer" in n or ".h." in n) and "bias" not in n
    ]
    assert counted == sum(p.numel() for p in layers)
    for matrix in described.matrices:
        expected = described.recipe.std(matrix.role, matrix.layer)
        chance = 4 / (2 * matrix.entries.numel()) ** 0.5
        assert matrix.std == pytest.approx(expected, rel=max(0.03, chance)), matrix.parameter
    actual, meant = (n.layers[1].sublayers[0].body for n in (auxin.network_of(model, actual=True), intended))
    assert actual != meant
    assert actual.sigma_v == pytest.approx(meant.sigma_v, rel=0.05)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_documentation_lists_every_family() -> None:
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text()
    for family in FAMILIES:
        assert f"| {family.name} | {', '.join(family.types)} | {family.means} |" in page


def test_experts_are_read_from_configs() -> None:
    def bodies(kind: str, **more: Any) -> list[Any]:
        network = auxin.network_of({"model_type": kind, **models.settings(kind, depth=4), **more})
        return [layer.sublayers[1].body for layer in network.layers]

    mixtral = bodies("mixtral", num_experts_per_tok=3)[0]
    assert (mixtral.count, mixtral.active, mixtral.normalized, mixtral.shared) == (4, 3, True, None)
    assert [type(body) for body in bodies("qwen3_moe", mlp_only_layers=[0])] == [
        MLP,
        Experts,
        Experts,
        Experts,
    ]
    assert [type(body) for body in bodies("qwen2_moe", decoder_sparse_step=2, mlp_only_layers=[])] == [
        MLP,
        Experts,
    ] * 2
    beside = bodies("qwen2_moe", shared_expert_intermediate_size=48, norm_topk_prob=True)[0]
    assert beside.normalized
    assert beside.shared.sigma_o == pytest.approx(0.02 * 48**0.5)
    assert not bodies("olmoe")[0].normalized
    with pytest.raises(
        ConfigError, match="num_local_experts is 4; allowed: none, as it is not covered for Llama"
    ):
        bodies("llama", num_local_experts=4)


def test_experts_as_a_list_of_modules_are_read() -> None:
    """As version 4 of transformers holds them."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.self_attn = nn.ModuleDict({f"{each}_proj": nn.Linear(8, 8) for each in "qkvo"})
            expert = lambda: nn.ModuleDict(
                {"w1": nn.Linear(8, 6), "w3": nn.Linear(8, 6), "w2": nn.Linear(6, 8)}
            )
            self.block_sparse_moe = nn.ModuleDict(
                {"gate": nn.Linear(8, 3), "experts": nn.ModuleList(expert() for _ in range(3))}
            )

    settings = models.settings("mixtral", depth=1, width=8, num_local_experts=3, num_key_value_heads=4)
    recipe, layer = recipe_of({"model_type": "mixtral", **settings}), Layer()
    found = {m.role: m for m in matrices({"h.0": layer}, BY_TYPE["mixtral"].parts, "rows", recipe)}
    assert set(found) == set(recipe.maps[0])
    ups = [expert["w3"].weight for expert in layer.block_sparse_moe["experts"]]  # pyright: ignore
    assert torch.equal(found["up"].entries, torch.cat(ups))
    assert found["up"].parameter == "h.0.block_sparse_moe.experts.*.w3.weight"


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "deepseek_v3"])
def test_experts_are_predicted(kind: str) -> None:
    """Averages over 8 networks: within .03 in cosine, 6% in norm² and 12% in gradient."""
    reports = [
        auxin.check(models.build(kind, seed, width=192, initializer_range=0.07), n_tokens=24)
        for seed in range(8)
    ]
    columns = ("norm", "cosine", "gradient")
    predicted, measured = (
        {name: np.mean([getattr(each, of)[name] for each in reports], 0) for name in columns}
        for of in ("predicted", "observation")
    )
    np.testing.assert_allclose(predicted["cosine"], measured["cosine"], atol=0.03)
    np.testing.assert_allclose(predicted["norm"], measured["norm"], rtol=0.06)
    np.testing.assert_allclose(predicted["gradient"], measured["gradient"], rtol=0.12)


def test_factors_of_granite() -> None:
    factors = {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "attention_multiplier": 0.25}
    recipe = recipe_of({"model_type": "granite", **models.settings("granite"), **factors})
    attention, mlp = recipe.network.layers[0].sublayers
    assert attention.branch == mlp.branch == 0.5
    assert attention.body.scale == 0.25  # pyright: ignore[reportAttributeAccessIssue]
    assert recipe.embedding.norm == pytest.approx(9 * 0.02**2)


def test_layer_scale_is_the_strength_of_a_branch() -> None:
    report = auxin.check(models.build("dinov2", layerscale_value=0.1), n_tokens=12)
    assert report.ok, report
    assert [branch.strength for branch in report.observation.branches] == pytest.approx([0.1] * 6, rel=1e-4)  # pyright: ignore[reportOptionalMemberAccess]


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
    assert encoder.recipe.drawn.layers[0].sublayers[0].before is not None
    assert encoder.recipe.scheme.words.startswith("torch's defaults")
    nano = describe(shapes.NanoGPT())
    assert nano.recipe.scheme.words == "N(0, 0.02²), output maps of branches divided by √(2·layers)"
    lazy = describe(shapes.MinGPT())  # whose weights are as nn.Linear leaves them
    assert lazy.recipe.scheme.words == "torch's default of nn.Linear"
    for scheme in ("xavier", "pytorch", "normal", "gaussian"):
        config = ModelConfig(vocabulary_size=50, width=64, initialization=scheme, mlp_branch=0.5)
        model = TransformerLM(config, torch.Generator().manual_seed(0))
        assert auxin.network_of(model) == auxin.network_of(config) == config.network()
        ours = describe(model)
        assert ours.recipe.drawn.layers[0].sublayers[1].branch == 0.5
        for matrix in ours.matrices:
            assert matrix.std == pytest.approx(ours.recipe.std(matrix.role, matrix.layer), rel=0.05)
    assert auxin.network_of(preset("paper")).depth == 6


@pytest.mark.parametrize("name", ["gpt2", "llama", "pythia", "qwen3", "bert-encoder", "laptop"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_our_presets_are_known_with_their_branches_scaled(name: PresetName, scale: float) -> None:
    config = replace(preset(name).model, depth=3, vocabulary_size=50, branch_scale=scale)
    model = TransformerLM(config, torch.Generator().manual_seed(0))
    ours = describe(model)
    for found, expected in zip(ours.recipe.drawn.layers, config.network().layers, strict=True):
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
        assert matrix.std == pytest.approx(ours.recipe.std(matrix.role, matrix.layer), rel=0.05)
    report = auxin.check(model, n_tokens=16)
    assert report.ok, report
    assert report.totals["predicted_gradient"] == pytest.approx(report.totals["gradient"], abs=0.6)
    assert report.remedies()[0].branch == 1


RMS, LAYER = Norm("rms"), Norm("layer")
UNLIKE = {
    "two kinds of norm": (Layer((Sublayer(Attention(), before=RMS), Sublayer(MLP("gelu"), before=LAYER))),),
    "the MLP first": (Layer((Sublayer(MLP("gelu"), before=RMS), Sublayer(Attention(), before=RMS))),),
    "two kinds of layer": (
        Layer((Sublayer(Attention(), before=RMS), Sublayer(MLP("gelu"), stream=RMS))),
        Layer((Sublayer(Attention(), before=RMS),)),
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_layers_of_ours_of_any_kind_are_predicted(name: str) -> None:
    config = ModelConfig(layers=UNLIKE[name], vocabulary_size=50, width=128, initialization="normal")
    model = TransformerLM(config, torch.Generator().manual_seed(0))
    assert [layer.parallel for layer in describe(model).recipe.drawn.layers] == [False] * 4
    report = auxin.check(model, n_tokens=16)
    assert report.ok, report
    measured, predicted = (report.layers[name].to_numpy() for name in ("norm", "predicted_norm"))
    assert predicted == pytest.approx(measured, rel=0.15)


def test_layers_of_ours_with_two_mlps_are_measured_alone() -> None:
    mlp = Sublayer(MLP("gelu"), before=RMS)
    config = ModelConfig(layers=(Layer((mlp, mlp)),), vocabulary_size=50, width=32, initialization="normal")
    model = TransformerLM(config, torch.Generator().manual_seed(0))
    with pytest.raises(NoFamily, match="TransformerLM is of no known family"):
        describe(model)
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
    with pytest.raises(ConfigError, match="Linear has no repeated layers"):
        auxin.network_of(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="source is 'int'"):
        auxin.network_of(3)


LENGTHS = {"original_max_position_embeddings": 64}
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LENGTHS,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, **LENGTHS},
    "yarn, of its own ramp": {
        "rope_type": "yarn", "factor": 16.0, "beta_fast": 8, "beta_slow": 2, "truncate": False, "mscale": 1.0,
        "mscale_all_dim": 0.5, **LENGTHS,
    },
    "longrope": {
        "rope_type": "longrope", "factor": 4.0, "short_factor": [1.0 + 0.1 * i for i in range(12)],
        "long_factor": [4.0] * 12, **LENGTHS,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SCALINGS)
def test_scaled_rotations_are_those_of_transformers(name: str) -> None:
    model: Any = models.build(
        "llama", rope_theta=500.0, rope_scaling=SCALINGS[name], max_position_embeddings=64
    )
    attention: Any = auxin.network_of(model).layers[1].sublayers[0].body
    rotation = model.model.rotary_emb
    assert attention.rotary.rates(24) == pytest.approx(rotation.inv_freq.tolist(), rel=1e-5)
    assert attention.rotary.base == 500
    scale = 24**-0.5 * rotation.attention_scaling**2
    assert (attention.scale or 24**-0.5) == pytest.approx(scale)
    assert ("yarn" in name or name == "longrope") == (attention.scale is not None)


def test_scaled_rotations_of_latent_keys_are_those_of_transformers() -> None:
    scaling = {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 1.0, **LENGTHS}
    model: Any = models.build("deepseek_v3", rope_scaling=scaling, max_position_embeddings=2560)
    attention: Any = auxin.network_of(model).layers[1].sublayers[0].body
    assert attention.rotary.rates(24) == pytest.approx(model.model.rotary_emb.inv_freq.tolist(), rel=1e-5)
    assert model.model.rotary_emb.attention_scaling == 1
    assert attention.scale == pytest.approx(model.model.layers[1].self_attn.scaling)


def test_rotations_are_read_as_every_version_of_transformers_writes_them() -> None:
    def rotary(kind: str, **more: Any) -> list[Any]:
        network = auxin.network_of({"model_type": kind, **models.settings(kind, depth=6), **more})
        return [layer.sublayers[0].body.rotary for layer in network.layers]  # pyright: ignore[reportAttributeAccessIssue]

    five = {"rope_theta": 100.0, "rope_type": "default"}
    assert rotary("llama", rope_parameters=five) == [auxin.Rotary(100.0)] * 6
    assert rotary("llama", rope_theta=100.0) == rotary("llama", rope_parameters=five)
    assert rotary("gpt_neox", rope_parameters={**five, "partial_rotary_factor": 0.5})[0] == auxin.Rotary(
        100.0, 0.5
    )
    assert rotary("gpt_neox", rotary_emb_base=100, rotary_pct=0.5)[0] == auxin.Rotary(100.0, 0.5)
    local, everywhere = {"rope_theta": 50.0}, {"rope_theta": 9e5, "rope_type": "linear", "factor": 8.0}
    kinds = {"sliding_attention": local, "full_attention": everywhere}
    new = rotary("gemma3_text", rope_parameters=kinds)
    assert [each.base for each in new] == [50.0] * 5 + [9e5]
    assert new[5].factors == (1 / 8,) * 12
    scaling = {"rope_type": "linear", "factor": 8.0}
    assert rotary("gemma3_text", rope_local_base_freq=50.0, rope_theta=9e5, rope_scaling=scaling) == new
    assert [each.base for each in rotary("gemma3_text")] == [1e4] * 5 + [1e6]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("llama", {"rope_scaling": {"rope_type": "spiral"}}, "rope_type is 'spiral'; allowed: default, dynamic"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "factor is None; allowed: a number"),
        ("llama", {"rope_scaling": {"mrope_section": [2]}}, r"mrope_section of the rotation is \[2\]; allowed: none"),
        ("llama", {"rope_parameters": 7}, "rope_parameters is 7; allowed: settings by name"),
        ("llama", {"residual_multiplier": 0.2}, "residual_multiplier is 0.2; allowed: none, as it is not covered"),
        ("llama", {"hidden_act": "mish"}, "activation is 'mish'; allowed: gelu"),
        ("deepseek_v2", {"topk_method": "group_limited_greedy"}, "topk_method is 'group_limited_greedy'"),
        ("deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob is True"),
        ("deepseek_v3", {"scoring_func": "softmax"}, "scoring_func is 'softmax'; allowed: sigmoid"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention is True"),
        ("gpt2", {"sliding_window": 8}, "sliding_window is 8"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ("opt", {"word_embed_proj_dim": 48}, "word_embed_proj_dim is 48; allowed: the width, 96"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True"),
        ("qwen2", {"layer_types": ["linear_attention"] * 3}, "layer_types is .* 3 of full_attention, sliding"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_covered_is_refused_by_name(
    kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        auxin.network_of({"model_type": kind, **models.settings(kind), **settings})


def test_a_model_of_a_known_family_that_is_not_covered_is_measured() -> None:
    report = auxin.check(models.build("llama", hidden_act="mish"), n_tokens=16)
    assert report.layers["norm"].is_not_null().all()
    assert report.layers["predicted_norm"].is_null().all()
    assert "measured, not predicted: activation is 'mish'; allowed: gelu" in " ".join(report.notes)


def test_windows_of_layers() -> None:
    def windows(kind: str, **more: Any) -> list[int | None]:
        network = auxin.network_of({"model_type": kind, **models.settings(kind, depth=4), **more})
        return [layer.sublayers[0].body.window for layer in network.layers]  # pyright: ignore[reportAttributeAccessIssue]

    assert windows("mistral", sliding_window=7) == [7] * 4
    assert windows("qwen2", sliding_window=7, use_sliding_window=True, max_window_layers=3) == [None] * 3 + [
        7
    ]
    assert windows("qwen2", sliding_window=7) == [None] * 4
    assert windows("gemma2") == [4096, None, 4096, None]
    assert windows("gemma3_text", sliding_window=7, sliding_window_pattern=2) == [7, None, 7, None]
    kinds = ["full_attention", "sliding_attention", "full_attention", "full_attention"]
    assert windows("qwen3", sliding_window=7, layer_types=kinds) == [None, 7, None, None]


@pytest.mark.parametrize("name", ["relu", "silu", "tanh", "gelu"])
def test_the_activation_of_modules_is_seen(name: str) -> None:
    model = shapes.NanoGPT()
    for block in model.transformer["h"]:
        block.mlp.gelu = {"relu": nn.ReLU(), "silu": nn.SiLU(), "tanh": nn.Tanh(), "gelu": nn.GELU("tanh")}[
            name
        ]
    model.train()
    assert auxin.network_of(model).layers[0].sublayers[1].body.activation == name  # pyright: ignore[reportAttributeAccessIssue]
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    encoder = models.torch_encoder(
        activation=getattr(torch, name) if name in ("relu", "tanh") else nn.functional.silu
    )
    seen = auxin.network_of(encoder).layers[0].sublayers[1].body.activation  # pyright: ignore[reportAttributeAccessIssue]
    assert seen == (name if name in ("relu", "tanh") else "silu")


def test_an_activation_that_is_none_of_these_is_said() -> None:
    model = shapes.NanoGPT()
    for block in model.transformer["h"]:
        block.mlp.gelu = nn.Hardswish()
    with pytest.raises(
        ConfigError, match="activation of Block is none that is covered: gelu, relu, silu, tanh"
    ):
        auxin.network_of(model)
    assert "activation of Block" in " ".join(auxin.check(model).notes)


class OwnForward(nn.TransformerEncoderLayer):
    def forward(self, src: torch.Tensor, **_: Any) -> torch.Tensor:
        return src + self.self_attn(self.norm1(src), self.norm1(src), self.norm1(src))[0]


def test_a_subclass_of_torchs_layer_with_a_forward_of_its_own_is_none_of_torchs() -> None:
    model = nn.TransformerEncoder(OwnForward(32, 4), 2, enable_nested_tensor=False)
    with pytest.raises(NoFamily, match="OwnForward has a forward of its own; allowed: torch's"):
        describe(model)
    assert [len(layer.sublayers) for layer in auxin.network_of(model).layers] == [1, 1]


class Wrapper(nn.Module):
    """As DistributedDataParallel and Lightning hold a model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def test_what_a_wrapper_holds_is_known() -> None:
    config = ModelConfig(vocabulary_size=50, width=32)
    ours = TransformerLM(config, torch.Generator().manual_seed(0))
    for model in (models.build("llama"), shapes.NanoGPT(), models.torch_encoder(), ours):
        assert describe(Wrapper(model)).recipe.drawn == describe(model).recipe.drawn


def test_towers_of_a_model_are_each_their_own_family() -> None:
    import transformers

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    text = {**models.settings("gemma3_text", width=128, depth=3), "vocab_size": 301, "pad_token_id": 0}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**sizes, "image_size": 56, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=300,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    assert describe(model).recipe.name == "Gemma 3"
    report = auxin.check(model, n_tokens=16)
    assert not [finding for finding in report.findings if "vision" in finding.module]
    assert report.layers["predicted_norm"].is_not_null().all()
    tower = next(name for name, _ in model.named_modules() if name.endswith("encoder.layers"))
    assert describe(model, find_layers(model, tower)).recipe.name == "SigLIP, images"


def test_a_slip_of_experts_is_said_once() -> None:
    """Their tensors are no modules: the module that holds them is named, and the tensor in the sentence."""
    model = models.build("mixtral", depth=4)
    with torch.no_grad():
        model.get_parameter("model.layers.2.mlp.experts.down_proj").mul_(3)
    (finding,) = auxin.check(model, n_tokens=16).findings
    assert finding.module == "model.layers.2.mlp.experts"
    assert finding.sentence.startswith("model.layers.2.mlp.experts.down_proj has std 0.0")
