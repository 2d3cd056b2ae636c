"""A stack of models trained as one: parameters with a leading member axis, packed linear layers.

Tokens of all sequences stand one behind the other, so that linear layers, norms and dropout never touch padding; only
attention sees padded sequences. Gradients of parameters go straight into one flat buffer, a row a member, which the
optimizer reads.

Shapes in comments: M members, T packed tokens, V words.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from auxin.architecture.model import ModelConfig
from auxin.config import Precision
from auxin.models.batch import IGNORE, Batch, Masks
from auxin.models.transformer import TransformerLM


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
        self.rounded = precision == "bfloat16"
        self.dtype = torch.bfloat16 if self.rounded else torch.float32  # of matrix products
        size = sum(shape.numel() for shape in shapes.values())
        if device != "cpu":  # so that every row begins where a GPU can read several elements at once
            size = -(-size // 64) * 64
        self.flat = torch.zeros(len(self.seeds), size, device=device)
        self.gradient = torch.zeros_like(self.flat)
        self.parameters = _views(self.flat, shapes)
        self.gradients = _views(self.gradient, shapes)
        self.buffers: dict[str, Tensor] = {}
        for m, seed in enumerate(self.seeds):
            model = TransformerLM(config, torch.Generator().manual_seed(seed))
            for name, value in model.named_parameters():
                self.parameters[name][m] = value.detach()
            self.buffers = {name: value.to(device) for name, value in model.named_buffers()}
        self._bind()

    def part(self, m: int, gradient: Tensor | None = None) -> Self:
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

    def member(self, m: int) -> TransformerLM:
        """Member m as a ``TransformerLM`` in eval mode that shares its weights, for measuring."""
        with torch.device("meta"):
            model = TransformerLM(self.config)
        weights = {name: view[m] for name, view in self.parameters.items()}
        model.load_state_dict(weights, assign=True, strict=not self.config.tied)
        if self.config.tied:
            model.output.weight = model.embedding.weight
        for name, value in self.buffers.items():
            model.register_buffer(name, value, persistent=False)
        return model.requires_grad_(False).eval()

    def differentiate(self, batch: Batch, masks: Masks, tokens: Tensor | None = None) -> Tensor:
        """[M]: each member's mean cross-entropy (nats a token) over its own tokens; ``gradient`` gets theirs.

        Of a batch that is a part of a greater one, ``tokens`` [M] are the greater one's: its losses then add up.
        """
        if not self.add:
            self.gradient.zero_()
        counts = batch.counts if tokens is None else tokens
        losses = []
        for m, (model, own) in enumerate(zip(self._models, masks.split(len(self.seeds)), strict=True)):
            with torch.enable_grad(), torch.autocast(batch.tokens.device.type, self.dtype, self.rounded):
                logits = model.packed(batch.member(m), own)
            with torch.enable_grad():
                targets = batch.targets[m]
                nats = F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")
                loss = nats / counts[m]
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _bind(self) -> None:
        """Build models on the present parameters, whose gradients autograd adds to the present buffer."""
        self._models = [self.member(m).requires_grad_(True) for m in range(len(self.seeds))]
        for m, model in enumerate(self._models):
            for name, parameter in model.named_parameters():
                parameter.grad = self.gradients[name][m]


def _views(flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Views [M, …] of the columns of ``flat`` [M, P], in order."""
    views, start = {}, 0
    for name, shape in shapes.items():
        views[name] = flat[:, start : start + shape.numel()].view(-1, *shape)
        start += shape.numel()
    return views
