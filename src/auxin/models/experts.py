"""A mixture of experts: a router, MLPs that it chooses between, and an MLP that every token passes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from auxin.architecture import experts as description
from auxin.architecture.sizes import Sizes
from auxin.models.basic import Body, Linear
from auxin.models.context import Context
from auxin.models.mlp import MLPModule


class ExpertsModule(Body):
    """Σ_e w_e(x)·MLP_e(x) + s(x)·MLP_shared(x). Every expert runs on every token: for models that are small."""

    BIAS = "mlp_bias"

    def __init__(self, described: description.Experts, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.described = described
        routed = described.count + (described.sigma_s is not None)
        self.router = Linear(sizes.width, routed, bias=False)
        self.experts = nn.ModuleList(
            MLPModule(described.expert, sizes.of_expert(), 0.0) for _ in range(described.count)
        )
        self.shared = (
            None if described.shared is None else MLPModule(described.shared, sizes.of_shared(), 0.0)
        )

    def held(self) -> Iterator[tuple[Linear, tuple[str, ...]]]:
        yield self.router, ("router",) if self.described.sigma_s is None else ("router", "shared_router")
        for expert in self.experts:
            yield from expert.held()  # pyright: ignore[reportCallIssue]
        for linear, roles in self.shared.held() if self.shared is not None else ():
            yield linear, tuple(description.SHARED + role for role in roles)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, d], or packed."""
        logits = self.router(x)
        weights = self.weights(logits[..., : len(self.experts)])
        y = sum(weights[..., e, None] * expert(x, context) for e, expert in enumerate(self.experts))
        if self.shared is not None:
            gate = 1.0 if self.described.sigma_s is None else logits[..., -1:].sigmoid()
            y = y + gate * self.shared(x, context)
        return y  # pyright: ignore[reportReturnType]

    def weights(self, logits: Tensor) -> Tensor:
        """[..., E]: what every expert's output is multiplied by; 0 for those that are not chosen."""
        scores = logits.softmax(-1) if self.described.score == "softmax" else logits.sigmoid()
        chosen = self._open(scores).topk(self.described.active, -1).indices
        kept = scores.gather(-1, chosen)
        if self.described.normalized:
            kept = kept / kept.sum(-1, keepdim=True)
        return torch.zeros_like(scores).scatter(-1, chosen, self.described.factor * kept)

    def _open(self, scores: Tensor) -> Tensor:
        """The scores, below 0 outside the groups that a token chooses from."""
        groups, kept = self.described.groups, self.described.kept_groups
        if groups == 1:
            return scores
        grouped = scores.unflatten(-1, (groups, -1))
        best = grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1)
        shut = torch.ones_like(best, dtype=torch.bool).scatter(-1, best.topk(kept, -1).indices, False)
        return grouped.masked_fill(shut[..., None], -1.0).flatten(-2)
