"""Laws of tensors from a reference that needs no table: fresh draws of the model's class, another model, a function."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import auxin
from auxin.errors import ConfigError
from auxin.probes import redraws
from auxin.probes.check import check
from auxin.probes.check_report import CheckReport
from auxin.probes.laws import law_of, ties_of
from probes import models, shapes

SIZES: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
TOKENS: dict[str, Any] = {**SIZES, "vocab_size": 300}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon": ("FalconForCausalLM", TOKENS),
    "mixtral": (
        "MixtralForCausalLM",
        {**TOKENS, "intermediate_size": 128, "num_key_value_heads": 2, "num_local_experts": 4},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 64, "d_ff": 128, "num_layers": 4, "num_heads": 4, "d_kv": 16, "vocab_size": 300},
    ),
    "deit": (
        "DeiTForImageClassification",
        {**SIZES, "intermediate_size": 128, "image_size": 32, "patch_size": 8},
    ),
    "starcoder2": (
        "Starcoder2ForCausalLM",
        {**TOKENS, "intermediate_size": 256, "num_key_value_heads": 2},
    ),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 128, "vocab_size": 300},
    ),
}
"""Models that are in no table, or read from one."""


def built(kind: str, seed: int = 0) -> nn.Module:
    import transformers

    name, settings = OTHERS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, name)(transformers.AutoConfig.for_model(kind, **settings))


def found(model: nn.Module, **more: Any) -> CheckReport:
    layers = "decoder.block" if type(model).__name__.startswith("T5") else None
    return check(model, layers=layers, n_tokens=16, **more)


@pytest.mark.parametrize("kind", OTHERS)
def test_a_fresh_model_is_as_its_class_draws_it(kind: str) -> None:
    for seed in range(2):
        assert not found(built(kind, seed)).findings


def parameters(model: nn.Module, *ends: str) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in model.named_parameters() if name.endswith(ends)]


@pytest.mark.parametrize(
    ("kind", "ends", "change"),
    [
        ("falcon", ("self_attention.dense.weight",), lambda p: p.mul_(3.5)),
        ("falcon", ("word_embeddings.weight",), lambda p: p.normal_()),
        ("falcon", ("2.mlp.dense_h_to_4h.weight",), lambda p: p.uniform_(-0.02 * 3**0.5, 0.02 * 3**0.5)),
        ("mixtral", ("mlp.gate.weight", "block_sparse_moe.gate.weight"), lambda p: p.mul_(20)),
        ("mixtral", ("embed_tokens.weight",), lambda p: p.normal_()),
        ("falcon", ("h.1.self_attention.dense.weight",), lambda p: p.copy_(p * (p.abs() > 0.005) * 1.02)),
        ("t5", ("decoder.block.1.layer.2.DenseReluDense.wo.weight",), lambda p: p.normal_(0, 64**-0.5)),
        ("t5", ("SelfAttention.o.weight",), lambda p: p.mul_(3.5)),
        ("deit", ("position_embeddings",), lambda p: p.normal_()),
        ("deit", ("layer.2.output.dense.bias", "layers.2.mlp.fc2.bias"), lambda p: p.normal_()),
        ("starcoder2", ("mlp.c_proj.weight",), lambda p: p.mul_(3.5)),
        ("starcoder2", ("layers.1.self_attn.k_proj.bias",), lambda p: p.normal_()),
        ("distilbert", ("position_embeddings.weight",), lambda p: p.mul_(50)),
        ("distilbert", ("ffn.lin2.weight",), lambda p: p.normal_(0, 64**-0.5)),
    ],
)
def test_a_slip_in_any_class_is_named_first(kind: str, ends: tuple[str, ...], change: Callable) -> None:
    model = built(kind)
    harmed = parameters(model, *ends)
    assert harmed
    with torch.no_grad():
        for _, p in harmed:
            change(p)
    first = found(model).findings[0]
    assert first.module in {harmed[0][0], harmed[0][0].rpartition(".")[0]}, first.sentence


def test_positions_and_biases_of_known_families_have_laws_too() -> None:
    model: Any = models.build("gpt2", depth=4, width=64)
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(50)
    (finding,) = found(model).findings
    assert (finding.module, finding.expected) == ("transformer.wpe", pytest.approx(0.02, rel=0.02))
    model = models.build("gpt2", depth=4, width=64)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.bias.normal_()
    finding = found(model).findings[0]
    assert finding.module == "transformer.h.0.mlp.c_fc"
    assert "bias has size" in finding.sentence
    assert "drawn anew from its config has 0" in finding.sentence


def test_a_copied_layer_is_named() -> None:
    model: Any = models.build("llama", depth=4, width=64)
    model.model.layers[2].load_state_dict(model.model.layers[1].state_dict())
    (finding,) = found(model).findings
    assert finding.module == "model.layers.2"
    assert "has the weights of model.layers.1 in 7 of 7 matrices" in finding.sentence
    model = models.build("llama", depth=3, width=64)
    attention = model.model.layers[1].self_attn
    attention.v_proj.load_state_dict(attention.k_proj.state_dict())
    (finding,) = found(model).findings
    assert finding.module == "model.layers.1.self_attn.v_proj"
    assert (
        "v_proj.weight has the entries of model.layers.1.self_attn.k_proj.weight: a copy" in finding.sentence
    )
    model = models.build("llama", depth=4, width=64)
    up = [layer.mlp.up_proj for layer in model.model.layers]
    up[3].load_state_dict(up[0].state_dict())
    assert [f.module for f in found(model).findings] == ["model.layers.3.mlp.up_proj"]


def test_a_large_model_is_drawn_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redraws, "LARGE", 40_000)  # two layers' parameters are more
    for kind in ("t5", "mixtral"):
        model: Any = built(kind)
        assert found(model).ok
        reference = redraws.reference_of(model, None)
        assert reference is not None
        assert reference.name.endswith("drawn anew layer by layer")
        assert reference.laws.keys() >= {name for name, _ in model.named_parameters()}
        assert reference.ties.keys() == ties_of(model).keys()
    with torch.no_grad():
        model.model.layers[1].post_attention_layernorm.weight.fill_(0.5)
        model.model.norm.weight.add_(0.5)
    assert {f.module for f in found(model).findings} == {
        "model.layers.1.post_attention_layernorm",
        "model.norm",
    }


def test_a_norm_that_is_never_called_is_named_though_its_like_runs() -> None:
    model: Any = built("t5")
    norm = model.decoder.block[1].layer[0].layer_norm
    norm.__class__ = type("T5LayerNorm", (type(norm),), {"__call__": lambda self, x: x})
    finding = found(model).findings[0]
    assert finding.module == "decoder.block.1.layer.0.layer_norm"
    assert "is never used" in finding.sentence


def test_buffers_hold_what_the_config_says() -> None:
    model: Any = models.build("llama", depth=3, width=64)
    inverse = model.model.rotary_emb.inv_freq
    for harm in (inverse * 0, 500_000.0 ** (-torch.arange(len(inverse)) / len(inverse))):
        model.model.rotary_emb.inv_freq = harm
        (finding,) = found(model).findings
        assert finding.module == "model.rotary_emb"
        assert "inv_freq, a buffer, has size" in finding.sentence


def test_ties_that_are_broken_or_made() -> None:
    model: Any = models.build("gpt2", depth=3, width=64)
    model.lm_head.weight = nn.Parameter(model.transformer.wte.weight.detach().clone())
    (finding,) = found(model).findings
    assert "lm_head.weight is not tied to transformer.wte.weight" in finding.sentence
    model = built("mixtral")
    model.lm_head.weight = model.model.embed_tokens.weight
    (finding,) = found(model).findings
    assert (
        "lm_head.weight is tied to model.embed_tokens.weight, unlike in MixtralForCausalLM"
        in finding.sentence
    )


class Own(shapes.MinGPT):
    """A model of one's own that is built from its config, and prints."""

    def __init__(self, config: shapes.GPTConfig) -> None:
        super().__init__(config)
        self.config = config
        nn.init.normal_(self.pos_emb, std=0.01)
        print("number of parameters: 0.05M")


