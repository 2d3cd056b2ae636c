"""Simulated networks: what is put in comes out, what is exact at any width is exact, and bad input is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from auxin.architecture.block import Block
from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.models.initialize import initialize_
from auxin.models.transformer import TransformerLM
from auxin.probes.simulate import Sampling, simplex_gram, simulate

SAMPLING = Sampling(width=64, heads=4, draws=2)
SMALL: dict[str, Any] = {"depth": 2, "sampling": SAMPLING}


@pytest.mark.parametrize("rank", [3, 8])
def test_tokens_have_exactly_the_prescribed_gram_matrix(rank: int) -> None:
    x = np.random.default_rng(0).standard_normal((6, rank))
    gram = x @ x.T / rank
    result = simulate(Block(), gram, **SMALL)
    np.testing.assert_allclose(result["gram"][0], gram, atol=1e-5)
    assert result.norm[0] == pytest.approx(np.trace(gram) / 6)
    assert result["gram"].shape == result["gradient_gram"].shape == (3, 6, 6)


def test_the_simplex_is_the_default_and_the_output_gradient_is_one() -> None:
    result = simulate(Block(n_tokens=5), tokens=0.4, **SMALL)
    np.testing.assert_allclose(result["gram"][0], simplex_gram(5, 0.4), atol=1e-5)
    assert result.cosine[0] == pytest.approx(0.4, abs=1e-5)
    assert result.gradient[-1] == pytest.approx(1)
    assert result.errors["gradient"][-1] == pytest.approx(0, abs=1e-9)


def test_branches_switched_off_leave_the_skip() -> None:
    block = Block(attention_skip=0.8, attention_branch=0, mlp_skip=0.5, mlp_branch=0, n_tokens=4)
    result = simulate(block, tokens=0.3, **SMALL)
    np.testing.assert_allclose(result.norm, 0.16 ** np.arange(3), rtol=1e-5)
    np.testing.assert_allclose(result.cosine, 0.3, rtol=1e-4)
    np.testing.assert_allclose(result.gradient, 0.16 ** np.arange(3)[::-1], rtol=1e-5)
    assert result.exponents["angle"][0] == pytest.approx(0, abs=1e-3)
    assert result.exponents["gradient"][0] == pytest.approx(np.log(0.16))


def test_causal_networks_keep_gradients_from_later_tokens() -> None:
    # the output gradient reaches every token, but the last token is seen by itself only
    block = Block(norm="none", activation="linear", attention_skip=0, sigma_a=0, mlp_branch=0, n_tokens=6)
    result = simulate(block, causal=True, depth=1, sampling=Sampling(width=256, draws=16))
    weights = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    np.testing.assert_allclose(np.diagonal(result["gradient_gram"][0]), (weights**2).sum(0), rtol=0.15)
    free = simulate(block, causal=False, depth=1, sampling=Sampling(width=256, draws=16))
    np.testing.assert_allclose(np.diagonal(free["gradient_gram"][0]), 1 / 6, rtol=0.15)


def test_seed_decides_everything_and_the_global_generator_nothing() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        simulate(Block(n_tokens=4), depth=2, sampling=Sampling(64, 4, 2, s)) for s in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.gradient, again.gradient)
    assert first.norm[2] != other.norm[2]


def test_initialize_draws_the_variances_of_the_block() -> None:
    block = Block(
        norm="post",
        activation="relu",
        sigma_a=2,
        sigma_v=1.5,
        sigma_w=0.7,
        sigma_o=1.3,
        sigma_b=0.4,
        sigma_b_out=0.2,
        sigma_b_attention=0.6,
    )
    config = ModelConfig(depth=1, width=256, heads=4, vocabulary_size=1, attention_bias=True)
    model = TransformerLM(config)
    initialize_(model, block, torch.Generator().manual_seed(0))
    deviations = {
        name: p.std().item() for name, p in model.layers[0].named_parameters() if "norm" not in name
    }
    query, key, value = model.layers[0].attention.qkv.weight.chunk(3)
    assert query.std().item() * key.std().item() * 256 == pytest.approx(2, rel=0.02)
    expected = {
        "attention.out.weight": (1.5 / 256) ** 0.5,
        "mlp.up.weight": 0.7 / 16,
        "mlp.down.weight": 1.3 / 32,
        "mlp.up.bias": 0.4,
        "mlp.down.bias": 0.2,
        "attention.out.bias": 0.6,
    }
    assert value.std().item() == pytest.approx((1.5 / 256) ** 0.5, rel=0.02)
    for name, deviation in expected.items():
        assert deviations[name] == pytest.approx(deviation, rel=0.2 if "bias" in name else 0.02), name
    assert (model.layers[0].attention.qkv.bias == 0).all()


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"norm": "none"}, {}, "norm of the model is 'none'; allowed: that of the block, 'post'"),
        ({"mlp_branch": 0.5}, {}, "mlp_branch of the model is 0.5"),
        ({"mlp_bias": False}, {"sigma_b_out": 0.1}, "mlp_bias of the model is False"),
        ({}, {"sigma_b_attention": 0.1}, "attention_bias of the model is False"),
    ],
)
def test_a_model_that_cannot_be_the_block_is_refused(settings: dict, change: dict, message: str) -> None:
    model = TransformerLM(ModelConfig(depth=1, width=8, heads=1, vocabulary_size=3, **settings))
    block = dataclasses.replace(Block(norm="post", activation="relu"), **change)
    with pytest.raises(ConfigError, match=message):
        initialize_(model, block, torch.Generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 1}, "draws is 1; allowed: a whole number from 2"),
        ({"tokens": -0.5}, "cosine is -0.5; allowed: -0.3333 to 1, for 4 tokens"),
        ({"width": 4}, r"number of tokens is 4; allowed: at least 2, fewer than the width \(4\)"),
        ({"tokens": [[1.0]]}, "number of tokens is 1"),
        ({"tokens": [[1.0, 2.0], [2.0, 1.0]]}, "smallest eigenvalue of gram is -1.0"),
        ({"heads": 3}, r"heads is 3; allowed: a divisor of the width \(64\)"),
        ({"depth": 0}, "depth is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"network": Block(activation=np.tanh)}, "activation is <ufunc 'tanh'>"),
    ],
)
def test_input_out_of_range_is_refused(change: dict, message: str) -> None:
    sizes = {"width": 64, "heads": 4, "draws": 2}
    sizes |= {name: change[name] for name in ("width", "heads", "draws", "seed") if name in change}
    settings = {"network": Block(n_tokens=4), "depth": 2}
    settings |= {name: value for name, value in change.items() if name not in sizes}

    def run() -> None:
        simulate(sampling=Sampling(**sizes), **settings)

    with pytest.raises(ConfigError, match=message):
        run()
