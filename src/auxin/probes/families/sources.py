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
from auxin.probes.families.configs import design_of, read_config
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
        if described is None:
            raise ConfigError(
                f"{type(source).__name__} is of no known family; allowed: {KNOWN}; any other model can be measured"
            )
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


def describe(model: nn.Module, layers: Layers | None = None) -> Described | None:
    """What family a model is of, and its matrices; None where it is of none that is known."""
    if isinstance(model, nn.TransformerEncoderLayer):
        return _torch(Stack("", {"": model}))
    try:
        stack = find_stack(model, layers)
    except ConfigError:
        return None
    first = next(iter(stack.layers.values()))
    if isinstance(first, nn.TransformerEncoderLayer):
        return _torch(stack)
    if isinstance(model, TransformerLM):
        return _ours(model, stack)
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind in BY_TYPE:
        design, family = design_of(settings_of(model.config)), BY_TYPE[kind]
        if design.depth != len(stack.layers):
            return None
        head_dim = design.layers[0].head_dim
        found = matrices(stack.layers, family.parts, family.fused, design.heads, head_dim)
        return Described(design, tuple(found), meant=True)
    if all(_has(first, path) for path in GPT2_PARTS.values()):
        return _nanogpt(model, stack)
    return None


def _has(layer: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in layer.named_modules())


def _torch(stack: Stack) -> Described | None:
    """Layers of torch's own; as it leaves them unless most maps follow another law."""
    layers = list(stack.layers.values())
    first = layers[0]
    assert isinstance(first, nn.TransformerEncoderLayer)
    heads, width = first.self_attn.num_heads, first.self_attn.embed_dim
    name = {1: "relu", 2: "gelu"}.get(first.activation_relu_or_gelu)
    if name is None:
        return None
    design = Design(
        family="torch.nn.TransformerEncoder",
        width=width,
        hidden=first.linear1.out_features,
        heads=heads,
        layers=(Heads(width // heads),) * len(layers),
        norm=Norm("layer", epsilon=first.norm1.eps),
        placement="pre" if first.norm_first else "post",
        activation=name,
        law=torch_attention,
        causal=False,
    )
    found = matrices(stack.layers, TORCH_PARTS, "rows", heads, width // heads)
    return _with_law(design, found, first.linear1.bias is not None)


def _nanogpt(model: nn.Module, stack: Stack) -> Described | None:
    """Blocks with attn.c_attn, attn.c_proj, mlp.c_fc and mlp.c_proj."""
    first = next(iter(stack.layers.values()))
    up = first.get_submodule("mlp.c_fc")
    heads = getattr(first.get_submodule("attn"), "n_head", None)
    if not isinstance(up, nn.Linear) or type(heads) is not int or up.in_features % heads:
        return None
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
        activation="gelu",
        scaled=True,
    )
    found = matrices(stack.layers, GPT2_PARTS, "rows", heads, width // heads)
    return _with_law(design, found, up.bias is not None)


def _ours(model: TransformerLM, stack: Stack) -> Described | None:
    """auxin's own layers, each of one attention and one MLP, which differ in nothing but what attention may see."""
    config = model.config
    network, scheme = config.network(), config.scheme
    layer = network.layers[0]
    if len({_apart_from_sight(each) for each in network.layers}) > 1 or len(layer.sublayers) != 2:
        return None
    attention, mlp = (sublayer.body for sublayer in layer.sublayers)
    norms = {norm for sublayer in layer.sublayers for norm in norms_of(sublayer).values()}
    places = {tuple(norms_of(sublayer)) for sublayer in layer.sublayers}
    standard = isinstance(attention, Attention) and isinstance(mlp, MLP) and len(norms) == len(places) == 1
    if not standard:
        return None
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
