"""A stack of models differentiated by hand, all members at once: what ``Ensemble`` computes, without a graph.

Shapes in comments: M members, T packed tokens, d width, V words.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from auxin.architecture import layer, mlp
from auxin.architecture.model import CLASSIC_NORM, ModelConfig
from auxin.models.batch import Batch, Masks
from auxin.models.ensemble import Ensemble
from auxin.models.fast.functions import (
    AttentionFunction,
    Back,
    LayerNormFunction,
    LinearFunction,
    activate,
    cross_entropy,
    embed,
)
from auxin.models.transformer import TransformerLM


def supports(config: ModelConfig) -> bool:
    """Whether the hand-written step is of this model: causal, with classic layers or GPT-2's.

    Those are sublayers one after the other, of plain attention or an MLP without a gate, with PyTorch's layer norm
    before the branch, of the stream, or nowhere.
    """
    network = config.network()
    whole = config.causal and config.sizes.key_heads == config.heads and config.embedding_norm is None
    norms = (None, CLASSIC_NORM)
    return whole and network.final in norms and all(map(_supports_layer, network.layers))


def _supports_layer(described: layer.Layer) -> bool:
    norms = (None, CLASSIC_NORM)
    return not described.parallel and all(
        s.after is None
        and None in (s.before, s.stream)
        and s.before in norms
        and s.stream in norms
        and s.body.plain
        for s in described.sublayers
    )


class FastEnsemble(Ensemble):
    """The stack of a config that ``supports`` knows: the same losses and gradients as of ``Ensemble``."""

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
        attend = AttentionFunction(batch, config.heads, config.width, self.dtype)
        backs: list[Back] = []
        for name, sublayer in self._sublayers:
            x, back = self._residual(x, name, sublayer, attend, masks)
            backs.append(back)
        if "final_norm" in self._norms:
            x, back = self._norms["final_norm"](x, self.add)
            backs.append(back)
        x, back = self._maps["output"](x, self.add)
        backs.append(back)

        def backward(g: Tensor) -> None:
            while backs:  # what a sublayer has kept is freed as soon as it is behind
                g = backs.pop()(g)
            finish(g)

        return x, backward

    def _embed(self, batch: Batch, masks: Masks) -> tuple[Tensor, Callable[[Tensor], None]]:
        config, p, g = self.config, self.parameters, self.gradients
        scale = math.sqrt(config.width) if config.scale_embedding else 1.0
        name = "embedding.weight"
        add = self.add or config.tied  # the tied output map has written its gradient before
        x, back = embed(batch.tokens, p[name], g[name], scale, add)
        backs = [back]
        if config.positions == "sinusoidal":
            x += self.buffers["positions"][batch.positions]
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

    def _residual(
        self, x: Tensor, name: str, sublayer: layer.Sublayer, attend: AttentionFunction, masks: Masks
    ) -> tuple[Tensor, Back]:
        """One sublayer inside its residual: N(s·x + b·F(x)), s·x + b·F(N(x)) or s·x + b·F(x)."""
        skip, branch, body = sublayer.skip, sublayer.branch, sublayer.body
        norm = self._norms.get(f"{name}_norm")
        pre, post = (norm if sublayer.before else None), (norm if sublayer.stream else None)
        seen, pre_back = pre(x, self.add) if pre else (x, _same)
        if isinstance(body, mlp.MLP):
            y, inner_back = self._mlp(seen, name, str(body.activation), masks)
        else:
            y, inner_back = self._attention(seen, name, attend, masks)
        y, drop = masks.apply(y)
        y = torch.add(x if skip == 1 else skip * x, y, alpha=branch, out=y)
        y, post_back = post(y, self.add) if post else (y, _same)

        def back(g: Tensor) -> Tensor:
            g = post_back(g)
            gy = drop(g if branch == 1 else branch * g)
            return pre_back(inner_back(gy)).add_(g, alpha=skip)

        return y, back

    def _attention(
        self, x: Tensor, name: str, attend: AttentionFunction, masks: Masks
    ) -> tuple[Tensor, Back]:
        _, qkv_back = self._maps[f"{name}.qkv"](x, self.add, out=attend.qkv)
        y, attend_back = attend(masks.take())
        y, out_back = self._maps[f"{name}.out"](y, self.add)

        def back(g: Tensor) -> Tensor:
            out_back(g, out=attend.gradient)
            return qkv_back(attend_back())

        return y, back

    def _mlp(self, x: Tensor, name: str, activation: str, masks: Masks) -> tuple[Tensor, Back]:
        x, up_back = self._maps[f"{name}.up"](x, self.add)
        x, activate_back = activate(x, activation)
        x, drop = masks.apply(x)
        x, down_back = self._maps[f"{name}.down"](x, self.add)
        return x, lambda g: up_back(activate_back(drop(down_back(g))))

    def _bind(self) -> None:
        """Build the operations on the present parameters and buffers."""
        p, g = self.parameters, self.gradients
        with torch.device("meta"):
            layers = TransformerLM(self.config).layers
        self._sublayers = [
            (f"layers.{i}.{branch.name}", branch.described)
            for i, each in enumerate(layers)
            for branch in each.branches  # pyright: ignore[reportGeneralTypeIssues]
        ]
        self._maps: dict[str, LinearFunction] = {}
        self._norms: dict[str, LayerNormFunction] = {}

        def linear(of: str, weight: str) -> None:
            bias = f"{of}.bias"
            self._maps[of] = LinearFunction(p[weight], p.get(bias), g[weight], g.get(bias), self.dtype)

        for name in p:
            of, _, kind = name.rpartition(".")
            if of.endswith("norm") and kind == "weight":
                self._norms[of] = LayerNormFunction(p[name], p[f"{of}.bias"], g[name], g[f"{of}.bias"])
            elif kind == "weight" and of != "embedding":
                linear(of, name)
        if self.config.tied:
            linear("output", "embedding.weight")


def _same(g: Tensor) -> Tensor:
    return g
