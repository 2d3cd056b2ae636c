"""A decoder-only transformer, written to be read; ``ensemble.py`` computes the same thing fast.

Shapes in comments: B sequences, L tokens, d width, H heads, k = d/H, m hidden units, V words.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.models.initialize import initialize_parameters
from auxin.models.protocol import Output

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "silu": F.silu,
    "linear": lambda x: x,
}


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """[length, width]: sin(t·10000^(−2i/d)) in the even columns, cos in the odd (Vaswani et al. 2017, §3.5)."""
    if torch.get_default_device().type == "meta":
        return torch.empty(length, width)
    time = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([torch.sin(time * rate), torch.cos(time * rate)], dim=-1).flatten(1)


class Linear(nn.Linear):
    """A linear map whose weights are left as allocated."""

    def reset_parameters(self) -> None:
        """Nothing: it would be drawn from the global generator, and take torch's compiler to be imported."""


class Embedding(nn.Embedding):
    """A table whose rows are left as allocated."""

    def reset_parameters(self) -> None:
        """Nothing; see ``Linear``."""


class Attention(nn.Module):
    """Multi-head causal attention: softmax(q·kᵀ/√k + mask)·v, merged by an output map. Cost O(L·d² + L²·d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.width, 3 * config.width, bias=config.attention_bias)
        self.out = Linear(config.width, config.width, bias=config.attention_bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, weights: bool) -> tuple[Tensor, Tensor | None]:
        """x [B, L, d]; mask bool, broadcast to [B, H, L, L], or None for causal only."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, L, k]
        if not weights and not (self.training and self.dropout.p):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            return self.out(y.transpose(1, 2).flatten(2)), None
        if mask is None:
            mask = causal_mask(x.shape[1], x.device)
        logits = (q @ k.mT) * q.shape[-1] ** -0.5  # [B, H, L, L]
        attention = logits.masked_fill(~mask, -torch.inf).softmax(-1)
        y = self.dropout(attention) @ v  # [B, H, L, k]
        return self.out(y.transpose(1, 2).flatten(2)), attention


class MLP(nn.Module):
    """W₂·φ(W₁·x + b₁) + b₂ on every token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.width, config.hidden, bias=config.mlp_bias)
        self.down = Linear(config.hidden, config.width, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(x))))


class Layer(nn.Module):
    """Attention, then MLP, each inside its residual: N(s·x + b·F(x)), s·x + b·F(N(x)) or s·x + b·F(x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = config.norm
        self.strengths = (
            (config.attention_skip, config.attention_branch),
            (config.mlp_skip, config.mlp_branch),
        )
        self.attention = Attention(config)
        self.mlp = MLP(config)
        if config.norm != "none":
            self.attention_norm = nn.LayerNorm(config.width)
            self.mlp_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, weights: bool) -> tuple[Tensor, Tensor | None]:
        """x [B, L, d] → the next x, and the attention weights if asked for."""
        pre, post = self.norm == "pre", self.norm == "post"
        (skip, branch), (mlp_skip, mlp_branch) = self.strengths
        y, attention = self.attention(self.attention_norm(x) if pre else x, mask, weights)
        x = skip * x + branch * self.dropout(y)
        x = self.attention_norm(x) if post else x
        y = self.mlp(self.mlp_norm(x) if pre else x)
        x = mlp_skip * x + mlp_branch * self.dropout(y)
        return (self.mlp_norm(x) if post else x), attention


class TransformerLM(nn.Module):
    """Causal language model of a ``ModelConfig``; ``generator`` draws its initial weights.

    Without a generator the weights are left as allocated, for a state dict to fill. Raises ``ConfigError`` when
    the vocabulary size is 0, which stands for "that of the task" and has to be settled first.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not config.vocabulary_size:
            raise ConfigError("vocabulary_size is 0; allowed here: 1 or more (0 is settled by a task)")
        self.config = config
        self.embedding = Embedding(config.vocabulary_size, config.width)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.empty(config.max_length, config.width))
        elif config.positions == "sinusoidal":
            self.register_buffer(
                "positions", sinusoidal_positions(config.max_length, config.width), persistent=False
            )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        if config.norm == "pre":
            self.final_norm = nn.LayerNorm(config.width)
        self.output = Linear(config.width, config.vocabulary_size)
        if config.tied:
            self.output.weight = self.embedding.weight
        self.dropout = nn.Dropout(config.dropout)
        if generator is not None:
            initialize_parameters(dict(self.named_parameters()), config, generator)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        states: bool = False,
        attention: bool = False,
    ) -> Output:
        """See ``CausalModel``; a sequence longer than the position table raises ``ConfigError``."""
        x = self.embed(tokens, positions)  # [B, L, d]
        if mask is not None:
            mask = mask & causal_mask(tokens.shape[1], tokens.device)
            mask = mask[:, None] if mask.ndim == 3 else mask  # broadcasts to [B, H, L, L]
        all_states, all_attention = [x], []
        for layer in self.layers:
            x, weights = layer(x, mask, attention)
            all_states.append(x)
            all_attention.append(weights)
        logits = self.output(self.final_norm(x) if self.config.norm == "pre" else x)  # [B, L, V]
        return Output(logits, tuple(all_states) if states else (), tuple(all_attention) if attention else ())

    def embed(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Embeddings, scaled and with positions added: [B, L] → [B, L, d]."""
        x = self.embedding(tokens)
        if self.config.scale_embedding:
            x = x * math.sqrt(self.config.width)
        if self.config.positions != "none":
            longest = tokens.shape[1] if positions is None else int(positions.max()) + 1
            if longest > self.config.max_length:
                raise ConfigError(
                    f"sequence of {longest} tokens; allowed: up to max_length = {self.config.max_length}"
                )
            table = self.positions
            x = x + (table[: tokens.shape[1]] if positions is None else table[positions])
        return self.dropout(x)


def causal_mask(length: int, device: torch.device | str = "cpu") -> Tensor:
    """bool [length, length], true where the row's token may see the column's."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
