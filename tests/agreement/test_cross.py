"""Attention to another stream against random networks of an independent oracle, forward and back into both streams."""

import numpy as np
import pytest
import torch

from agreement.oracle import Random, errors
from auxin import MLP, Attention, CrossAttention, Layer, Network, Norm, Sublayer, propagate_gram
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.models.context import Context
from auxin.models.stack import Stack

WIDTH, HEADS, N, M = 384, 6, 10, 14
RMS = Norm("rms")


def network(head_dim: int | None = WIDTH // HEADS) -> Network:
    cross = CrossAttention(head_dim=head_dim, sigma_q=1.6, sigma_k=1.4)
    bodies = Attention(head_dim=WIDTH // HEADS, sigma_q=1.4, sigma_k=1.4), cross, MLP("gelu")
    strengths = 1.0, 0.7, 1.0
    pairs = zip(bodies, strengths, strict=True)
    return Network.repeat(Layer(tuple(Sublayer(body, branch=b, before=RMS) for body, b in pairs)), 2)


def tokens(n: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, 40)) + 0.4
    x[1] = x[0] + 0.3 * x[1]
    return x @ x.T / 40


def placed(gram: np.ndarray, sequences: int, generator: torch.Generator) -> torch.Tensor:
    """Tokens of a Gram matrix in random orientations, [sequences, n, d]."""
    values, vectors = np.linalg.eigh(gram)
    root = torch.from_numpy(vectors * np.sqrt(values.clip(0))).float()
    frames = torch.randn(sequences, WIDTH, len(gram), generator=generator)
    return WIDTH**0.5 * root @ torch.linalg.qr(frames - frames.mean(1, keepdim=True)).Q.mT


@pytest.mark.parametrize("head_dim", [WIDTH // HEADS, None])
def test_both_streams_agree_with_random_networks(head_dim: int | None) -> None:
    """Median error of all entries ≤ 1.5% forward and 3% back into either stream, worst ≤ 5 and 12%, of 24 networks."""
    stream, memory = tokens(N, 3), tokens(M, 4)
    theory = propagate_gram(network(head_dim), stream, memory=memory, draws=1024)
    generator, mask = torch.Generator().manual_seed(0), torch.ones(N, N, dtype=torch.bool).tril()
    found = []
    for _ in range(24):
        random = Random(WIDTH, HEADS, generator)
        x, other = (placed(g, 6, generator).requires_grad_() for g in (stream, memory))
        states = [x]
        for layer in network().layers:
            states.append(random.layer(layer, states[-1], mask, other))
        probe = torch.randn(states[-1].shape, generator=generator)
        *back, into = torch.autograd.grad(states[-1], [*states, other], probe)
        grams = (torch.stack(states).detach(), torch.stack(back), into[None])
        found.append([(y.double() @ y.double().mT / WIDTH).mean(1).numpy() for y in grams])
    states, gradients, sent = (np.mean(each, 0) for each in zip(*found, strict=True))
    forward = errors(states, theory["gram"])
    assert np.median(forward) <= 0.015
    assert forward.max() <= 0.05
    for back in (errors(gradients, theory["gradient_gram"]), errors(sent, theory["memory_gradient"][:1])):
        assert np.median(back) <= 0.03, (np.median(back), back.max())
        assert back.max() <= 0.12, (np.median(back), back.max())
    assert not theory["memory_gradient"][-1].any()


def test_the_models_layers_compute_what_the_theory_says() -> None:
    sizes, generator = Sizes(WIDTH, HEADS, key_heads=3), torch.Generator().manual_seed(0)
    stream, memory = tokens(N, 3), tokens(M, 4)
    theory, grams = propagate_gram(network(), stream, memory=memory, causal=False, draws=512), []
    stack = Stack(network(), sizes).requires_grad_(False)
    for _ in range(6):
        stack.draw(stack.network, SCHEMES["gaussian"], generator)
        x, other = (placed(g, 6, generator) for g in (stream, memory))
        context = Context(torch.arange(N), causal=False)
        context.memory = other
        states = stack.states(x, context)
        y = torch.stack(states).double()
        grams.append((y @ y.mT / WIDTH).mean(1).numpy())
    assert np.median(errors(np.mean(grams, 0), theory["gram"])) <= 0.03


def test_a_memory_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="memory is None; allowed: its Gram matrix"):
        propagate_gram(network(), tokens(N, 3))
    with pytest.raises(ConfigError, match="alibi is 4; allowed: 0, of attention to another stream"):
        CrossAttention(alibi=4)
