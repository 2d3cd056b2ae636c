"""Signals through any PyTorch model: its residual stream is found, and measured layer by layer and branch by branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.errors import AuxinError, ConfigError
from auxin.families.layers import Layers, find_layers, unwrapped
from auxin.families.preparation import prepared, restored
from auxin.probes.finite import NotFinite, first_not_finite
from auxin.probes.inputs import Call, call_of, vocabulary_of
from auxin.probes.logits import output_statistics
from auxin.probes.states import mean_cosine, mean_gap, mean_square, mixed_axes
from auxin.probes.tracing import ObservedBranch, Tracer
from auxin.probes.watching import SoftmaxWatch
from auxin.theory.profile import Profile
from auxin.values import check, check_whole

Array = NDArray[np.float64]

PROBES = 8
"""Random combinations of the output whose gradients are averaged."""
BRANCH_COLUMNS = {
    "attention_share": ("attention", "share"),
    "cross_share": ("cross", "share"),
    "mlp_share": ("mlp", "share"),
    "entropy": ("attention", "entropy"),
    "spread": ("attention", "spread"),
}
"""Kind of branch, and what of it."""
SMALL_GAP = 1e-5
"""1 − cosine of the nearly equal tokens whose differences are followed."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Observation(Profile):
    """What one pass forward and several back show of a model.

    The cosine leaves out pairs of equal token ids. The gradient is that of random N(0, 1) combinations of the last
    layer's output, 8 of them; its error is their standard error. Beside the usual columns are attention_share,
    cross_share and mlp_share of the branches' norm² in the stream after them, entropy of attention relative to
    uniform, spread of its logits, and gap: 1 − cosine of tokens that begin nearly equal (1e-5) with the stream's own
    norm, absent where the first layer's input cannot be replaced, or in half precision. NaN where a layer has none.
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
    branches: tuple[ObservedBranch, ...]
    causal: bool
    """Whether a token's state depends on none after it."""
    closed: bool
    """Whether the branches account for the whole stream; else only what layers pass on has been measured."""
    width: int
    logit_std: float | None
    """Spread of the logits over the vocabulary, root mean square; None for a model without logits."""
    excess_loss: float | None
    """Mean cross-entropy of a uniformly random next token, minus ln V; of the logits that the model returns."""
    vocabulary: int | None
    output_map: str | None
    """Name of the linear map that computes the logits."""
    notes: tuple[str, ...]
    """What the reader should know of how it was measured."""


@dataclass(frozen=True)
class Reading:
    """What a model reads to be measured, and where its stream is."""

    inputs: Any = None
    """What its forward takes: a tensor, a tuple of arguments or a dict of named ones; None: random token ids, pixels
    or vectors, as the model seems to want."""
    layers: Layers | None = None
    """The container of the layers by name, or the layers in order, where they are not found."""
    batch: int = 2
    """Sequences of the default inputs."""
    n_tokens: int = 64
    """Tokens of each."""
    batch_first: bool | None = None
    """Whether the stream is [B, n, d]; None: it is found out."""
    seed: int = 0
    """Of the default inputs and of the combination that is differentiated."""

    def __post_init__(self) -> None:
        check_whole("batch", self.batch, 1, 10_000)
        check_whole("n_tokens", self.n_tokens, 2, 1_000_000)
        check_whole("seed", self.seed, 0, 2**63 - 1)


