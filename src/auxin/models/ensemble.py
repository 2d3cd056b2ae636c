"""A stack of transformers trained as one: parameters with a leading member axis, packed linear layers.

Computes what ``TransformerLM`` computes, M models at a time. Tokens of all sequences stand one behind the
other, so that linear layers, norms and dropout never touch padding; only attention sees padded sequences.
Gradients of parameters are written straight into one flat buffer, a row a member, which the optimizer reads.

Shapes in comments: M members, T packed tokens, B sequences, L longest, d width, H heads, k = d/H, V words.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from auxin.config import ModelConfig, Precision
from auxin.models.batch import IGNORE, Batch
from auxin.models.dropout import Masks
from auxin.models.functions import attend, embed, layer_norm, linear
from auxin.models.initialize import initialize_parameters
from auxin.models.transformer import ACTIVATIONS, TransformerLM, sinusoidal_positions


class Ensemble:
    """M transformers of one architecture, one for each seed.

    ``flat`` [M, P] holds all parameters (on a GPU, with zeros up to a round P), ``gradient`` [M, P] what a
    backward pass overwrites, or adds to where ``add`` is set; ``parameters[name]`` is a view [M, …] under the name
    that the parameter has in a ``TransformerLM``.
    """

    add = False

    def __init__(
        self,
        config: ModelConfig,
        seeds: Sequence[int],
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        with torch.device("meta"):
            shapes = {name: p.shape for name, p in TransformerLM(config).named_parameters()}
        self.config, self.seeds, self.device = config, tuple(seeds), device
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32  # of matrix products
        size = sum(shape.numel() for shape in shapes.values())
        if device != "cpu":  # so that every row begins where a GPU can read several elements at once
            size = -(-size // 64) * 64
        self.flat = torch.zeros(len(self.seeds), size, device=device)
        self.gradient = torch.zeros_like(self.flat)
        self.parameters = _views(self.flat, shapes)
        self.gradients = _views(self.gradient, shapes)
        if config.positions == "sinusoidal":
            self.positions = sinusoidal_positions(config.max_length, config.width).to(device)
        for m, seed in enumerate(self.seeds):
            generator = torch.Generator().manual_seed(seed)
            drawn = {name: torch.empty(shape) for name, shape in shapes.items()}
            initialize_parameters(drawn, config, generator)
            for name, value in drawn.items():
                self.parameters[name][m] = value

    def part(self, m: int, gradient: Tensor | None = None) -> Ensemble:
        """The stack of member m alone on the same weights; its gradient goes here, or to ``gradient`` [1, P]."""
        part = copy.copy(self)
        rows = slice(m, m + 1)
        part.seeds, part.flat = self.seeds[rows], self.flat[rows]
        part.parameters = {name: view[rows] for name, view in self.parameters.items()}
        part.gradient = self.gradient[rows] if gradient is None else gradient
        part.gradients = _views(
            part.gradient, {name: view.shape[1:] for name, view in part.parameters.items()}
        )
        return part

    def losses(self, batch: Batch, masks: Masks, tokens: Tensor | None = None) -> Tensor:
        """[M]: each member's mean cross-entropy (nats a token) over its own tokens; differentiable.

        Of a batch that is a part of a greater one, ``tokens`` [M] are the greater one's: its losses then add up.
        """
        logits = self.logits(batch, masks)
        nats = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), reduction="none", ignore_index=IGNORE
        )
        return nats.view(batch.tokens.shape).sum(1) / (batch.counts if tokens is None else tokens)

    def logits(self, batch: Batch, masks: Masks) -> Tensor:
        """[M, T, V]: scores of the next token for every packed token."""
        config = self.config
        x = masks.apply(self._embed(batch))  # [M, T, d]
        for i in range(config.depth):
            x = self._residual(x, f"layers.{i}.attention", batch, masks)
            x = self._residual(x, f"layers.{i}.mlp", batch, masks)
        if config.norm == "pre":
            x = self._norm(x, "final_norm")
        return self._linear(x, "output", weight="embedding.weight" if config.tied else None)

    def member(self, m: int) -> TransformerLM:
        """Member m as a ``TransformerLM`` in eval mode that shares its weights, for measuring."""
        with torch.device("meta"):
            model = TransformerLM(self.config)
        weights = {name: view[m] for name, view in self.parameters.items()}
        model.load_state_dict(weights, assign=True, strict=not self.config.tied)
        if self.config.tied:
            model.output.weight = model.embedding.weight
        if self.config.positions == "sinusoidal":
            model.register_buffer("positions", self.positions, persistent=False)
        return model.requires_grad_(False).eval()

    def _embed(self, batch: Batch) -> Tensor:
        config = self.config
        scale = math.sqrt(config.width) if config.scale_embedding else 1.0
        name = "embedding.weight"
        add = self.add or config.tied  # the tied output map has written its gradient before
        x = embed(batch.tokens, self.parameters[name], self.gradients[name], scale, add)
        if config.positions == "sinusoidal":
            x = x + self.positions[batch.positions]
        elif config.positions == "learned":
            table, gradient = self.parameters["positions"], self.gradients["positions"]
            x = x + embed(batch.positions, table, gradient, 1.0, self.add)
        return x

    def _residual(self, x: Tensor, name: str, batch: Batch, masks: Masks) -> Tensor:
        """One sublayer inside its residual: N(s·x + b·F(x)), s·x + b·F(N(x)) or s·x + b·F(x)."""
        config = self.config
        attention = name.endswith("attention")
        skip = config.attention_skip if attention else config.mlp_skip
        branch = config.attention_branch if attention else config.mlp_branch
        seen = self._norm(x, f"{name}_norm") if config.norm == "pre" else x
        y = self._attention(seen, name, batch, masks) if attention else self._mlp(seen, name, masks)
        y = masks.add(x if skip == 1 else skip * x, y, branch)
        return self._norm(y, f"{name}_norm") if config.norm == "post" else y

    def _attention(self, x: Tensor, name: str, batch: Batch, masks: Masks) -> Tensor:
        qkv = self._linear(x, f"{name}.qkv")
        y = attend(qkv, batch, self.config.heads, masks.attention(), self.dtype)
        return self._linear(y, f"{name}.out")

    def _mlp(self, x: Tensor, name: str, masks: Masks) -> Tensor:
        hidden = ACTIVATIONS[self.config.activation](self._linear(x, f"{name}.up"))
        return self._linear(masks.apply(hidden), f"{name}.down")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        p, g = self.parameters, self.gradients
        weight, bias = f"{name}.weight", f"{name}.bias"
        return layer_norm(x, p[weight], p[bias], g[weight], g[bias], self.add)

    def _linear(self, x: Tensor, name: str, weight: str | None = None) -> Tensor:
        p, g = self.parameters, self.gradients
        weight, bias = weight or f"{name}.weight", f"{name}.bias"
        return linear(x, p[weight], p.get(bias), g[weight], g.get(bias), self.add, self.dtype)


def _views(flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Views [M, …] of the columns of ``flat`` [M, P], in order."""
    views, start = {}, 0
    for name, shape in shapes.items():
        views[name] = flat[:, start : start + shape.numel()].view(-1, *shape)
        start += shape.numel()
    return views
