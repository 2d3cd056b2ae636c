"""A stack of transformers trained as one: parameters with a leading member axis, packed linear layers.

Computes what ``TransformerLM`` computes, M models at a time. Tokens of all sequences stand one behind the
other, so that linear layers, norms and dropout never touch padding; only attention sees padded sequences.
Gradients of parameters are written straight into one flat buffer, a row a member, which the optimizer reads.

Shapes in comments: M members, T packed tokens, B sequences, L longest, d width, H heads, k = d/H, V words.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auxin.config import ModelConfig, Precision
from auxin.models.batch import Batch
from auxin.models.dropout import Masks
from auxin.models.functions import Attention, Back, LayerNorm, Linear, activate, cross_entropy, embed
from auxin.models.initialize import initialize_parameters
from auxin.models.transformer import TransformerLM, sinusoidal_positions


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
        self._bind()
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
        part._bind()
        return part

    @torch.inference_mode()
    def differentiate(self, batch: Batch, masks: Masks, tokens: Tensor | None = None) -> Tensor:
        """[M]: each member's mean cross-entropy (nats a token) over its own tokens; ``gradient`` gets theirs.

        Of a batch that is a part of a greater one, ``tokens`` [M] are the greater one's: its losses then add up.
        """
        logits, backward = self.forward(batch, masks)
        losses, back = cross_entropy(logits, batch, batch.counts if tokens is None else tokens)
        backward(back())
        return losses

    def forward(self, batch: Batch, masks: Masks) -> tuple[Tensor, Callable[[Tensor], None]]:
        """[M, T, V]: scores of the next token for every packed token; and the way back from their gradient."""
        config = self.config
        x, finish = self._embed(batch, masks)  # [M, T, d]
        attend = Attention(batch, config.heads, config.width, self.dtype)
        backs: list[Back] = []
        for i in range(config.depth):
            for sublayer in ("attention", "mlp"):
                x, back = self._residual(x, f"layers.{i}.{sublayer}", attend, masks)
                backs.append(back)
        if config.norm == "pre":
            x, back = self._norms["final_norm"](x, self.add)
            backs.append(back)
        x, back = self._maps["output"](x, self.add)
        backs.append(back)

        def backward(g: Tensor) -> None:
            while backs:  # what a sublayer has kept is freed as soon as it is behind
                g = backs.pop()(g)
            finish(g)

        return x, backward

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

    def _embed(self, batch: Batch, masks: Masks) -> tuple[Tensor, Callable[[Tensor], None]]:
        config, p, g = self.config, self.parameters, self.gradients
        scale = math.sqrt(config.width) if config.scale_embedding else 1.0
        name = "embedding.weight"
        add = self.add or config.tied  # the tied output map has written its gradient before
        x, back = embed(batch.tokens, p[name], g[name], scale, add)
        backs = [back]
        if config.positions == "sinusoidal":
            x += self.positions[batch.positions]
        elif config.positions == "learned":
            y, back = embed(batch.positions, p["positions"], g["positions"], 1.0, self.add)
            x += y
            backs.append(back)
        x, drop = masks.apply(x)

        def finish(g: Tensor) -> None:
            g = drop(g)
            for back in backs:
                back(g)

        return x, finish

    def _residual(self, x: Tensor, name: str, attend: Attention, masks: Masks) -> tuple[Tensor, Back]:
        """One sublayer inside its residual: N(s·x + b·F(x)), s·x + b·F(N(x)) or s·x + b·F(x)."""
        config = self.config
        attention = name.endswith("attention")
        skip = config.attention_skip if attention else config.mlp_skip
        branch = config.attention_branch if attention else config.mlp_branch
        norm = self._norms.get(f"{name}_norm")
        pre, post = norm if config.norm == "pre" else None, norm if config.norm == "post" else None
        seen, pre_back = pre(x, self.add) if pre else (x, _same)
        y, inner_back = (
            self._attention(seen, name, attend, masks) if attention else self._mlp(seen, name, masks)
        )
        y, drop = masks.apply(y)
        y = torch.add(x if skip == 1 else skip * x, y, alpha=branch, out=y)
        y, post_back = post(y, self.add) if post else (y, _same)

        def back(g: Tensor) -> Tensor:
            g = post_back(g)
            gy = drop(g if branch == 1 else branch * g)
            return pre_back(inner_back(gy)).add_(g, alpha=skip)

        return y, back

    def _attention(self, x: Tensor, name: str, attend: Attention, masks: Masks) -> tuple[Tensor, Back]:
        _, qkv_back = self._maps[f"{name}.qkv"](x, self.add, out=attend.qkv)
        y, attend_back = attend(masks.take())
        y, out_back = self._maps[f"{name}.out"](y, self.add)

        def back(g: Tensor) -> Tensor:
            out_back(g, out=attend.gradient)
            return qkv_back(attend_back())

        return y, back

    def _mlp(self, x: Tensor, name: str, masks: Masks) -> tuple[Tensor, Back]:
        x, up_back = self._maps[f"{name}.up"](x, self.add)
        x, activate_back = activate(x, self.config.activation)
        x, drop = masks.apply(x)
        x, down_back = self._maps[f"{name}.down"](x, self.add)
        return x, lambda g: up_back(activate_back(drop(down_back(g))))

    def _bind(self) -> None:
        """Build the operations on the present parameters and buffers."""
        p, g = self.parameters, self.gradients
        self._maps: dict[str, Linear] = {}
        self._norms: dict[str, LayerNorm] = {}

        def linear(of: str, weight: str) -> None:
            bias = f"{of}.bias"
            self._maps[of] = Linear(p[weight], p.get(bias), g[weight], g.get(bias), self.dtype)

        for name in p:
            of, _, kind = name.rpartition(".")
            if of.endswith("norm") and kind == "weight":
                self._norms[of] = LayerNorm(p[name], p[f"{of}.bias"], g[name], g[f"{of}.bias"])
            elif kind == "weight" and of != "embedding":
                linear(of, name)
        if self.config.tied:
            linear("output", "embedding.weight")


def _same(g: Tensor) -> Tensor:
    return g


def _views(flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Views [M, …] of the columns of ``flat`` [M, P], in order."""
    views, start = {}, 0
    for name, shape in shapes.items():
        views[name] = flat[:, start : start + shape.numel()].view(-1, *shape)
        start += shape.numel()
    return views
