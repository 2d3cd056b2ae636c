"""A ``TransformerLM`` as settings and weights of a model of transformers that computes the same."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from auxin.architecture import MLP, Attention, Layer, Network, Norm
from auxin.architecture.model import ModelConfig
from auxin.architecture.recipe import Recipe
from auxin.errors import ConfigError
from auxin.families.configs import recipe_of
from auxin.families.matrices import HEADS
from auxin.families.names import NAMES
from auxin.families.targets import TARGETS, Target
from auxin.models.stack import norms_of
from auxin.models.transformer import TransformerLM
from auxin.values import check

DROPOUTS = (
    *("dropout", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
)
OF_ATTENTION = ("qk_norm", "rotary", "scale", "window", "softcap", "alibi", "relative", "sink")


def huggingface(model: TransformerLM) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of a config.json, and weights, whose logits are the model's up to rounding.

    What the class of transformers has no place for goes into weights: a branch's strength into its output map, a scale
    of the embeddings into them, biases that it does not have to leave out are zero, and biases of the output map are
    read off the last layer norm, see ``_with_constant``.

    Raises ``ConfigError`` naming what no class of transformers computes.
    """
    config = model.config
    target, settings = _target(config)
    weights = _weights(model, target)
    head, table = f"{target.head}.weight", f"{target.embedding}.weight"
    tied = config.tied and not target.head_bias and torch.equal(weights[head], weights[table])
    if tied:
        del weights[head]
    written = {**settings, "architectures": [target.architecture], "tie_word_embeddings": tied}
    return written, {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}


def _target(config: ModelConfig) -> tuple[Target, dict[str, Any]]:
    """The class that a model can be, and its settings, which are read back to describe the same layers.

    Else ``ConfigError`` for the first thing that the closest class does not have.
    """
    recipe = config.recipe()
    ours = _form(recipe, config.embedding_norm)
    ours |= {name: getattr(config, name) for name in ("positions", "mlp_bias", "output_bias")}
    values = _settings(config, recipe.network)
    check(ours["activation"] != "erf", "activation", "erf", "one that transformers has")
    if rotary := ours["rotary"]:
        even = int(ours["head_dim"] * rotary.fraction) % 2 == 0
        check(even, "fraction of rotary", rotary.fraction, "one that turns an even number of dimensions")
    found: list[tuple[dict[str, Any], Target, dict[str, Any]]] = []
    for target in TARGETS:
        settings = {"model_type": target.kind, "vocab_size": config.vocabulary_size}
        settings |= {name: values[name] for name in target.settings.split() if name in values}
        with contextlib.suppress(ConfigError):  # heads, say, that the class cannot have
            read = recipe_of(settings)
            theirs = _form(read, read.network.layers[0].sublayers[0].stream if target.start else None)
            theirs |= {
                "positions": config.positions if target.positions else "none",
                "mlp_bias": config.mlp_bias and target.mlp_bias,
                "output_bias": config.output_bias and (target.head_bias or theirs["kind of norm"] == "layer"),
            }
            found.append(({n: of for n, of in theirs.items() if of != ours[n]}, target, settings))
    differing, target, settings = min(found, key=lambda one: len(one[0]))
    for name, allowed in differing.items():
        check(False, name, ours[name], f"{allowed}, in transformers' {target.architecture}")
    return target, settings


def _parts(network: Network) -> tuple[Layer, Attention, MLP]:
    """The one layer of a network, and what is in it."""
    layer, *others = set(network.layers)
    check(not others, "number of different layers", 1 + len(others), "1, to be exported")
    names = ", ".join(type(sublayer.body).__name__ for sublayer in layer.sublayers)
    check(names == "Attention, MLP", "sublayers", names, "Attention, MLP, to be exported")
    attention, mlp = (sublayer.body for sublayer in layer.sublayers)
    assert isinstance(attention, Attention)
    assert isinstance(mlp, MLP)
    return layer, attention, mlp


def _form(recipe: Recipe, embedding_norm: Norm | None) -> dict[str, Any]:
    """What a class of transformers has fixed, or a setting for, of a model whose layers are all one."""
    layer, attention, mlp = _parts(recipe.network)
    places = [norms_of(sublayer) for sublayer in layer.sublayers]
    ends = [norm for norm in (recipe.network.final, embedding_norm) if norm is not None]
    norms = [norm for here in places for norm in here.values()] + ends
    return {
        "place of the norms": " or ".join(sorted({" and ".join(here) or "none" for here in places})),
        "kind of norm": _alike([norm.kind for norm in norms]),
        "rotary positions": attention.rotary is not None,
        "gated": mlp.gated,
        "parallel": layer.parallel,
        "causal": recipe.causal,
        "embedding_norm": embedding_norm is not None,
        "skip strength": _alike([sublayer.skip for sublayer in layer.sublayers]),
        "head_dim": attention.dimensions(recipe.sizes),
        "key_heads": recipe.sizes.key_heads,
        **{name: getattr(attention, name) for name in OF_ATTENTION},
        "qk_epsilon": attention.qk_epsilon if attention.qk_norm else None,
        "activation": mlp.activation,
        "shift": mlp.shift,
        "final_norm": recipe.network.final and recipe.network.final.kind,
        "epsilon of a norm": _alike([norm.epsilon for norm in norms]),
    }


