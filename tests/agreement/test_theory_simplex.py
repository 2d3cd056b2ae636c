"""The simplex theory against random networks of an independent oracle: every layer, and where chaos settles."""

import numpy as np
import pytest

from agreement.oracle import measure
from auxin.architecture import Network
from auxin.architecture.block import Block
from auxin.theory.exponents import exponents
from auxin.theory.profile import mean_gap
from auxin.theory.propagation import propagate

DEPTH, DRAWS = 5, 6


def measured(block: Block, cosine: float, depth: int, draws: int, **sizes: int) -> dict[str, np.ndarray]:
    """Mean cosine, norm² and gradient norm² at every depth of random networks, probed at random: [draws, depth + 1]."""
    n, network = block.n_tokens, Network.repeat(block, depth)
    gram, sizes = (1 - cosine) * np.eye(n) + cosine, {"width": 512, "heads": 8} | sizes
    runs = [
        measure(network, gram, draws=1, sequences=1, causal=False, seed=seed, **sizes)
        for seed in range(draws)
    ]
    states, gradients = (np.array(grams) for grams in zip(*runs, strict=True))
    norm, gradient = (np.einsum("rlii->rl", grams) / n for grams in (states, gradients))
    return {"cosine": 1 - mean_gap(states), "norm": norm, "gradient": gradient / gradient[:, -1:]}


def paper(alpha: float, sigma_w: float, sigma_a: float, n: int) -> Block:
    return Block.cowsik(alpha_attention=alpha, alpha_mlp=alpha, sigma_w=sigma_w, sigma_a=sigma_a, n_tokens=n)


CASES = {
    "paper": (paper(0.5, 2.0, 1.0, 32), 0.3),
    "paper-chaotic": (paper(0.7, 8.0, 2.0, 16), 0.9),
    "post-tanh": (Block(norm="post", activation="tanh", sigma_w=1.5), 0.3),
    "post-relu-sharp": (Block(norm="post", activation="relu", sigma_a=4.0, n_tokens=24), 0.1),
    "pre-relu-growing": (Block(activation="relu", sigma_v=1.5, sigma_b=0.3, n_tokens=48), 0.0),
    "pre-sharp": (Block(activation="tanh", attention_branch=1.5, sigma_a=5.0, n_tokens=12), 0.2),
    "two-tokens": (Block(activation="tanh", sigma_a=2.0, n_tokens=2), -0.6),
    "no-norm": (Block(norm="none", activation="tanh", attention_skip=0.7, mlp_skip=0.8, n_tokens=16), 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_random_networks_do_what_the_theory_says(name: str) -> None:
    """Every layer's cosine, norm² and gradient norm² within five standard errors over draws, or 2.5%.

    The floor is the finite-width bias, about 1/√width = 4% of a single quantity, halved by averaging tokens.
    """
    block, cosine = CASES[name]
    theory = propagate(block, cosine, DEPTH)
    for quantity, samples in measured(block, cosine, DEPTH, DRAWS).items():
        error = samples.std(axis=0, ddof=1) / DRAWS**0.5
        expected = theory[quantity]
        scale = 1.0 if quantity == "cosine" else np.abs(expected)
        within = np.abs(samples.mean(axis=0) - expected) < 5 * error + 0.025 * scale
        assert within.all(), (quantity, expected)


@pytest.mark.parametrize(("n", "width"), [(4, 512), (16, 768)])
def test_chaos_settles_on_the_predicted_simplex(n: int, width: int) -> None:
    """A steep tanh: tokens stay at c* of their number, and come closer to it from both sides."""
    block = Block.cowsik(alpha_attention=0.6, alpha_mlp=0.98, sigma_w=6.0, sigma_a=2.0, n_tokens=n)
    settled = exponents(block)
    assert settled.phase == "chaotic"
    assert 0.2 < settled.cosine < 0.6
    starts = (0.95, settled.cosine, 0.0)
    ends = {start: measured(block, start, 6, 4, width=width)["cosine"][:, -1] for start in starts}
    assert ends[settled.cosine].mean() == pytest.approx(settled.cosine, abs=0.03)
    assert settled.cosine < ends[0.95].mean() < 0.8
    assert 0.05 < ends[0.0].mean() < settled.cosine
    for start, values in ends.items():
        expected = propagate(block, start, 6).cosine[-1]
        assert values.mean() == pytest.approx(expected, abs=5 * values.std(ddof=1) / 2 + 0.01)