def observe(model: nn.Module, reading: Reading = Reading()) -> Observation:  # it is frozen
    """Find the residual stream of a model and measure it.

    The model, any module whose repeated layers map a stream [B, n, d] or [n, B, d] to one of its shape, runs in
    evaluation mode with frozen parameters, and is left as it was.

    Cost: a pass forward, eight back and one more forward; memory for the activations of the layers.

    Raises:
        ConfigError: no layers found, or layers without a residual stream; inputs that the model does not take;
            a stream whose tokens cannot be told from its sequences; parameters without data.
    """
    check(isinstance(model, nn.Module), "model", type(model).__name__, "a torch.nn.Module")
    model = unwrapped(model)
    with prepared(model):
        stack = find_layers(model, reading.layers)
        generator = torch.Generator().manual_seed(reading.seed)
        call = call_of(model, reading.inputs, reading.batch, reading.n_tokens, generator)
        table = vocabulary_of(model)
        state = torch.get_rng_state()
        tracer = Tracer(model, stack, table)
        with restored(tracer.restore):
            try:
                with tracer, SoftmaxWatch(model, tracer.softmax):
                    output = run(model, call)
                tracer.finish(output)
                width, words = tracer.states[0].shape[-1], table.num_embeddings if table else None
                logits = output_statistics(output, tracer.heads, width, words)
            except NotFinite as error:
                with torch.no_grad():
                    raise (first_not_finite(model, lambda: run(model, call)) or error) from None
            _check_gradients(tracer)
            first, axis_note = _batch_first(model, tracer, call, reading.batch_first)
            columns, errors, facts = _statistics(tracer, call, first, generator)
            columns |= _branch_columns(tracer.branches, len(tracer.ran))
            gap = _gap(model, call, tracer, first, generator)
            columns |= {} if gap is None else {"gap": gap}
        notes = [*call.notes, *axis_note, *tracer.notes]
        if not torch.equal(state, torch.get_rng_state()):
            notes.append("the model draws random numbers in evaluation mode (a dropout that is always on?)")
    return Observation(
        columns,
        errors,
        stack=stack.name,
        layers=tuple(tracer.ran),
        branches=tuple(tracer.branches),
        closed=tracer.closed,
        width=width,
        notes=tuple(notes),
        **facts,
        **logits,
    )


def run(model: nn.Module, call: Call) -> Any:
    """The model's output; what it raises becomes a ``ConfigError`` of one line."""
    try:
        return model(*call.args, **call.kwargs)
    except AuxinError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{type(model).__name__} does not run on {call.described}: {type(error).__name__}: {text}; "
            "allowed: inputs that its forward takes (a tensor, a tuple of arguments, a dict of named ones)"
        ) from error


def _check_gradients(tracer: Tracer) -> None:
    if not tracer.states[-1].requires_grad:
        raise ConfigError(
            "no gradient passes from the last layer to the first (torch.no_grad, or detach, in a forward?); allowed: "
            "layers that can be trained"
        )


def _batch_first(
    model: nn.Module, tracer: Tracer, call: Call, told: bool | None
) -> tuple[bool, tuple[str, ...]]:
    """Whether the stream is [B, n, d]: as told, by the shape of the inputs, or by what depends on what."""
    shape = tuple(tracer.states[0].shape[:2])
    if told is not None:
        return told, ()
    tokens = call.tokens if tracer.tokens is None else tracer.tokens
    if tokens is not None and (size := tuple(tokens.shape)) and size[0] != size[1]:
        if shape == size:
            return True, ()
        if shape == size[::-1]:
            return False, ("the stream is [tokens, batch, d]",)
    axes = mixed_axes(tracer.states[-1], tracer.states[0])
    if not axes:  # zero gates, for one
        return call.batch_first is not False, ("no token depends on another",)
    check(
        len(axes) == 1,
        f"axis of tokens of the stream {shape}",
        "both",
        "batch_first=True or batch_first=False",
    )
    return axes == {1}, () if axes == {1} else ("the stream is [tokens, batch, d]",)


def _statistics(
    tracer: Tracer, call: Call, first: bool, generator: torch.Generator
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Any]]:
    """Columns and their errors of the states; their Gram matrices, which tokens count, and whether it is causal."""
    states = tracer.states
    arranged = [s if first else s.transpose(0, 1) for s in states]
    kept = _kept(tracer.stack.name, call, arranged[0].shape[:2])
    check(bool((kept.sum(1) >= 2).any()), "tokens of a sequence", int(kept.sum(1).max()), "2 or more")
    equal = _equal(call.tokens if tracer.tokens is None else tracer.tokens, kept, first)
    cosine = np.array([mean_cosine(s, kept, equal) for s in arranged])
    check(not np.isnan(cosine[0]), "different tokens of a sequence", 1, "2 or more")
    gradients = _gradients(tracer, first, kept, generator)
    columns = {
        "norm": np.array([mean_square(s, kept) / s.shape[-1] for s in arranged]),
        "cosine": cosine,
        "gradient": gradients.mean(0),
    }
    facts = {
        "grams": np.stack([_gram(s) for s in arranged]),
        "kept": kept.numpy(),
        "equal": None if equal is None else equal.cpu().numpy(),
        "causal": _causal(states, first) if tracer.causal is None else tracer.causal,
    }
    return columns, {"gradient": gradients.std(0, ddof=1) / PROBES**0.5}, facts


