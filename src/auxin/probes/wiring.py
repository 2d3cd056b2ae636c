"""A model's maps taken apart from what is between them: a pass is recorded, and replayed with other outputs of maps.

In a replay no map multiplies: its output is the recorded one, or another that is asked for. What a map then reads
depends only on the maps that feed it directly, so that replays find the code between maps by experiment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from auxin.families.configs import NoFamily
from auxin.families.layers import LayerStack
from auxin.families.preparation import restored
from auxin.probes.residual import ObservedBranch
from auxin.probes.states import tensors_of
from auxin.probes.tracing import Tracer

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
OTHERS = ("convolution", "_scaled_grouped_mm", "_grouped_mm")  # other operations that multiply with weights


@dataclass(frozen=True, eq=False)
class MapCall:
    """A product with a parameter, as it ran."""

    parameter: str
    weight: Tensor
    """[fan_in, fan_out]."""
    inputs: Tensor
    """[T, fan_in], T tokens of all sequences."""
    output: Tensor
    """[T, fan_out], with its bias."""
    bias: str | None = None
    """Name of a parameter that was added."""


@dataclass(frozen=True, eq=False)
class Replay:
    """A replay in which the stream was followed."""

    states: list[Tensor]
    """[T, d] before the first layer and after every layer."""
    branches: list[list[ObservedBranch]]
    """By layer."""
    reads: list[Tensor]
    """What the maps read, by number."""
    shape: tuple[int, ...]
    """Of the stream without its width."""


class _Enough(BaseException):
    """Ends a replay; no error that a model's own code catches."""


class _Watch(TorchDispatchMode):
    """Records the products with parameters, or gives them other outputs."""

    def __init__(self, model: nn.Module, given: Mapping[int, Tensor] | None, until: int | None) -> None:
        super().__init__()
        self.calls: list[MapCall] = []
        self.others: list[str] = []
        self._given, self._until = given, until
        self._latest: Tensor | None = None
        parameters = model.named_parameters()
        self._sources: dict[int, tuple[str, Tensor]] = {
            p.untyped_storage().data_ptr(): (name, p) for name, p in parameters if p.numel()
        }

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As of SoftmaxWatch."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.name().partition(".")[0].removeprefix("aten::"), kwargs or {}
        if name in PRODUCTS:
            sources = [self._source(factor) for factor in args[-2:]]
            if (sources[0] is None) != (sources[1] is None):
                return self._map(lambda: func(*args, **kwargs), args, sources)
        if name in OTHERS and self._source(args[1]) is not None:
            self.others.append(str(self._source(args[1])))
        added = self._added(name, args)
        if added is not None and self._given is not None:
            return args[0] if name == "add_" else args[0].clone()
        result = func(*args, **kwargs)
        if added is not None:
            self._latest, call = result, self.calls[-1]
            output = result.reshape(call.output.shape).cpu().clone()
            self.calls[-1] = replace(call, output=output, bias=added)
        self._derive(args, result)
        return result

    def _source(self, x: Any) -> str | None:
        """Name of the parameter that a tensor is, or is made of alone."""
        if not isinstance(x, Tensor) or x.is_sparse:
            return None
        return self._sources.get(x.untyped_storage().data_ptr(), (None,))[0]

    def _derive(self, args: Any, result: Any) -> None:
        """What is made of parameters alone is one."""
        tensors = list(tensors_of(args))
        if isinstance(result, Tensor) and tensors and self._source(result) is None:
            names = [self._source(x) for x in tensors]
            if None not in names and result.numel() and not result.is_sparse:
                self._sources[result.untyped_storage().data_ptr()] = (str(names[0]), result)  # kept alive

    def _added(self, name: str, args: Any) -> str | None:
        """The bias that is added to the latest map's output by itself."""
        if name not in ("add", "add_") or self._latest is None or not isinstance(args[1], Tensor):
            return None
        same = args[0].untyped_storage().data_ptr() == self._latest.untyped_storage().data_ptr()
        return self._source(args[1]) if same and args[1].ndim == 1 else None

    def _map(self, run: Callable[[], Tensor], args: Any, sources: list[str | None]) -> Tensor:
        one, other = args[-2:]
        first = sources[0] is not None  # weight · inputs, transposed
        weight, x = (one.mT, other.mT) if first else (other, one)
        if weight.ndim == 3 and (weight.shape[0] == 1 or weight.stride(0) == 0):
            weight = weight[0]
        name = str(sources[0] or sources[1])
        if weight.ndim == 3:
            self.others.append(name)
            return run()
        shape = (*x.shape[:-1], weight.shape[-1])
        index = len(self.calls)
        bias = self._source(args[0]) if len(args) > 2 else None
        if self._given is None:
            result = run()
            output = (result.mT if first else result).reshape(-1, shape[-1]).cpu().clone()
        else:
            output = self._given.get(index, torch.empty(0))
            if output.numel() != x.numel() // x.shape[-1] * shape[-1]:
                raise NoFamily(f"{name} runs otherwise when the pass is repeated")
            result = output.reshape(shape).to(x, copy=True)
            result = result.mT if first else result
        inputs = x.detach().reshape(-1, x.shape[-1]).cpu().clone()
        self.calls.append(MapCall(name, weight.detach(), inputs, output, bias))
        self._latest = result
        if index == self._until:
            raise _Enough
        return result


class Wiring:
    """A pass through a model, with the maps that ran, and what they read where outputs of maps are others."""

    def __init__(self, model: nn.Module, stack: LayerStack, run: Callable[[], Any]) -> None:
        self.model, self.stack, self.run = model, stack, run
        watch = _Watch(model, None, None)
        with torch.no_grad(), watch:
            run()
        self.calls, self.others = watch.calls, watch.others
        """Parameters of products that are no maps of tokens: convolutions, experts side by side."""
        self.held: dict[int, Tensor] = {}
        """Outputs of maps in every replay, in place of the recorded ones."""

    def replay(self, changes: Mapping[int, Tensor], until: int | None = None) -> list[Tensor]:
        """What the maps read, [T, fan_in] by number, up to the map ``until``; without it also the model's outputs."""
        given = {i: call.output for i, call in enumerate(self.calls)} | self.held | dict(changes)
        watch = _Watch(self.model, given, until)
        outputs: list[Tensor] = []
        with torch.no_grad(), contextlib.suppress(_Enough), watch:
            outputs = [x.detach().cpu() for x in tensors_of(self.run())]
        return [call.inputs for call in watch.calls] + outputs

    def follow(self, changes: Mapping[int, Tensor], *, whole: bool = True) -> Replay:
        """A replay in which the stream is followed; ``whole``: whether branches have to account for it."""
        tracer = Tracer(self.model, self.stack)
        with restored(tracer.restore), tracer.following():
            reads = self.replay(changes)
        tracer.finish(reads[len(self.calls) :])
        depth = len(self.stack.layers)
        if (whole and not tracer.closed) or len(tracer.ran) != depth:
            raise NoFamily("its branches do not account for the stream, or layers run several times")
        states = [state.detach().flatten(0, 1).cpu() for state in tracer.states]
        branches = [[b for b in tracer.branches if b.layer == layer] for layer in range(depth)]
        return Replay(states, branches, reads, tuple(tracer.states[0].shape[:2]))
