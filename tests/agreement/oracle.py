"""Random networks written out in plain torch from a description: an oracle that shares nothing with ``auxin.models``.

Weights are drawn layer by layer, gradients are autograd's. Width d, H heads of h = d/H dimensions, 4d hidden units.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from auxin.architecture import MLP, Attention, CrossAttention, Experts, LatentAttention, Layer, Network, Norm

PHI = {
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "silu": F.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu2": lambda x: F.relu(x) ** 2,
    "linear": lambda x: x,
}


def alibi_slopes(heads: int) -> list[float]:
    """As Press et al.'s code has them: every other slope of twice the heads, where they are no power of two."""
    if math.log2(heads).is_integer():
        first = 2 ** (-8 / heads)
        return [first ** (h + 1) for h in range(heads)]
    power = 2 ** math.floor(math.log2(heads))
    return alibi_slopes(power) + alibi_slopes(2 * power)[::2][: heads - power]


@dataclass
class Random:
    """Draws weights of one network."""

    width: int
    heads: int
    generator: torch.Generator

    def matrix(self, rows: int, columns: int, sigma: float) -> torch.Tensor:
        """[rows, columns] with entries N(0, σ²/rows)."""
        return torch.randn(rows, columns, generator=self.generator) * (sigma / rows**0.5)

    def bias(self, size: int, sigma: float) -> torch.Tensor:
        return torch.randn(size, generator=self.generator) * sigma

    def normalize(self, norm: Norm | None, x: torch.Tensor) -> torch.Tensor:
        if norm is None:
            return x
        if norm.kind in ("tanh", "erf"):
            return norm.gain * PHI[norm.kind](norm.slope * x)
        if norm.kind == "layer":
            return norm.gain * F.layer_norm(x, x.shape[-1:], eps=norm.epsilon)
        return norm.gain * x / (x.square().mean(-1, keepdim=True) + norm.epsilon).sqrt()

    def mlp(self, body: MLP, x: torch.Tensor) -> torch.Tensor:
        d, m, phi = self.width, 4 * self.width, PHI[body.activation]
        up = x @ self.matrix(d, m, body.sigma_w) + self.bias(m, body.sigma_b)
        if body.gated:
            gate = phi(x @ self.matrix(d, m, body.sigma_gate) + self.bias(m, body.sigma_b))
            hidden = gate * (up + body.shift)
        else:
            hidden = phi(up)
        return hidden @ self.matrix(m, d, body.sigma_o) + self.bias(d, body.output_bias)

    def experts(self, body: Experts, x: torch.Tensor) -> torch.Tensor:
        """Token by token: the largest scores, and their experts' outputs."""
        logits = x @ self.matrix(self.width, body.count, body.sigma_r)
        scores = torch.softmax(logits, -1) if body.score == "softmax" else torch.sigmoid(logits)
        least = scores.sort(-1, descending=True).values[..., body.active - 1, None]
        weights = torch.where(scores >= least, scores, torch.zeros(()))
        if body.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        y = sum(weights[..., e, None] * self.mlp(body.expert, x) for e in range(body.count)) * body.factor
        if body.shared is not None:
            gate = 1.0
            if body.sigma_s is not None:
                gate = torch.sigmoid(x @ self.matrix(self.width, 1, body.sigma_s))
            y = y + gate * self.mlp(body.shared, x)
        return y

    def attention(
        self, body: Attention, x: torch.Tensor, mask: torch.Tensor, source: torch.Tensor | None = None
    ) -> torch.Tensor:
        d, H = self.width, self.heads
        n, h = x.shape[1], d // H
        if source is None:
            source = x
        else:
            mask = torch.ones(n, source.shape[1], dtype=torch.bool)
        split = lambda y: y.view(len(y), -1, H, h).transpose(1, 2)  # [B, H, n, h]
        q, k = x @ self.matrix(d, d, body.sigma_q), source @ self.matrix(d, d, body.sigma_k)
        if body.qk_norm == "all":
            q, k = (y / (y.square().mean(-1, keepdim=True) + body.qk_epsilon).sqrt() for y in (q, k))
        q, k, v = split(q), split(k), split(source @ self.matrix(d, d, body.sigma_v))
        if body.qk_norm is True:
            q, k = (y / (y.square().mean(-1, keepdim=True) + body.qk_epsilon).sqrt() for y in (q, k))
        if body.rotary is not None:
            rotary = body.rotary
            q, k = (self.rotate(y, rotary.base, rotary.fraction, rotary.factors) for y in (q, k))
        logits = q @ k.mT * (h**-0.5 if body.scale is None else body.scale)
        if body.softcap is not None:
            logits = body.softcap * torch.tanh(logits / body.softcap)
        i, j = torch.arange(n)[:, None], torch.arange(n)
        if body.alibi:
            assert body.alibi == H
            slopes = torch.tensor(alibi_slopes(H))
            logits = logits - slopes[:, None, None] * (i - j).abs()
        if body.relative is not None:
            logits = (
                logits + self.matrix(1, H * 64, body.relative.sigma).view(H, 64)[:, self.buckets(n, mask)]
            )
        if body.window is not None:
            mask = mask & ((i - j).abs() < body.window)
        a = logits.masked_fill(~mask, -math.inf)
        if body.sink is not None:  # one more key, whose value is 0
            a = torch.cat([a, torch.full_like(a[..., :1], body.sink)], -1)
            v = F.pad(v, (0, 0, 0, 1))
        a = a.softmax(-1)
        return (a @ v).transpose(1, 2).reshape(x.shape) @ self.matrix(d, d, 1.0) + self.bias(d, body.sigma_b)

    def latent(self, body: LatentAttention, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """DeepSeek's: a part of every key turned, and the same in all heads; the others, and values, of a latent."""
        d, H, h, r, v = self.width, self.heads, body.head_dim, body.turned, body.value_dim
        rms = lambda y: y / (y.square().mean(-1, keepdim=True) + body.qk_epsilon).sqrt()
        split = lambda y, size: y.view(*y.shape[:2], -1, size).transpose(1, 2)  # [B, H, n, size]
        turn = lambda y: self.rotate(y, body.rotary.base, 1.0, None)
        c = rms(x @ self.matrix(d, body.rank, body.sigma_down))
        shared = turn(split(x @ self.matrix(d, r, body.sigma_down), r)).expand(-1, H, -1, -1)
        k = torch.cat([split(c @ self.matrix(body.rank, H * (h - r), body.sigma_k), h - r), shared], -1)
        values = split(c @ self.matrix(body.rank, H * v, body.sigma_v), v)
        p = x
        if body.query_rank is not None:
            p = rms(x @ self.matrix(d, body.query_rank, body.sigma_down))
        q = split(p @ self.matrix(p.shape[-1], H * h, body.sigma_q), h)
        q = torch.cat([q[..., : h - r], turn(q[..., h - r :])], -1)
        logits = q @ k.mT * (h**-0.5 if body.scale is None else body.scale)
        a = logits.masked_fill(~mask, -math.inf).softmax(-1)
        return (a @ values).transpose(1, 2).flatten(2) @ self.matrix(H * v, d, 1.0) + self.bias(
            d, body.sigma_b
        )

    @staticmethod
    def buckets(n: int, mask: torch.Tensor) -> torch.Tensor:
        """T5's 32 rows, up to distance 128, pair by pair: exact to 7 (causal 15), then by powers of 16 (8) to 128."""
        both = bool(mask.triu(1).any())
        exact = 8 if both else 16
        rows = torch.zeros(n, n, dtype=torch.long)
        for i in range(n):
            for j in range(n):
                distance = abs(i - j) if both else max(i - j, 0)
                far = 0 if distance == 0 else exact * (1 + math.log(distance / exact, 128 / exact))
                row = distance if distance < exact else min(int(far + 1e-9), 2 * exact - 1)
                rows[i, j] = row + (2 * exact if both and j > i else 0)
        return rows

    @staticmethod
    def rotate(
        x: torch.Tensor, base: float, fraction: float, factors: tuple[float, ...] | None
    ) -> torch.Tensor:
        """Rotate-half convention: dimension i with i + size/2 of the first ``fraction``."""
        size = int(x.shape[-1] * fraction)
        rate = base ** (-torch.arange(0, size, 2) / size) * torch.tensor(factors or 1.0)
        angle = torch.arange(x.shape[-2])[:, None] * torch.cat([rate, rate])
        part, rest = x[..., :size], x[..., size:]
        half = torch.cat([-part[..., size // 2 :], part[..., : size // 2]], -1)
        return torch.cat([part * angle.cos() + half * angle.sin(), rest], -1)

    def layer(
        self, layer: Layer, x: torch.Tensor, mask: torch.Tensor, memory: torch.Tensor | None = None
    ) -> torch.Tensor:
        groups = [layer.sublayers] if layer.parallel else [[s] for s in layer.sublayers]
        for group in groups:
            total = group[0].skip * x
            for s in group:
                seen = self.normalize(s.before, x)
                body = s.body
                if isinstance(body, LatentAttention):
                    y = self.latent(body, seen, mask)
                elif isinstance(body, Attention):
                    y = self.attention(body, seen, mask, memory if isinstance(body, CrossAttention) else None)
                else:
                    y = self.experts(body, seen) if isinstance(body, Experts) else self.mlp(body, seen)
                total = total + s.branch * self.normalize(s.after, y)
            x = self.normalize(group[0].stream, total)
        return x


def measure(
    network: Network,
    gram: np.ndarray,
    *,
    width: int = 768,
    heads: int = 12,
    draws: int = 3,
    sequences: int = 6,
    causal: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean Gram matrices of states and gradients, [depth + 1, n, n] each; the output's gradients are N(0, 1) probes.

    The sequences of a network are one set of tokens in random orientations.
    """  # fmt: skip
    n = len(gram)
    generator = torch.Generator().manual_seed(seed)
    values, vectors = np.linalg.eigh(gram)
    root = torch.from_numpy(vectors * np.sqrt(values.clip(0))).float()
    mask = torch.ones(n, n, dtype=torch.bool)
    mask = mask.tril() if causal else mask
    grams, gradients = [], []
    for _ in range(draws):
        frames = torch.randn(sequences, width, n, generator=generator)
        frames = torch.linalg.qr(frames - frames.mean(1, keepdim=True)).Q
        random = Random(width, heads, generator)
        states = [(width**0.5 * root @ frames.mT).requires_grad_()]
        for layer in network.layers:
            states.append(random.layer(layer, states[-1], mask))
        probe = torch.randn(states[-1].shape, generator=generator)
        found = torch.autograd.grad(states[-1], states, probe)
        x, g = torch.stack(states).detach().double(), torch.stack(found).double()
        grams.append((x @ x.mT / width).mean(1))
        gradients.append((g @ g.mT / width).mean(1))
    return torch.stack(grams).mean(0).numpy(), torch.stack(gradients).mean(0).numpy()


def errors(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Differences of all entries, relative to the geometric mean of the diagonal entries that belong to them."""
    root = np.sqrt(np.diagonal(predicted, axis1=1, axis2=2))
    return np.abs(measured - predicted) / (root[:, :, None] * root[:, None, :])
