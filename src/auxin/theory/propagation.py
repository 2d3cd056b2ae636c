"""Layer by layer through a network of permutation-symmetric tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from auxin.architecture import Block, Layer, Network
from auxin.architecture.network import described
from auxin.theory.compose import Step, SymmetricLayer, as_network
from auxin.theory.profile import Profile
from auxin.values import check, check_whole

TOKENS = 32
"""Sequence length where none is given."""


def propagate(
    network: Network | Layer | Block,
    cosine: float = 0.3,
    depth: int | None = None,
    norm: float | None = None,
    n_tokens: int | None = None,
) -> Profile:
    """Forward and backward through a network, from tokens of one cosine and norm².

    Columns beside the usual: gradient_overlap of two tokens, 0 at the output, and gap, 1 − cosine with its own digits.
    The gradient at the output is a random probe, independent for each token. Exact at the
    finite number of tokens; cost about 3 ms a layer. Recursions: Cowsik et al. (arXiv 2403.02579) with the
    finite-length moments of ``attention_moments`` and the path through the softmax.

    Args:
        network: its layers may differ; a ``Layer`` or ``Block`` is repeated ``depth`` times (12 by default).
        cosine: of all pairs of tokens at the input.
        depth: layers, 1 to 10000; of a ``Network`` its own.
        norm: norm² per dimension that the stream starts with; that of a network of a model or config, else 1.
        n_tokens: sequence length; that of a ``Block``, else 32.

    >>> propagate(Block(norm="post", activation="relu"), depth=3).cosine.round(3)
    array([0.3  , 0.527, 0.718, 0.847])

    Raises ``ConfigError`` for a cosine outside [−1/(n − 1), 1], a norm² that is not positive, a depth below
    1, hyperparameters under which every token's state becomes zero, or a part that tells tokens apart by more than
    their cosine (``propagate_gram`` takes any).
    """
    network, n, norm = start_of(network, cosine, norm, n_tokens)
    steps = steps_of(as_network(network, depth, 12), n, 1 / norm, 1 - cosine)
    states = [np.array([1.0, 1.0])]
    with np.errstate(over="ignore", invalid="ignore"):
        for number, step in reversed(list(enumerate(steps, 1))):
            states.append(step.back @ states[-1])
            finite = bool(np.isfinite(states[-1]).all())
            check(finite, f"squared gradient before layer {number}", np.inf, "below 1e308")
    trace, total = np.array(states[::-1]).T
    gaps = np.array([1 - cosine, *(float(step.gap) for step in steps)])
    columns = {
        "norm": np.array([norm, *(float(1 / step.r) for step in steps)]),
        "cosine": np.array([cosine, *(1 - gaps[1:])]),
        "gradient": trace,
        "gradient_overlap": (total - trace) / (n - 1),
        "gap": gaps,
    }
    return Profile(columns)


def token_count(network: Network | Layer | Block, n_tokens: int | None) -> int:
    """The sequence length that is meant."""
    if n_tokens is None:
        return int(network.n_tokens) if isinstance(network, Block) else TOKENS
    check_whole("n_tokens", n_tokens, 2, 10**6)
    return int(n_tokens)


def start_norm(network: Network | Layer | Block, norm: float | None) -> float:
    """The norm² that is given, that with which the network's stream begins, or 1."""
    network = described(network)
    own = network.input_norm if isinstance(network, Network) else None
    return norm if norm is not None else own or 1.0


def start_of(network: Any, cosine: float, norm: float | None, n_tokens: int | None) -> tuple[Any, int, float]:
    """What a source describes, its sequence length and its first norm²; refuses tokens that cannot be."""
    network = described(network)
    n, norm = token_count(network, n_tokens), start_norm(network, norm)
    check(np.isfinite(cosine) and -1 / (n - 1) <= cosine <= 1, "cosine", cosine, f"-1/{n - 1} to 1")
    check(np.isfinite(norm) and 0 < norm <= 1e12, "norm", norm, "0 < norm ≤ 1e12")
    return network, n, norm


def steps_of(network: Network, n: int, r: float, gap: float) -> list[Step]:
    """Every layer's step, each from where the one before it led."""
    maps: dict[Layer, SymmetricLayer] = {}
    steps: list[Step] = []
    state = np.array(r), np.array(gap)
    edge = n / (n - 1)  # of tokens that sum to zero, which rounding must not leave
    for layer in network.layers:
        if layer not in maps:
            maps[layer] = SymmetricLayer(layer, n)
        step = maps[layer](*state)
        normalized = maps[layer].normalized
        grown = float(step.growth / (1 if normalized else state[0])) if np.all(step.growth > 0) else 0.0
        where = ", before it is normalized" if normalized else ""
        check(1e-300 < grown < 1e300, f"norm² after layer {len(steps) + 1}{where}", grown, "1e-300 to 1e300")
        if abs(step.gap - edge) < 1e-14:
            step = replace(step, gap=np.array(edge))
        steps.append(step)
        state = step.r, step.gap
    return steps
