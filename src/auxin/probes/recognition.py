"""The network of what a user holds: by its family, or by what its layers do, as the recipe that a known family has.

A pass is recorded; replays find what every map is for, what is between the maps, and where norms stand. The scheme is
the one that most maps follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from auxin.architecture import MLP, Attention, Layer, Network, Sublayer
from auxin.architecture.cross import CROSS
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.recipe import Recipe
from auxin.architecture.sizes import Sizes
from auxin.config import ModelConfig, RunConfig
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily, recipe_of
from auxin.families.description import KNOWN, Described, describe, settings_of
from auxin.families.layers import LayerStack, find_stacks, unwrapped
from auxin.families.matrices import Matrix, recognized
from auxin.families.preparation import hooks, prepared
from auxin.models.transformer import TransformerLM
from auxin.probes.inputs import Call, Reading, call_of, first_sequence
from auxin.probes.observe import run
from auxin.probes.placement import Placement, Term, norm_of, placements
from auxin.probes.roles import Part, Site
from auxin.probes.sites import noise_everywhere, sites_of
from auxin.probes.states import tensors_of
from auxin.probes.wiring import Wiring
from auxin.values import check

TOKENS = 32  # of the one sequence on which layers are recognized
BODIES: dict[str, type[Attention | MLP]] = {"attention": Attention, "mlp": MLP}
Found = Sequence[tuple[Site, Sequence[Part]]]
"""The layers with their branches."""
Placed = tuple[list[Placement], list[Term], bool]
"""Of a layer, the norms around its branches, these, and whether they are parallel."""


def network_of(source: Any, *, actual: bool = False) -> Network:
    """The network that a config or a model stands for, with the σ's of its family's initialization.

    Args:
        source: the path of a config.json or of its directory; its settings as a dict; a config of transformers; any
            model whose family is known, or whose layers are recognized by what they do, in a pass; a ``ModelConfig``,
            ``RunConfig`` or ``TransformerLM``. No config runs any code.
        actual: of a model, the σ's that its weights have now, instead of the intended ones.

    Raises:
        ConfigError: a family that is not known (the known ones are listed), a layer that is not recognized, or a
            setting that is missing.

    >>> settings = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
    >>> network = network_of(settings)
    >>> len(network.layers), round(exponents(network).gradient_total, 2)
    (12, 4.22)
    """
    if isinstance(source, Network):
        return source
    if isinstance(source, nn.Module):
        if isinstance(source, TransformerLM) and not actual:
            return source.config.network()
        model = unwrapped(source)
        try:
            described = description_of(model)
        except NoFamily as why:
            kind = type(model).__name__
            raise NoFamily(
                f"{kind} is of no known family, and is not recognized: {why}; allowed: {KNOWN}"
            ) from why
        return described.actual if actual else described.recipe.drawn
    check(not actual, "actual", True, "False, of a config, which has no weights")
    if isinstance(source, (ModelConfig, RunConfig)):
        return (source.model if isinstance(source, RunConfig) else source).network()
    return recipe_of(settings_of(source)).drawn


def description_of(
    model: nn.Module,
    stack: LayerStack | None = None,
    reading: Reading = Reading(),  # noqa: B008  # it is frozen
) -> Described:
    """The description of a model by its family; of no known one, by what its layers do."""
    try:
        return describe(model, stack)
    except NoFamily:
        return recognize(model, stack or find_stacks(model, reading.layers)[-1], reading)


def recognize(model: nn.Module, stack: LayerStack, reading: Reading = Reading()) -> Described:  # noqa: B008
    """The recipe of a model of no known family, and its matrices by role, from replays of one pass.

    Cost: some 20 passes without products, and some 50 of the first layer alone. Raises ``NoFamily``, which names the
    first part that is not covered.
    """
    try:
        with prepared(model):
            wiring = Wiring(model, stack, partial(run, model, _call(model, reading)))
            found = _parts(sites_of(wiring))
            layers = _layers([parts for _, parts in found], _placed(wiring, found))
        return _described(model, found, layers)
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
        choices += [dataclasses.replace(short, inputs=inputs) for inputs in (first_sequence(given), given)]
    why: ConfigError | None = None
    for choice in choices:
        try:
            call = call_of(model, choice)
            with torch.no_grad():
                run(model, call)
            return call
        except ConfigError as error:
            why = error
    raise NoFamily(f"it does not run: {why}") from why


def _parts(sites: Sequence[Site]) -> list[tuple[Site, list[Part]]]:
    """The layers with their branches; those that compute the same from the same are alike, and are looked at once."""
    reads = sites[0].wiring.replay(noise_everywhere(sites))
    known: list[tuple[list[Part], list[Tensor]]] = []
    found = []
    for site in sites:
        here = [reads[number] for number in site.calls]
        parts = next((parts for parts, there in known if _alike(parts, here, there)), None)
        if parts is None:
            parts = site.parts()
            known.append((parts, here))
        found.append((site, parts))
    return found


def _alike(parts: Sequence[Part], here: Sequence[Tensor], there: Sequence[Tensor]) -> bool:
    """Whether the last maps of branches read the same in two layers."""
    if [x.shape for x in here] != [x.shape for x in there]:
        return False
    return all(torch.allclose(here[p.writer], there[p.writer], rtol=1e-3, atol=1e-4) for p in parts)


def _placed(wiring: Wiring, found: Found) -> list[Placed]:
    """Norms, strengths and order of the branches of every layer, where they write tokens of unlike norm."""
    generator = torch.Generator().manual_seed(3)
    size = wiring.follow({}).states[0].square().mean().sqrt()
    changes = {}
    for site, parts in found:
        for part in parts:
            shape = site.maps[part.writer].output.shape
            rows = torch.exp(1.5 * torch.randn(shape[0], 1, generator=generator))
            changes[site.calls[part.writer]] = size * rows * torch.randn(shape, generator=generator)
    seen = wiring.follow(changes)
    outputs: dict[str, Tensor] = {}
    with hooks() as hook:
        for name in {branch.module for layer in seen.branches for branch in layer}:
            keep = lambda _, __, output, name=name: outputs.update({name: next(tensors_of(output)).detach()})
            hook(wiring.model.get_submodule(name).register_forward_hook(keep))
        wiring.replay(changes)
    layers: list[Placed] = []
    for i, (site, parts) in enumerate(found):
        branches, start = seen.branches[i], seen.states[i]
        if len(branches) != len(parts):
            name = list(wiring.stack.layers)[i]
            raise NoFamily(f"{name} has {len(branches)} branches, of {len(parts)} output maps")
        readers = [site.calls[part.readers[0]] for part in parts]
        writers = [site.calls[part.writer] for part in parts]
        terms = []
        for branch, r, w in zip(branches, readers, writers, strict=True):
            added = outputs[branch.module].cpu().reshape(start.shape)
            terms.append(Term(branch.module, seen.reads[r], changes[w], added, branch.skip, branch.strength))
        norms, side = placements(start, terms, seen.states[i + 1])
        norms = [norm.times(site.factors.get(r, 1.0)) for norm, r in zip(norms, readers, strict=True)]
        gates = [site.gates.get(w, 1.0) for w in writers]
        terms = [dataclasses.replace(t, strength=t.strength * g) for t, g in zip(terms, gates, strict=True)]
        layers.append((norms, terms, side))
    return layers


def _layers(parts: Sequence[Sequence[Part]], placed: Sequence[Placed]) -> tuple[Layer, ...]:
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


def _described(model: nn.Module, layers: Found, described: tuple[Layer, ...]) -> Described:
    """With sizes, and the scheme that most maps follow; else the σ's that they have."""
    found = tuple(_matrices(layers))
    attention = [part for _, parts in layers for part in parts if isinstance(part.body, Attention)]
    width = next(m.entries.shape[0] for m in found if m.role in ("out", "down"))
    heads = {part.heads for part in attention} or {(1, 1)}
    hidden = {m.entries.shape[1] for m in found if m.role == "down"} or {0}
    causal = {part.causal for part in attention if type(part.body) is Attention}
    for what, values in (("heads", heads), ("hidden units", hidden), ("masks", causal)):
        if len(values) > 1:
            raise NoFamily(f"its layers have unlike {what}")
    biases = {f"{name}_bias": _biased(model, layers, kind) for name, kind in BODIES.items()}
    sizes = Sizes(width, *heads.pop(), hidden=hidden.pop(), **biases)
    network, scheme = Network(described), SCHEMES["gaussian"]
    recipe = Recipe(type(model).__name__, network, sizes, scheme, causal=causal == {True})
    recipe = _with_tables(recipe, attention)
    known = recognized(dataclasses.replace(recipe, rows=_rows(found)), found) or recognized(recipe, found)
    if known is not None:
        return Described(_with_queries(known, found, attention), found, "maps", traced=True)
    near = lambda one: (m.std for m in found if m.role == one.role and abs(m.layer - one.layer) <= 1)
    stds = {(m.role, m.layer): median(near(m)) for m in found}  # a single odd layer is not expected
    recipe = dataclasses.replace(recipe, network=network.drawn(scheme, sizes, stds))
    return Described(recipe, found, "guess", traced=True)


