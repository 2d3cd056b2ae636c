"""Which parameters a gradient reaches, at once or after the tensors after them have moved.

A weight is not dead because it is zero: gradients reach an output map of zeros at the first update, and what stands
before it from the second on. So the model runs forward and back with parameters of its own values, those that are zero
and have a gradient are moved against it, and it runs again, until no more are reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from auxin.families.preparation import hooks, prepared
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.states import tensors_of

UPDATES = 8
"""Updates that are tried at most."""
STEP = 0.02
"""Root mean square of what a zero tensor is moved by."""


@dataclass
class Reach:
    """What one model's parameters have to do with its output."""

    updates: dict[str, int] = field(default_factory=dict)
    """The update, from 1, that first moves a parameter, by its name."""
    blocked: set[str] = field(default_factory=set)
    """Parameters whose gradient is zero after all updates that were tried."""
    unused: set[str] = field(default_factory=set)
    """Trainable parameters that the output does not depend on."""
    called: set[str] = field(default_factory=set)
    """Modules that ran."""
    notes: tuple[str, ...] = ()
    """Why it was not measured."""


def reach_of(model: nn.Module, reading: Reading, trainable: set[str]) -> Reach:
    """Run a model forward and back, with gradients of the parameters that are trainable; of all, where none is.

    Cost: one pass forward and back; one more for each round of zero tensors that hold others back. The model's own
    tensors are read, never written.
    """
    found = Reach()
    with prepared(model), hooks() as hook:
        call = call_of(model, reading, torch.Generator().manual_seed(reading.seed))
        for name, module in model.named_modules():
            hook(module.register_forward_hook(lambda *_, name=name: found.called.add(name)))
        try:
            _updates(model, call, _leaves(model, trainable), found)
        except Exception as error:  # of the user's code, or of torch where a tensor cannot be exchanged
            reason = " ".join(str(error).split())[:120]
            return Reach(notes=(f"gradients of parameters were not measured: {reason}",))
    found.unused = {n for n in trainable if n not in found.updates and n not in found.blocked}
    return found


def _leaves(model: nn.Module, wanted: set[str]) -> dict[str, Tensor]:
    """Tensors that share the parameters' memory and collect gradients of their own; all, where none is trainable."""
    return {
        name: p.detach().requires_grad_()
        for name, p in model.named_parameters()
        if p.is_floating_point() and (name in wanted or not wanted)
    }


def _updates(model: nn.Module, call: Call, leaves: dict[str, Tensor], found: Reach) -> None:
    zero = {name for name, leaf in leaves.items() if not bool(leaf.detach().any())}
    for number in range(1, UPDATES + 1):
        reached = _gradients(model, call, leaves, zero)
        found.blocked = {name for name, gradient in reached.items() if gradient is False}
        for name, gradient in reached.items():
            if gradient is not False:
                found.updates.setdefault(name, number)
        found.blocked -= found.updates.keys()
        moving = [name for name in zero if isinstance(reached.get(name), Tensor)]
        if not found.blocked or not moving:
            return
        for name in moving:
            gradient = reached[name]
            assert isinstance(gradient, Tensor)
            size = gradient.float().square().mean().sqrt().clamp_min(1e-30)
            leaves[name] = (leaves[name].detach() - (STEP * gradient / size).to(gradient)).requires_grad_()
            zero.discard(name)


def _gradients(
    model: nn.Module, call: Call, leaves: Mapping[str, Tensor], keep: set[str]
) -> dict[str, Tensor | bool]:
    """Of a random combination of the outputs: whether it is anywhere not zero, or the gradient itself of those in
    ``keep``. Parameters that the outputs do not depend on are left out."""
    reached: dict[str, Tensor | bool] = {}

    def note(name: str, leaf: Tensor) -> None:
        assert leaf.grad is not None
        some = bool(leaf.grad.any())
        reached[name] = leaf.grad if some and name in keep else some
        leaf.grad = None  # one gradient at a time is held

    with hooks() as hook:
        for name, leaf in leaves.items():
            hook(leaf.register_post_accumulate_grad_hook(partial(note, name)))
        functional_call(_Pass(model), {f"model.{name}": leaf for name, leaf in leaves.items()}, (call,))
    return reached


class _Pass(nn.Module):
    """Forward and back in one call, so that what is computed again on the way back sees the same parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Call) -> None:
        """Adds up a random combination of the outputs and differentiates it."""
        args = tuple(a.detach() if isinstance(a, Tensor) else a for a in call.args)
        kwargs = {n: a.detach() if isinstance(a, Tensor) else a for n, a in call.kwargs.items()}
        generator = torch.Generator().manual_seed(0)
        total = sum(
            (y.float() * torch.randn(y.shape, generator=generator).to(y.device)).sum()
            for y in tensors_of(self.model(*args, **kwargs))
            if y.is_floating_point() and y.requires_grad
        )
        if isinstance(total, Tensor):
            total.backward()
