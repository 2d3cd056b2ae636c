"""The Gram engine: signals and gradients of n arbitrary tokens under an arbitrary attention mask.

The state of a wide random network is the n × n Gram matrix C_ij = x_i·x_j/d of its tokens, and going back the
Gram matrix G_ij = g_i·g_j of the loss's gradients g_i with respect to the tokens. Given what attention sees, its
queries and keys are Gaussian: attention matrices are drawn and quadratic forms of them averaged. This is the limit
of infinite width; the number of heads drops out, because each head contributes an independent sample of the same
average. What a part does to either matrix stands in its file (``parts``), how parts make a layer in ``compose``.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from auxin.architecture import Attention, Block, Layer, Network
from auxin.errors import ConfigError
from auxin.theory import compose
from auxin.theory.compose import as_network
from auxin.theory.draws import Draws, Memory
from auxin.theory.profile import Profile, norm_and_overlap
from auxin.theory.states import Array
from auxin.values import check

REPLICAS = 8
"""Independent propagations whose mean is the result and whose spread is its standard error."""
TOLERANCE = 1e-6
"""Asymmetry and negative eigenvalues that rounding (of a float32 Gram matrix, say) may leave, relative."""


def propagate_gram(
    network: Network | Layer | Block,
    gram: ArrayLike,
    depth: int | None = None,
    causal: bool = True,
    *,
    mask: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
    memory: ArrayLike | None = None,
    draws: int = 0,
    seed: int = 0,
) -> Profile:
    """Propagate a Gram matrix through a random network, and an output gradient's Gram matrix back.

    Forward, with what a branch sees C (n is the size of ``gram``; a ``Block``'s ``n_tokens`` is not used)::

        attention  C → σ_V² E[A C Aᵀ]        MLP  C → σ_o² E[φ(u_i)φ(u_j)] + σ_b²,  Cov(u) = σ_w² C + σ_b²

    combined with skip connections and norms as the layers say; ``Network.final``, behind the last layer, is left out.
    Gradients are treated as independent of the weights that they pass.

    The profile has the matrices gram and gradient_gram, [depth + 1, n, n], as well; errors are from the finite number
    of attention draws. The cosine is the mean overlap of two tokens divided by the mean norm².

    Args:
        network: its layers may differ; a ``Layer`` or ``Block`` is repeated ``depth`` times (6 by default).
        gram: [n, n], symmetric, positive semidefinite with a positive diagonal.
        depth: number of layers; of a ``Network`` its own.
        causal: token i attends to tokens 0 … i; otherwise to all. A ``mask`` replaces this.
        mask: bool [n, n], true where the row's token may attend to the column's.
        gradient: [n, n], Gram matrix of the gradients at the output; the identity by default.
        memory: [m, m], Gram matrix of what ``CrossAttention`` reads; the profile then has memory_gradient as well,
            [depth + 1, m, m], the Gram matrix of the gradients that the layers from each on send into it.
        draws: attention matrices drawn per layer and direction, at least 2 for each of the 8 replicas; 0 chooses
            between 64 and 2048 so that the work is about that of 128 draws at n = 128.
        seed: of the draws.

    Cost: about 14·depth·draws matrix products of n × n, 5 where heads have a finite dimension; memory O(depth·n²), no
    array of n³ entries.

    >>> block = Block(norm="post", activation="relu")
    >>> propagate_gram(block, np.eye(4), depth=2)["gram"].shape
    (3, 4, 4)

    Raises:
        ConfigError: an argument outside the ranges above, or a state that overflows on the way.
    """
    network = as_network(network, depth, 6)
    check(0 <= seed < 2**63, "seed", seed, "0 to 2^63 − 1")
    check(draws == 0 or draws >= 2 * REPLICAS, "draws", draws, f"0 (automatic) or at least {2 * REPLICAS}")
    start = checked_gram("gram", gram)
    n = len(start)
    end = checked_gram("gradient", np.eye(n) if gradient is None else gradient)
    check(len(end) == n, "gradient", end.shape, f"the shape of gram, {(n, n)}")
    per_replica = _rounded(-(-(draws or min(2048, max(64, 2**28 // n**3))) // REPLICAS), network)
    allowed = _checked_mask(mask, n, causal)
    ends = torch.from_numpy(start)[None], torch.from_numpy(end)[None]
    other = None if memory is None else torch.from_numpy(checked_gram("memory", memory))[None]

    def replica(r: int) -> tuple[Tensor, ...]:
        read = None if other is None else Memory(other, torch.zeros_like(other))
        return _propagate(network, *ends, Draws(allowed, per_replica, _generator(seed, r), read))

    # side by side, a thread each: operations on matrices as small as these gain nothing from two threads inside
    with ThreadPoolExecutor(
        torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        runs = list(pool.map(replica, range(REPLICAS)))
    states, gradients, *sent = (torch.cat(matrices, 1) for matrices in zip(*runs, strict=True))
    check(bool(gradients.isfinite().all()), "gradient", "infinite on the way back", "gradients below 1e308")
    means = (m.mean(1).numpy() for m in (states, gradients))
    found = _profile(*means, *(m.std(1).numpy() / REPLICAS**0.5 for m in (states, gradients)))
    into = {"memory_gradient": sent[0].mean(1).numpy()} if sent else {}
    return replace(found, columns={**found.columns, **into})


def _profile(gram: Array, gradient: Array, gram_error: Array, gradient_error: Array) -> Profile:
    """Means over the replicas with their standard errors: a mean's is at most that of its entries together."""
    norm, size = norm_and_overlap(gram)[0], norm_and_overlap(gradient)[0]

    def columns(gram: Array, gradient: Array) -> dict[str, Array]:
        diagonal, overlap = norm_and_overlap(gram)
        found = {
            "norm": diagonal,
            "cosine": overlap / norm,
            "gradient": norm_and_overlap(gradient)[0] / size[-1],
        }
        return found | {"gram": gram, "gradient_gram": gradient}

    return Profile(columns(gram, gradient), columns(gram_error, gradient_error))


def _generator(seed: int, replica: int) -> torch.Generator:
    (word,) = np.random.SeedSequence([seed, replica]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def _rounded(draws: int, network: Network) -> int:
    """Draws a replica, up to a multiple of the ALiBi slopes that share them."""
    bodies = [sublayer.body for layer in network.layers for sublayer in layer.sublayers]
    slopes = math.lcm(*{max(1, body.alibi) for body in bodies if isinstance(body, Attention)})
    return -(-draws // slopes) * slopes


def _propagate(network: Network, start: Tensor, end: Tensor, sample: Draws) -> tuple[Tensor, ...]:
    """Gram matrices of states and gradients, [depth + 1, replicas, n, n], from those at either end; and of gradients
    of the memory, where there is one."""
    states, backs = [start], []
    for layer in network.layers:
        state, back = compose.gram(layer, states[-1], sample)
        states.append(state)
        backs.append(back)
    gradients, memory = [end], sample.memory
    sent = [] if memory is None else [memory.gradient.clone()]
    while backs:  # what a layer has kept is freed as soon as it is behind
        gradients.append(backs.pop()(gradients[-1]))
        if memory is not None:
            sent.append(memory.gradient.clone())
    return tuple(torch.stack(matrices) for matrices in (states, gradients[::-1], sent[::-1]) if matrices)


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
