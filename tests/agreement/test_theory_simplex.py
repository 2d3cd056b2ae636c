"""The simplex theory against random networks written out in numpy, forward and backward by hand.

Nothing of the library but ``Block`` and ``propagate`` takes part: weights, softmax, norms and every derivative
below are independent of both the theory and the PyTorch models.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from auxin.architecture.block import Block
from auxin.theory.exponents import exponents
from auxin.theory.propagation import propagate

WIDTH, HEADS, DEPTH, DRAWS = 512, 8, 5, 6
PHI = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
}


@dataclass
class Layer:
    """One random layer of ``block`` and what its backward pass needs."""

    block: Block
    rng: np.random.Generator

    def __post_init__(self) -> None:
        b, d = self.block, WIDTH
        draw = lambda sigma: self.rng.normal(0, sigma / d**0.5, (d, d))
        self.q, self.k = draw(b.sigma_a**0.5), draw(b.sigma_a**0.5)
        self.v, self.o = draw(b.sigma_v**0.5), draw(b.sigma_v**0.5)
        self.w1, self.w2 = draw(b.sigma_w), draw(b.sigma_o)
        self.b1, self.b2 = (self.rng.normal(0, b.sigma_b, d) for _ in range(2))

    def forward(self, x):
        b = self.block
        self.before = [x]
        x = self.residual(x, self.attention, b.attention_skip, b.attention_branch)
        self.before.append(x)
        return self.residual(x, self.mlp, b.mlp_skip, b.mlp_branch)

    def residual(self, x, branch, skip, strength):
        y = skip * x + strength * branch(normalize(x) if self.block.norm == "pre" else x)
        if self.block.norm != "post":
            return y
        self.before.append(y)
        return normalize(y)

    def attention(self, x):
        heads = lambda w: (x @ w).reshape(len(x), HEADS, -1).swapaxes(0, 1)
        self.x, self.heads = x, [heads(w) for w in (self.q, self.k, self.v)]
        q, k, v = self.heads
        logits = q @ k.swapaxes(1, 2) / (WIDTH / HEADS) ** 0.5
        self.a = np.exp(logits - logits.max(-1, keepdims=True))
        self.a /= self.a.sum(-1, keepdims=True)
        return (self.a @ v).swapaxes(0, 1).reshape(len(x), WIDTH) @ self.o

    def attention_backward(self, g):
        q, k, v = self.heads
        g = (g @ self.o.T).reshape(len(g), HEADS, -1).swapaxes(0, 1)
        da = g @ v.swapaxes(1, 2)
        logits = self.a * (da - (self.a * da).sum(-1, keepdims=True)) / (WIDTH / HEADS) ** 0.5
        parts = (logits @ k, logits.swapaxes(1, 2) @ q, self.a.swapaxes(1, 2) @ g)
        flat = [part.swapaxes(0, 1).reshape(-1, WIDTH) for part in parts]
        return sum(part @ w.T for part, w in zip(flat, (self.q, self.k, self.v), strict=True))

    def mlp(self, x):
        self.h = x @ self.w1 + self.b1
        return PHI[self.block.activation][0](self.h) @ self.w2 + self.b2

    def mlp_backward(self, g):
        return (g @ self.w2.T * PHI[self.block.activation][1](self.h)) @ self.w1.T

    def backward(self, g):
        b = self.block
        for strengths, back in (
            ((b.mlp_skip, b.mlp_branch), self.mlp_backward),
            ((b.attention_skip, b.attention_branch), self.attention_backward),
        ):
            if b.norm == "post":
                g = normalize_backward(self.before.pop(), g)
            x, branch = self.before.pop(), back(strengths[1] * g)
            g = strengths[0] * g + (normalize_backward(x, branch) if b.norm == "pre" else branch)
        return g


def normalize(x):
    return x * (WIDTH / np.sum(x**2, axis=-1, keepdims=True)) ** 0.5


def normalize_backward(x, g):
    norm2 = np.sum(x**2, axis=-1, keepdims=True)
    return (WIDTH / norm2) ** 0.5 * (g - x * np.sum(x * g, axis=-1, keepdims=True) / norm2)


def tokens(n: int, cosine: float, rng: np.random.Generator):
    """n tokens of norm² WIDTH whose cosines are all exactly ``cosine``."""
    orthonormal = np.linalg.qr(rng.normal(size=(WIDTH, n)))[0].T * WIDTH**0.5
    return np.linalg.cholesky((1 - cosine) * np.eye(n) + cosine) @ orthonormal


def measure(block: Block, cosine: float, seed: int) -> dict[str, np.ndarray]:
    """Mean cosine, norm² and gradient norm² at every depth of one random network, probed at random."""
    rng, n = np.random.default_rng(seed), block.n_tokens
    x = tokens(n, cosine, rng)
    states, layers = [x], [Layer(block, rng) for _ in range(DEPTH)]
    for layer in layers:
        states.append(layer.forward(states[-1]))
    gradients = [rng.normal(size=x.shape)]
    for layer in reversed(layers):
        gradients.append(layer.backward(gradients[-1]))
    grams = [normalize(state) @ normalize(state).T / WIDTH for state in states]
    size = np.array([np.mean(g**2) for g in gradients[::-1]])
    return {
        "cosine": np.array([(gram.sum() - n) / (n * (n - 1)) for gram in grams]),
        "norm": np.array([np.mean(state**2) for state in states]),
        "gradient": size / size[-1],
    }


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
    draws = [measure(block, cosine, seed) for seed in range(DRAWS)]
    for quantity in ("cosine", "norm", "gradient"):
        samples = np.array([draw[quantity] for draw in draws])
        error = samples.std(axis=0, ddof=1) / DRAWS**0.5
        expected = getattr(theory, quantity)
        scale = 1.0 if quantity == "cosine" else np.abs(expected)
        assert np.all(np.abs(samples.mean(axis=0) - expected) < 5 * error + 0.025 * scale), (
            quantity,
            expected,
        )


def test_twelve_layers_of_gradients_at_width_768(monkeypatch: pytest.MonkeyPatch) -> None:
    """Post-norm, s = b = 1, tanh, σ_w = 1.5, σ_A = 1, n = 32: within 5% at every layer, mean of 8 networks."""
    for name, value in (("WIDTH", 768), ("HEADS", 12), ("DEPTH", 12)):
        monkeypatch.setitem(globals(), name, value)
    block, cosine = CASES["post-tanh"]
    measured = np.mean([measure(block, cosine, seed)["gradient"] for seed in range(8)], axis=0)
    assert measured == pytest.approx(propagate(block, cosine, DEPTH).gradient, rel=0.05)


@pytest.mark.parametrize(("n", "width"), [(4, 512), (16, 1024)])
def test_chaos_settles_on_the_predicted_simplex(n: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A steep tanh: tokens stay at c* of their number, and come closer to it from both sides."""
    monkeypatch.setitem(globals(), "WIDTH", width)
    block = Block.cowsik(alpha_attention=0.6, alpha_mlp=0.98, sigma_w=6.0, sigma_a=2.0, n_tokens=n)
    settled = exponents(block)
    assert settled.phase == "chaotic"
    assert 0.2 < settled.cosine < 0.6
    ends = {start: final_cosines(block, start) for start in (0.95, settled.cosine, 0.0)}
    kept = ends[settled.cosine]
    assert kept.mean() == pytest.approx(settled.cosine, abs=0.03)
    assert settled.cosine < ends[0.95].mean() < 0.8
    assert 0.05 < ends[0.0].mean() < settled.cosine
    for start, values in ends.items():
        expected = propagate(block, start, 6).cosine[-1]
        assert values.mean() == pytest.approx(expected, abs=5 * values.std(ddof=1) / 2 + 0.01)


def final_cosines(block: Block, cosine: float) -> np.ndarray:
    """Mean cosine after six layers of four random networks."""
    finals, n = [], block.n_tokens
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = tokens(n, cosine, rng)
        for _ in range(6):
            x = Layer(block, rng).forward(x)
        gram = normalize(x) @ normalize(x).T / WIDTH
        finals.append((gram.sum() - n) / (n * (n - 1)))
    return np.array(finals)
