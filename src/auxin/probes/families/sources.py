"""From what users hold (a path, a config, a model) to its description."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from auxin.architecture import MLP, Attention, Layer, Network, Norm
from auxin.arguments import explained
from auxin.config import ModelConfig, RunConfig
from auxin.errors import ConfigError
from auxin.models.stack import norms_of
from auxin.models.transformer import TransformerLM
from auxin.probes.families.activation import activation_of
from auxin.probes.families.configs import NoFamily, design_of, read_config
from auxin.probes.families.design import WRITERS, Design, Heads
from auxin.probes.families.laws import likely, torch_attention
from auxin.probes.families.modules import Matrix, matrices, measured_std
from auxin.probes.families.table import BY_TYPE, GPT2_PARTS, OUR_PARTS, PLACES, TORCH_PARTS
from auxin.probes.stack import Layers, Stack, find_stack
from auxin.values import check


@dataclass(frozen=True)
class Described:
    """A model's design beside the matrices that it has."""

    design: Design
    matrices: tuple[Matrix, ...]
    meant: bool
    """Whether the design's law is that of the family or of most maps, and not a mere guess."""

    @property
    def intended(self) -> Network:
        """The network of the scheme."""
        return self.design.network()

    @property
    def actual(self) -> Network:
        """The network of the weights as they are."""
        std = measured_std(list(self.matrices), self.design)
        return self.design.network(lambda role, layer: std[role, layer])


@explained
def network_of(source: Any, *, actual: bool = False) -> Network:
    """The network that a config or a model stands for, with the σ's of its family's initialization.

    Args:
        source: the path of a config.json or of its directory; its settings as a dict; a config of transformers; a
            model of transformers; a torch.nn.TransformerEncoder (or one of its layers); a model of nanoGPT's shape;
            a ``ModelConfig``, ``RunConfig`` or ``TransformerLM``. No config runs any code.
        actual: of a model, the σ's that its weights have now, instead of those that were meant.

    Raises:
        ConfigError: a family that is not known (the known ones are listed), or a setting that is missing.

    >>> settings = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
    >>> network = network_of(settings)
    >>> len(network.layers), round(exponents(network).gradient_total, 2)
    (12, 0.07)
    """
    if isinstance(source, Network):
        return source
    if isinstance(source, nn.Module):
        if isinstance(source, TransformerLM) and not actual:
            return source.config.network()
        described = describe(source)
        return described.actual if actual else described.intended
    check(not actual, "actual", True, "False, of a config, which has no weights")
    if isinstance(source, RunConfig):
        return source.model.network()
    if isinstance(source, ModelConfig):
        return source.network()
    return design_of(settings_of(source)).network()


KNOWN = (
    "a model or config of transformers, torch.nn.TransformerEncoder, modules of nanoGPT's shape, a ModelConfig, "
    "RunConfig or TransformerLM"
)


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


def describe(model: nn.Module, layers: Layers | None = None) -> Described:
    """What family a model is of, and its matrices; what a wrapper holds (DDP, Lightning) is read as it is alone.

    Raises ``NoFamily`` for a model of none that is known, ``ConfigError`` naming what is not covered in a known one.
    """
    if isinstance(model, nn.TransformerEncoderLayer):
        return _torch(Stack("", {"": model}))
    stack = find_stack(model, layers)
    first = next(iter(stack.layers.values()))
    if isinstance(first, nn.TransformerEncoderLayer):
        return _torch(stack)
    parents = _parents(model, next(iter(stack.layers)))
    ours = next((parent for parent in parents if isinstance(parent, TransformerLM)), None)
    if ours is not None:
        return _ours(ours, stack)
    config = next((c for c in map(_config, parents) if c is not None), None)
    if config is not None:
        return _transformers(config, stack)
    if all(_has(first, path) for path in GPT2_PARTS.values()):
        return _nanogpt(stack)
    raise _none(model)


def _none(model: nn.Module) -> NoFamily:
    return NoFamily(
        f"{type(model).__name__} is of no known family; allowed: {KNOWN}; any other model can be measured"
    )


def _parents(model: nn.Module, layer: str) -> list[nn.Module]:
    """The modules that hold a layer, the innermost first."""
    steps = layer.split(".")
    return [model.get_submodule(".".join(steps[:i])) for i in reversed(range(len(steps)))]


def _config(module: nn.Module) -> Any:
    """A module's config, if it is one of transformers."""
    config = getattr(module, "config", None)
    return config if isinstance(getattr(config, "model_type", None), str) else None


def _transformers(config: Any, stack: Stack) -> Described:
    """Layers of a model of transformers, by the config of the module that holds them."""
    for layer in stack.layers.values():
        if not type(layer).forward.__module__.startswith("transformers"):
            raise NoFamily(f"{type(layer).__name__} has a forward of its own; allowed: transformers'")
    design = design_of(settings_of(config))
    family = BY_TYPE[config.model_type]
    depth = len(stack.layers)
    check(design.depth == depth, f"number of layers in {stack.name}", depth, f"the config's {design.depth}")
    head_dim = design.layers[0].head_dim
    for parts in filter(None, (family.parts, family.renamed)):
        found = matrices(stack.layers, parts, family.fused, design.heads, head_dim)
        if {matrix.role for matrix in found} == set(design.roles):
            return Described(design, tuple(found), meant=True)
    layer = type(next(iter(stack.layers.values()))).__name__
    raise ConfigError(f"{layer} has maps of other names than {family.name}'s; allowed: {family.parts}")


def _has(layer: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in layer.named_modules())


