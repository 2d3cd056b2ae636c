"""Factors on the branches that bring a design to where it should be over its depth, and their doing in place."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from auxin.architecture import Layer, Network, Sublayer
from auxin.architecture.recipe import Recipe
from auxin.errors import ConfigError
from auxin.families.layers import Layers
from auxin.families.preparation import hooks, prepared
from auxin.probes.inputs import Reading, call_of
from auxin.probes.observe import observe
from auxin.probes.prediction import Tokens, predict
from auxin.probes.states import stream_of
from auxin.probes.weights import gain_of
from auxin.values import check, check_finite

SMALLEST, LARGEST = 0.003, 10.0  # factors that are looked through
TOKENS, DRAWS = 24, 32
"""Tokens that the search for a factor follows; more change the totals by a few percent, and cost their cube."""

ASKED = -1.0  # angle total of the factor that is advised: e⁻¹ of the angles between tokens are left
DOUBLED = 1e-2  # relative error of an output that counts as doubled: half precision has three digits


@dataclass(frozen=True)
class Remedy:
    """One way to set the branches, and what it comes to."""

    name: str
    branch: float
    """Factor on what every branch adds, relative to now."""
    skip: float
    """Factor on the skip connection."""
    cosine: float
    """After the last layer."""
    norm: float
    angle_total: float
    gradient_total: float


def remedies(recipe: Recipe, tokens: Tokens, target: float | None = None) -> list[Remedy]:
    """What known rules would give a model, and the factor for an angle total log (1 − c_L)/(1 − c_0) of ``target``.

    Of more than 24 tokens the first 24 are followed. Raises ``ConfigError`` where no factor from 0.003 to 10 reaches
    the target; it names what can be reached.
    """
    tokens = dataclasses.replace(tokens, gram=tokens.gram[:TOKENS, :TOKENS])
    network = recipe.drawn

    def of(name: str, branch: float, skip: float = 1.0) -> Remedy:
        try:
            found = predict(scaled_branches(network, branch, skip), tokens, DRAWS)
        except ConfigError:  # states overflow on the way
            return Remedy(name, branch, skip, *[math.nan] * 4)
        last = float(found.cosine[-1]), float(found.norm[-1])
        return Remedy(name, branch, skip, *last, found.angle_total, found.gradient_total)

    rows = [of("as it is", 1.0), *(of(name, *factors) for name, factors in rules(recipe).items())]
    if target is not None:
        check_finite("target", target, -100, 10, "-100 to 10")
        rows.append(of(f"angle total {target:g}", _factor(lambda f: of("", f).angle_total - target, target)))
    return rows


def rules(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """The factors of known rules on branches and skips, relative to now: GPT-2's where it is not followed yet,
    CompleteP's, and DeepNorm's where the stream is normalized."""
    sublayers = [sublayer for layer in recipe.network.layers for sublayer in layer.sublayers]
    found = {"1/√branches (GPT-2)": (len(sublayers) ** -0.5, 1.0)} if not recipe.scheme.depth_scaled else {}
    found["1/layers (CompleteP)"] = 1 / recipe.depth, 1.0
    if any(sublayer.stream is not None for sublayer in sublayers):
        found["DeepNorm"] = (8 * recipe.depth) ** -0.5, (2 * recipe.depth) ** 0.25
    return found


def advised(recipe: Recipe, tokens: Tokens) -> str:
    """What to do about a design over its depth, in a sentence: GPT-2's rule where it is not followed, and a factor."""
    try:
        rows = remedies(recipe, tokens, ASKED)
    except ConfigError:  # no factor reaches it
        rows = remedies(recipe, tokens)
    parts = [
        f"multiply output maps by {row.branch:.3f} (GPT-2's rule: cosine {row.cosine:.2f}, squared gradients "
        f"× {math.exp(row.gradient_total):.3g})"
        for row in rows
        if row.name.startswith("1/√branches")
    ]
    asked = (row.branch for row in rows if row.name.startswith("angle total"))
    parts += [f"angle total {ASKED:g} would be {branch:.3g}" for branch in asked]
    return f"For {recipe.depth} layers: {'; '.join(parts)}." if parts else ""


def _factor(excess: Callable[[float], float], target: float) -> float:
    """The factor nearest to 1 at which the angle total is the target; by its logarithm, a coarse scan, then Brent."""
    value = cache(lambda x: excess(math.exp(x)))
    grid = [float(x) for x in np.linspace(math.log(SMALLEST), math.log(LARGEST), 7)]
    for low, high in sorted(pairwise(grid), key=lambda pair: abs(sum(pair))):
        if value(low) * value(high) <= 0:
            return math.exp(float(brentq(value, low, high, xtol=0.01)))  # pyright: ignore[reportArgumentType]
    reached = [value(x) + target for x in grid if math.isfinite(value(x))]
    raise ConfigError(
        f"target is {target:g}; allowed: an angle total that some factor on the branches reaches, "
        f"{min(reached, default=math.nan):.3g} to {max(reached, default=math.nan):.3g}"
    )


