"""Signals through any PyTorch model: its residual stream is found, and measured layer by layer and branch by branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import find_layers, unwrapped
from auxin.families.preparation import as_config_error, prepared, restored
from auxin.probes.attention import SoftmaxWatch
from auxin.probes.inputs import Call, Reading, call_of, vocabulary_of
from auxin.probes.routing import Routing
from auxin.probes.states import (
    Logits,
    NotFinite,
    first_not_finite,
    logits_of,
    mean_gap,
    mean_square,
    mixed_axes,
    norm_and_cosine,
    reaching,
)
from auxin.probes.tracing import ObservedBranch, Tracer
from auxin.theory.profile import Profile
from auxin.theory.states import Array
from auxin.values import check

PROBES = 4, 8  # random combinations of the output whose gradients are averaged, at least and at most
PRECISE = 0.5
"""Standard error of the gradients in all layers below which no more are drawn, in parts of what networks of a width
and depth scatter by, √(depth/width)."""
BRANCH_COLUMNS = {
    "attention_share": ("attention", "share"),
    "cross_share": ("cross", "share"),
    "mlp_share": ("mlp", "share"),
    "entropy": ("attention", "entropy"),
    "spread": ("attention", "spread"),
}
"""Kind of branch, and what of it."""
SMALL_GAP = 1e-5  # 1 − cosine of the nearly equal tokens whose differences are followed


@dataclass(frozen=True, eq=False, kw_only=True)
class Observation(Profile, Logits):
    """What one pass forward and several back show of a model.

    The cosine leaves out pairs of equal token ids. The gradient is that of random N(0, 1) combinations of the last
    layer's output, 4 to 8 of them, until its error, their standard error, is half of what networks scatter by. Beside
    the usual columns are attention_share, cross_share and mlp_share of the branches' norm² in the stream after them,
    entropy of attention relative to uniform, spread of its logits, and gap: 1 − cosine of tokens that begin nearly
    equal (1e-5) with the stream's own norm, absent where the first layer's input cannot be replaced, or in half
    precision. NaN where a layer has none.
    """

    stack: str
    """Name of the container of the layers."""
    layers: tuple[str, ...]
    """Names of the layers in the order in which they ran; [depth]."""
    grams: Array
    """[depth + 1, B, n, n], x_i·x_j/d of the stream."""
    kept: NDArray[np.bool_]
    """[B, n], false for padding."""
    equal: NDArray[np.bool_] | None
    """[B, n, n], pairs of one token id; None where inputs are no token ids."""
    means: Array
    """[B, n], mean over the dimensions of the tokens before the first layer, which a layer norm takes away."""
    memory: Array | None
    """[B, m, m], the same of another stream that attention reads; None where none does, or where it is padded."""
    branches: tuple[ObservedBranch, ...]
    routings: tuple[Routing, ...]
    """Of layers with experts."""
    causal: bool
    """Whether a token's state depends on none after it."""
    closed: bool
    """Whether the branches account for the whole stream; else only what layers pass on has been measured."""
    batch_first: bool
    """Whether the stream is [B, n, d]; else [n, B, d]."""
    width: int
    changed: Array
    """[depth], the largest share of a token's entries that a layer changes."""
    dtype: str
    """Type of the stream's numbers."""
    probes: int
    """Random combinations whose gradients are averaged."""
    notes: tuple[str, ...]
    """What the reader should know of how it was measured."""