def _alike(values: list[Any]) -> Any:
    """What all are, or all that there are."""
    return values[0] if len(set(values)) == 1 else tuple(sorted(set(values)))


def _settings(config: ModelConfig, network: Network) -> dict[str, Any]:
    """The model's settings by all the names that configs of transformers have for them."""
    layer, attention, mlp = _parts(network)
    epsilons = [norm.epsilon for sublayer in layer.sublayers for norm in norms_of(sublayer).values()]
    values = {
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "key_heads": config.sizes.key_heads,
        "hidden": config.hidden,
        "longest": config.max_length,
        "activation": mlp.activation,
        "epsilon": epsilons[0] if epsilons else None,
    }
    if attention.rotary is not None:
        values |= {"base": attention.rotary.base, "fraction": attention.rotary.fraction}
    return {
        **{name: value for key, value in values.items() for name in NAMES[key]},
        **dict.fromkeys(DROPOUTS, config.dropout),
        "head_dim": attention.dimensions(config.sizes),
        "word_embed_proj_dim": config.width,
        "num_labels": config.vocabulary_size,
        "type_vocab_size": 1,
        "do_layer_norm_before": False,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "use_parallel_residual": layer.parallel,
    }


def _weights(model: TransformerLM, target: Target) -> dict[str, Tensor]:
    config = model.config
    table = model.embedding.weight * (config.width**0.5 if config.scale_embedding else 1)
    found = {f"{target.embedding}.weight": table}
    if target.positions:
        rows = torch.zeros(target.offset + config.max_length, config.width)
        if config.positions != "none":
            rows[target.offset :] = model.positions
        found[f"{target.positions}.weight"] = rows
    found |= {f"{name}.weight": torch.zeros(1, config.width) for name in target.extra}
    last = ""
    for i, layer in enumerate(model.layers):
        prefix = f"{target.stack}.{i}"
        found |= {f"{prefix}.{name}": tensor for name, tensor in _maps(layer, target).items()}
        for ours, theirs in zip(("attention_norm", "mlp_norm"), target.norms, strict=True):
            last = f"{prefix}.{theirs}"
            found |= _parameters(last, layer.get_submodule(ours))
        for name in ("q_norm", "k_norm"):
            if hasattr(layer.attention, name):
                found |= _parameters(f"{prefix}.self_attn.{name}", getattr(layer.attention, name))
    if target.start:
        found |= _parameters(target.start, model.embedding_norm)
    if target.final:
        last = target.final
        found |= _parameters(last, model.get_submodule("final_norm"))
    output = model.output.weight
    if target.head_bias:
        bias = model.output.bias if config.output_bias else torch.zeros(config.vocabulary_size)
        found[f"{target.head}.bias"] = bias
    elif config.output_bias:
        weight, bias = found[f"{last}.weight"], found[f"{last}.bias"]
        found[f"{last}.bias"], output = _with_constant(weight, bias, output, model.output.bias)
    found[f"{target.head}.weight"] = output
    return found


def _parameters(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{parameter}": tensor for parameter, tensor in module.named_parameters()}


def _maps(layer: Any, target: Target) -> dict[str, Tensor]:
    """The maps of a layer under the names of its family's table."""
    attention, family = layer.attention, target.family
    size = attention.dimensions
    rows = [count * size for count in (attention.heads, attention.key_heads, attention.key_heads)]
    strengths = {"out": layer.branches[0].described.branch, "down": layer.branches[1].described.branch}
    modules = {"out": attention.out, "up": layer.mlp.up, "gate": layer.mlp.gate, "down": layer.mlp.down}
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        parts = {role: _tensor(m, kind, target.biased) for role, m in modules.items() if m is not None}
        joint = _tensor(attention.qkv, kind, target.biased)
        if joint is not None:
            split = joint.split(rows)
            parts |= dict(zip(HEADS, split, strict=True))
            if family.fused == "heads":
                joint = torch.stack([part.unflatten(0, (-1, size)) for part in split], 1).flatten(0, 2)
            parts["qkv"] = joint
        for role, path in family.parts.items():
            if (tensor := parts.get(role)) is not None:
                tensor = tensor * strengths.get(role, 1)
                found[f"{path}.{kind}"] = tensor.T if target.transposed and tensor.ndim == 2 else tensor
    return found


def _tensor(module: nn.Linear, kind: str, biased: bool) -> Tensor | None:
    """A map's weight or bias; zeros for a bias that it lacks where it has to have one."""
    tensor = getattr(module, kind)
    return torch.zeros(module.out_features) if tensor is None and biased else tensor


def _with_constant(weight: Tensor, bias: Tensor, output: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Biases of a layer norm, and an output map W after it, such that W·h is what W·h + c was.

    After a layer norm h = w ∘ n + b, where the entries of n sum to 0: along e ∝ 1/w, h has no part but a constant.
    That constant is made √d, and W maps e·√d to what the constant gave before, and c.
    """
    w, b, W, c = (tensor.detach().double() for tensor in (weight, bias, output, constant))
    smallest = w.abs().min()
    e = smallest / w if smallest > 0 else (w == 0).double()
    e = e / e.norm()
    size = len(e) ** 0.5
    along = e @ b
    moved = b + (size - along) * e
    mapped = W + torch.outer((along * (W @ e) + c) / size - W @ e, e)
    return moved.float(), mapped.float()
