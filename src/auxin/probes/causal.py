"""Hugging Face's causal models as what ``tree_projections`` and ``attention_entropy`` take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import Layers, find_layers
from auxin.models.protocol import CausalModel, Output
from auxin.probes.watching import stream_of
from auxin.values import check


def as_causal_model(model: CausalModel | nn.Module, *, layers: Layers | None = None) -> CausalModel:
    """A model of transformers as a ``CausalModel``; nothing is copied. One that is already stays what it is.

    States are those of the residual stream before the first layer and behind each layer, read by hooks: no final
    norm has acted on the last one. Caches are off, masks and positions are passed on as the model takes them.
    Whether it is causal is for the measures to find out, which refuse one that is not.

    Args:
        model: takes ``input_ids`` [B, L]; transformers' causal language models, and models with their signature.
        layers: where the layers are not found, see ``auxin.check``.

    Raises ``ConfigError`` for a model that takes no ``input_ids``, or whose layers are not found.
    """
    check(callable(model), "model", type(model).__name__, "a torch.nn.Module")
    if isinstance(model, nn.Module) and "input_ids" in _parameters(model):
        return _Adapter(model, layers)
    known = not isinstance(model, nn.Module) or _takes_states(model)
    check(known, "model", type(model).__name__, "one whose forward takes input_ids, as those of transformers")
    return model


def _parameters(model: nn.Module) -> set[str]:
    return set(inspect.signature(model.forward).parameters)


def _takes_states(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters.values()
    return any(p.name == "states" or p.kind is p.VAR_KEYWORD for p in parameters)


class _Adapter(nn.Module):
    def __init__(self, model: nn.Module, layers: Layers | None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # the measures restore the mode of the whole
        self._stack = list(find_layers(model, layers).layers.values())
        self._takes = _parameters(model)

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
        length = tokens.shape[1]
        given: dict[str, Any] = {"input_ids": tokens}
        # a mask is always given: without one, jumps of the positions are taken for borders of packed sequences
        given["attention_mask"] = torch.ones_like(tokens) if mask is None else self._mask(mask, tokens)
        if positions is not None:
            plain = torch.arange(length, device=tokens.device).expand_as(tokens)
            if "position_ids" in self._takes:
                given["position_ids"] = positions
            elif not torch.equal(positions, plain):
                raise ConfigError(
                    f"{type(self.model).__name__} takes no position_ids; allowed: models that can be told positions"
                )
        if "use_cache" in self._takes:
            given["use_cache"] = False
        if attention:
            given["output_attentions"] = True
        with self._recording(states) as seen, _eager(self.model, attention):
            output = self.model(**given)
        weights = getattr(output, "attentions", None) or ()
        logits = getattr(output, "logits", None)
        logits = output[0] if logits is None else logits
        return Output(logits, tuple(seen), tuple(w for w in weights if w is not None))

    def _mask(self, mask: Tensor, tokens: Tensor) -> Tensor:
        """0 where a token may be seen and the smallest number elsewhere, [B, 1, L, L]."""
        length = tokens.shape[1]
        allowed = (
            mask.to(tokens.device) & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        )
        allowed = allowed.expand(len(tokens), length, length)[:, None]
        dtype = next(p.dtype for p in self.model.parameters())
        return torch.zeros(allowed.shape, dtype=dtype, device=tokens.device).masked_fill(
            ~allowed, torch.finfo(dtype).min
        )

    @contextmanager
    def _recording(self, wanted: bool) -> Iterator[list[Tensor]]:
        seen: list[Tensor] = []

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not seen and (x := stream_of((args, kwargs))) is not None:
                seen.append(x)

        def behind(module: nn.Module, args: Any, output: Any) -> None:
            if (x := stream_of(output)) is not None:
                seen.append(x)

        handles: list[Any] = []
        if wanted:
            handles = [self._stack[0].register_forward_pre_hook(before, with_kwargs=True)]
            handles += [layer.register_forward_hook(behind) for layer in self._stack]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


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
