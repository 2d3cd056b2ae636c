"""The Gram engine: signals and gradients of n arbitrary tokens under an arbitrary attention mask.

The state of a wide random network is the n × n Gram matrix C_ij = x_i·x_j/d of its tokens, and going back the
Gram matrix G_ij = g_i·g_j of the loss's gradients g_i with respect to the tokens. Given what attention sees
(Gram C = R·Rᵀ), its logits are Gaussian, Cov(a_ij, a_i'j') = σ_A² C_ii' C_jj', hence a = σ_A·R·Z·Rᵀ with Z of
independent N(0, 1): attention matrices A = softmax(a) are drawn and quadratic forms of them averaged. This is the
limit of infinite width at 1/√d logit scaling; the number of heads drops out, because each head
contributes an independent sample of the same average. Tokens that are permutation-symmetric, without a mask, need
only two numbers (``block.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from auxin.architecture.block import Block
from auxin.errors import ConfigError
from auxin.theory import gaussian
from auxin.values import check

REPLICAS = 8
"""Independent propagations whose mean is the result and whose spread is its standard error."""
CHUNK = 2**18
"""Entries of the attention matrices drawn at a time, so that the working set stays near the processor."""
SUM = 1024
"""Terms that a sum in single precision may have; sums of chunks are in double precision."""

SMALLEST, LARGEST = 1e-30, 1e30
"""Norm² of a token per dimension that is propagated."""
SATURATED, FROZEN = 30.0, 1e8
"""Logit scales σ_A·norm²: from where on the Jacobian's small differences need double precision, and too large even
for that."""
TOLERANCE = 1e-6
"""Asymmetry and negative eigenvalues that rounding (of a float32 Gram matrix, say) may leave, relative."""


@dataclass(frozen=True)
class GramPropagation:
    """Gram matrices of a network's states and gradients, layer by layer; all arrays are [depth + 1, n, n]."""

    gram: NDArray[np.float64]
    """x_i·x_j/d at the input (0) and after every layer."""
    gradient: NDArray[np.float64]
    """g_i·g_j of the gradients with respect to those states; the last one is the given output gradient."""
    gram_error: NDArray[np.float64]
    """Standard error of ``gram`` from the finite number of attention draws."""
    gradient_error: NDArray[np.float64]
    """Standard error of ``gradient`` from the finite number of attention draws."""


@dataclass(frozen=True)
class _Sublayer:
    """What the way back needs of a sublayer's way forward; Gram matrices are [replicas, n, n]."""

    seen: Tensor
    """Gram matrix that the branch sees (normalized for pre-norm)."""
    scale: Tensor
    """√(q_i·q_j) of what the sublayer's norm, if any, divides by."""