def _torch(stack: Stack) -> Described:
    """Layers of torch's own; as it leaves them unless most maps follow another law."""
    layers = list(stack.layers.values())
    first = layers[0]
    assert isinstance(first, nn.TransformerEncoderLayer)
    for layer in layers:
        for name in ("forward", "_sa_block", "_ff_block"):
            if getattr(type(layer), name, None) is not getattr(nn.TransformerEncoderLayer, name):
                raise NoFamily(f"{type(layer).__name__} has a {name} of its own; allowed: torch's")
    heads, width = first.self_attn.num_heads, first.self_attn.embed_dim
    design = Design(
        family="torch.nn.TransformerEncoder",
        width=width,
        hidden=first.linear1.out_features,
        heads=heads,
        layers=(Heads(width // heads),) * len(layers),
        norm=Norm("layer", epsilon=first.norm1.eps),
        placement="pre" if first.norm_first else "post",
        activation=activation_of(first, "linear1", "linear2"),
        law=torch_attention,
        causal=False,
    )
    found = matrices(stack.layers, TORCH_PARTS, "rows", heads, width // heads)
    return _with_law(design, found, first.linear1.bias is not None)


def _nanogpt(stack: Stack) -> Described:
    """Blocks with attn.c_attn, attn.c_proj, mlp.c_fc and mlp.c_proj."""
    first = next(iter(stack.layers.values()))
    up = first.get_submodule("mlp.c_fc")
    heads = getattr(first.get_submodule("attn"), "n_head", None)
    if not isinstance(up, nn.Linear) or type(heads) is not int or up.in_features % heads:
        raise _none(first)
    width, hidden = up.in_features, up.out_features
    norm = next((m for m in first.modules() if isinstance(m, nn.LayerNorm)), None)
    design = Design(
        family="nanoGPT",
        width=width,
        hidden=hidden,
        heads=heads,
        layers=(Heads(width // heads),) * len(stack.layers),
        norm=Norm("layer", epsilon=norm.eps if norm is not None else 1e-5),
        placement="pre",
        activation=activation_of(first, "mlp.c_fc", "mlp.c_proj"),
        scaled=True,
    )
    found = matrices(stack.layers, GPT2_PARTS, "rows", heads, width // heads)
    return _with_law(design, found, up.bias is not None)


def _ours(model: TransformerLM, stack: Stack) -> Described:
    """auxin's own layers, each of one attention and one MLP, which differ in nothing but what attention may see."""
    config = model.config
    network, scheme = config.network(), config.scheme
    layer = network.layers[0]
    if len({_apart_from_sight(each) for each in network.layers}) > 1 or len(layer.sublayers) != 2:
        raise _none(model)
    attention, mlp = (sublayer.body for sublayer in layer.sublayers)
    norms = {norm for sublayer in layer.sublayers for norm in norms_of(sublayer).values()}
    places = {tuple(norms_of(sublayer)) for sublayer in layer.sublayers}
    standard = isinstance(attention, Attention) and isinstance(mlp, MLP) and len(norms) == len(places) == 1
    if not standard:
        raise _none(model)
    assert isinstance(attention, Attention)
    assert isinstance(mlp, MLP)
    sizes = config.sizes
    maps = attention.maps(sizes, network.branches) | mlp.maps(sizes, network.branches)
    maps |= {short: maps[name] for short, name in {"q": "query", "k": "key", "v": "value"}.items()}
    scaled = config.initialization == "gpt2"
    undone = network.branches**0.5 if scaled else 1.0  # the division is the design's own
    head_dim = attention.dimensions(sizes)
    design = Design(
        family="auxin",
        width=config.width,
        hidden=config.hidden,
        heads=config.heads,
        layers=tuple(_heads(each, head_dim) for each in network.layers),
        norm=norms.pop(),
        placement=PLACES[places.pop()],
        activation=str(mlp.activation),
        gated=mlp.gated,
        parallel=layer.parallel,
        scaled=scaled,
        law=lambda role, *_: scheme.weight(maps[role]).std * (undone if role in WRITERS else 1.0),
        said=f"the scheme {config.initialization}",
        embedding_norm=config.input_norm(),
        embedding_std=scheme.embeddings(config.embedding).std,
        key_width=0 if sizes.key_heads == sizes.heads else sizes.key_heads * head_dim,
        vocabulary=config.vocabulary_size,
        tied=config.tied,
        causal=config.causal,
        bias=lambda role, *_: scheme.bias(maps[role]).std,
        strengths=tuple((sublayer.skip, sublayer.branch) for sublayer in layer.sublayers),  # pyright: ignore[reportArgumentType]
    )
    found = matrices(stack.layers, OUR_PARTS, "rows", config.heads, head_dim)
    return Described(design, tuple(found), meant=True)


def _heads(layer: Layer, head_dim: int) -> Heads:
    """What a layer's attention does besides the plain product."""
    attention = layer.sublayers[0].body
    assert isinstance(attention, Attention)
    return Heads(
        head_dim,
        attention.scale,
        attention.qk_norm,
        attention.rotary,
        attention.alibi,
        attention.window,
        attention.softcap,
    )


def _apart_from_sight(layer: Layer) -> Layer:
    """A layer whose attention sees everything, wherever it stands."""
    sublayers = tuple(
        replace(sublayer, body=replace(sublayer.body, window=None, rotary=None))
        if isinstance(sublayer.body, Attention)
        else sublayer
        for sublayer in layer.sublayers
    )
    return replace(layer, sublayers=sublayers)


def _with_law(design: Design, found: list[Matrix], biased: bool) -> Described:
    meant = likely(design, found, biased)
    return Described(meant or design, tuple(found), meant=meant is not None)