def observe(model: nn.Module, reading: Reading = Reading()) -> Observation:  # noqa: B008  # it is frozen
    """Find the residual stream of a model and measure it; the model is left as it was.

    Its repeated layers map a stream [B, n, d] or [n, B, d] to one of its shape. It runs in evaluation mode with frozen
    parameters. Cost: a pass forward, four to eight back and one more forward; memory for the layers' activations.

    Raises ``ConfigError`` where no layers or no residual stream are found, for inputs that the model does not take, and
    where tokens cannot be told from sequences.
    """
    check(isinstance(model, nn.Module), "model", type(model).__name__, "a torch.nn.Module")
    model = unwrapped(model)
    with prepared(model):
        generator = torch.Generator().manual_seed(reading.seed)
        stack, table = find_layers(model, reading.layers), vocabulary_of(model)
        call = call_of(model, reading, generator)
        state = torch.get_rng_state()
        tracer = Tracer(model, stack, table)
        with restored(tracer.restore):
            try:
                with tracer.following(), SoftmaxWatch(model, tracer.softmax, tracer.chosen):
                    output = run(model, call)
                tracer.finish(output)
                width, words = tracer.states[0].shape[-1], table.num_embeddings if table else None
                logits = logits_of(output, tracer.heads, width, words)
            except NotFinite as error:
                with torch.no_grad():
                    raise (first_not_finite(model, lambda: run(model, call)) or error) from None
            if not tracer.states[-1].requires_grad:
                raise ConfigError(
                    "no gradient passes from the last layer to the first (torch.no_grad, or detach, in a forward?); "
                    "allowed: layers that can be trained"
                )
            first, notes = _batch_first(tracer, call, reading.batch_first)
            view = _View(tracer, call, first)
            gradients = view.gradients(generator)
            columns = view.columns() | {"gradient": gradients.mean(0)}
            columns |= _branch_columns(tracer.branches, len(tracer.ran))
            causal = view.causal() if tracer.causal is None else tracer.causal
            gap = view.gap(lambda: run(model, call), generator)
        notes = [*call.notes, *notes, *tracer.notes]
        if not torch.equal(state, torch.get_rng_state()):
            notes.append("the model draws random numbers in evaluation mode (a dropout that is always on?)")
    return Observation(
        columns if gap is None else columns | {"gap": gap},
        {"gradient": _error(gradients)},
        stack=stack.name,
        layers=tuple(tracer.ran),
        grams=np.stack([_gram(state) for state in view.states]),
        kept=view.kept.numpy(),
        equal=None if view.equal is None else view.equal.cpu().numpy(),
        means=view.states[0].detach().double().mean(-1).cpu().numpy(),
        memory=view.memory(),
        branches=tuple(tracer.branches),
        routings=tuple(tracer.routings),
        causal=causal,
        closed=tracer.closed,
        batch_first=first,
        width=width,
        changed=np.array([(a != b).float().mean(-1).max().item() for a, b in pairwise(view.states)]),
        dtype=str(view.states[0].dtype).removeprefix("torch."),
        probes=len(gradients),
        notes=tuple(notes),
        **vars(logits),
    )


def run(model: nn.Module, call: Call) -> Any:
    """The model's output; what it raises becomes a ``ConfigError`` of one line."""
    allowed = "inputs that its forward takes (a tensor, a tuple of arguments, a dict of named ones)"
    with as_config_error(f"{type(model).__name__} does not run on {call.described}", allowed):
        return model(*call.args, **call.kwargs)


def _batch_first(tracer: Tracer, call: Call, given: bool | None) -> tuple[bool, list[str]]:
    """Whether the stream is [B, n, d], by the shape of the inputs or what depends on what; and a note."""
    if given is not None:
        return given, []
    shape, tokens = tuple(tracer.states[0].shape[:2]), call.tokens if tracer.tokens is None else tracer.tokens
    size = () if tokens is None else tuple(tokens.shape)
    if size and size[0] != size[1] and shape in (size, size[::-1]):
        rows = shape == size
    elif axes := mixed_axes(tracer.states[-1], tracer.states[0]):
        allowed = "batch_first=True or batch_first=False"
        check(len(axes) == 1, f"axis of tokens of the stream {shape}", "both", allowed)
        rows = axes == {1}
    else:  # zero gates, for one
        return call.batch_first is not False, ["no token depends on another"]
    return rows, [] if rows else ["the stream is [tokens, batch, d]"]


def _branch_columns(branches: Sequence[ObservedBranch], depth: int) -> dict[str, Array]:
    """What is known of branches by layer: of several of one kind in a layer, the last."""
    columns = {name: np.full(depth + 1, np.nan) for name in BRANCH_COLUMNS}
    for branch in branches:
        for name, (kind, quantity) in BRANCH_COLUMNS.items():
            value = getattr(branch, quantity)
            if branch.kind == kind and value is not None:
                columns[name][branch.layer + 1] = value
    return columns


def _gram(state: Tensor) -> Array:
    x = state.detach().double()
    return (x @ x.mT / x.shape[-1]).cpu().numpy()


