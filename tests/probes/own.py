"""Transformers in the style of other people's own code, with nothing in common but what they compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

V, D, N = 120, 128, 64
"""Words, width, and most tokens; another width is given to ``built``."""


def drawn(model: Any, std: float = 0.02, writers: tuple[str, ...] = ()) -> None:
    """N(0, std²), maps of these last names divided by √(2·layers)."""
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            scaled = name.removesuffix(".weight").endswith(writers) if writers else False
            nn.init.normal_(p, std=std / math.sqrt(2 * model.depth) if scaled else std)
        elif name.endswith("bias"):
            nn.init.zeros_(p)


# 1: nanoGPT, attention written out in einsum


class JointAttention(nn.Module):
    def __init__(self, d: int, heads: int = 4, bias: bool = True) -> None:
        super().__init__()
        self.wqkv = nn.Linear(d, 3 * d, bias=bias)
        self.proj = nn.Linear(d, d, bias=bias)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.wqkv(x).split(d, dim=-1)
        q, k, v = (t.reshape(b, n, self.heads, d // self.heads) for t in (q, k, v))
        a = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(d // self.heads)
        a = a.masked_fill(torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1), float("-inf"))
        return self.proj(torch.einsum("bhnm,bmhc->bnhc", a.softmax(-1), v).reshape(b, n, d))


class SmallGPT(nn.Module):
    """Pre-norm blocks without classes for their parts; output maps divided by √(2·layers); tied."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.tokens, self.places = nn.Embedding(V, D), nn.Embedding(N, D)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "n1": nn.LayerNorm(D),
                    "attention": JointAttention(D),
                    "n2": nn.LayerNorm(D),
                    "hidden": nn.Linear(D, 4 * D),
                    "back": nn.Linear(4 * D, D),
                }
            )
            for _ in range(depth)
        )
        self.last = nn.LayerNorm(D)
        drawn(self, writers=("proj", "back"))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tokens(idx) + self.places(torch.arange(idx.shape[1]))
        for b in self.blocks:
            x = x + b["attention"](b["n1"](x))  # pyright: ignore[reportIndexIssue]
            x = x + b["back"](F.gelu(b["hidden"](b["n2"](x))))  # pyright: ignore[reportIndexIssue]
        return self.last(x) @ self.tokens.weight.T


# 2: minGPT, separate maps, a masked buffer, GELU by its formula


class MinAttention(nn.Module):
    def __init__(self, d: int, heads: int = 8) -> None:
        super().__init__()
        self.key, self.query, self.value, self.proj = (nn.Linear(d, d) for _ in range(4))
        self.register_buffer("mask", torch.tril(torch.ones(N, N)).view(1, 1, N, N))
        self.n_head = heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.size()
        k, q, v = (
            m(x).view(b, n, self.n_head, d // self.n_head).transpose(1, 2)
            for m in (self.key, self.query, self.value)
        )
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = F.softmax(att.masked_fill(self.mask[:, :, :n, :n] == 0, float("-inf")), dim=-1)
        return self.proj((att @ v).transpose(1, 2).contiguous().view(b, n, d))


class NewGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


class MinBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2, self.attn = nn.LayerNorm(D), nn.LayerNorm(D), MinAttention(D)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), NewGELU(), nn.Linear(4 * D, D), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class SmallMinGPT(nn.Module):
    """N(0, .02²) everywhere, positions that begin at 0."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.tok_emb = nn.Embedding(V, D)
        self.pos_emb = nn.Parameter(torch.zeros(1, N, D))
        self.blocks = nn.Sequential(*[MinBlock() for _ in range(depth)])
        self.ln_f, self.head = nn.LayerNorm(D), nn.Linear(D, V, bias=False)
        drawn(self)
        nn.init.zeros_(self.pos_emb)

    def forward(self, idx: Tensor) -> Tensor:
        return self.head(self.ln_f(self.blocks(self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1]])))


# 3: a ViT, torch's own draws


class VitBlock(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D, eps=1e-6), nn.LayerNorm(D, eps=1e-6)
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.fc1, self.fc2, self.heads = nn.Linear(D, 4 * D), nn.Linear(4 * D, D), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class SmallViT(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.patches = nn.Conv2d(3, D, 8, 8)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, D)), nn.Parameter(torch.randn(1, 17, D) * 0.02)
        self.blocks = nn.ModuleList(VitBlock() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


# 4 and 5: Llama in one file, rotation by complex numbers or by halves


class RMSNorm(nn.Module):
    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def angles(head_dim: int, n: int, base: float = 10_000.0) -> Tensor:
    return torch.outer(torch.arange(n).float(), base ** (-torch.arange(0, head_dim, 2).float() / head_dim))


def turned_complex(x: Tensor, theta: Tensor) -> Tensor:
    """Of neighbors; x [b, n, h, c]."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return (
        torch.view_as_real(pairs * torch.polar(torch.ones_like(theta), theta)[:, None]).flatten(3).type_as(x)
    )


