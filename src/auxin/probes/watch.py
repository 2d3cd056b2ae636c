"""``auxin.watch``: whether a model drifts away while it trains, by its profile and the size of its updates."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import LayerStack, unwrapped
from auxin.families.preparation import as_config_error, check_readable
from auxin.probes.bands import Alarm, Bands, Gradients, Updates
from auxin.probes.glance import Glance
from auxin.probes.inputs import Reading
from auxin.probes.states import NotFinite
from auxin.theory.profile import Profile
from auxin.theory.states import Array
from auxin.values import check_whole

ENTRIES = 256  # entries of a tensor whose update is measured
SUMMARY: dict[str, Callable[[Array], float]] = {
    "norm": lambda x: x[-1], "cosine": lambda x: x[-1], "gradient": lambda x: x[0], "attention_share": np.nanmax,
    "mlp_share": np.nanmax, "entropy": np.nanmin, "spread": np.nanmax, "experts": np.nanmin, "update": np.nanmax,
}  # fmt: skip
"""One number of a profile's columns: after the last layer, of the input's gradient, or of the extreme layer."""
_torch: Any = torch
"""Whose operations on lists of tensors have private names."""
Sink = Callable[[int, Profile, Sequence[Alarm]], None]


def watch(
    model: nn.Module,
    every: int = 100,
    inputs: Any = None,
    *,
    sinks: Sequence[Sink] = (),
    precision: torch.dtype | None = None,
    **reading: Any,
) -> Watch:
    """Watch a model that trains; call ``step`` of what is returned after every step of the optimizer.

    Every step, before gradients are set to zero: the norms of each tensor's update, of 256 of its entries, and of each
    matrix's gradient. Every ``every`` steps, and where one jumps: the profile on one small batch. A quantity that
    leaves its band is an ``Alarm``, which ``step`` returns; callbacks of trainers make it a warning of the logger
    ``auxin``. Bands end at limits (cosine 0.999, entropy 0.02, spread 50, experts 0.3) and at three times the largest
    change of the last eight looks. Weights, gradients, modes and random state are left as they are.

    Args:
        model: any module that ``check`` measures, whose layers return the stream.
        every: steps between two looks.
        inputs: as of ``check``; a batch of real data shows more than random tokens.
        sinks: functions of (step, profile, alarms), called at every look: ``json_lines``, ``tensorboard``, ``wandb``.
        precision: the type of autocast, if the model is trained in one.
        reading: ``layers``, ``batch`` (2), ``n_tokens`` (32), ``batch_first``, ``seed``, as of ``check``.

    Cost: a look takes a pass forward and one back of 64 tokens.

    Raises ``ConfigError`` as ``check`` does, and where layers do not return the stream.

    >>> import torch
    >>> model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(32, 4), 2, enable_nested_tensor=False)
    >>> watcher = watch(model, every=10)
    >>> watcher.step(10)
    []
    >>> watcher.profile.depth
    2
    """
    check_whole("every", every, 1, 10**9)
    small: dict[str, Any] = {"n_tokens": 32}
    return Watch(unwrapped(model), every, Reading(inputs, **(small | reading)), sinks, precision)


class Watch:
    """A model that is watched; made by ``watch``."""

    def __init__(
        self,
        model: nn.Module,
        every: int,
        reading: Reading,
        sinks: Sequence[Sink] = (),
        precision: torch.dtype | None = None,
    ) -> None:
        check_readable(model)
        self.model, self.every, self.sinks = model, every, tuple(sinks)
        self.alarms: list[Alarm] = []
        """All so far."""
        self._glance = Glance(model, reading, precision)
        self.profile = self._glance.profile()
        """Of the last look; its column update is of layers, at 0 of what is outside them."""
        self._bands = Bands(self._glance.layers, self.profile)
        self._sampled = _Sampled(model, self._glance.stack)
        self._updates, self._gradients = Updates(self._sampled.names), Gradients(self._sampled.matrices)
        self._finite = True
        self._step: int | None = None

    def step(self, step: int) -> list[Alarm]:
        """What has left its band; ``step`` is the number of the optimizer's step that was taken last."""
        if step == self._step:  # a batch whose gradients are only added up
            return []
        self._step = step
        update, gradient = self._sampled.update(), self._sampled.gradient()
        jumps: list[Alarm | None] = []
        finite = update is None or math.isfinite(update.sum())
        if update is not None and finite:
            jumps.append(self._updates.judge(step, update, self._sampled.sizes))
            if gradient is not None and 0 < gradient.sum() < math.inf:
                jumps.append(self._gradients.judge(step, gradient))
        found = [jump for jump in jumps if jump is not None]
        if found or (self._finite and not finite) or step % self.every == 0:
            found += self._look(step, update)
        self.alarms += found
        return found

    def _warn(self, step: int) -> None:
        """``step`` for a trainer, in which nobody reads what it returns."""
        for alarm in self.step(step):
            logging.getLogger("auxin").warning("%s", alarm)

    def _look(self, step: int, update: Array | None) -> list[Alarm]:
        before, found = self._finite, list[Alarm]()
        try:
            profile = self._glance.profile()
            self._finite = True
        except NotFinite as error:
            self._finite = False
            found += [Alarm(step, "nan", error.module, str(error), math.nan, math.inf)] if before else []
        else:
            found += self._bands.judge(step, profile)
            none = np.full(profile.depth + 1, math.nan)
            layers = none if update is None else self._sampled.by_layer(update)
            if len(layers) == profile.depth + 1:
                profile = Profile({**profile.columns, "update": layers})
            self._sampled.weigh()
            self.profile = profile
        for sink in self.sinks:
            sink(step, self.profile, found)
        return found

    @property
    def summary(self) -> dict[str, float]:
        """A number for each quantity of the last look: ``summary_of``."""
        return summary_of(self.profile)

    def trainer_callback(self) -> Any:
        """A ``TrainerCallback`` of transformers: ``Trainer(model, callbacks=[watcher.trainer_callback()])``."""
        from transformers import TrainerCallback

        step = lambda _, args, state, *__, **___: self._warn(state.global_step + 1)
        return _callback(TrainerCallback, on_optimizer_step=step)  # before gradients are set to zero

    def lightning_callback(self) -> Any:
        """A ``Callback`` of Lightning: ``Trainer(callbacks=[watcher.lightning_callback()])``."""
        with as_config_error("Lightning is not installed", "pip install lightning"):
            from lightning.pytorch import Callback  # pyright: ignore[reportMissingImports]

        return _callback(Callback, on_train_batch_end=lambda _, trainer, *__: self._warn(trainer.global_step))


