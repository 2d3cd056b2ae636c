"""Layers of any code recognized by what they do, as a recipe: the same that a known family has.

A pass is recorded; replays find what every map is for, what is between the maps, and where norms stand. The scheme is
the one that most maps follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from auxin.architecture import MLP, Attention, Layer, Network, Sublayer
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.recipe import Recipe
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily
from auxin.families.description import Described
from auxin.families.layers import LayerStack
from auxin.families.matrices import Matrix, recognized
from auxin.families.preparation import hooks, prepared, restored
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.observe import run
from auxin.probes.placement import Placement, Term, norm_of, placements
from auxin.probes.roles import Part, Site
from auxin.probes.states import tensors_of
from auxin.probes.tracing import Tracer
from auxin.probes.wiring import Wiring

TOKENS = 32
"""Of the one sequence on which layers are recognized."""


def recognize(model: nn.Module, stack: LayerStack, reading: Reading = Reading()) -> Described:  # noqa: B008
    """The recipe of a model of no known family, and its matrices by role.

    Attention, MLPs, norms, strengths and their order are found by replays of one pass: by what the code does, whatever
    its names are. Cost: some 20 passes without products, and some 50 of the first layer alone.

    Raises ``NoFamily``, which names the first part that is not covered.
    """
    try:
        with prepared(model):
            wiring = Wiring(model, partial(run, model, _call(model, reading)))
            sites = _sites(model, stack, wiring)
            parts = _parts(sites)
            layers = _layers(parts, _placed(model, stack, sites, parts))
        return _described(model, sites, parts, layers)
    except NoFamily:
        raise
    except Exception as error:  # a model may do anything
        raise NoFamily(f"{type(error).__name__}: {error}") from error


def _call(model: nn.Module, reading: Reading) -> Call:
    """One sequence: made up, else the first of the caller's, else the caller's inputs."""
    kinds = {p.dtype for p in model.parameters()}
    if not kinds <= {torch.float32, torch.float64}:
        raise NoFamily("its weights are not in single precision")
    short, given = dataclasses.replace(reading, batch=1, n_tokens=TOKENS, inputs=None), reading.inputs
    choices = [short, dataclasses.replace(short, n_tokens=min(reading.n_tokens, TOKENS))]
    if given is not None:
        choices += [dataclasses.replace(short, inputs=inputs) for inputs in (_first(given), given)]
    for number, choice in enumerate(choices, 1):
        try:
            call = call_of(model, choice, torch.Generator().manual_seed(reading.seed))
            with torch.no_grad():
                run(model, call)
            return call
        except ConfigError as error:
            if number == len(choices):
                raise NoFamily(f"it does not run: {error}") from error
    raise AssertionError


def _first(inputs: Any) -> Any:
    """The first sequence of a batch of inputs."""
    if isinstance(inputs, Mapping):
        return {name: _first(value) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)) and any(isinstance(x, Tensor) for x in inputs):
        return type(inputs)(_first(x) for x in inputs)
    return inputs[:1] if isinstance(inputs, Tensor) and inputs.ndim > 1 else inputs


@dataclass(frozen=True, eq=False)
class _Seen:
    """A run in which the stream was followed."""

    states: list[Tensor]
    """[T, d] before the first layer and after every layer."""
    terms: list[list[Any]]
    """Branches by layer."""
    reads: list[Tensor]
    shape: tuple[int, int]


def _followed(model: nn.Module, stack: LayerStack, wiring: Wiring, changes: Mapping[int, Tensor]) -> _Seen:
    tracer = Tracer(model, stack)
    with restored(tracer.restore), tracer.following():
        read = wiring.replay(changes)
    tracer.finish(read[len(wiring.calls) :])
    if not tracer.closed or len(tracer.ran) != len(stack.layers):
        raise NoFamily("its branches do not account for the stream, or layers run several times")
    shape = tuple(tracer.states[0].shape[:2])
    states = [s.detach().flatten(0, 1).cpu() for s in tracer.states]
    terms = [[b for b in tracer.branches if b.layer == i] for i in range(len(tracer.ran))]
    return _Seen(states, terms, read, (shape[0], shape[1]))


def _sites(model: nn.Module, stack: LayerStack, wiring: Wiring) -> list[Site]:
    """The layers with their maps."""
    by_layer: list[list[int]] = [[] for _ in stack.layers]
    for number, call in enumerate(wiring.calls):
        layer, _ = stack.place(call.parameter)
        if layer is not None:
            by_layer[layer].append(number)
    for name in wiring.others:
        if stack.place(name)[0] is not None:
            raise NoFamily(f"{name} is no map of tokens")
    seen = _followed(model, stack, wiring, {})
    total = seen.states[0].shape[0]
    for name, numbers in zip(stack.layers, by_layer, strict=True):
        if not numbers:
            raise NoFamily(f"no map of {name} ran")
        for number in numbers:
            call = wiring.calls[number]
            if len(call.inputs) != total:
                raise NoFamily(f"{call.parameter} is no map of all tokens")
    return [Site(wiring, tuple(numbers), seen.shape) for numbers in by_layer]


def _parts(sites: Sequence[Site]) -> list[list[Part]]:
    """The branches of all layers; layers that compute the same from the same are alike, and are looked at once."""
    wiring = sites[0].wiring
    everywhere: dict[int, Tensor] = {}
    for site in sites:
        for place, number in enumerate(site.calls):
            shape, generator = wiring.calls[number].output.shape, torch.Generator().manual_seed(place)
            everywhere[number] = torch.randn(shape, generator=generator)
    reads = wiring.replay(everywhere)
    known: list[tuple[list[Part], list[Tensor]]] = []
    found = []
    for site in sites:
        here = [reads[number] for number in site.calls]
        parts = next((p for p, there in known if _alike(p, here, there)), None)
        if parts is None:
            parts = site.parts()
            known.append((parts, here))
        found.append(parts)
    return found


def _alike(parts: Sequence[Part], here: Sequence[Tensor], there: Sequence[Tensor]) -> bool:
    """Whether the last maps of branches read the same in two layers."""
    if [x.shape for x in here] != [x.shape for x in there]:
        return False
    return all(torch.allclose(here[p.writer], there[p.writer], rtol=1e-3, atol=1e-4) for p in parts)


def _placed(
    model: nn.Module, stack: LayerStack, sites: Sequence[Site], parts: Sequence[Sequence[Part]]
) -> list[tuple[list[Placement], list[Term], bool]]:
    """Norms, strengths and order of the branches of every layer, where they write tokens of unlike norm."""
    wiring, generator = sites[0].wiring, torch.Generator().manual_seed(3)
    size = _followed(model, stack, wiring, {}).states[0].square().mean().sqrt()
    changes = {}
    for site, branches in zip(sites, parts, strict=True):
        for part in branches:
            shape = site.maps[part.writer].output.shape
            rows = torch.exp(1.5 * torch.randn(shape[0], 1, generator=generator))
            changes[site.calls[part.writer]] = size * rows * torch.randn(shape, generator=generator)
    seen = _followed(model, stack, wiring, changes)
    outputs: dict[str, Tensor] = {}
    with hooks() as hook:
        for name in {branch.module for layer in seen.terms for branch in layer}:
            hook(model.get_submodule(name).register_forward_hook(partial(_keep, outputs, name)))
        wiring.replay(changes)
    found = []
    for i, (site, branches) in enumerate(zip(sites, parts, strict=True)):
        if len(seen.terms[i]) != len(branches):
            raise NoFamily(
                f"{list(stack.layers)[i]} has {len(seen.terms[i])} branches, of {len(branches)} output maps"
            )
        terms = [
            Term(
                term.module,
                seen.reads[site.calls[part.readers[0]]],
                changes[site.calls[part.writer]],
                outputs[term.module].reshape(seen.states[i].shape),
                term.skip,
                term.strength,
            )
            for part, term in zip(branches, seen.terms[i], strict=True)
        ]
        placed, side = placements(seen.states[i], terms, seen.states[i + 1])
        found.append((placed, terms, side))
    return found


def _keep(outputs: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Any) -> None:
    outputs[name] = next(tensors_of(output)).detach().cpu()


def _layers(
    parts: Sequence[Sequence[Part]], placed: Sequence[tuple[list[Placement], list[Term], bool]]
) -> tuple[Layer, ...]:
    """The layers; norms and strengths are those of most layers that have as many branches."""
    layers: list[Layer] = []
    forms = [tuple(type(part.body) for part in branches) for branches in parts]
    for branches, form, (_, _, side) in zip(parts, forms, placed, strict=True):
        alike = [found for other, found in zip(forms, placed, strict=True) if other == form]
        sublayers = []
        for i, part in enumerate(branches):
            norms = {
                place: norm_of([getattr(relations[i], place) for relations, _, _ in alike])
                for place in ("before", "after", "stream")
            }
            plain = [1.0 if norms["after"] else float(r[i].after.factor[0]) for r, _, _ in alike]
            skips = [terms[i].skip for _, terms, _ in alike]
            strengths = [terms[i].strength * g for (_, terms, _), g in zip(alike, plain, strict=True)]
            sublayers.append(Sublayer(part.body, _usual(skips), _usual(strengths), **norms))
        layer = Layer(tuple(sublayers), parallel=side)
        layers.append(next((other for other in layers if other == layer), layer))
    return tuple(layers)


def _usual(values: Sequence[float]) -> float:
    value = median(values)
    return round(value, 5) if abs(value - 1) > 1e-4 else 1.0


def _described(
    model: nn.Module, sites: Sequence[Site], parts: Sequence[Sequence[Part]], layers: tuple[Layer, ...]
) -> Described:
    """With sizes, and the scheme that most maps follow; else the σ's that they have."""
    found = tuple(_matrices(sites, parts))
    attention = [part for branches in parts for part in branches if isinstance(part.body, Attention)]
    mlps = [m for m in found if m.role == "down"]
    width = next(m.entries.shape[0] for m in found if m.role in ("out", "down"))
    heads = {part.heads for part in attention} or {(1, 1)}
    hidden = {m.entries.shape[1] for m in mlps} or {0}
    causal = {part.causal for part in attention}
    for what, values in (("heads", heads), ("hidden units", hidden), ("masks", causal)):
        if len(values) > 1:
            raise NoFamily(f"its layers have unlike {what}")
    sizes = Sizes(
        width,
        *heads.pop(),
        hidden=hidden.pop(),
        attention_bias=_biased(model, sites, parts, Attention),
        mlp_bias=_biased(model, sites, parts, MLP),
    )
    recipe = Recipe(
        type(model).__name__, Network(layers), sizes, SCHEMES["gaussian"], causal=causal == {True}
    )
    whole = dataclasses.replace(recipe, rows=_rows(model, found))
    known = recognized(whole, found) or recognized(recipe, found)
    if known is not None:
        return Described(known, found, "maps", traced=True)
    stds = {(m.role, m.layer): _smooth(found, m) for m in found}
    network = recipe.network.drawn(recipe.scheme, sizes, stds)
    return Described(dataclasses.replace(recipe, network=network), found, "guess", traced=True)


