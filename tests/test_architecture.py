"""Descriptions: what exists is valid, survives TOML and JSON, and says what is wrong otherwise."""

from collections.abc import Callable
from typing import Any

import pytest

from auxin.architecture import MLP, Attention, Block, Experts, Layer, Network, Norm, Rotary, Sublayer
from auxin.architecture.sizes import Sizes
from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.theory.exponents import exponents
from auxin.values import from_json, from_toml, to_json, to_toml

LLAMA = Layer(
    (
        Sublayer(Attention(head_dim=64, rotary=Rotary(base=5e5)), before=Norm("rms", epsilon=1e-5)),
        Sublayer(MLP("silu", gated=True), branch=0.5, before=Norm("rms"), after=Norm("erf", slope=0.3)),
    )
)
PYTHIA = Layer(
    (
        Sublayer(Attention(head_dim=32, rotary=Rotary(fraction=0.25), qk_norm="all"), before=Norm()),
        Sublayer(MLP(sigma_b_out=0.1), before=Norm()),
    ),
    parallel=True,
)


@pytest.mark.parametrize(("write", "read"), [(to_toml, from_toml), (to_json, from_json)])
def test_a_network_survives_being_written(write: Callable[[Any], str], read: Callable[..., Any]) -> None:
    network = Network((LLAMA, PYTHIA, Block(norm="post", sigma_b=0.2).layer), final=Norm("rms"))
    assert read(Network, write(network)) == network


def test_a_network_is_shown_as_it_is_written_with_a_line_a_sublayer() -> None:
    """What is shown is the same network again, to six digits."""
    one, other = LLAMA, PYTHIA
    networks = {
        Network.repeat(one, 12, Norm("rms"), 0.0004): 2,
        Network.repeat([one, other], 5): 4,
        Network((other, one, one, one)): 4,
        Network((one,), input_norm=0.5): 2,
    }
    names = {c.__name__: c for c in (Network, Layer, Sublayer, Attention, MLP, Norm, Rotary)}
    for network, sublayers in networks.items():
        assert eval(repr(network), names) == network
        lines = [line for line in repr(network).splitlines() if "Sublayer(" in line]
        assert len(lines) == sublayers, repr(network)
    assert repr(Norm("rms", gain=1 / 3)) == "Norm(kind='rms', gain=0.333333)"
    assert repr(ModelConfig()) == "ModelConfig()"


