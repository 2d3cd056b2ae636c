"""Hugging Face's causal models as what ``tree_projections`` and ``attention_entropy`` take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import find_layers
from auxin.models.protocol import CausalModel, Output
from auxin.probes.inputs import accepts
from auxin.probes.states import following
from auxin.values import check


def as_causal_model(model: CausalModel | nn.Module) -> CausalModel:
    """A model of transformers as a ``CausalModel``; nothing is copied. One that is already stays what it is.

    States are those of the residual stream before the first layer and after each, before any final norm. Caches are
    off, masks and positions are passed on as the model takes them. The measures refuse a model that is not causal.

    Raises ``ConfigError`` for a model that takes no ``input_ids``, or whose layers are not found.
    """
    check(callable(model), "model", type(model).__name__, "a torch.nn.Module")
    if isinstance(model, nn.Module):
        if accepts(model, "input_ids"):
            return _Adapter(model)
        parameters = inspect.signature(model.forward).parameters.values()
        known = any(p.name == "states" or p.kind is p.VAR_KEYWORD for p in parameters)
        allowed = "one whose forward takes input_ids, as those of transformers"
        check(known, "model", type(model).__name__, allowed)
    return model


class _Adapter(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # the measures restore the mode of the whole
        self._layers = list(find_layers(model).layers.values())

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        states: bool = False,
        attention: bool = False,
    ) -> Output:
        """See ``CausalModel``."""
        # a mask is always given: without one, jumps of the positions are taken for borders of packed sequences
        visible = torch.ones_like(tokens) if mask is None else self._mask(mask, tokens)
        given: dict[str, Any] = {"input_ids": tokens, "attention_mask": visible}
        if positions is not None:
            plain = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
            if accepts(self.model, "position_ids"):
                given["position_ids"] = positions
            elif not torch.equal(positions, plain):
                kind = type(self.model).__name__
                raise ConfigError(f"{kind} takes no position_ids; allowed: models that can be told positions")
        if accepts(self.model, "use_cache"):
            given["use_cache"] = False
        if attention:
            given["output_attentions"] = True
        with following(self._layers if states else ()) as recorded, _eager(self.model, attention):
            output = self.model(**given)
        weights = getattr(output, "attentions", None) or ()
        logits = getattr(output, "logits", None)
        logits = output[0] if logits is None else logits
        return Output(logits, tuple(recorded), tuple(w for w in weights if w is not None))

    def _mask(self, mask: Tensor, tokens: Tensor) -> Tensor:
        """0 where a token may be seen and the smallest number elsewhere, [B, 1, L, L]."""
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        allowed = (mask.to(tokens.device) & causal).expand(len(tokens), length, length)[:, None]
        dtype = next(self.model.parameters()).dtype
        zeros = torch.zeros(allowed.shape, dtype=dtype, device=tokens.device)
        return zeros.masked_fill(~allowed, torch.finfo(dtype).min)


@contextmanager
def _eager(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Attention that returns its weights, which fused kernels do not."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "_attn_implementation", None)
    if not wanted or before is None:
        yield
        return
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
