"""From what users hold (a path, a config, a model) to its description."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.architecture import MLP, Attention, Layer, Network, Norm
from auxin.architecture.initialization import normal_scheme
from auxin.architecture.recipe import Recipe
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily, read_config, recipe_of
from auxin.families.family import GPT2_PARTS, OUR_PARTS, TORCH_PARTS, layer_of
from auxin.families.layers import LayerStack, find_stacks
from auxin.families.matrices import TORCH, Matrix, map_of, matrices, recognized
from auxin.families.preparation import as_config_error, hooks, prepared
from auxin.families.table import BY_TYPE
from auxin.models.transformer import TransformerLM
from auxin.values import check

KNOWN = (
    "a model or config of transformers, torch.nn.TransformerEncoder, modules of nanoGPT's shape, a ModelConfig, "
    "RunConfig or TransformerLM"
)

ACTIVATIONS = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "relu2": lambda x: F.relu(x).square(),
}
SAME = 2e-3
"""Largest difference between two forms of one function: GELU by erf and by tanh differ by 0.0005."""
LARGE = 3.0
"""Root mean square of what the first map is made to give, so that functions differ."""


@dataclass(frozen=True)
class Described:
    """A model's recipe, and the matrices that it has."""

    recipe: Recipe
    matrices: tuple[Matrix, ...]
    source: Literal["family", "maps", "guess"] = "family"
    """What the scheme is taken from: the family, most of the maps, or neither, as maps follow none that is known."""
    traced: bool = False
    """Whether the layers are recognized by what they do."""

    @property
    def recognized(self) -> bool:
        """Whether the scheme is taken from most of the maps."""
        return self.source == "maps"

    @cached_property
    def stds(self) -> dict[tuple[str, int], float]:
        """Root mean squares of the entries by role and layer; the scheme's where a layer has no such map."""
        return self.recipe.stds({(matrix.role, matrix.layer): matrix.std for matrix in self.matrices})

    @property
    def actual(self) -> Network:
        """The network of the weights as they are."""
        return self.recipe.network.drawn(self.recipe.scheme, self.recipe.sizes, self.stds)


def settings_of(source: Any) -> Mapping[str, Any]:
    """The settings of a config.json, of a dict or of a config of transformers."""
    if isinstance(source, (str, os.PathLike)):
        return read_config(Path(source))
    if isinstance(source, Mapping):
        return source
    written = getattr(source, "to_dict", None)
    check(callable(written), "source", type(source).__name__, f"a config.json's path, {KNOWN}")
    assert written is not None
    return written()


def describe(model: nn.Module, stack: LayerStack | None = None) -> Described:
    """What family a model is of, and its matrices; what a wrapper holds (DDP, Lightning) is read as it is alone.

    Raises ``NoFamily`` for a model of none that is known, ``ConfigError`` naming what is not covered in a known one.
    """
    if isinstance(model, nn.TransformerEncoderLayer):
        stack = LayerStack("", {"": model})
    stack = stack or find_stacks(model)[-1]
    name, first = next(iter(stack.layers.items()))
    if isinstance(first, nn.TransformerEncoderLayer):
        return _torch(stack)
    for parent in _parents(model, name):
        if isinstance(parent, TransformerLM):
            return _ours(parent, stack)
    config = config_of(model, name)
    if config is not None:
        return _transformers(config, stack)
    names = {name for name, _ in first.named_modules()}
    if names.issuperset(GPT2_PARTS.values()):
        return _nanogpt(stack)
    raise _no_family(model)


def _no_family(model: nn.Module) -> NoFamily:
    return NoFamily(
        f"{type(model).__name__} is of no known family; allowed: {KNOWN}; any other model can be measured"
    )


def _parents(model: nn.Module, layer: str) -> list[nn.Module]:
    """The modules that hold a layer, the innermost first."""
    steps = layer.split(".")
    return [model.get_submodule(".".join(steps[:i])) for i in reversed(range(len(steps)))]


def config_of(model: nn.Module, name: str) -> Any:
    """The config of transformers that the innermost module around a named one has; None where none has one."""
    configs = (getattr(parent, "config", None) for parent in _parents(model, name))
    return next((config for config in configs if isinstance(getattr(config, "model_type", None), str)), None)


def _transformers(config: Any, stack: LayerStack) -> Described:
    """Layers of a model of transformers, by the config of the module that holds them."""
    recipe, family = recipe_of(settings_of(config)), BY_TYPE[config.model_type]
    depth, first = len(stack.layers), next(iter(stack.layers.values()))
    if recipe.encoder is not None and map_of(first, family.parts["cross_out"])[1] is None:
        recipe = recipe.encoder
    check(recipe.depth == depth, f"number of layers in {stack.name}", depth, f"the config's {recipe.depth}")
    found = matrices(stack.layers, family.parts, family.fused, recipe)
    here = {(m.role, m.layer) for m in found}
    once = {("relative", i) for i in range(1, depth)}  # the first layer's table may serve all
    if here | once == once | {(role, i) for i, maps in enumerate(recipe.maps) for role in maps}:
        return Described(recipe, tuple(found))
    raise ConfigError(
        f"{type(first).__name__} has maps of other names than {family.name}'s; allowed: {dict(family.parts)}"
    )


