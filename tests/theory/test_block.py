"""Blocks: validation, the paper's parametrization, and what a model's initialization implies."""

import math

import numpy as np
import pytest
import torch

from auxin.architecture.block import NUMERIC, SIGMAS, STRENGTHS, Block, replace
from auxin.config import ModelConfig
from auxin.errors import ConfigError


def test_the_papers_block_keeps_unit_total_strength() -> None:
    block = Block.cowsik(alpha_attention=0.6, alpha_mlp=0.8, sigma_w=2.0, sigma_a=1.5, n_tokens=16)
    assert (block.norm, block.activation, block.sigma_v, block.sigma_o) == ("pre", "tanh", 1.0, 1.0)
    assert (block.attention_branch, block.mlp_branch) == (0.6, 0.8)
    assert block.attention_skip == pytest.approx(0.8)
    assert block.mlp_skip == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "layer"}, "norm is 'layer'; allowed: post, pre, none"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"activation": ["relu"]}, r"activation is .* or a function of a numpy array"),
        ({"activation": lambda x: x[0]}, r"activation is .* one of its shape"),
        ({"activation": lambda x: x + np.inf}, r"activation is .* one of its shape"),
        ({"sigma_w": -1.0}, "sigma_w is -1.0; allowed: 0 to 1000"),
        ({"sigma_a": math.nan}, "sigma_a is nan"),
        ({"sigma_v": math.inf}, "sigma_v is inf"),
        ({"sigma_b_out": "1"}, "sigma_b_out is '1'; allowed: a number"),
        ({"mlp_skip": True}, "mlp_skip is True; allowed: a number"),
        ({"attention_branch": -0.1}, "attention_branch is -0.1"),
        ({"n_tokens": 1}, "n_tokens is 1; allowed: a whole number from 2 to 1000000"),
        ({"n_tokens": 2.5}, "n_tokens is 2.5"),
        ({"n_tokens": 10**7}, "n_tokens is 10000000"),
    ],
)
def test_out_of_range_is_refused_by_name(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Block(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha_mlp": 1.5}, "alpha_mlp is 1.5; allowed: 0 to 1"),
        ({"depth": 3}, "hyperparameter is 'depth'; allowed: attention_skip"),
        ({"alpha_mlp": 0.5, "mlp_skip": 1.0}, "'mlp_skip'; allowed: each strength set once"),
    ],
)
def test_changing_a_block_is_checked_too(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(Block(), **fields)
    with pytest.raises(ConfigError, match=message):
        replace(Block(), **{name: np.array([0.0, value]) for name, value in fields.items()})


def test_every_numeric_hyperparameter_can_be_varied() -> None:
    for name in NUMERIC:
        value = 3 if name == "n_tokens" else 0.25
        one = replace(Block(), **{name: value})
        many = replace(Block(), **{name: np.array([value, value])})
        for field in (*STRENGTHS, *SIGMAS, "output_bias", "n_tokens"):
            assert np.all(getattr(many, field) == getattr(one, field))


@pytest.mark.parametrize("function", [math.tanh, torch.tanh])
def test_a_function_that_takes_no_array_is_refused(function) -> None:
    with pytest.raises(ConfigError, match=r"activation is .* allowed: a function that maps a real array"):
        Block(activation=function)


def test_the_output_bias_follows_the_hidden_one_unless_set() -> None:
    assert replace(Block(), sigma_b=0.3).output_bias == 0.3
    assert Block(sigma_b=0.3, sigma_b_out=0.0).output_bias == 0.0


def test_block_of_the_published_code() -> None:
    block = Block.of(ModelConfig(width=512, heads=8), n_tokens=12)
    assert block.sigma_w**2 == pytest.approx(0.8)
    assert block.sigma_o**2 == pytest.approx(1.6)
    assert (block.sigma_a, block.sigma_v, block.sigma_b, block.n_tokens) == (1.0, 1.0, 0.0, 12)
    assert (block.norm, block.activation, block.mlp_skip) == ("post", "relu", 1.0)
    tanh = Block.of(ModelConfig(activation="tanh"))
    assert tanh.sigma_w**2 == pytest.approx(0.4)


def test_block_of_the_other_initializations() -> None:
    normal = Block.of(ModelConfig(width=100, heads=4, initialization="normal"))
    assert normal.sigma_w == pytest.approx(0.2)
    assert normal.sigma_o == pytest.approx(0.4)
    assert normal.sigma_a == pytest.approx(0.04)
    assert normal.sigma_v == pytest.approx(0.04)
    own = Block.of(ModelConfig(initialization="gaussian", sigma_a=2.0, sigma_b=0.1, mlp_branch=0.5))
    assert (own.sigma_a, own.sigma_b, own.output_bias, own.mlp_branch) == (2.0, 0.1, 0.1, 0.5)
    torch = Block.of(ModelConfig(width=64, heads=4, initialization="pytorch", attention_bias=True))
    assert torch.sigma_a == pytest.approx(1 / 3)
    assert torch.sigma_b**2 == pytest.approx(1 / (3 * 64))
    assert torch.output_bias**2 == pytest.approx(1 / (3 * 256))
    assert torch.sigma_b_attention**2 == pytest.approx(4 / (9 * 64))
    bare = Block.of(ModelConfig(initialization="pytorch", mlp_bias=False))
    assert (bare.sigma_b, bare.output_bias, bare.sigma_b_attention) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("initialization", ["xavier", "released-code", "pytorch", "normal"])
def test_implied_gains_are_those_of_drawn_weights(initialization: str) -> None:
    """The same laws drawn with numpy: uniform or normal entries, and the gains that they have."""
    rng, d, m = np.random.default_rng(0), 200, 800
    glorot = lambda rows, columns, gain: (
        rng.uniform(-1, 1, (rows, columns)) * gain * (6 / (rows + columns)) ** 0.5
    )
    draw = {
        "xavier": glorot,
        "released-code": glorot,
        "pytorch": lambda rows, columns, gain: rng.uniform(-1, 1, (rows, columns)) / columns**0.5,
        "normal": lambda rows, columns, gain: rng.normal(0, 0.02, (rows, columns)),
    }[initialization]
    block = Block.of(ModelConfig(width=d, heads=4, feedforward=m, initialization=initialization))
    x, h = rng.normal(size=d), rng.normal(size=m)
    x, h = x * (d / (x @ x)) ** 0.5, h * (m / (h @ h)) ** 0.5
    up = [np.mean((draw(m, d, 2**0.5) @ x) ** 2) for _ in range(20)]
    down = [np.mean((draw(d, m, 1.0) @ h) ** 2) for _ in range(20)]
    logits = [x @ draw(d, d, 1.0).T @ draw(d, d, 1.0) @ x / d**0.5 for _ in range(400)]
    assert np.mean(up) == pytest.approx(block.sigma_w**2, rel=0.03)
    assert np.mean(down) == pytest.approx(block.sigma_o**2, rel=0.05)
    assert np.std(logits) == pytest.approx(block.sigma_a, rel=0.15)