class Redrawn(shapes.MinGPT):
    """One that draws its weights by a method."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__(shapes.GPTConfig(n_embd=width, n_layer=depth))
        self.init_weights()

    def init_weights(self) -> None:
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.ndim > 1:
                nn.init.normal_(p, std=0.03)
            else:
                nn.init.ones_(p)


def drawn(build: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def test_models_of_ones_own_are_drawn_anew(capsys: pytest.CaptureFixture[str]) -> None:
    own = drawn(lambda: Own(shapes.GPTConfig()))
    capsys.readouterr()
    assert not found(own).findings
    assert not capsys.readouterr().out
    with torch.no_grad():
        own.pos_emb.mul_(50)
    (finding,) = found(own).findings
    assert (finding.module, finding.expected) == ("pos_emb", pytest.approx(0.01, rel=0.1))
    redrawn = drawn(lambda: Redrawn(shapes.D, 3))
    assert not found(redrawn).findings
    with torch.no_grad():
        redrawn.pos_emb.mul_(50)
    (finding,) = found(redrawn).findings
    assert "Redrawn drawn anew by its init_weights has 0.03" in finding.sentence


def test_the_caller_says_what_is_expected() -> None:
    meant = drawn(shapes.MinGPT)
    model = drawn(shapes.MinGPT, seed=1)
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.c_fc.weight.mul_(2)
    for reference in (meant, lambda: drawn(shapes.MinGPT, seed=2)):
        diagnosis = found(model, reference=reference)
        (finding,) = diagnosis.findings
        assert finding.module == "blocks.0.mlp.c_fc"
        assert "(in 3 of 3 layers" in finding.sentence
        assert "compared with the " in diagnosis.notes[0]
    assert not found(model, reference=model).findings
    assert not found(copy.deepcopy(model), reference=model).findings
    gpt2 = models.build("gpt2", depth=3, width=64)
    assert {f.module for f in found(gpt2, reference="gaussian").findings} >= {"transformer.h.0.mlp.c_fc"}
    with pytest.raises(
        ConfigError, match="reference is 'other'; allowed: a model, a function that builds one, or"
    ):
        auxin.check(gpt2, reference="other")
    with pytest.raises(ConfigError, match="reference is 'a model of other names'"):
        auxin.check(gpt2, reference=lambda: nn.Linear(2, 2))


def test_statistics_of_known_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(200, 200, generator=generator) * 2 - 1
    gaussian = torch.randn(200, 200, generator=generator)
    cut = nn.init.trunc_normal_(torch.empty(200, 200), a=-2, b=2, generator=generator)
    for x, kurtosis in ((uniform, -1.2), (gaussian, 0.0), (cut, -0.63)):
        seen = law_of(x)
        assert seen is not None
        assert seen.kurtosis == pytest.approx(kurtosis, abs=0.08)
    half = law_of(gaussian * (uniform > 0) + 1.0 * (uniform > 0))
    assert half is not None
    assert (half.mean, half.zeros) == (pytest.approx(0.5, abs=0.02), pytest.approx(0.5, abs=0.02))
    assert half.size == pytest.approx(1.0, abs=0.02)
    assert law_of(torch.tensor([math.nan])) is None