def _torch(stack: LayerStack) -> Described:
    """Layers of torch's own; as it leaves them unless most maps follow another law."""
    layers = list(stack.layers.values())
    first = layers[0]
    assert isinstance(first, nn.TransformerEncoderLayer)
    for layer in layers:
        for name in ("forward", "_sa_block", "_ff_block"):
            if getattr(type(layer), name, None) is not getattr(nn.TransformerEncoderLayer, name):
                raise NoFamily(f"{type(layer).__name__} has a {name} of its own; allowed: torch's")
    sizes = Sizes(
        first.self_attn.embed_dim,
        first.self_attn.num_heads,
        hidden=first.linear1.out_features,
        attention_bias=False,  # that of torch's is 0 at initialization
        mlp_bias=first.linear1.bias is not None,
    )
    norm = Norm(epsilon=first.norm1.eps)
    layer = _layer(sizes, first, TORCH_PARTS, norm, "before" if first.norm_first else "stream")
    network = Network.repeat(layer, len(layers), norm if first.norm_first else None)
    recipe = Recipe("torch.nn.TransformerEncoder", network, sizes, TORCH, causal=False)
    return _with_scheme(recipe, stack, TORCH_PARTS)


def _nanogpt(stack: LayerStack) -> Described:
    """Blocks with attn.c_attn, attn.c_proj, mlp.c_fc and mlp.c_proj."""
    first = next(iter(stack.layers.values()))
    up = first.get_submodule("mlp.c_fc")
    heads = getattr(first.get_submodule("attn"), "n_head", None)
    if not isinstance(up, nn.Linear) or type(heads) is not int or up.in_features % heads:
        raise _no_family(first)
    biased = up.bias is not None
    sizes = Sizes(up.in_features, heads, hidden=up.out_features, attention_bias=biased, mlp_bias=biased)
    epsilon = next((m.eps for m in first.modules() if isinstance(m, nn.LayerNorm)), 1e-5)
    norm, scheme = Norm(epsilon=epsilon), normal_scheme(0.02, scaled=True)
    layer = _layer(sizes, first, GPT2_PARTS, norm, "before")
    network = Network.repeat(layer, len(stack.layers), norm)
    return _with_scheme(Recipe("nanoGPT", network, sizes, scheme), stack, GPT2_PARTS)


def _layer(sizes: Sizes, module: nn.Module, parts: Mapping[str, str], norm: Norm, place: str) -> Layer:
    """Plain attention and an MLP, whose activation is found by a pass."""
    activation: Any = _activation(module, parts["up"], parts["down"])
    return layer_of(Attention(head_dim=sizes.split_width()), MLP(activation), norm, (place,))


def _with_scheme(recipe: Recipe, stack: LayerStack, parts: Mapping[str, str]) -> Described:
    """With the scheme that most maps follow, if there is one."""
    found = tuple(matrices(stack.layers, parts, "rows", recipe))
    known = recognized(recipe, found)
    return Described(known or recipe, found, "guess" if known is None else "maps")


def _ours(model: TransformerLM, stack: LayerStack) -> Described:
    """auxin's own layers: at most one attention and one MLP each, whose heads have the dimensions of the model's."""
    recipe = model.config.recipe()
    layers: dict[Layer, Layer] = {}
    for layer in set(recipe.network.layers):
        kinds = [type(sublayer.body) for sublayer in layer.sublayers]
        if len(set(kinds)) < len(kinds):
            raise _no_family(model)
        layers[layer] = layer.sized(recipe.sizes, plain=True)
    network = replace(recipe.network, layers=tuple(layers[layer] for layer in recipe.network.layers))
    recipe = replace(recipe, network=network)
    return Described(recipe, tuple(matrices(stack.layers, OUR_PARTS, "rows", recipe)))


def _activation(layer: nn.Module, first: str, second: str) -> str:
    """The nonlinearity between two maps of a layer that nobody names, from one pass of random vectors.

    Raises ``ConfigError`` for a function that is none of the known, and for a layer that takes more than the stream.
    """
    up, down = layer.get_submodule(first), layer.get_submodule(second)
    kind, values = type(layer).__name__, list[Tensor]()

    def enlarged(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        size = output.square().mean().sqrt().clamp_min(torch.finfo(output.dtype).tiny)
        values[:] = [output * (LARGE / size)]
        return values[0]

    parameter = next(layer.parameters())
    x = torch.randn(1, 8, up.in_features, generator=torch.Generator().manual_seed(0)).to(parameter)  # pyright: ignore[reportArgumentType]
    with prepared(layer), hooks() as hook:
        hook(up.register_forward_hook(enlarged))
        hook(down.register_forward_pre_hook(lambda _, inputs: values.append(inputs[0])))
        with as_config_error(f"activation of {kind} cannot be seen"):
            layer(x)
    if len(values) < 2:
        raise ConfigError(f"activation of {kind} cannot be seen: {first} or {second} does not run")
    before, after = (value.detach().float() for value in values)
    allowed = SAME + 8 * torch.finfo(parameter.dtype).eps * LARGE
    for name, function in ACTIVATIONS.items():
        if before.shape == after.shape and (function(before) - after).abs().max() <= allowed:
            return name
    raise ConfigError(f"activation of {kind} is none that is covered: {', '.join(ACTIVATIONS)}")
