"""The profile of a model while it trains: a pass forward and one back on one small batch."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import find_layers
from auxin.families.preparation import hooks, prepared, restored
from auxin.probes.attention import SoftmaxWatch, attention_statistics
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.observe import COLUMNS_AXIS, Array, Observation, observe, run
from auxin.probes.states import (
    NotFinite,
    first_not_finite,
    mean_cosine,
    mean_square,
    stream_of,
    streams_of,
    wrong,
)
from auxin.theory.profile import Profile
from auxin.values import check


class Glance:
    """Measures a model on one small batch, always the same; found at first by ``observe``, by hooks from then on.

    ``precision`` is the type of autocast in which the model is trained; None: it is trained in its own.
    """

    def __init__(self, model: nn.Module, reading: Reading, precision: torch.dtype | None = None) -> None:
        self.model, self._reading, self._precision = model, reading, precision
        self.stack = find_layers(model, reading.layers)
        check(
            self.stack.called, f"layers of {type(model).__name__}", "lists of parts", "modules with a forward"
        )
        self._call: tuple[torch.device, Call] | None = None
        seen = observe(model, reading)
        self._branches, self._first = seen.branches, COLUMNS_AXIS not in seen.notes
        self._kept, self._equal = torch.from_numpy(seen.kept), seen.equal
        self.layers = seen.layers
        self._compare(seen)

    def _compare(self, seen: Observation) -> None:
        """Refuse a model whose stream is none of what its layers return."""
        norm = self.profile().norm if self._precision is None else seen.norm
        if not np.allclose(norm, seen.norm, rtol=1e-2):
            raise ConfigError(
                f"the stream of {self.stack.name} is not what its layers return; allowed: one that is"
            )

    def _inputs(self) -> Call:
        device = next(self.model.parameters()).device
        if self._call is None or self._call[0] != device:
            generator = torch.Generator().manual_seed(self._reading.seed)
            self._call = device, call_of(self.model, self._reading, generator)
        return self._call[1]

    def profile(self) -> Profile:
        """Columns of ``Observation``, shares of the layer's output; and experts: of the tokens' first choices the
        effective number exp(entropy), from 0 for one expert to 1 for all.

        The gradient is that of one random combination of the output. Raises ``NotFinite``, which names the first
        module whose output has NaN or infinite entries.
        """
        with prepared(self.model):
            call, record = self._inputs(), _Record(self.stack.layers, {b.module for b in self._branches})
            device = next(self.model.parameters()).device
            autocast: Any = contextlib.nullcontext()
            if self._precision is not None:
                autocast = torch.autocast(device.type, self._precision)
            with restored(record.restore), autocast:
                with record.following(self.model):
                    output = run(self.model, call)
                if any(wrong(x) for x in (*record.states, *streams_of(output))):
                    with torch.no_grad():
                        found = first_not_finite(self.model, lambda: run(self.model, call))
                    raise found or NotFinite(self.stack.name, "values are not finite")
                return Profile(self._columns(record))

    def _columns(self, record: _Record) -> dict[str, Array]:
        last = record.states[-1]
        generator = torch.Generator().manual_seed(self._reading.seed + 1)  # no vectors that are inputs
        weights = torch.randn(last.shape, generator=generator).to(last)
        sources = [*record.states[:-1], last]
        gradients = torch.autograd.grad(last, sources, weights, allow_unused=True)
        arranged = lambda x: x if self._first else x.transpose(0, 1)
        squares = [math.nan if g is None else mean_square(arranged(g), self._kept) for g in gradients]
        equal = None if self._equal is None else torch.from_numpy(self._equal)
        states = [arranged(state) for state in record.states]
        norm = np.array([mean_square(x, self._kept) / x.shape[-1] for x in states])
        columns = {
            "norm": norm,
            "cosine": np.array([mean_cosine(x, self._kept, equal) for x in states]),
            "gradient": np.array(squares) / squares[-1],
        }
        for name in ("attention_share", "mlp_share", "entropy", "spread", "experts"):
            columns[name] = np.full(len(states), math.nan)
        ran = {name: iter(norms) for name, norms in record.outputs.items()}
        for branch in self._branches:
            size = next(ran.get(branch.module, iter(())), math.nan)
            if f"{branch.kind}_share" in columns:
                columns[f"{branch.kind}_share"][branch.layer + 1] = (
                    branch.strength**2 * size / norm[branch.layer + 1]
                )
        for layer, values in record.softmaxes.items():
            entropy, spread = zip(*values, strict=True)
            columns["entropy"][layer], columns["spread"][layer] = fmean(entropy), fmean(spread)
        for layer, share in record.experts.items():
            columns["experts"][layer] = share
        return columns


class _Record(SoftmaxWatch):
    """The stream before and after the layers, norm² of branches, attention matrices and chosen experts of one pass."""

    def __init__(self, layers: dict[str, nn.Module], branches: set[str]) -> None:
        self._layers, self._named = layers, branches
        self.states: list[Tensor] = []
        self.outputs: dict[str, list[float]] = defaultdict(list)
        self.softmaxes: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.experts: dict[int, float] = {}
        self._most = 0
        self._woken: Tensor | None = None

    @contextlib.contextmanager
    def following(self, model: nn.Module) -> Any:
        """A context in which the model runs."""
        super().__init__(model, self._softmax, self._choice)
        with hooks() as hook:
            for layer in self._layers.values():
                hook(layer.register_forward_pre_hook(self._begin, with_kwargs=True))
                hook(layer.register_forward_hook(self._end))
            for name in self._named:
                hook(model.get_submodule(name).register_forward_hook(self._adding(name)))
            with self:
                yield

    def restore(self) -> None:
        """Undo what was done to a tensor that may be the caller's."""
        if self._woken is not None:
            self._woken.requires_grad_(False)

    def _begin(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        x = stream_of((args, kwargs))
        if not self.states and x is not None:
            if not x.requires_grad:
                self._woken = x.requires_grad_()
            self.states.append(x)
        self._most = 0

    def _end(self, _: nn.Module, __: Any, output: Any) -> None:
        x = stream_of(output)
        if x is not None:
            self.states.append(x)

    def _adding(self, name: str) -> Callable[..., None]:
        def add(_: nn.Module, __: Any, output: Any) -> None:
            x = stream_of(output, self.states[0]) if self.states else None
            if x is not None:
                self.outputs[name].append(x.detach().float().square().mean().item())

        return add

    def _softmax(self, logits: Tensor, weights: Tensor, cross: bool) -> None:
        if self.states and not cross:
            self.softmaxes[len(self.states)].append(attention_statistics(logits, weights))

    def _choice(self, scores: Tensor, _: Tensor) -> None:
        count = scores.shape[-1]
        if self.states and count >= max(self._most, 2):  # experts are more than groups of them
            first = torch.bincount(scores.flatten(0, -2).argmax(-1), minlength=count).double()
            used = torch.special.entr(first / first.sum()).sum().exp().item()
            self._most = count
            self.experts[len(self.states)] = (used - 1) / (min(count, int(first.sum())) - 1)