def propagate_gram(
    block: Block,
    gram: ArrayLike,
    depth: int = 6,
    causal: bool = True,
    *,
    mask: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
    draws: int = 0,
    seed: int = 0,
) -> GramPropagation:
    """Propagate a Gram matrix through ``depth`` random layers, and an output gradient's Gram matrix back.

    Forward, with what a branch sees C (theory.md §6; n is the size of ``gram``, ``block.n_tokens`` is not used)::

        attention  C → σ_V² E[A C Aᵀ]        MLP  C → σ_o² E[φ(u_i)φ(u_j)] + σ_b²,  Cov(u) = σ_w² C + σ_b²

    combined with the skip connection and the norm as ``Block`` says. Backward, see ``_attention_backward``;
    gradients are treated as independent of the weights that they pass.

    Args:
        block: the layer; the same for all of them.
        gram: [n, n], symmetric, positive semidefinite with a positive diagonal.
        depth: number of layers.
        causal: token i attends to tokens 0 … i; otherwise to all. A ``mask`` replaces this.
        mask: bool [n, n], true where the row's token may attend to the column's.
        gradient: [n, n], Gram matrix of the gradients at the output; the identity by default.
        draws: attention matrices drawn per layer and direction, at least 2 for each of the 8 replicas; 0 chooses
            between 64 and 2048 so that the work is about that of 128 draws at n = 128.
        seed: of the draws.

    Cost: about 14·depth·draws matrix products of n × n; memory O(depth·n²), no array of n³ entries.

    Raises:
        ConfigError: an argument outside the ranges above, or a state that overflows on the way.
    """
    check(1 <= depth <= 10_000, "depth", depth, "1 to 10000")
    check(0 <= seed < 2**63, "seed", seed, "0 to 2^63 − 1")
    check(draws == 0 or draws >= 2 * REPLICAS, "draws", draws, f"0 (automatic) or at least {2 * REPLICAS}")
    start = checked_gram("gram", gram)
    n = len(start)
    end = checked_gram("gradient", np.eye(n) if gradient is None else gradient)
    check(len(end) == n, "gradient", end.shape, f"the shape of gram, {(n, n)}")
    per_replica = -(-(draws or min(2048, max(64, 2**28 // n**3))) // REPLICAS)
    generator = torch.Generator().manual_seed(seed)
    sample = _Sampler(block.sigma_a, _checked_mask(mask, n, causal), per_replica, generator)
    start, end = (torch.from_numpy(matrix).expand(REPLICAS, n, n) for matrix in (start, end))
    states, gradients = _propagate(block, start, end, depth, sample)
    check(bool(gradients.isfinite().all()), "gradient", "infinite on the way back", "gradients below 1e308")
    root = REPLICAS**0.5
    return GramPropagation(
        gram=states.mean(1).numpy(),
        gradient=gradients.mean(1).numpy(),
        gram_error=states.std(1).numpy() / root,
        gradient_error=gradients.std(1).numpy() / root,
    )


@dataclass(frozen=True)
class _Sampler:
    """Draws attention matrices."""

    sigma_a: float
    allowed: Tensor
    """bool [n, n]."""
    draws: int
    """Per replica."""
    generator: torch.Generator

    def precision(self, seen: Tensor) -> torch.dtype:
        """Single, three times as fast, unless logits saturate the softmax.

        It is enough for a draw: softmax is blind to what all keys share, so the keys are centred, and the callers
        centre the Gram matrix that they average; rounding is then relative to the tokens' differences.
        """
        scale = self.sigma_a * seen.max().item()
        check(scale <= FROZEN, "logit scale σ_A·norm² on its way", scale, f"up to {FROZEN:g}")
        return torch.float32 if scale <= SATURATED else torch.float64

    def __call__(self, seen: Tensor) -> Iterator[Tensor]:
        """Attention matrices over tokens of Gram matrix ``seen``: [replicas, n, m, n] (query, draw, key)."""
        values, vectors = torch.linalg.eigh(seen)
        root = (
            vectors * values.clamp_min(0).sqrt()[:, None]
        )  # R, with R·Rᵀ = seen also where that is singular
        dtype = self.precision(seen)
        queries, keys = (self.sigma_a * root).to(dtype), (root - root.mean(1, keepdim=True)).to(dtype)
        replicas, n, _ = seen.shape
        forbidden = ~self.allowed[:, None]
        at_once = max(1, min(CHUNK // (replicas * n * n), SUM // n))
        for start in range(0, self.draws, at_once):
            m = min(at_once, self.draws - start)
            z = torch.randn(replicas, n, m * n, generator=self.generator, dtype=dtype)
            logits = (queries @ z).view(replicas, n * m, n) @ keys.mT
            yield logits.view(replicas, n, m, n).masked_fill_(forbidden, -torch.inf).softmax(-1)


def _propagate(
    block: Block, start: Tensor, end: Tensor, depth: int, sample: _Sampler
) -> tuple[Tensor, Tensor]:
    """Gram matrices of states and gradients, [depth + 1, replicas, n, n], from those at either end."""
    states, tape = [start], []
    for _ in range(depth):
        middle, attention = _forward(block, states[-1], "attention", sample)
        state, mlp = _forward(block, middle, "mlp", sample)
        states.append(state)
        tape.append((attention, mlp))
    gradients = [end]
    for attention, mlp in reversed(tape):
        middle = _backward(block, gradients[-1], "mlp", mlp, sample)
        gradients.append(_backward(block, middle, "attention", attention, sample))
    return torch.stack(states), torch.stack(gradients[::-1])


def _forward(block: Block, state: Tensor, kind: str, sample: _Sampler) -> tuple[Tensor, _Sublayer]:
    """The Gram matrix behind one sublayer, and what the way back through it needs."""
    skip, branch = _strengths(block, kind)
    scale = _scale(state)
    seen = _normalize(state, scale) if block.norm == "pre" else state
    result = _attention(seen, block, sample) if kind == "attention" else _mlp(seen, block)
    state = skip**2 * state + branch**2 * result
    if block.norm == "post":
        scale = _scale(state)
        state = _normalize(state, scale)
    return state, _Sublayer(seen, scale)


def _backward(block: Block, gradient: Tensor, kind: str, sublayer: _Sublayer, sample: _Sampler) -> Tensor:
    """The gradient's Gram matrix in front of one sublayer from the one behind it."""
    skip, branch = _strengths(block, kind)
    if block.norm == "post":
        gradient = gradient / sublayer.scale
    if kind == "attention":
        result = _attention_backward(gradient, sublayer.seen, block, sample)
    else:
        result = _mlp_backward(gradient, sublayer.seen, block)
    if block.norm == "pre":
        result = result / sublayer.scale
    return skip**2 * gradient + branch**2 * result


def _attention(seen: Tensor, block: Block, sample: _Sampler) -> Tensor:
    """σ_V² E[A C Aᵀ] + variance of the biases."""
    center, size, spread = _centered(seen, sample.precision(seen))
    total = torch.zeros_like(seen)
    for a in sample(seen):
        by_query = a.flatten(2)
        total += (a.flatten(1, 2) @ spread).view_as(by_query) @ by_query.mT
    mean = center + size * _symmetric(total) / sample.draws
    return block.sigma_v**2 * mean + block.sigma_b_attention**2


def _attention_backward(gradient: Tensor, seen: Tensor, block: Block, sample: _Sampler) -> Tensor:
    """Gram matrix of the gradient with respect to what attention sees, σ_V² E[Aᵀ G A + σ_A²(G∘Q + K)].

    The first term is the path through the values, the others go through the softmax, by way of the queries (Q) and
    of the keys (K). With D_i = diag(A_i) − A_i A_iᵀ its Jacobian in row i, C ``seen``, W = C∘G and S = A C Aᵀ,

        Q_ij = tr(C D_i C D_j)      = [A (C∘C) Aᵀ − P − Pᵀ + S∘S]_ij,       P = A ((AC)∘(AC))ᵀ
        K    = Σ_ij W_ij D_i C D_j  = C∘(Aᵀ W A) − Y − Yᵀ + Aᵀ (W∘S) A,     Y = Aᵀ ((AC)∘(WA))

    so that every term is a matrix product. D_i·1 = 0: next to it, C may be centred.
    """
    dtype = sample.precision(seen)
    strength = gradient.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    unit = (gradient / strength).to(dtype)
    _, size, spread = _centered(seen, dtype)
    squared, both = spread * spread / 2, (seen / size * unit).to(dtype)
    value, query, weighted, rest = (torch.zeros_like(seen) for _ in range(4))
    for a in sample(seen):
        by_query, by_pair = a.flatten(2), a.flatten(1, 2)  # [replicas, i, (m k)] and [replicas, (i m), k]
        value += by_pair.mT @ (unit @ by_query).view_as(by_pair)
        ac = by_pair @ spread
        query += by_query @ (by_pair @ squared - ac * ac).view_as(by_query).mT
        wa = (both @ by_query).view_as(by_pair)
        weighted += by_pair.mT @ wa
        score = ac.view_as(a).transpose(1, 2) @ a.permute(0, 2, 3, 1)  # S, [replicas, m, i, j]
        query += (score * score).sum(1) / 2
        wsa = ((both[:, None] * score) @ a.transpose(1, 2)).transpose(1, 2).reshape_as(by_pair)
        rest += by_pair.mT @ (wsa / 2 - ac * wa)
    through_softmax = 2 * unit * _symmetric(query) + spread * weighted + 2 * rest
    gain = block.sigma_v**2 / sample.draws * strength
    return gain * _symmetric(value + (block.sigma_a * size) ** 2 * through_softmax)


def _centered(seen: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Per Gram matrix C: its mean entry, its largest, and (C − mean)/largest in the precision of the draws."""
    center, size = seen.mean((1, 2), keepdim=True), seen.amax((1, 2), keepdim=True)
    return center, size, ((seen - center) / size).to(dtype)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _mlp(seen: Tensor, block: Block) -> Tensor:
    """σ_o² E[φφ] + variance of the outer biases."""
    return block.sigma_o**2 * _entrywise(gaussian.kernel, seen, block) + block.output_bias**2


def _mlp_backward(gradient: Tensor, seen: Tensor, block: Block) -> Tensor:
    """σ_o² σ_w² E[φ'φ']∘G."""
    gain = (block.sigma_o * block.sigma_w) ** 2
    return gain * _entrywise(gaussian.kernel_derivative, seen, block) * gradient


def _entrywise(expectation: Callable[..., NDArray[np.float64]], seen: Tensor, block: Block) -> Tensor:
    """``expectation`` of the MLP's pre-activations for every pair of tokens, each pair once."""
    covariance = block.sigma_w**2 * seen.numpy() + block.sigma_b**2
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    i, j = np.triu_indices(seen.shape[-1])
    values = expectation(block.activation, variance[:, i], variance[:, j], covariance[:, i, j])
    result = np.empty(seen.shape)
    result[:, i, j] = result[:, j, i] = values
    return torch.from_numpy(result)


def _strengths(block: Block, kind: str) -> tuple[float, float]:
    if kind == "attention":
        return block.attention_skip, block.attention_branch
    return block.mlp_skip, block.mlp_branch


def _scale(state: Tensor) -> Tensor:
    """√(q_i·q_j); ``ConfigError`` where a norm² q is beyond what single precision draws can take."""
    norms = state.diagonal(dim1=1, dim2=2)
    inside = (norms >= SMALLEST) & (norms <= LARGEST)
    example = norms.flatten()[inside.flatten().int().argmin()].item()
    check(bool(inside.all()), "norm² of a token on its way", example, f"{SMALLEST:g} to {LARGEST:g}")
    root = norms.sqrt()
    return root[:, :, None] * root[:, None, :]


def _normalize(state: Tensor, scale: Tensor) -> Tensor:
    """Cosines; the diagonal is made exactly one, which rounding would miss."""
    cosines = state / scale
    cosines.diagonal(dim1=1, dim2=2).fill_(1.0)
    return cosines


def checked_gram(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """``value`` as an exactly symmetric float64 array; ``ConfigError`` unless it is a finite Gram matrix."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {type(value).__name__}; allowed: an n × n array of numbers") from None
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
    check(square, name, matrix.shape, "a square matrix")
    check(bool(np.isfinite(matrix).all()), name, "not finite", "finite entries")
    largest = np.abs(matrix).max()
    asymmetry = np.abs(matrix - matrix.T).max()
    check(asymmetry <= TOLERANCE * largest, name, f"asymmetric by {asymmetry:.3g}", "a symmetric matrix")
    matrix = (matrix + matrix.T) / 2
    smallest = np.linalg.eigvalsh(matrix)[0]
    semidefinite = smallest >= -TOLERANCE * len(matrix) * largest
    check(semidefinite, f"smallest eigenvalue of {name}", float(smallest), "0 or more")
    return matrix


def _checked_mask(mask: ArrayLike | None, n: int, causal: bool) -> Tensor:
    if mask is None:
        whole = torch.ones(n, n, dtype=torch.bool)
        return whole.tril() if causal else whole
    allowed = np.array(mask)
    boolean = allowed.shape == (n, n) and allowed.dtype == np.bool_
    check(boolean, "mask", f"{allowed.dtype} {allowed.shape}", f"bool {(n, n)}")
    seeing = allowed.any(axis=1)
    blind = f"false in all of row {seeing.argmin()}"
    check(bool(seeing.all()), "mask", blind, "a token to attend to in every row")
    return torch.from_numpy(allowed)