def _callback(base: type, **methods: Callable[..., Any]) -> Any:
    """An instance of a callback's class with these methods, which return nothing."""
    quiet = {name: lambda *a, act=act, **k: (act(*a, **k), None)[1] for name, act in methods.items()}
    return type("AuxinCallback", (base,), quiet)()


def summary_of(profile: Profile) -> dict[str, float]:
    """One number a quantity: norm² and cosine after the last layer, the input's gradient, else the extreme layer."""
    columns = ((name, reduce, profile.columns.get(name)) for name, reduce in SUMMARY.items())
    return {name: float(reduce(x)) for name, reduce, x in columns if x is not None and not np.isnan(x).all()}


def json_lines(path: str | Path) -> Sink:
    """A sink: a JSON object a look, of the step, all columns and the alarms, appended to a file."""

    def write(step: int, profile: Profile, alarms: Sequence[Alarm]) -> None:
        columns = {n: [float(v) if math.isfinite(v) else None for v in x] for n, x in profile.columns.items()}
        row = {"step": step, **columns, "alarms": [str(alarm) for alarm in alarms]}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    return write


def tensorboard(writer: Any) -> Sink:
    """A sink: the summary as scalars ``watch/…`` of a SummaryWriter, alarms as text."""

    def write(step: int, profile: Profile, alarms: Sequence[Alarm]) -> None:
        for name, value in summary_of(profile).items():
            writer.add_scalar(f"watch/{name}", value, step)
        for alarm in alarms:
            writer.add_text("watch/alarm", str(alarm), step)

    return write


