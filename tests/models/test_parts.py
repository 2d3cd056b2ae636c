"""Norms, MLPs, residuals and their order: against plain formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from auxin.architecture import MLP, Attention, Experts, Layer, Network, Norm, Sublayer
from auxin.architecture import attention as attention_description
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.sizes import Sizes
from auxin.config import ModelConfig
from auxin.models.context import Context
from auxin.models.norm import norm_module
from auxin.models.stack import Stack
from auxin.models.transformer import TransformerLM

D, M = 8, 12
X = torch.randn(2, 5, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("norm", "formula"),
    [
        (
            Norm("layer", gain=1.5, epsilon=0.1),
            lambda x: 1.5 * (x - x.mean(-1, True)) / (x.var(-1, unbiased=False, keepdim=True) + 0.1).sqrt(),
        ),
        (Norm("rms", gain=2.0, epsilon=0.3), lambda x: 2 * x / ((x**2).mean(-1, True) + 0.3) ** 0.5),
        (Norm("tanh", gain=0.7, slope=0.5), lambda x: 0.7 * (x / 2).tanh()),
        (Norm("erf", gain=0.7, slope=3.0), lambda x: 0.7 * (3 * x).erf()),
    ],
)
def test_norms_are_their_formulas(norm: Norm, formula) -> None:
    module = norm_module(norm, D)
    with torch.no_grad():
        module.set_(norm)
    torch.testing.assert_close(module(X), formula(X))


def stack(layer: Layer) -> Stack:
    made = Stack(Network((layer,)), Sizes(D, 2, hidden=M))
    made.draw(made.network, SCHEMES["gaussian"], torch.Generator().manual_seed(0))
    return made.requires_grad_(False)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("gelu", lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("quick_gelu", lambda x: x / (1 + torch.exp(-1.702 * x))),
        ("relu2", lambda x: torch.where(x > 0, x * x, 0 * x)),
        ("tanh", lambda x: 1 - 2 / (1 + torch.exp(2 * x))),
        ("erf", torch.special.erf),
        ("linear", lambda x: x),
    ],
)
@pytest.mark.parametrize("gated", [False, True])
def test_mlps_are_their_formulas(activation, formula, gated: bool) -> None:
    made = stack(Layer((Sublayer(MLP(activation, gated=gated, sigma_b=0.5), skip=0.0),)))
    p = dict(made[0].mlp.named_parameters())
    up = X @ p["up.weight"].T + p["up.bias"]
    h = formula(X @ p["gate.weight"].T + p["gate.bias"]) * up if gated else formula(up)
    expected = h @ p["down.weight"].T + p["down.bias"]
    torch.testing.assert_close(made(X, Context.of(X)), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalized", [False, True])
def test_experts_are_their_formula(score, normalized: bool) -> None:
    """Token by token, with a shared MLP that is gated by a sigmoid."""
    body = Experts(MLP("relu"), 5, 2, 2.0, score, normalized, factor=1.5, shared=MLP("tanh"), sigma_s=1.0)
    made = stack(Layer((Sublayer(body, skip=0.0),)))[0].experts
    y = made(X, Context.of(X))
    for b, t in ((0, 0), (1, 4)):
        x = X[b, t]
        logits = (made.router.weight @ x).tolist()[:5]
        scores = [math.exp(r) if score == "softmax" else 1 / (1 + math.exp(-r)) for r in logits]
        if score == "softmax":
            scores = [s / sum(scores) for s in scores]
        chosen = sorted(range(5), key=lambda e: scores[e])[-2:]
        total = sum(scores[e] for e in chosen) if normalized else 1.0
        expected = sum(1.5 * scores[e] / total * made.experts[e](x, Context.of(X)) for e in chosen)
        expected = expected + made.shared(x, Context.of(X)) / (1 + math.exp(-made.router.weight[5] @ x))
        torch.testing.assert_close(y[b, t], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("parallel", [False, True])
def test_residuals_are_composed_as_described(parallel: bool) -> None:
    rms, layer_norm = Norm("rms", gain=2.0), Norm("layer")
    sublayers = [
        Sublayer(MLP("tanh"), 0.5, branch, before=rms, after=Norm("tanh", slope=0.5), stream=layer_norm)
        for branch in (0.3, 0.7)
    ]
    made = stack(Layer(tuple(sublayers), parallel=parallel))
    bodies = made[0].mlp, made[0].mlp_2

    def branch(i: int, x: torch.Tensor) -> torch.Tensor:
        return (0.3, 0.7)[i] * (bodies[i](2 * x / (x**2).mean(-1, True) ** 0.5, Context.of(x)) / 2).tanh()

    if parallel:
        expected = F.layer_norm(0.5 * X + branch(0, X) + branch(1, X), (D,), eps=0)
    else:
        expected = F.layer_norm(0.5 * X + branch(0, X), (D,), eps=0)
        expected = F.layer_norm(0.5 * expected + branch(1, expected), (D,), eps=0)
    torch.testing.assert_close(made(X, Context.of(X)), expected, atol=1e-5, rtol=1e-4)
    names = [name for name, _ in made[0].named_children() if "norm" in name]
    one = ["mlp_norm", "mlp_after_norm", "mlp_stream_norm"]
    assert names == [*one, *(name.replace("mlp", "mlp_2") for name in one)]


def test_weights_have_the_sigmas_of_the_description() -> None:
    attention = Attention(2.0, 0.5, 1.5, sigma_b=0.4, head_dim=64)
    mlp = MLP("silu", gated=True, sigma_w=0.7, sigma_g=1.1, sigma_o=1.3, sigma_b=0.2, sigma_b_out=0.1)
    sizes = Sizes(256, heads=8, key_heads=4, hidden=384)
    made = Stack(Network((Layer((Sublayer(attention), Sublayer(mlp))),)), sizes)
    made.draw(made.network, SCHEMES["gaussian"], torch.Generator().manual_seed(0))
    p = {name: value.detach() for name, value in made[0].named_parameters()}
    q, k, v = p["attention.qkv.weight"].split((512, 256, 256))
    sigmas = [(q, 2.0), (k, 0.5), (v, 1.5**0.5), (p["attention.out.weight"], 1.5**0.5)]
    sigmas += [
        (p[f"mlp.{name}.weight"], sigma) for name, sigma in (("up", 0.7), ("gate", 1.1), ("down", 1.3))
    ]
    for weight, sigma in sigmas:
        assert weight.std().item() * weight.shape[1] ** 0.5 == pytest.approx(sigma, rel=0.01)
    biases = {"attention.out": 0.4, "mlp.up": 0.2, "mlp.gate": 0.2, "mlp.down": 0.1}
    for name, sigma in biases.items():
        assert p[f"{name}.bias"].std().item() == pytest.approx(sigma, rel=0.12)
    assert (p["attention.qkv.bias"] == 0).all()


@pytest.mark.parametrize("initialization", ["xavier", "released-code", "pytorch", "normal", "gpt2", "neox"])
def test_a_models_weights_have_the_sigmas_of_its_network(initialization) -> None:
    config = ModelConfig(
        depth=3,
        width=256,
        heads=4,
        vocabulary_size=5,
        layers=(Layer((Sublayer(Attention(head_dim=128)), Sublayer(MLP("relu", gated=True)))),),
        attention_bias=True,
        initialization=initialization,
    )
    model = TransformerLM(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    attention, mlp = (sublayer.body for sublayer in config.network().layers[2].sublayers)
    assert isinstance(attention, attention_description.Attention)
    assert isinstance(mlp, MLP)
    layer = model.layers[2]
    q, k, v = layer.attention.qkv.weight.split(512)
    found = {
        "sigma_q": q.std() * 16,
        "sigma_k": k.std() * 16,
        "sigma_v": v.std() * 16 * layer.attention.out.weight.std() * 512**0.5,
    }
    for name, sigma in found.items():
        assert sigma.item() == pytest.approx(getattr(attention, name), rel=0.02)
    for name, map_, fan_in in (
        ("w", layer.mlp.up, 256),
        ("g", layer.mlp.gate, 256),
        ("o", layer.mlp.down, 688),
    ):
        assert map_.weight.std().item() * fan_in**0.5 == pytest.approx(
            getattr(mlp, f"sigma_{name}"), rel=0.02
        )
    values = layer.attention.out.weight @ layer.attention.qkv.bias[1024:] + layer.attention.out.bias
    assert values.std().item() == pytest.approx(attention.sigma_b, rel=0.15)
    assert layer.mlp.up.bias.std().item() == pytest.approx(mlp.sigma_b, rel=0.1)