def _with_tables(recipe: Recipe, attention: Sequence[Part]) -> Recipe:
    """With the standard deviation of the biases of logits by distance, which no scheme draws."""
    sigmas = [p.body.relative.sigma for p in attention if isinstance(p.body, Attention) and p.body.relative]
    return dataclasses.replace(recipe, own={"relative": median(sigmas)}) if sigmas else recipe


def _with_queries(recipe: Recipe, found: Sequence[Matrix], attention: Sequence[Part]) -> Recipe:
    """Where queries make up for logits that are not divided by √d_h (T5), with their standard deviation."""
    own, bodies = dict(recipe.own), [(p.roles, p.body) for p in attention if isinstance(p.body, Attention)]
    for role in ("query", CROSS + "query"):
        forms = {(body.scale, body.head_dim) for roles, body in bodies if role in roles}
        scale, dim = forms.pop() if len(forms) == 1 else (None, None)
        if scale is not None and dim is not None:
            expected = recipe.std(role, 0) * dim**-0.5 / scale
            if abs(median(m.std for m in found if m.role == role) / expected - 1) < 0.06:
                own[role] = expected
    return dataclasses.replace(recipe, own=own)


def _rows(found: Sequence[Matrix]) -> dict[str, int]:
    """Rows of the parameters that hold several maps, but for queries, keys and values together."""
    entries = {(m.parameter, m.layer): 0 for m in found}
    for m in found:
        entries[m.parameter, m.layer] += len(m.entries)
    joint = {
        m.role: entries[m.parameter, m.layer] for m in found if len(m.entries) < entries[m.parameter, m.layer]
    }
    return {} if "query" in joint else joint


def _matrices(layers: Found) -> Iterator[Matrix]:
    for layer, (site, parts) in enumerate(layers):
        for part in parts:
            for role, columns in part.roles.items():
                call, index = site.maps[columns.place], columns.index.flatten()
                entries, name = call.weight.mT, call.parameter
                entries = entries if len(index) == len(entries) else entries[index.to(entries.device)]
                yield Matrix(role, layer, name.rpartition(".")[0] or name, name, entries)


def _biased(model: nn.Module, layers: Found, kind: type[Attention | MLP]) -> bool:
    """Whether maps of a kind of branch have biases that are not 0; those of queries and keys do not count."""
    names = {
        site.maps[columns.place].bias
        for site, parts in layers
        for part in parts
        for role, columns in part.roles.items()
        if isinstance(part.body, kind) and not role.endswith(("query", "key"))
    }
    return any(bool(model.get_parameter(name).any()) for name in names if name)
