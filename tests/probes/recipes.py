"""Transformers that are set up so that hyperparameters transfer (μP over width, CompleteP over depth), and slips."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BASE = 32
"""Width at which every setting is as given."""


@dataclass(frozen=True)
class Setup:
    """A sound set-up, and what may be wrong with it."""

    rate: float = 1e-3
    alpha: float = 1.0
    """Branches are multiplied by L^−α."""
    heads: int = 4
    """0: heads of dimension 8."""
    norm: type[nn.Module] = nn.LayerNorm
    gated: bool = False
    zero_readout: bool = False
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-12
    words: int = 50
    unscaled_branch: str = ""
    """attention, mlp or both: not multiplied."""
    undivided: str = ""
    """Name of the matrix whose rate is not divided by the width."""
    root: bool = False
    """Attention's logits are divided by √d."""
    tied: bool = False
    """The readout is the table of tokens."""

    def build(self, width: int, depth: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and its AdamW."""
        model = Transformer(self, width, depth)
        hidden = self.rate * BASE / width * (2 / depth) ** (1 - self.alpha)
        groups = []
        for name, p in model.named_parameters():
            matrix = p.ndim == 2 and name.startswith("layers.")
            rate = hidden if matrix else self.rate
            if self.undivided and name.endswith(f"{self.undivided}.weight"):
                rate = self.rate * (2 / depth) ** (1 - self.alpha)
            groups.append({"params": [p], "lr": rate})
        return model, torch.optim.AdamW(groups, betas=self.betas, eps=self.epsilon, weight_decay=0.0)


class Layer(nn.Module):
    """Attention and an MLP, norms in front."""

    def __init__(self, setup: Setup, width: int, depth: int) -> None:
        super().__init__()
        self.setup, self.heads = setup, setup.heads or width // 8
        self.norm1, self.norm2 = setup.norm(width), setup.norm(width)
        linear = lambda a, b: _drawn(nn.Linear(a, b, bias=False), a**-0.5)
        self.query, self.key, self.value, self.out = (linear(width, width) for _ in range(4))
        self.up, self.down = linear(width, 2 * width), linear(2 * width, width)
        self.gate = linear(width, 2 * width) if setup.gated else None
        scale = (2 / depth) ** setup.alpha
        plain = setup.unscaled_branch
        self.scales = [1.0 if plain in (kind, "both") else scale for kind in ("attention", "mlp")]

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        q, k, v = (
            m(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.query, self.key, self.value)
        )
        d = q.shape[-1]
        scale = d**-0.5 if self.setup.root else (BASE / 4) ** 0.5 / d
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        x = x + self.scales[0] * self.out(mixed.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        up = F.gelu(self.up(h)) if self.gate is None else F.silu(self.gate(h)) * self.up(h)
        return x + self.scales[1] * self.down(up)


class Transformer(nn.Module):
    """A language model whose readout is multiplied by 1/width."""

    def __init__(self, setup: Setup, width: int, depth: int) -> None:
        super().__init__()
        self.embed = _drawn(nn.Embedding(setup.words, width), 1.0)
        self.layers = nn.ModuleList(Layer(setup, width, depth) for _ in range(depth))
        self.norm = setup.norm(width)
        self.readout = _drawn(nn.Linear(width, setup.words, bias=False), 0.0 if setup.zero_readout else 1.0)
        self.factor = BASE**0.5 / width * 3
        if setup.tied:
            self.readout.weight = self.embed.weight
            self.factor = 1.0

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.factor * self.readout(self.norm(x))


@torch.no_grad()
def _drawn(module: nn.Module, std: float) -> nn.Module:
    module.weight.normal_(std=std)  # pyright: ignore[reportCallIssue]
    return module


def sound(seed: int) -> Setup:
    """A set-up drawn at random."""
    g = torch.Generator().manual_seed(seed)
    one = lambda *values: values[int(torch.randint(len(values), (), generator=g))]
    return Setup(
        rate=one(3e-4, 1e-3, 3e-3), alpha=one(1.0, 0.5), heads=one(4, 2, 0), norm=one(nn.LayerNorm, nn.RMSNorm),
        gated=one(True, False), zero_readout=one(True, False), betas=(0.9, one(0.95, 0.999)),
        epsilon=one(1e-8, 1e-12), words=one(50, 200),
    )  # fmt: skip


def slipped(seed: int) -> tuple[Setup, str]:
    """A sound set-up with a slip, and what has to be named."""
    setup = sound(seed)
    matrix = ("up", "down", "value", "out")[seed // 4 % 4]
    branch = ("attention", "mlp")[seed // 4 % 2]
    return (
        (replace(setup, unscaled_branch=branch, alpha=1.0), f"branch {branch}"),
        (replace(setup, undivided=matrix), f"update of {matrix}.weight"),
        (replace(setup, root=True, heads=setup.heads or 4), "attention logits"),
        (replace(setup, tied=True, zero_readout=False), "logits"),
    )[seed % 4]