def test_a_block_is_short_for_its_layer() -> None:
    block = Block(norm="post", activation="relu", attention_branch=0.5, sigma_a=2.0, sigma_v=0.7, sigma_b=0.1)
    attention, mlp = block.layer.sublayers
    assert attention == Sublayer(Attention(sigma_q=2.0, sigma_v=0.7), branch=0.5, stream=Norm())
    assert mlp == Sublayer(MLP("relu", sigma_w=2**0.5, sigma_b=0.1), stream=Norm())
    assert Network((block,)) == Network.repeat(block, 1)
    assert Network.repeat([LLAMA, PYTHIA], 3).layers == (LLAMA, PYTHIA, LLAMA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Norm("batch"), "kind is 'batch'; allowed: layer, rms, tanh, erf"),
        (lambda: Norm("tanh", epsilon=1e-5), "epsilon is 1e-05; allowed: 0"),
        (lambda: Norm("rms", slope=2.0), "slope is 2.0; allowed: 1"),
        (lambda: Norm(epsilon=float("nan")), "epsilon is nan"),
        (lambda: Rotary(fraction=0.0), "fraction is 0.0; allowed: 0 < fraction"),
        (lambda: Attention(head_dim=33, rotary=Rotary()), "head_dim is 33; allowed: an even number"),
        (lambda: Attention(head_dim=64, rotary=Rotary(fraction=0.01)), "fraction of rotary is 0.01"),
        (lambda: Attention(qk_norm=True), "head_dim is None; allowed: a number of dimensions, with qk_norm"),
        (lambda: Attention(rotary=Rotary()), "head_dim is None"),
        (lambda: Attention(scale=0.1), "head_dim is None"),
        (lambda: Attention(window=0), "window is 0; allowed: 1"),
        (lambda: Attention(softcap=0.0), "softcap is 0.0; allowed: 0.001"),
        (lambda: Attention(sigma_q=-1.0), "sigma_q is -1.0; allowed: 0 to 1000"),
        (lambda: Attention(head_dim=True), "head_dim is True"),
        (lambda: MLP("swish"), "activation is 'swish'"),
        (lambda: MLP(sigma_g=1.0), "sigma_g is 1.0; allowed: nothing, without a gate"),
        (lambda: Sublayer(Norm()), "body is Norm.*allowed: a Attention or MLP"),
        (lambda: Sublayer(MLP(), before="rms"), "before is 'rms'; allowed: a Norm"),
        (lambda: Layer(()), "number of sublayers is 0"),
        (lambda: Layer((MLP(),)), "sublayer is MLP"),
        (
            lambda: Layer((Sublayer(MLP()), Sublayer(MLP(), skip=0.5)), parallel=True),
            "skip is 0.5; allowed: that",
        ),
        (lambda: Layer((Sublayer(MLP()), Sublayer(MLP(), stream=Norm())), parallel=True), "stream is Norm"),
        (lambda: Network(()), "number of layers is 0"),
        (lambda: Network((MLP(),)), "layer is MLP"),
        (lambda: Network.repeat(LLAMA, 0), "depth is 0; allowed: 1 to 10000"),
        (lambda: Network.repeat([], 2), "layers to repeat"),
        (lambda: Block.of(0.5), "config is 0.5; allowed: a ModelConfig or a RunConfig"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"layers": [{"sublayers": [{"body": {"part": "conv"}}]}]}',
            "part of body is 'conv'; allowed: attention, mlp",
        ),
        ('{"layers": [{"sublayers": [{"body": 3}]}]}', "part of body is 3"),
        ('{"layers": [{"sublayers": [{"skip": 1}]}]}', "Sublayer has no body"),
        ('{"layers": 3}', "layers is 3; allowed: a list"),
        (
            '{"layers": [{"sublayers": [{"body": {"part": "mlp", "gate": true}}]}]}',
            "MLP has no setting 'gate'",
        ),
        ("{}", "Network has no layers"),
        ("[]", "Network is \\[\\]; allowed: a table"),
    ],
)
def test_what_is_written_wrongly_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(Network, text)


def test_experts_draw_what_their_sizes_say() -> None:
    sizes = Sizes(64, expert_hidden=24, shared_hidden=48)
    body = Experts(count=6, shared=MLP("silu", gated=True), sigma_s=1.0)
    maps = body.maps(sizes, branches=4)
    shapes = {role: (drawn.fan_in, drawn.fan_out) for role, drawn in maps.items()}
    assert shapes == {
        "router": (64, 6),
        "up": (64, 24),
        "gate": (64, 24),
        "down": (24, 64),
        "shared_up": (64, 48),
        "shared_gate": (64, 48),
        "shared_down": (48, 64),
        "shared_router": (64, 1),
    }
    sigmas = {role: float(i) for i, role in enumerate(maps, 1)}
    drawn = body.with_sigmas(sigmas, dict.fromkeys(maps, 0.0))
    assert (drawn.sigma_r, drawn.expert.sigma_w, drawn.expert.sigma_o) == (1.0, 2.0, 4.0)
    assert drawn.shared is not None
    assert (drawn.shared.sigma_w, drawn.shared.sigma_gate, drawn.shared.sigma_o, drawn.sigma_s) == (
        5,
        6,
        7,
        8,
    )
    with pytest.raises(ConfigError, match="active is 9; allowed: 1 to the number of experts, 8"):
        Experts(active=9)


def test_experts_are_for_the_gram_engine_alone() -> None:
    layer = Layer((Sublayer(Attention(), before=Norm()), Sublayer(Experts(), before=Norm())))
    assert exponents(Network.repeat(layer, 2), n_tokens=6).gradient_total_error > 0
    with pytest.raises(ConfigError, match=r"Experts\(\); allowed: .* \(propagate_gram takes any\)"):
        exponents(layer)


def test_experts_are_written_and_read() -> None:
    layer = Layer((Sublayer(Experts(MLP("relu"), count=4, shared=MLP("gelu")), before=Norm()),))
    config = ModelConfig(depth=1, width=16, heads=2, layers=(layer,))
    assert from_toml(ModelConfig, to_toml(config)) == config
