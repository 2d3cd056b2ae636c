"""Transformers as people write them: the shapes of nanoGPT, minGPT, x-transformers and others, in a few lines each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

D, N, V = 32, 24, 60


@dataclass
class GPTConfig:
    block_size: int = N
    vocab_size: int = V
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = D
    dropout: float = 0.1
    bias: bool = True


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.n_head = config.n_head

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(x).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """wte, wpe, h, ln_f in a ModuleDict; a tied head, logits of the last position alone."""

    def __init__(self, config: GPTConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or GPTConfig()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
                "ln_f": nn.LayerNorm(config.n_embd),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                scaled = (2 * config.n_layer) ** -0.5 if name.endswith("c_proj.weight") else 1.0
                nn.init.normal_(p, 0.0, 0.02 * scaled, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, None]:
        t = self.transformer
        x = t["drop"](t["wte"](idx) + t["wpe"](torch.arange(idx.shape[1])))
        for block in t["h"]:
            x = block(x)
        return self.lm_head(t["ln_f"](x)[:, [-1], :]), None


class MinGPT(nn.Module):
    """The old minGPT: blocks in a Sequential, positions as a parameter, an untied head."""

    def __init__(self, config: GPTConfig | None = None) -> None:
        super().__init__()
        config = config or GPTConfig()
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.block_size = config.block_size

    def forward(self, idx: Tensor) -> Tensor:
        return self.head(self.ln_f(self.blocks(self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1]])))


class PreNorm(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(D)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class ListOfLists(nn.Module):
    """As in x-transformers and vit-pytorch: a layer is a list [attention, feedforward], never called itself."""

    def __init__(self) -> None:
        super().__init__()
        config = GPTConfig()
        self.token_emb = nn.Embedding(V, D)
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(CausalSelfAttention(config)), PreNorm(Mlp(config))]) for _ in range(3)
        )
        self.norm = nn.LayerNorm(D)
        self.to_logits = nn.Linear(D, V)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_emb(x)
        for attention, feedforward in self.layers:  # pyright: ignore[reportGeneralTypeIssues]
            x = attention(x) + x
            x = feedforward(x) + x
        return self.to_logits(self.norm(x))


class Scaled(nn.Module):
    """Strengths on skips and branches (DeepNorm, LayerScale), no list of layers, a dict as output."""

    def __init__(self, alpha: float = 1.5, gamma: float = 0.1) -> None:
        super().__init__()
        config = GPTConfig()
        self.embed = nn.Embedding(V, D)
        self.block1, self.block2 = (ScaledBlock(config, alpha, gamma) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.block2(self.block1(self.embed(tokens))["hidden"])["hidden"]


class ScaledBlock(nn.Module):
    def __init__(self, config: GPTConfig, alpha: float, gamma: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = nn.Parameter(torch.full((D,), gamma))
        self.attn, self.mlp = CausalSelfAttention(config), Mlp(config)
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.norm1(self.alpha * x + self.attn(x))
        return {"hidden": x + self.gamma * self.mlp(self.norm2(x))}


class Checkpointed(MinGPT):
    """Activations are computed again on the way back."""

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1]]
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(self.ln_f(x))


class Looped(MinGPT):
    """One block runs several times (ALBERT)."""

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tok_emb(idx)
        for _ in range(4):
            x = self.blocks[0](x)
        return self.head(x)


class InPlace(Block):
    """Overwrites what its own norm needs on the way back."""

    def forward(self, x: Tensor) -> Tensor:
        x += self.attn(self.ln_1(x))
        return x