def _rows(model: nn.Module, found: Sequence[Matrix]) -> dict[str, int]:
    """Rows of the parameters that hold several maps, but for queries, keys and values together."""
    entries = {(m.parameter, m.layer): 0 for m in found}
    for m in found:
        entries[m.parameter, m.layer] += len(m.entries)
    joint = {
        m.role: entries[m.parameter, m.layer] for m in found if len(m.entries) < entries[m.parameter, m.layer]
    }
    return {} if "query" in joint else joint


def _smooth(found: Sequence[Matrix], matrix: Matrix) -> float:
    """A map's standard deviation, the median of it and its neighbors': a single odd layer is not expected."""
    near = [m.std for m in found if m.role == matrix.role and abs(m.layer - matrix.layer) <= 1]
    return median(near)


def _matrices(sites: Sequence[Site], parts: Sequence[Sequence[Part]]) -> Iterator[Matrix]:
    for layer, (site, branches) in enumerate(zip(sites, parts, strict=True)):
        for part in branches:
            for role, columns in part.roles.items():
                call, index = site.maps[columns.place], columns.index.flatten()
                entries = call.weight.mT
                entries = entries if len(index) == len(entries) else entries[index.to(entries.device)]
                yield Matrix(
                    role, layer, call.parameter.rpartition(".")[0] or call.parameter, call.parameter, entries
                )


def _biased(
    model: nn.Module, sites: Sequence[Site], parts: Sequence[Sequence[Part]], kind: type[Attention | MLP]
) -> bool:
    """Whether maps of a kind of branch have biases that are not 0; those of queries and keys do not count."""
    for site, branches in zip(sites, parts, strict=True):
        for part in branches:
            places = {part.roles[r].place for r in part.roles if r not in ("query", "key")}
            names = {site.maps[place].bias for place in places} if isinstance(part.body, kind) else set()
            if any(bool(model.get_parameter(name).any()) for name in names if name):
                return True
    return False