def _branch_columns(branches: Sequence[ObservedBranch], depth: int) -> dict[str, Array]:
    """What is told of branches by layer: of several of one kind in a layer, the last."""
    columns = {name: np.full(depth + 1, np.nan) for name in BRANCH_COLUMNS}
    for branch in branches:
        for name, (kind, quantity) in BRANCH_COLUMNS.items():
            value = getattr(branch, quantity)
            if branch.kind == kind and value is not None:
                columns[name][branch.layer + 1] = value
    return columns


def _kept(stack: str, call: Call, shape: torch.Size) -> Tensor:
    """The mask of padding that has the stream's shape; of an encoder's and a decoder's, the stack's own."""
    masks = [(n, mask.cpu()) for n, mask in call.kept.items() if mask.shape == shape]
    decoder = "decoder" in stack
    masks.sort(key=lambda item: ("decoder" in item[0] or "tgt" in item[0]) != decoder)
    return masks[0][1] if masks else torch.ones(shape, dtype=torch.bool)


def _equal(tokens: Tensor | None, kept: Tensor, first: bool) -> Tensor | None:
    """[B, n, n], pairs of one token id, where the ids are those of the stream."""
    tokens = tokens if tokens is None or first else tokens.T
    if tokens is None or tokens.shape != kept.shape:
        return None
    return tokens[:, :, None] == tokens[:, None]


def _gradients(tracer: Tracer, first: bool, kept: Tensor, generator: torch.Generator) -> Array:
    """Mean squares of the gradients of random combinations, relative to the output's; [probes, depth + 1]."""
    x = tracer.states[-1]
    sources = [*tracer.sources[:-1], x]
    found = []
    for _ in range(PROBES):
        weights = torch.randn(x.shape, generator=generator).to(x)
        try:
            gradients = torch.autograd.grad(x, sources, weights, allow_unused=True, retain_graph=True)
        except (
            RuntimeError
        ) as error:  # a layer that overwrites what the way back needs cannot be trained either
            text = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"gradients do not pass the layers: {text}; allowed: layers that can be trained"
            ) from error
        for name, gradient in zip(("input", *tracer.ran), gradients, strict=True):
            check(gradient is not None, f"gradient at {name}", "none", "layers that pass gradients on")
        squares = [mean_square(g if first else g.transpose(0, 1), kept) for g in gradients if g is not None]
        found.append(np.array(squares) / squares[-1])
    return np.array(found)


def _gram(state: Tensor) -> Array:
    x = state.detach().double()
    return (x @ x.mT / x.shape[-1]).cpu().numpy()


def _causal(states: list[Tensor], first: bool) -> bool:
    """Whether the first token's last state depends on no other token; one pass back."""
    last = states[-1] if first else states[-1].transpose(0, 1)
    weights = torch.linspace(-1, 1, last.shape[-1], device=last.device, dtype=last.dtype)
    (gradient,) = torch.autograd.grad(last[0, 0] @ weights, states[0])
    gradient = gradient if first else gradient.transpose(0, 1)
    return not bool((gradient[0, 1:] != 0).any())


def _gap(
    model: nn.Module, call: Call, tracer: Tracer, first: bool, generator: torch.Generator
) -> Array | None:
    """1 − cosine of nearly equal tokens layer by layer: the stream's start is replaced, nothing else."""
    x = tracer.states[0].detach()
    if not tracer.replaceable or x.dtype in (torch.float16, torch.bfloat16):
        return None
    shape = x.shape if first else (x.shape[1], x.shape[0], x.shape[2])
    direction = torch.randn(shape[0], 1, shape[2], generator=generator)
    direction *= (shape[2] / direction.square().sum(-1, keepdim=True)).sqrt()
    noise = torch.randn(*shape, generator=generator)
    start = direction + SMALL_GAP**0.5 * noise
    start = start * (x.float().square().mean().cpu() / start.square().mean()).sqrt()
    start = (start if first else start.transpose(0, 1)).to(x)
    gaps: list[float] = []

    def follow(state: Tensor) -> None:
        gaps.append(mean_gap(state if first else state.transpose(0, 1)))

    with torch.no_grad(), tracer.replaced(start, follow):
        run(model, call)
    return np.array(gaps) if len(gaps) == len(tracer.ran) + 1 else None