class _View:
    """The states of a traced model as [B, n, d], with the tokens that count."""

    def __init__(self, tracer: Tracer, call: Call, first: bool) -> None:
        self.tracer, self.first, self.masks = tracer, first, list(call.kept.values())
        self.states = [self._arranged(state) for state in tracer.states]
        shape = self.states[0].shape[:2]
        self.kept = _kept(tracer.stack.name, call, shape)
        most = int(self.kept.sum(1).max())
        check(most >= 2, "tokens of a sequence", most, "2 or more")
        tokens = call.tokens if tracer.tokens is None else tracer.tokens
        tokens = tokens if tokens is None or first else tokens.T
        ids = None if tokens is None or tokens.shape != shape else tokens
        self.equal = None if ids is None else ids[:, :, None] == ids[:, None]
        """[B, n, n], pairs of one token id, where the ids are those of the stream."""

    def _arranged(self, x: Tensor) -> Tensor:
        return x if self.first else x.transpose(0, 1)

    def columns(self) -> dict[str, Array]:
        """Norm² per dimension, and mean cosine."""
        columns = norm_and_cosine(self.states, self.kept, self.equal)
        check(not np.isnan(columns["cosine"][0]), "different tokens of a sequence", 1, "2 or more")
        return columns

    def memory(self) -> Array | None:
        """[B, m, m] of the stream that cross-attention reads, if all its tokens are kept."""
        memory, crossing = self.tracer.memory, any(b.kind == "cross" for b in self.tracer.branches)
        padded = not all(bool(mask.all()) for mask in self.masks)
        return None if memory is None or not crossing or padded else _gram(self._arranged(memory))

    def gradients(self, generator: torch.Generator) -> Array:
        """Mean squares of the gradients of random combinations, relative to the output's; [probes, depth + 1]."""
        x = self.tracer.states[-1]
        sources = [*self.tracer.sources[:-1], x]
        found: list[Array] = []
        allowed = PRECISE * (len(self.tracer.ran) / x.shape[-1]) ** 0.5
        imprecise = lambda all: (_error(all) > allowed * all.mean(0)).any()  # not where gradients overflow
        while len(found) < PROBES[0] or (len(found) < PROBES[1] and imprecise(np.array(found))):
            weights = torch.randn(x.shape, generator=generator).to(x)
            # a layer that overwrites what the way back needs cannot be trained either
            with as_config_error("gradients do not pass the layers", "layers that can be trained"):
                gradients = torch.autograd.grad(x, sources, weights, allow_unused=True, retain_graph=True)
            for name, gradient in zip(("input", *self.tracer.ran), gradients, strict=True):
                check(gradient is not None, f"gradient at {name}", "none", "layers that pass gradients on")
            squares = [mean_square(self._arranged(g), self.kept) for g in gradients if g is not None]
            found.append(np.array(squares) / squares[-1])
        return np.array(found)

    def causal(self) -> bool:
        """Whether the first token's last state depends on no other token."""
        return not bool(self._arranged(reaching(self.states[-1][0, 0], self.tracer.states[0]))[0, 1:].any())

    def gap(self, run: Callable[[], Any], generator: torch.Generator) -> Array | None:
        """1 − cosine of nearly equal tokens layer by layer: the stream's start is replaced, nothing else."""
        x = self.states[0].detach()
        if not self.tracer.stack.called or x.dtype in (torch.float16, torch.bfloat16):
            return None
        direction = torch.randn(len(x), 1, x.shape[-1], generator=generator)
        direction *= (x.shape[-1] / direction.square().sum(-1, keepdim=True)).sqrt()
        start = direction + SMALL_GAP**0.5 * torch.randn(*x.shape, generator=generator)
        start = start * (x.float().square().mean().cpu() / start.square().mean()).sqrt()
        gaps: list[float] = []
        follow = lambda state: gaps.append(mean_gap(self._arranged(state)))
        with torch.no_grad(), self.tracer.replaced(self._arranged(start).to(x), follow):
            run()
        return np.array(gaps) if len(gaps) == len(self.states) else None


def _error(gradients: Array) -> Array:
    """Standard error of the mean over probes, [depth + 1], of [probes, depth + 1]."""
    return gradients.std(0, ddof=1) / len(gradients) ** 0.5


def _kept(stack: str, call: Call, shape: torch.Size) -> Tensor:
    """The mask of padding that has the stream's shape; of an encoder's and a decoder's, the stack's own."""
    masks = [(n, mask.cpu()) for n, mask in call.kept.items() if mask.shape == shape]
    decoder = "decoder" in stack
    masks.sort(key=lambda item: ("decoder" in item[0] or "tgt" in item[0]) != decoder)
    return masks[0][1] if masks else torch.ones(shape, dtype=torch.bool)