def wandb(run: Any) -> Sink:
    """A sink: the summary as ``watch/…`` of a run of Weights & Biases, with the number of alarms."""

    def write(step: int, profile: Profile, alarms: Sequence[Alarm]) -> None:
        values = {f"watch/{name}": value for name, value in summary_of(profile).items()}
        run.log({**values, "watch/alarms": len(alarms), "watch/step": step})

    return write


class _Sampled:
    """Some entries of every parameter, as they are and as they were one step ago."""

    def __init__(self, model: nn.Module, stack: LayerStack) -> None:
        named = {name: p for name, p in model.named_parameters() if type(p.data) is Tensor and p.numel()}
        if not named:
            raise ConfigError(f"{type(model).__name__} has no plain parameters; allowed: one or more")
        self.names, self._parameters = list(named), list(named.values())
        wide = {name: p for name, p in named.items() if p.ndim > 1}
        self.matrices, self._wide = list(wide), list(wide.values())
        places = (stack.place(name)[0] for name in self.names)
        self._layer = np.array([0 if place is None else place + 1 for place in places])
        self._depth = len(stack.layers)
        self._take()

    @torch.no_grad()
    def _take(self) -> None:
        """Views of the entries, which follow the weights, and a copy of them, joined."""
        self._places = [p.data_ptr() for p in self._parameters]
        self._views = [_some(p) for p in self._parameters]
        self._lengths = torch.tensor([len(view) for view in self._views], device=self._views[0].device)
        self._before = torch.cat(_alike(self._views))
        self.weigh()

    @torch.no_grad()
    def weigh(self) -> None:
        """Note the sizes [P] of the weights."""
        self.sizes = self._norms(self._before)

    @torch.no_grad()
    def update(self) -> Array | None:
        """[P]: norms of the entries' updates since the last call; None where the weights have moved elsewhere."""
        if [p.data_ptr() for p in self._parameters] != self._places:
            self._take()
            return None
        now = torch.cat(_alike(self._views))
        found = self._norms(now - self._before)
        self._before = now
        return found

    def gradient(self) -> Array | None:
        """Norms of the last batch's gradients of matrices, 0 where there is none; None without any."""
        there = {i: p.grad for i, p in enumerate(self._wide) if p.grad is not None}
        plain = {i: grad for i, grad in there.items() if grad.layout == torch.strided}
        if not plain:
            return None
        found = np.zeros(len(self._wide))
        norms = _alike(_torch._foreach_norm(list(plain.values())))
        found[list(plain)] = torch.stack(norms).double().cpu().numpy()
        return found

    def _norms(self, joined: Tensor) -> Array:
        """[P]: Euclidean norms of the parts."""
        squares = torch.segment_reduce(joined.square(), "sum", lengths=self._lengths, unsafe=True)
        return squares.double().sqrt().cpu().numpy()

    def by_layer(self, update: Array) -> Array:
        """[depth + 1] of relative updates; at 0 of all that is outside the layers."""
        total = lambda x: np.bincount(self._layer, weights=x**2, minlength=self._depth + 1)
        return np.sqrt(total(update) / np.maximum(total(self.sizes), 1e-24))


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """On one device, in one precision."""
    device = tensors[0].device
    same = all(x.device == device and x.dtype == torch.float32 for x in tensors)
    return list(tensors) if same else [x.to(device, torch.float32) for x in tensors]


def _some(x: Tensor) -> Tensor:
    """A view of at most ``ENTRIES`` entries at equal distances in memory."""
    stride = -(-x.numel() // ENTRIES)
    return x.detach().as_strided((-(-x.numel() // stride),), (stride,), x.storage_offset())
