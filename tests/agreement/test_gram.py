"""The Gram engine against autograd on random causal networks, and against its own permutation-symmetric case."""

import numpy as np
import pytest

from auxin.architecture.block import Block
from auxin.probes.simulate import Sampling, simplex_gram, simulate
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import norm_and_overlap
from auxin.theory.propagation import propagate


def test_causal_network_entry_by_entry() -> None:
    """Pre-norm, relu, sigma_a = 2, six layers, twelve unequal tokens: the reference case of the derivation."""
    x = np.random.default_rng(0).standard_normal((12, 8)) + 0.8
    gram = x @ x.T / 8
    block = Block(norm="pre", activation="relu", sigma_a=2)
    theory = propagate_gram(block, gram, depth=6)
    network = simulate(block, gram, depth=6, causal=True, sampling=Sampling(768, 8, 10))
    for predicted, measured, error in (
        (theory[name], network[name], network.errors[name]) for name in ("gram", "gradient_gram")
    ):
        root = np.sqrt(np.einsum("lii->li", predicted))
        deviation = (measured - predicted) / (root[:, :, None] * root[:, None, :])
        assert np.sqrt(np.square(deviation).mean((1, 2))).max() < 0.03
        z = ((measured - predicted) / error)[1:-1]
        assert 0.5 < np.sqrt(np.square(z).mean()) < 1.6


@pytest.mark.parametrize(
    "block",
    [
        Block(norm="pre", activation="relu", n_tokens=8),
        Block(norm="post", activation="tanh", sigma_w=3.0, sigma_a=2, n_tokens=12),
        Block(norm="none", activation="gelu", attention_branch=0.5, mlp_branch=0.5, sigma_b=0.3, n_tokens=6),
        Block.cowsik(alpha_attention=0.5, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=16),
        Block.cowsik(alpha_attention=0.6, alpha_mlp=0.8, sigma_w=4.0, sigma_a=3.0, n_tokens=16),
    ],
    ids=lambda block: f"{block.norm}-{block.activation}-{block.n_tokens}",
)
def test_the_simplex_is_a_special_case(block: Block) -> None:
    """Within six standard errors of six seeds (all below 0.3%), and 5e-4 for what is left of single precision."""
    n, seeds = block.n_tokens, range(6)
    simplex = propagate(block, cosine=0.3, depth=6)
    runs = [
        propagate_gram(block, simplex_gram(n, 0.3), depth=6, causal=False, draws=4096, seed=s) for s in seeds
    ]
    norm, overlap = norm_and_overlap(np.array([run["gram"] for run in runs]))
    gradient, gradient_overlap = norm_and_overlap(np.array([run["gradient_gram"] for run in runs]))
    pairs = [
        (norm, simplex.norm),
        (overlap / norm, simplex.cosine),
        (gradient, simplex.gradient),
        (gradient_overlap / gradient, simplex["gradient_overlap"] / simplex.gradient),
    ]
    for values, expected in pairs:
        size = np.maximum(np.abs(expected), 0.3)
        error = values.std(0, ddof=1) / len(seeds) ** 0.5 / size
        assert error.max() < 3e-3
        assert np.all(np.abs(values.mean(0) - expected) / size < 6 * error + 5e-4)