def scaled_branches(network: Network, branch: float, skip: float = 1.0) -> Network:
    """The network with every branch and skip strength multiplied; a norm after a branch is kept."""
    return changed(network, lambda s: dataclasses.replace(s, branch=s.branch * branch, skip=s.skip * skip))


def changed(network: Network, change: Callable[[Sublayer], Sublayer]) -> Network:
    """The network with every sublayer changed."""
    done: dict[int, Layer] = {}  # layers that are repeated are one object
    for layer in network.layers:
        if id(layer) not in done:
            done[id(layer)] = dataclasses.replace(layer, sublayers=tuple(map(change, layer.sublayers)))
    return dataclasses.replace(network, layers=tuple(done[id(layer)] for layer in network.layers))


@torch.no_grad()
def rescale_(
    model: nn.Module, branch: float | tuple[float, float], *, inputs: Any = None, layers: Layers | None = None
) -> list[str]:
    """Multiply what the residual branches add, in place: their output maps with biases, or the norms after them.

    Args:
        model: any that ``auxin.check`` measures.
        branch: factor on all branches, or (attention, MLP).
        inputs: as of ``auxin.check``, to find the branches.
        layers: likewise.

    Returns the names of the modules (of experts: the parameters) that were multiplied. A module that runs in several
    layers is multiplied once. Afterwards, ``auxin.check(model, branch=...)`` takes the factor as intended. Cost: one
    observation.

    Raises ``ConfigError`` for a factor below 0, or a branch whose output map is not found.

    >>> import torch
    >>> model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(32, 4), 1, enable_nested_tensor=False)
    >>> rescale_(model, 0.5)
    ['layers.0.self_attn.out_proj', 'layers.0.linear2']
    """
    factors = branch if isinstance(branch, tuple) else (branch, branch)
    check(len(factors) == 2, "branch", branch, "a factor, or (attention's, the MLP's)")
    for factor in factors:
        check_finite("branch", factor, 0, 1e6, "0 to 1e+06")
    reading = Reading(inputs, layers)
    seen = observe(model, reading)
    check(len(seen.branches) > 0, "branches of the model", 0, "a model whose branches are found")
    call = call_of(model, reading)
    wanted: dict[str, float] = {}
    for b in seen.branches:
        factor = factors[0 if b.kind == "attention" else 1]
        if _holds_experts(model.get_submodule(b.module)):
            maps = _output_maps(model, b.module, lambda: model(*call.args, **call.kwargs))
            wanted |= {name: factor for name in maps if name not in wanted}
            continue
        known = b.writer is not None
        check(known, f"output map of {b.module}", None, "a branch that ends in a matrix or a norm")
        wanted.setdefault(str(b.writer), factor)
    parameters = dict(model.named_parameters())
    for name, factor in wanted.items():
        if name in parameters:
            parameters[name].mul_(factor)
        else:
            _multiply(name, model.get_submodule(name), factor)
    return list(wanted)


def _multiply(name: str, module: nn.Module, factor: float) -> None:
    weight, bias, gain = getattr(module, "weight", None), getattr(module, "bias", None), gain_of(module)
    known = isinstance(weight, Tensor)
    check(known, f"weight of {name}", None, "a branch that ends in a matrix or a norm")
    assert isinstance(weight, Tensor)
    if gain is None:
        weight.mul_(factor)
    else:  # of a norm, and may be 1 + weight
        weight.add_(gain.to(weight) * (factor - 1))
    if isinstance(bias, Tensor):
        bias.mul_(factor)


def _holds_experts(module: nn.Module) -> bool:
    """Whether a branch has a list of modules of several matrices each, or matrices in one tensor."""
    for inner in module.modules():
        if isinstance(inner, nn.ModuleList):
            several = [sum(p.ndim == 2 for p in expert.parameters()) > 1 for expert in inner]
            if len(several) > 1 and all(several):
                return True
    return any(p.ndim == 3 for p in module.parameters())


def _output_maps(model: nn.Module, name: str, run: Callable[[], Any]) -> dict[str, Tensor]:
    """The output maps of a branch's experts by name: those that, doubled, double its output."""
    module = model.get_submodule(name)
    inputs: list[Any] = []
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, p in module.named_parameters():
        last = key.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias").rpartition(".")[2]
        groups[last][f"{name}.{key}"] = p

    def output() -> Tensor | None:
        args, kwargs = inputs[0]
        return stream_of(module(*args, **kwargs))

    with prepared(model), torch.no_grad():
        with hooks() as hook:
            hook(module.register_forward_pre_hook(lambda _, *given: inputs.append(given), with_kwargs=True))  # pyright: ignore[reportArgumentType]
            run()
        before = output()
        assert before is not None
        found: list[dict[str, Tensor]] = []
        for parameters in groups.values():
            for p in parameters.values():
                p.mul_(2)
            after = output()
            for p in parameters.values():
                p.div_(2)
            if after is not None and (after - 2 * before).norm() <= DOUBLED * before.norm():
                found.append(parameters)
    found.sort(key=lambda of: all(p.shape[0] == before.shape[-1] for p in of.values() if p.ndim == 2))
    if not found:
        allowed = "a branch that is proportional to some of its maps"
        raise ConfigError(f"output map of {name} is not found; allowed: {allowed}")
    return found[-1]
