"""The profile of a model while it trains: a pass forward and one back on one small batch."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import find_layers
from auxin.families.preparation import hooks, prepared
from auxin.probes.attention import SoftmaxWatch, attention_statistics
from auxin.probes.inputs import Reading, call_of
from auxin.probes.observe import Array, observe, run
from auxin.probes.states import (
    NotFinite,
    first_not_finite,
    following,
    mean_square,
    norm_and_cosine,
    norm_of,
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
        self.stack = stack = find_layers(model, reading.layers)
        check(stack.called, f"layers of {type(model).__name__}", "lists of parts", "modules with a forward")
        seen = observe(model, reading)
        self._branches, self._rows = seen.branches, seen.batch_first
        self._kept = torch.from_numpy(seen.kept)
        self._equal = None if seen.equal is None else torch.from_numpy(seen.equal)
        self.layers = seen.layers
        norm = self.profile().norm if precision is None else seen.norm
        if not np.allclose(norm, seen.norm, rtol=1e-2):
            what = f"the stream of {stack.name}"
            raise ConfigError(f"{what} is not what its layers return; allowed: one that is")

    def profile(self) -> Profile:
        """Columns of ``Observation`` by one random combination, shares of the layer's output; and experts: of the
        tokens' first choices the effective number exp(entropy), from 0 for one expert to 1 for all.

        Raises ``NotFinite``, which names the first module whose output has NaN or infinite entries.
        """
        with prepared(self.model), following(self.stack.layers.values(), wake=True) as states:
            call = call_of(self.model, self._reading)
            record = _Record(states)
            autocast: Any = contextlib.nullcontext()
            if self._precision is not None:
                autocast = torch.autocast(next(self.model.parameters()).device.type, self._precision)
            with autocast:
                with SoftmaxWatch(self.model, record.softmax, record.choice), hooks() as hook:
                    for name in {branch.module for branch in self._branches}:
                        module = self.model.get_submodule(name)
                        hook(module.register_forward_hook(partial(record.add, name)))
                    output = run(self.model, call)
                if any(wrong(x) for x in (*states, *streams_of(output))):
                    with torch.no_grad():
                        found = first_not_finite(self.model, lambda: run(self.model, call))
                    raise found or NotFinite(self.stack.name, "values are not finite")
                return Profile(self._columns(record))

    def _columns(self, record: _Record) -> dict[str, Array]:
        last = record.states[-1]
        generator = torch.Generator().manual_seed(self._reading.seed + 1)  # no vectors that are inputs
        weights = torch.randn(last.shape, generator=generator).to(last)
        gradients = torch.autograd.grad(last, record.states, weights, allow_unused=True)
        arranged = lambda x: x if self._rows else x.transpose(0, 1)
        squares = [math.nan if g is None else mean_square(arranged(g), self._kept) for g in gradients]
        columns = norm_and_cosine(map(arranged, record.states), self._kept, self._equal)
        columns["gradient"] = np.array(squares) / squares[-1]
        for name in ("attention_share", "mlp_share", "entropy", "spread", "experts"):
            columns[name] = np.full(len(squares), math.nan)
        ran = {name: iter(norms) for name, norms in record.outputs.items()}
        for branch in self._branches:
            size, layer = next(ran.get(branch.module, iter(())), math.nan), branch.layer + 1
            if f"{branch.kind}_share" in columns:
                columns[f"{branch.kind}_share"][layer] = branch.strength**2 * size / columns["norm"][layer]
        for layer, values in record.softmaxes.items():
            entropy, spread = zip(*values, strict=True)
            columns["entropy"][layer], columns["spread"][layer] = fmean(entropy), fmean(spread)
        for layer, (_, share) in record.experts.items():
            columns["experts"][layer] = share
        return columns


class _Record:
    """Norm² of branches, statistics of attention and the use of experts in one pass, by the layer's number from 1."""

    def __init__(self, states: list[Tensor]) -> None:
        self.states = states
        self.outputs: dict[str, list[float]] = defaultdict(list)
        self.softmaxes: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.experts: dict[int, tuple[int, float]] = {}

    def add(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        """A branch's output."""
        x = stream_of(output, self.states[0]) if self.states else None
        if x is not None:
            self.outputs[name].append(norm_of(x))

    def softmax(self, logits: Tensor, weights: Tensor, cross: bool) -> None:
        """An attention matrix."""
        if self.states and not cross:
            self.softmaxes[len(self.states)].append(attention_statistics(logits, weights))

    def choice(self, scores: Tensor, _: Tensor) -> None:
        """Experts are chosen, or groups of them: of both, these are fewer."""
        layer, count = len(self.states), scores.shape[-1]
        if layer and count >= max(self.experts.get(layer, (2,))[0], 2):
            first = torch.bincount(scores.flatten(0, -2).argmax(-1), minlength=count).double()
            used = torch.special.entr(first / first.sum()).sum().exp().item()
            self.experts[layer] = count, (used - 1) / (min(count, int(first.sum())) - 1)
