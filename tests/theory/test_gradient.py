"""The backward map of one layer: its parts against sums over sampled Jacobians, conservation, limits."""

import numpy as np
import pytest

from auxin.architecture import Layer
from auxin.architecture.block import Block
from auxin.theory.compose import Step, SymmetricLayer


def one_layer(block: Block, cosine: float, norm: float = 1.0) -> Step:
    return step(block.layer, block, cosine, norm)


def attention_alone(block: Block, cosine: float) -> np.ndarray:
    return step(Layer(block.layer.sublayers[:1]), block, cosine, 1.0).back


def step(layer: Layer, block: Block, cosine: float, norm: float) -> Step:
    return SymmetricLayer(layer, block.n_tokens)(np.array(1 / norm), np.array(1 - cosine))


def sampled_attention(n: int, c: float, sigma_a: float, trace: float, overlap: float, draws: int):
    """E of the value path AᵀGA and of the score path G∘Q + K, as (g_q, S) sums, with standard errors.

    Q_mm' = tr(C D_m C D_m') and K = Σ_ii' C_ii' G_ii' D_i C D_i', D_i = diag(A_i) − A_iA_iᵀ, for logits of
    covariance σ_A² C_ii' C_jj'; σ_V = 1.
    """
    rng = np.random.default_rng(0)
    gram = (1 - c) * np.eye(n) + c
    root = np.linalg.cholesky(gram)
    g = (trace - overlap) * np.eye(n) + overlap
    results = []
    for _ in range(draws):
        logits = sigma_a * root @ rng.normal(size=(n, n)) @ root.T
        a = np.exp(logits - logits.max(1, keepdims=True))
        a /= a.sum(1, keepdims=True)
        jacobians = np.stack([np.diag(row) - np.outer(row, row) for row in a])
        products = gram @ jacobians
        q = np.einsum("mij,lji->ml", products, products)
        k = np.einsum("ml,mij,ljk->ik", gram * g, products.swapaxes(1, 2), jacobians)
        total = a.T @ g @ a + sigma_a**2 * (g * q + k)
        results.append((np.trace(total) / n, total.sum() / n))
    results = np.array(results)
    return results.mean(0), results.std(0) / draws**0.5


@pytest.mark.parametrize(
    ("n", "c", "sigma_a", "overlap"), [(6, 0.3, 1.0, 0.2), (12, 0.6, 3.0, -0.05), (3, -0.2, 2.0, 0.5)]
)
def test_attention_is_the_mean_over_sampled_matrices(
    n: int, c: float, sigma_a: float, overlap: float
) -> None:
    """Both paths, without skip, within five standard errors of 3,000 drawn attention matrices (1% or less)."""
    block = Block(norm="none", sigma_a=sigma_a, attention_skip=0.0, n_tokens=n)
    expected = attention_alone(block, c) @ np.array([1.0, 1 + (n - 1) * overlap])
    mean, error = sampled_attention(n, c, sigma_a, 1.0, overlap, 3000)
    assert np.all(np.abs(mean - expected) < 5 * error)
    assert np.all(error < 0.03 * np.abs(expected))


def test_the_value_path_conserves_the_sum_of_all_gradients() -> None:
    """Rows of A sum to one; without logits (σ_A = 0) there is no other path."""
    matrix = attention_alone(Block(norm="none", sigma_a=0.0, attention_skip=0.0, n_tokens=9), 0.4)
    assert matrix[1] == pytest.approx([0, 1])
    assert matrix[0] == pytest.approx([0, 1 / 9], abs=1e-9)


def test_a_linear_mlp_scales_all_gradients_alike() -> None:
    block = Block(norm="none", activation="linear", mlp_skip=0.5, mlp_branch=2.0, sigma_w=1.5, sigma_o=0.7)
    mlp = Layer(block.layer.sublayers[1:])
    assert step(mlp, block, 0.4, 1.0).back == pytest.approx((0.25 + 4 * 1.5**2 * 0.7**2) * np.eye(2))


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_the_input_norm_counts_where_no_norm_removes_it(norm: str) -> None:
    """Twice the input: pre-norm branches pass half the gradient, and the first post-norm all of it halved."""
    block = Block(norm=norm, activation="linear", sigma_a=0.0, attention_skip=0.0, mlp_branch=0.0)
    one, two = (one_layer(block, 0.3, norm=q).back for q in (1.0, 4.0))
    assert two == pytest.approx(one if norm == "none" else one / 4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_near_collapse_differences_go_back_as_they_come_forward(norm: str) -> None:
    """At c = 1 one eigenvalue is the forward slope de'/de: the Jacobian of token differences, transposed."""
    block = Block(norm=norm, activation="gelu", sigma_a=3.0, sigma_w=1.7, mlp_branch=0.6, n_tokens=20)
    found = one_layer(block, 1 - 1e-7, norm=1.0)
    forward = float(found.gap / 1e-7 * (1 / found.r if norm == "pre" else 1.0))
    smallest = np.sort(np.linalg.eigvals(found.back))[0]
    assert smallest == pytest.approx(forward, rel=1e-4)