def turned_halves(x: Tensor, theta: Tensor) -> Tensor:
    """Of dimensions half a head apart; x [b, n, h, c]."""
    cos, sin = (torch.cat([t, t], -1)[:, None] for t in (theta.cos(), theta.sin()))
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class LlamaAttention(nn.Module):
    def __init__(self, turn: Callable[..., Tensor], heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        c = D // heads
        self.wq, self.wk = nn.Linear(D, heads * c, bias=False), nn.Linear(D, groups * c, bias=False)
        self.wv, self.wo = nn.Linear(D, groups * c, bias=False), nn.Linear(heads * c, D, bias=False)
        self.turn, self.shape = turn, (heads, groups, c)

    def forward(self, x: Tensor, theta: Tensor, mask: Tensor) -> Tensor:
        b, n, _ = x.shape
        heads, groups, c = self.shape
        q, k = self.wq(x).view(b, n, heads, c), self.wk(x).view(b, n, groups, c)
        v = self.wv(x).view(b, n, groups, c)
        q, k = self.turn(q, theta), self.turn(k, theta)
        k, v = (t.repeat_interleave(heads // groups, dim=2).transpose(1, 2) for t in (k, v))
        scores = q.transpose(1, 2) @ k.transpose(2, 3) / math.sqrt(c) + mask
        return self.wo((F.softmax(scores.float(), -1).type_as(q) @ v).transpose(1, 2).reshape(b, n, -1))


class LlamaBlock(nn.Module):
    def __init__(self, turn: Callable[..., Tensor]) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = RMSNorm(D), RMSNorm(D)
        self.attention = LlamaAttention(turn)
        self.w1, self.w3 = nn.Linear(D, 5 * D // 2, bias=False), nn.Linear(D, 5 * D // 2, bias=False)
        self.w2 = nn.Linear(5 * D // 2, D, bias=False)

    def forward(self, x: Tensor, theta: Tensor, mask: Tensor) -> Tensor:
        h = x + self.attention(self.attention_norm(x), theta, mask)
        f = self.ffn_norm(h)
        return h + self.w2(F.silu(self.w1(f)) * self.w3(f))


class SmallLlama(nn.Module):
    """Tied, without positions."""

    def __init__(
        self, depth: int = 4, turn: Callable[..., Tensor] = turned_complex, base: float = 1e4
    ) -> None:
        super().__init__()
        self.depth = depth
        self.tok_embeddings = nn.Embedding(V, D)
        self.layers = nn.ModuleList(LlamaBlock(turn) for _ in range(depth))
        self.norm, self.output = RMSNorm(D), nn.Linear(D, V, bias=False)
        self.output.weight = self.tok_embeddings.weight
        self.base, self.turn = base, turn
        drawn(self, writers=("wo", "w2"))

    def forward(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[1]
        h, theta = self.tok_embeddings(tokens), angles(self.layers[0].attention.shape[2], n, self.base)
        mask = torch.full((n, n), float("-inf")).triu(1)
        for layer in self.layers:
            h = layer(h, theta, mask)
        return self.output(self.norm(h))


# 6: GPT-J, attention and MLP side by side after one norm, a part of the head turned


class ParallelBlock(nn.Module):
    def __init__(self, heads: int = 4, turned: int = 16) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(D)
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.fc_in, self.fc_out = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.heads, self.turned = heads, turned

    def rotate(self, x: Tensor) -> Tensor:
        theta = angles(self.turned, x.shape[1])
        sin, cos = (t.repeat_interleave(2, -1)[:, None] for t in (theta.sin(), theta.cos()))
        a, rest = x[..., : self.turned], x[..., self.turned :]
        crossed = torch.stack([-a[..., 1::2], a[..., ::2]], -1).flatten(-2)
        return torch.cat([a * cos + crossed * sin, rest], -1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        h = self.ln(x)
        q, k, v = (m(h).view(b, n, self.heads, -1) for m in (self.q, self.k, self.v))
        q, k, v = (t.transpose(1, 2) for t in (self.rotate(q), self.rotate(k), v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, d)
        return x + self.o(y) + self.fc_out(F.gelu(self.fc_in(h), approximate="tanh"))


class SmallGPTJ(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.wte, self.h = nn.Embedding(V, D), nn.ModuleList(ParallelBlock() for _ in range(depth))
        self.ln_f, self.lm_head = nn.LayerNorm(D), nn.Linear(D, V)
        drawn(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


# 7: torchtune, parts handed in; queries and keys normalized


class Rope(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        theta = angles(c, N, 500_000.0)
        self.register_buffer("cache", torch.stack([theta.cos(), theta.sin()], -1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        pairs, t = x.reshape(*x.shape[:-1], -1, 2), self.cache[: x.shape[1], None]
        turned = pairs[..., 0] * t[..., 0] - pairs[..., 1] * t[..., 1]
        other = pairs[..., 1] * t[..., 0] + pairs[..., 0] * t[..., 1]
        return torch.stack([turned, other], -1).flatten(3)


class TuneAttention(nn.Module):
    def __init__(self, heads: int, groups: int, c: int, **parts: nn.Module) -> None:
        super().__init__()
        self.heads, self.groups, self.c = heads, groups, c
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q_norm(self.pos(self.q_proj(x).view(b, n, self.heads, self.c)).transpose(1, 2))
        k = self.pos(self.k_proj(y).view(b, n, self.groups, self.c))
        k, v = k[:, :, :, None], self.v_proj(y).view(b, n, self.groups, 1, self.c)
        size = (b, n, self.groups, self.heads // self.groups, self.c)
        k, v = (t.expand(*size).reshape(b, n, -1, self.c).transpose(1, 2) for t in (k, v))
        z = F.scaled_dot_product_attention(q, self.k_norm(k), v, is_causal=True)
        return self.output_proj(z.transpose(1, 2).contiguous().view(b, n, -1))


class TuneLayer(nn.Module):
    def __init__(self, heads: int = 4, groups: int = 1) -> None:
        super().__init__()
        c = D // heads
        line = lambda a, b: nn.Linear(a, b, bias=False)
        self.attn = TuneAttention(
            heads, groups, c, q_proj=line(D, heads * c), k_proj=line(D, groups * c), v_proj=line(D, groups * c),
            output_proj=line(heads * c, D), pos=Rope(c), q_norm=RMSNorm(c), k_norm=RMSNorm(c),
        )  # fmt: skip
        self.mlp = nn.ModuleDict({"w1": line(D, 2 * D), "w2": line(2 * D, D), "w3": line(D, 2 * D)})
        self.sa_norm, self.mlp_norm = RMSNorm(D, 1e-6), RMSNorm(D, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.sa_norm(x)
        h = self.attn(h, h) + x
        m = self.mlp_norm(h)
        return h + self.mlp["w2"](F.silu(self.mlp["w1"](m)) * self.mlp["w3"](m))


class SmallTune(nn.Module):
    """As torch draws maps."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.tok_embeddings = nn.Embedding(V, D)
        self.layers = nn.ModuleList(TuneLayer() for _ in range(depth))
        self.norm, self.output = RMSNorm(D), nn.Linear(D, V, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h)
        return self.output(self.norm(h))


# 8: litgpt, a joint map by groups, norms before and after branches, a joint gate, some layers with a window


class LitAttention(nn.Module):
    def __init__(self, window: int | None, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        c = D // heads
        self.attn = nn.Linear(D, (heads + 2 * groups) * c)
        self.proj = nn.Linear(heads * c, D)
        self.heads, self.groups, self.c, self.window = heads, groups, c, window

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        b, n, _ = x.shape
        share = self.heads // self.groups
        qkv = self.attn(x).view(b, n, self.groups, share + 2, self.c).permute(0, 2, 3, 1, 4)
        q, k, v = qkv.split((share, 1, 1), dim=2)
        k, v = k.expand_as(q), v.expand_as(q)
        q, k, v = (t.reshape(b, self.heads, n, self.c) for t in (q, k, v))
        q, k = (turned_halves(t.transpose(1, 2), theta).transpose(1, 2) for t in (q, k))
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        if self.window is not None:
            mask &= ~torch.ones(n, n, dtype=torch.bool).tril(-self.window)
        scores = 20.0 * torch.tanh(q @ k.mT * 0.25 / 20.0)
        y = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, -1))


class LitBlock(nn.Module):
    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.norm_1, self.norm_2, self.post_1, self.post_2 = (nn.RMSNorm(D, eps=1e-6) for _ in range(4))
        self.attn = LitAttention(window)
        self.fc, self.back = nn.Linear(D, 4 * D), nn.Linear(2 * D, D)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        x = x + self.post_1(self.attn(self.norm_1(x), theta))
        gate, up = self.fc(self.norm_2(x)).chunk(2, -1)
        return x + self.post_2(self.back(F.gelu(gate, approximate="tanh") * up))


class SmallLit(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(V, D),
                "h": nn.ModuleList(LitBlock(8 if i % 2 == 0 else None) for i in range(depth)),
                "ln_f": nn.RMSNorm(D),
            }
        )
        self.lm_head = nn.Linear(D, V, bias=False)
        drawn(self)

    def forward(self, idx: Tensor) -> Tensor:
        d = self.lm_head.in_features
        x, theta = self.transformer["wte"](idx) * d**0.5, angles(d // 4, idx.shape[1])
        for block in self.transformer["h"]:  # pyright: ignore[reportGeneralTypeIssues]
            x = block(x, theta)
        return self.lm_head(self.transformer["ln_f"](x))


# 9: x-transformers, lists of a norm and a branch, keys and values as one, raw parameters and ALiBi


class XAttention(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        c = D // heads
        self.to_q, self.to_kv = nn.Linear(D, heads * c, bias=False), nn.Linear(D, 2 * heads * c, bias=False)
        self.to_out, self.heads = nn.Parameter(torch.empty(heads * c, D)), heads
        slopes = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)])
        self.register_buffer("slopes", slopes.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, (k, v) = self.to_q(x), self.to_kv(x).chunk(2, -1)
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        distance = torch.arange(n)[:, None] - torch.arange(n)
        sim = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5 - self.slopes * distance.abs()
        sim = sim.masked_fill(distance < 0, -torch.finfo(sim.dtype).max)
        return (sim.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1) @ self.to_out


class SquaredReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) ** 2


class XLayer(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.norm, self.branch = nn.LayerNorm(D), branch

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(self.norm(x))


class SmallX(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        feed = lambda: nn.Sequential(nn.Sequential(nn.Linear(D, 4 * D), SquaredReLU()), nn.Linear(4 * D, D))
        self.token_emb = nn.Embedding(V, D)
        self.layers = nn.ModuleList(
            nn.ModuleList([XLayer(XAttention()), XLayer(feed())]) for _ in range(depth)
        )
        self.norm, self.to_logits = nn.LayerNorm(D), nn.Linear(D, V, bias=False)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.xavier_normal_(p)
            elif p.ndim == 1 and len(p) != D:
                nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_emb(x)
        for attention, feed in self.layers:  # pyright: ignore[reportGeneralTypeIssues]
            x = attention(x) + x
            x = feed(x) + x
        return self.to_logits(self.norm(x))


# 10: an encoder after the first paper, post-norm


class Encoder(nn.Module):
    """Norms of the sum, separate maps, learned positions; N(0, 1/fan_in)."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.embedding, self.positions = nn.Embedding(V, D), nn.Embedding(N, D)
        self.layers = nn.ModuleList(PostNorm() for _ in range(depth))
        for p in self.layers.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            elif p.ndim == 1 and not bool((p == 1).all()):
                nn.init.zeros_(p)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return x


class PostNorm(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(D, D) for _ in range(4))
        self.feed_forward = nn.Sequential(nn.Linear(D, 4 * D), nn.ReLU(), nn.Linear(4 * D, D))
        self.norms, self.h = nn.ModuleList(nn.LayerNorm(D) for _ in range(2)), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        parts = [m(x).view(b, n, self.h, -1).transpose(1, 2) for m in self.linears[:3]]
        scores = torch.matmul(parts[0], parts[1].transpose(-2, -1)) / math.sqrt(d // self.h)
        mixed = torch.matmul(scores.softmax(-1), parts[2]).transpose(1, 2).reshape(b, n, d)
        x = self.norms[0](x + self.linears[3](mixed))
        return self.norms[1](x + self.feed_forward(x))


# 11: DiT, images in patches; maps of a condition, which begin at zero, scale and shift what a branch reads and gate it


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]


def waves(x: Tensor, d: int) -> Tensor:
    """Sines and cosines of numbers x, [len(x), d]."""
    angle = x[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(d // 2) / (d // 2))
    return torch.cat([angle.cos(), angle.sin()], -1)


class DiTBlock(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(D, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.qkv, self.proj, self.heads = nn.Linear(D, 3 * D), nn.Linear(D, D), heads
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(approximate="tanh"), nn.Linear(4 * D, D))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))

    def attend(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(c).chunk(6, -1)
        x = x + gate[:, None] * self.attend(modulated(self.norm1(x), shift, scale))
        return x + gate_mlp[:, None] * self.mlp(modulated(self.norm2(x), shift_mlp, scale_mlp))


class SmallDiT(nn.Module):
    """Xavier's maps; predicts noise, from zero on."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.patches = nn.Conv2d(3, D, 8, 8)
        grid = torch.arange(4)
        rows, columns = waves(grid, D // 2), waves(grid, D // 2)
        places = torch.cat([rows[:, None].expand(4, 4, -1), columns.expand(4, 4, -1)], -1)
        self.register_buffer("places", places.reshape(1, 16, D))
        self.time = nn.Sequential(nn.Linear(64, D), nn.SiLU(), nn.Linear(D, D))
        self.labels = nn.Embedding(10, D)
        self.blocks = nn.ModuleList(DiTBlock() for _ in range(depth))
        self.norm = nn.LayerNorm(D, elementwise_affine=False, eps=1e-6)
        self.modulation, self.last = nn.Sequential(nn.SiLU(), nn.Linear(D, 2 * D)), nn.Linear(D, 3 * 8 * 8)
        self.initialize_weights()

    def initialize_weights(self) -> None:
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        for m in (self.labels, self.time[0], self.time[2]):
            nn.init.normal_(m.weight, std=0.02)
        for m in (self.last, self.modulation[1], *(block.modulation[1] for block in self.blocks)):  # pyright: ignore[reportIndexIssue]
            nn.init.zeros_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, images: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.places
        c = self.time(waves(t, 64)) + self.labels(labels)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c).chunk(2, -1)
        x = self.last(modulated(self.norm(x), shift, scale)).view(-1, 4, 4, 8, 8, 3)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(images.shape)


# 12: T5, an encoder and a decoder; logits as they are, with a bias by distance from one table for all layers


class Distances(nn.Module):
    def __init__(self, heads: int, ahead: bool, buckets: int = 32, longest: int = 128) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.ahead, self.buckets, self.longest = ahead, buckets, longest

    def forward(self, n: int) -> Tensor:
        offset = torch.arange(n)[None] - torch.arange(n)[:, None]
        count, row = self.buckets, torch.zeros_like(offset)
        if self.ahead:
            count //= 2
            row, offset = row + (offset > 0) * count, offset.abs()
        else:
            offset = (-offset).clamp(min=0)
        exact = count // 2
        ratio = torch.log(offset.clamp(min=1).float() / exact) / math.log(self.longest / exact)
        far = exact + (ratio * (count - exact)).long()
        row = row + torch.where(offset < exact, offset, far.clamp(max=count - 1))
        return self.table(row).permute(2, 0, 1)[None]


class T5Attention(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor | None = None) -> Tensor:
        parts = ((self.q, x), (self.k, memory), (self.v, memory))
        q, k, v = (m(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m, y in parts)
        scores = q @ k.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class T5Layer(nn.Module):
    def __init__(self, crossing: bool) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(D, 1e-6), T5Attention()
        if crossing:
            self.norm2, self.cross = RMSNorm(D, 1e-6), T5Attention()
        self.norm3 = RMSNorm(D, 1e-6)
        self.wi, self.wo = nn.Linear(D, 4 * D, bias=False), nn.Linear(4 * D, D, bias=False)

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h, bias)
        if memory is not None:
            x = x + self.cross(self.norm2(x), memory)
        return x + self.wo(F.relu(self.wi(self.norm3(x))))


class T5Stack(nn.Module):
    def __init__(self, depth: int, decoder: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(T5Layer(decoder) for _ in range(depth))
        self.bias, self.norm, self.decoder = Distances(4, not decoder), RMSNorm(D, 1e-6), decoder

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        bias = self.bias(x.shape[1])
        if self.decoder:
            n = x.shape[1]
            bias = bias + torch.full((n, n), torch.finfo(x.dtype).min, device=x.device).triu(1)
        for layer in self.layers:
            x = layer(x, bias, memory)
        return self.norm(x)


class SmallT5(nn.Module):
    """N(0, 1/fan_in), queries divided by √d_h; tied."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.embedding = nn.Embedding(V, D)
        self.encoder, self.decoder = T5Stack(depth, decoder=False), T5Stack(depth, decoder=True)
        for name, p in self.named_parameters():
            if name.endswith("table.weight"):
                nn.init.normal_(p, std=D**-0.5)
            elif p.ndim == 2 and p is not self.embedding.weight:
                nn.init.normal_(
                    p, std=p.shape[1] ** -0.5 * ((D // 4) ** -0.5 if name.endswith("q.weight") else 1)
                )

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.encoder(self.embedding(source))
        x = self.decoder(self.embedding(target), memory)
        return x * x.shape[-1] ** -0.5 @ self.embedding.weight.T


# refused by name


class MoEBlock(nn.Module):
    """Two of eight experts a token."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2, self.attn = nn.LayerNorm(D), nn.LayerNorm(D), JointAttention(D)
        self.router = nn.Linear(D, 8)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D)) for _ in range(8)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        tokens = self.ln2(x).flatten(0, 1)
        weights, chosen = self.router(tokens).topk(2, -1)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, rows, weights.softmax(-1)[rows, place, None] * expert(tokens[rows]))
        return x + out.view_as(x)


class SmallMoE(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.depth = depth
        self.embedding, self.blocks = nn.Embedding(V, D), nn.ModuleList(MoEBlock() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, V)
        drawn(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ModulatedBlock(VitBlock):
    """DiT: a map of the condition scales and shifts what a branch sees, and gates what it adds."""

    def __init__(self) -> None:
        super().__init__()
        self.modulation = nn.Linear(D, 3 * D)

    def forward(self, x: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(F.silu(x.mean(1, keepdim=True)).expand_as(x)).chunk(3, -1)
        return x + gate * self.fc2(F.gelu(self.fc1(self.norm1(x) * (1 + scale) + shift)))


class Modulated(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.embedding, self.blocks = (
            nn.Embedding(V, D),
            nn.Sequential(*[ModulatedBlock() for _ in range(depth)]),
        )

    def forward(self, ids: Tensor) -> Tensor:
        return self.blocks(self.embedding(ids))


@dataclass(frozen=True)
class Names:
    """A model, and the ends of the names of its parameters by role."""

    build: Callable[[int], Any]
    query: str
    out: str
    up: str
    down: str
    queries: Callable[[Tensor], Tensor] = lambda weight: weight
    """The rows of queries of the matrix that has them."""


def third(weight: Tensor) -> Tensor:
    return weight[: len(weight) // 3]


def shared(weight: Tensor) -> Tensor:
    """Of two groups of two queries, a key and a value."""
    return weight.view(2, 4, -1, weight.shape[1])[:, :2]


MODELS = {
    "nanoGPT": Names(SmallGPT, "attention.wqkv", "attention.proj", "hidden", "back", third),
    "minGPT": Names(SmallMinGPT, "attn.query", "attn.proj", "mlp.0", "mlp.2"),
    "ViT": Names(SmallViT, "qkv", "out", "fc1", "fc2", third),
    "Llama, complex": Names(SmallLlama, "attention.wq", "attention.wo", "w3", "w2"),
    "Llama, halves": Names(
        lambda depth: SmallLlama(depth, turned_halves, base=5e5), "attention.wq", "attention.wo", "w3", "w2"
    ),
    "GPT-J": Names(SmallGPTJ, "q", "o", "fc_in", "fc_out"),
    "torchtune": Names(SmallTune, "attn.q_proj", "attn.output_proj", "mlp.w3", "mlp.w2"),
    "litgpt": Names(SmallLit, "attn.attn", "attn.proj", "fc", "back", shared),
    "x-transformers": Names(SmallX, "0.branch.to_q", "0.branch.to_out", "1.branch.0.0", "1.branch.1"),
    "post-norm encoder": Names(Encoder, "linears.0", "linears.3", "feed_forward.0", "feed_forward.2"),
    "DiT": Names(SmallDiT, "qkv", "proj", "mlp.0", "mlp.2", third),
    "T5": Names(SmallT5, "attention.q", "attention.o", "wi", "wo"),
}


def built(name: str, seed: int = 0, depth: int = 4, width: int = D) -> Any:
    """A fresh one; torch's global generator is left as it was."""
    global D
    usual, D = D, width
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MODELS[name].build(depth)
    finally:
        D = usual


def inputs(name: str, seed: int = 0) -> Any:
    """Images for those that take them, with times and labels for one, and pairs; None: token ids are made up."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 32, 32, generator=generator)
    if name == "DiT":
        return images, torch.tensor([3, 500]), torch.tensor([1, 7])
    if name == "T5":
        pairs = torch.stack([torch.randperm(V, generator=generator) for _ in range(4)]).view(2, 2, V)
        return pairs[0, :, :20], pairs[1, :, :16]
    return images if name == "ViT" else None


SLIPS: dict[str, tuple[str, Callable[[Tensor, int], Any]]] = {
    "depth scaling left out": ("out", lambda p, depth: p.mul_(math.sqrt(2 * depth))),
    "fan_in and fan_out exchanged": ("down", lambda p, _: p.mul_(math.sqrt(p.shape[1] / p.shape[0]))),
    "queries × 3": ("query", lambda p, depth: p.mul_(3)),
}
"""Role, and what is done to its matrices in all layers."""


@torch.no_grad()
def harmed(
    name: str, slip: str, *, drawn: bool = True, seed: int = 5, depth: int = 4
) -> tuple[Any, set[str]]:
    """A model with a slip, and the names that it may be found under; with or without fresh draws of its class."""
    model, names, (role, change) = built(name, seed, depth), MODELS[name], SLIPS[slip]
    found = set()
    for key, p in model.named_parameters():
        if p.ndim == 2 and key.removesuffix(".weight").endswith("." + getattr(names, role)):
            change(names.queries(p) if role == "query" else p, depth)
            found |= {key.removesuffix(".weight"), key.rpartition(".")[0]}
    if not drawn:
        del model.depth
    return model, found
