"""The Gram engine: against its naive twin, in cases with closed forms, and its laws."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.architecture.block import Block
from auxin.errors import ConfigError
from auxin.theory.gram import propagate_gram
from auxin.theory.parts import logits

ROUNDING = 1e-5
"""Relative error that single precision leaves in an average."""


def random_gram(n: int, rank: int, seed: int = 0) -> np.ndarray:
    """Tokens of different norms with a common direction."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, rank)) + 0.6
    return x @ x.T / rank


def simplex_gram(n: int, cosine: float) -> np.ndarray:
    return (1 - cosine) * np.eye(n) + cosine


def test_attention_agrees_with_the_definition_written_out() -> None:
    n, draws = 5, 3
    c, g = (torch.from_numpy(random_gram(n, 7, seed)) for seed in (1, 2))
    weights = torch.rand(1, n, draws, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights /= weights.sum(-1, keepdim=True)
    sigma_a = 1.3

    forward, backward = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for m in range(draws):
        a = weights[0, :, m]
        jacobian = torch.stack([torch.diag(row) - torch.outer(row, row) for row in a])  # D_i
        query = torch.einsum("kl,ilm,mn,jnk->ij", c, jacobian, c, jacobian)
        key = torch.einsum("ij,ikl,lm,jmn->kn", c * g, jacobian, c, jacobian)
        forward += a @ c @ a.T / draws
        backward += (a.T @ g @ a + sigma_a**2 * (g * query + key)) / draws

    result = logits.average_outputs(iter([weights]), c[None], torch.float64)[0] / draws + c.mean()
    torch.testing.assert_close(result, forward, rtol=1e-12, atol=1e-12)
    result = logits.average_gradients(iter([weights]), c[None], g[None], sigma_a, torch.float64)[0] / draws
    torch.testing.assert_close(result, backward, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_one_token_and_a_linear_mlp_have_a_closed_form(norm: str) -> None:
    block = Block(
        norm=norm,  # pyright: ignore[reportArgumentType]
        activation="linear",
        attention_skip=0.9,
        attention_branch=0.5,
        mlp_skip=0.8,
        mlp_branch=0.7,
        sigma_v=1.2,
        sigma_w=1.5,
        sigma_o=0.6,
    )
    strengths = [(0.9**2, 0.5**2 * 1.2**2), (0.8**2, 0.7**2 * 1.5**2 * 0.6**2)] * 2
    q, g = [2.0], []
    for skip, branch in strengths:
        out = skip * q[-1] + branch * (1 if norm == "pre" else q[-1])
        g.append({"pre": skip + branch / q[-1], "post": (skip + branch) / out, "none": skip + branch}[norm])
        q.append(1.0 if norm == "post" else out)
    result = propagate_gram(block, [[2.0]], depth=2)
    np.testing.assert_allclose(result["gram"].ravel(), q[::2], rtol=1e-6)
    np.testing.assert_allclose(result["gradient_gram"].ravel(), [np.prod(g), np.prod(g[2:]), 1.0], rtol=1e-6)
    assert result.errors["gram"].max() < 1e-6


def test_without_logits_attention_is_the_exact_running_mean() -> None:
    gram = random_gram(6, 4)
    block = Block(norm="none", sigma_a=0, attention_skip=0, mlp_skip=1, mlp_branch=0)
    mean = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    result = propagate_gram(block, gram, depth=1)
    np.testing.assert_allclose(result["gram"][1], mean @ gram @ mean.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result["gradient_gram"][0], mean.T @ mean, rtol=1e-5, atol=1e-6)
    assert result.errors["gram"].max() < 1e-5


def test_gradients_do_not_come_from_later_tokens_to_earlier_outputs() -> None:
    n, last = 7, 3
    gradient = np.zeros((n, n))
    gradient[last, last] = 1
    result = propagate_gram(Block(sigma_a=2), random_gram(n, 5), depth=3, gradient=gradient)
    assert (result["gradient_gram"][:, last + 1 :] == 0).all()
    assert (result["gradient_gram"][:, range(last), range(last)][:3] > 0).all()


def test_later_tokens_do_not_change_the_states_of_earlier_ones() -> None:
    block, gram = Block(sigma_a=2, activation="relu"), random_gram(9, 5)
    long, short = (propagate_gram(block, gram[:k, :k], depth=3, draws=16384, seed=k) for k in (9, 5))
    error = np.hypot(long.errors["gram"][1:, :5, :5], short.errors["gram"][1:])
    z = (long["gram"][1:, :5, :5] - short["gram"][1:]) / (error + ROUNDING * short["gram"][1:])
    assert np.abs(z).max() < 6
    assert np.abs(long["gram"][3, :5, :5] / short["gram"][3] - 1).max() < 0.02


def test_causal_is_one_mask_among_others() -> None:
    gram = random_gram(6, 6)
    triangle = np.tril(np.ones((6, 6), dtype=bool))
    causal = propagate_gram(Block(), gram, depth=2)
    np.testing.assert_array_equal(
        causal["gram"], propagate_gram(Block(), gram, depth=2, mask=triangle)["gram"]
    )
    alone = propagate_gram(Block(activation="linear"), gram, depth=2, mask=np.eye(6, dtype=bool))
    block = propagate_gram(Block(activation="linear", attention_branch=0), gram, depth=2)
    assert alone.errors["gram"].max() < 1e-5  # attending to oneself is the identity
    assert not np.allclose(alone["gram"][2], block["gram"][2], rtol=0.1)


def test_seed_decides_the_draws() -> None:
    gram = random_gram(4, 4)
    first, again, other = (propagate_gram(Block(), gram, depth=2, draws=64, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first["gradient_gram"], again["gradient_gram"])
    assert (first["gram"][2] != other["gram"][2]).any()


def test_standard_error_is_that_of_the_draws_and_falls_as_their_root() -> None:
    block, gram = Block(sigma_a=2, activation="relu"), random_gram(8, 6)
    exact = propagate_gram(block, gram, depth=3, draws=60_000)
    draws, errors = [64, 256, 1024, 4096], []
    for m in draws:
        runs = [propagate_gram(block, gram, depth=3, draws=m, seed=1 + s) for s in range(4)]
        errors.append(
            [
                np.mean([r.errors["gram"][3] for r in runs]),
                np.mean([r.errors["gradient_gram"][0] for r in runs]),
            ]
        )
        for name, layer in (("gram", 3), ("gradient_gram", 0)):
            z = [
                (r[name] - exact[name])[layer] / (r.errors[name] + ROUNDING * np.abs(exact[name]))[layer]
                for r in runs
            ]
            assert 0.6 < np.sqrt(np.mean(np.square(z))) < 1.7
    slopes = np.polyfit(np.log(draws), np.log(errors), 1)[0]
    np.testing.assert_allclose(slopes, -0.5, atol=0.08)


def test_identical_tokens_stay_identical() -> None:
    result = propagate_gram(Block(activation="tanh", sigma_a=3), np.full((5, 5), 2.0), depth=4)
    spread = result["gram"].max((1, 2)) / result["gram"].min((1, 2)) - 1
    assert spread.max() < 1e-12


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_small_angles_keep_their_relative_precision(gap: float) -> None:
    # almost equal tokens attend uniformly: attention erases differences but for the skip's share
    block = Block(norm="pre", attention_skip=0.8, attention_branch=0.6, mlp_branch=0, sigma_a=1)
    n = 8
    result = propagate_gram(block, simplex_gram(n, 1 - gap), depth=2, causal=False, draws=64)
    gaps = [np.trace(c) / n - c.mean() for c in result["gram"]]
    np.testing.assert_allclose(np.divide(gaps[1:], gaps[:-1]), 0.8**2, rtol=2 * gap + 1e-6 + 1e-15 / gap)


@settings(max_examples=25, deadline=None)
@given(
    norm=st.sampled_from(["pre", "post", "none"]),
    activation=st.sampled_from(["relu", "tanh", "erf", "gelu", "silu", "quick_gelu", "linear"]),
    n=st.integers(1, 6),
    rank=st.integers(1, 8),
    sigma_a=st.floats(0, 20),
    scale=st.floats(1e-6, 1e3),
    branch=st.floats(0, 2),
    causal=st.booleans(),
)
def test_results_are_gram_matrices(norm, activation, n, rank, sigma_a, scale, branch, causal) -> None:
    block = Block(
        norm=norm, activation=activation, sigma_a=sigma_a, mlp_branch=branch, attention_branch=branch
    )
    gram = scale * random_gram(n, rank, seed=rank) + 1e-3 * scale * np.eye(n)
    result = propagate_gram(block, gram, depth=2, causal=causal, draws=16)
    for name in ("gram", "gradient_gram"):
        for matrix in result[name]:
            size = np.abs(matrix).max()
            assert np.isfinite(matrix).all()
            np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12 * size)
            assert (np.diagonal(matrix) > 0).all()
            assert np.linalg.eigvalsh(matrix)[0] > -1e-5 * size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": np.ones((2, 3))}, r"gram is \(2, 3\); allowed: a square matrix"),
        ({"gram": [[1.0, 0.5], [0.2, 1.0]]}, "gram is 'asymmetric by 0.3'"),
        ({"gram": [[1.0, 2.0], [2.0, 1.0]]}, "smallest eigenvalue of gram is -1.0"),
        ({"gram": [[1.0, np.nan], [np.nan, 1.0]]}, "gram is 'not finite'"),
        ({"gram": [[1.0, 0.0], [0.0, 0.0]]}, "norm² of a token on its way is 0.0"),
        ({"gram": "x"}, "gram is str"),
        ({"gradient": np.eye(3)}, r"gradient is \(3, 3\); allowed: the shape of gram, \(2, 2\)"),
        ({"gradient": -np.eye(2)}, "smallest eigenvalue of gradient is -1.0"),
        ({"mask": np.eye(2)}, r"mask is 'float64 \(2, 2\)'; allowed: bool \(2, 2\)"),
        ({"mask": np.array([[True, False], [False, False]])}, "mask is 'false in all of row 1'"),
        ({"depth": 0}, "depth is 0"),
        ({"draws": 8}, "draws is 8"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_input_out_of_range_is_refused(change: dict, message: str) -> None:
    arguments = {"gram": np.eye(2), "depth": 1} | change
    with pytest.raises(ConfigError, match=message):
        propagate_gram(Block(), **arguments)


def test_states_beyond_single_precision_are_refused() -> None:
    block = dataclasses.replace(Block(norm="none", activation="relu"), sigma_w=1000, sigma_a=0)
    with pytest.raises(ConfigError, match=r"norm² of a token on its way is .*; allowed: 1e-30 to 1e\+30"):
        propagate_gram(block, np.eye(2), depth=20)
    with pytest.raises(ConfigError, match=r"logit scale σ_A·norm² on its way is .*; allowed: up to 1e\+08"):
        propagate_gram(dataclasses.replace(block, sigma_a=1), np.eye(2), depth=20)


def test_sharp_attention_is_biased_by_no_more_than_one_over_a_replicas_draws() -> None:
    """What few draws blur in a replica's state bends what follows; 16 draws a replica leave 2% of σ_A = 8."""
    block, gram = Block(norm="post", activation="tanh", sigma_a=8.0), simplex_gram(12, 0.3)

    def gradient(draws: int, seed: int) -> float:
        found = propagate_gram(block, gram, depth=4, causal=False, draws=draws, seed=seed)
        return float(np.trace(found["gradient_gram"][0]))

    exact = np.mean([gradient(8192, 100 + seed) for seed in range(4)])
    found = np.array([gradient(128, seed) for seed in range(24)]) / exact - 1
    assert abs(found.mean()) < 3 * found.std() / 24**0.5 + 0.02
    assert found.std() / 24**0.5 < 0.02
