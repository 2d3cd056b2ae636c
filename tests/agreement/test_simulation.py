"""Theory against random networks of the library's own layers: over a grid of blocks, over widths, over schemes."""

import itertools

import numpy as np
import pytest
import torch

from auxin.architecture.block import Block
from auxin.config import ModelConfig
from auxin.models.transformer import TransformerLM
from auxin.probes import simulate as probes
from auxin.probes.simulate import Comparison, Sampling, compare, simplex_gram, simulate
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import norm_and_overlap

STRENGTHS = (  # attention skip and branch, MLP skip and branch
    (1.0, 1.0, 1.0, 1.0),
    (0.75**0.5, 0.5, 0.75**0.5, 0.5),
    (1.0, 0.5, 1.0, 0.7),
    (0.6, 0.8, 0.8, 0.6),
)
ACTIVATIONS = (
    ("relu", 2**0.5),
    ("tanh", 1.5),
    ("gelu", 1.5),
    ("erf", 1.2),
    ("silu", 1.6),
    ("linear", 1.0),
    ("tanh", 3.0),  # steep: chaotic
)


def grid(norm: str) -> list[tuple[Block, bool]]:
    """A block of each activation, without and with the causal mask in turn; strengths, lengths and σ's go round."""
    blocks = []
    for i, ((activation, sigma_w), causal) in enumerate(zip(ACTIVATIONS, itertools.cycle((False, True)))):
        k = i + {"pre": 0, "post": 1, "none": 2}[norm]
        attention_skip, attention_branch, mlp_skip, mlp_branch = STRENGTHS[(k + k // 4) % 4]
        sigma_a = (1.0, 0.5, 2.0)[(k + k // 3) % 3]
        block = Block(
            norm=norm,  # pyright: ignore[reportArgumentType]
            activation=activation,  # pyright: ignore[reportArgumentType]
            attention_skip=attention_skip,
            attention_branch=attention_branch,
            mlp_skip=mlp_skip,
            mlp_branch=mlp_branch,
            sigma_a=min(sigma_a, 1.0) if norm == "none" else sigma_a,  # norms that grow saturate the softmax
            sigma_w=sigma_w,
            sigma_b=0.3 if i % 5 == 0 else 0.0,
            n_tokens=(6, 8, 12)[(k + k // 5) % 3],
        )
        blocks.append((block, causal))
    return blocks


def forward_and_backward(comparison: Comparison) -> tuple[list[float], float]:
    """Largest relative errors over layers: of cosine and (unless a norm fixes it) norm, and of the gradient."""
    forward = [comparison["cosine"], comparison["norm"]]
    worst = [float(np.abs(agreement.deviation).max()) for agreement in forward]
    fixed = np.ptp(comparison.theory.norm) < 1e-9
    return worst[:1] if fixed else worst, float(np.abs(comparison["gradient"].deviation).max())


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_a_grid_of_blocks_agrees_forward_and_backward(norm: str) -> None:
    forward, backward, shares, failed = [], [], [], []
    for block, causal in grid(norm):
        comparison = compare(block, depth=3, causal=causal, sampling=Sampling(768, 12, 6, 1))
        f, b = forward_and_backward(comparison)
        forward += f
        backward.append(b)
        for name in ("norm", "cosine", "gradient", "small_gap"):
            agreement = comparison[name]
            shares.append(agreement.deviation / agreement.tolerance)
            if not agreement.passed:
                failed.append((name, causal, block))
    assert not failed
    for errors in (forward, backward):
        assert np.median(errors) <= 0.02
        assert np.max(errors) <= 0.06
    assert 0.08 < np.sqrt(np.mean(np.square(shares))) < 0.32  # used as four standard errors are: by a quarter


def test_gradients_of_a_deep_network() -> None:
    block = Block(norm="post", activation="tanh", sigma_w=1.5, n_tokens=32)
    comparison = compare(block, depth=12, sampling=Sampling(512, 8, 24, 11))  # scatters by 3%
    np.testing.assert_allclose(comparison["cosine"].measured[1:4], [0.450, 0.605, 0.738], rtol=0.03)
    assert np.abs(comparison["gradient"].deviation).max() < 0.05
    assert comparison.passed


def root_mean_square(difference: np.ndarray, gram: np.ndarray) -> float:
    """Of entries relative to the two tokens' norms."""
    root = np.sqrt(np.einsum("lii->li", gram))
    return float(np.sqrt(np.square(difference / (root[:, :, None] * root[:, None, :])).mean()))


def test_the_error_falls_as_the_root_of_the_width() -> None:
    block = Block(norm="pre", activation="relu", sigma_a=0.5)
    gram = simplex_gram(12, 0.3)
    theory = propagate_gram(block, gram, depth=2)
    widths, errors = [64, 128, 256, 512], []
    for width in widths:
        runs = [
            simulate(block, gram, depth=2, causal=True, sampling=Sampling(width, 8, 4, seed))
            for seed in range(8)
        ]
        forward = [root_mean_square((r["gram"] - theory["gram"])[1:], theory["gram"][1:]) for r in runs]
        back = theory["gradient_gram"][:-1]
        backward = [root_mean_square(r["gradient_gram"][:-1] - back, back) for r in runs]
        errors.append(np.mean([forward, backward], axis=1))
    forward_slope, backward_slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert forward_slope == pytest.approx(-0.5, abs=0.15)
    assert backward_slope == pytest.approx(-0.5, abs=0.08)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("initialization", ["xavier", "released-code", "pytorch", "normal"])
def test_every_initialization_is_the_block_that_it_is_said_to_be(norm: str, initialization: str) -> None:
    config = ModelConfig(
        depth=3,
        width=384,
        heads=6,
        vocabulary_size=1,
        positions="none",
        dropout=0.0,
        norm=norm,  # pyright: ignore[reportArgumentType]
        initialization=initialization,  # pyright: ignore[reportArgumentType]
    )
    n, generator = 8, torch.Generator().manual_seed(0)
    gram = simplex_gram(n, 0.3)
    theory = propagate_gram(Block.of(config), gram, depth=3)
    root = torch.from_numpy(np.linalg.cholesky(gram)).float()
    measured = []
    for _ in range(4):
        model = TransformerLM(config, generator).requires_grad_(False)
        tokens = config.width**0.5 * root @ probes._frames(n, config.width, generator).mT
        measured.append(probes._propagate(model.layers, tokens, True, generator))
    states, gradients = (np.mean(matrices, axis=0) for matrices in zip(*measured, strict=True))
    norm_squared, overlap = norm_and_overlap(states)
    predicted_norm, predicted_overlap = norm_and_overlap(theory["gram"])
    np.testing.assert_allclose(norm_squared, predicted_norm, rtol=0.03)
    np.testing.assert_allclose(overlap / norm_squared, predicted_overlap / predicted_norm, rtol=0.03)
    np.testing.assert_allclose(
        norm_and_overlap(gradients)[0], norm_and_overlap(theory["gradient_gram"])[0], rtol=0.06
    )
