"""A ``TransformerLM`` as settings and weights of a model of transformers that computes the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auxin.families.matrices import HEADS
from auxin.families.targets import TARGETS, Parts, Target
from auxin.models.transformer import TransformerLM
from auxin.values import check


def huggingface(model: TransformerLM) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of a config.json, and weights, whose logits are the model's up to rounding.

    What the class of transformers has no place for goes into weights: a branch's strength into its output map, a scale
    of the embeddings into them, biases that it does not have to leave out are zero, and biases of the output map are
    read off the last layer norm, see ``_with_constant``.

    Raises ``ConfigError`` naming what no class of transformers computes.
    """
    config = model.config
    parts = Parts.of(config)
    target = _target(parts)
    _check_numbers(parts, target)
    weights = _weights(model, target)
    tied = config.tied and torch.equal(
        weights[f"{target.head}.weight"], weights[f"{target.embedding}.weight"]
    )
    tied = tied and not target.head_bias
    if tied:
        del weights[f"{target.head}.weight"]
    settings = {
        "model_type": target.kind,
        "architectures": [target.architecture],
        "vocab_size": config.vocabulary_size,
        **target.settings(parts),
        "tie_word_embeddings": tied,
    }
    return settings, {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}


def _target(parts: Parts) -> Target:
    """The class that a model can be; else ``ConfigError`` for the first thing that the closest one does not have."""
    form = parts.form()

    def differing(target: Target) -> list[str]:
        return [name for name, values in target.allows().items() if form[name] not in values]

    closest = min(TARGETS, key=lambda target: len(differing(target)))
    for name in differing(closest):
        allowed = " or ".join(map(str, closest.allows()[name]))
        check(False, name, form[name], f"{allowed}, in transformers' {closest.architecture}")
    return closest


def _check_numbers(parts: Parts, target: Target) -> None:
    """Refuse what the class has no setting for."""
    config, sizes, attention = parts.config, parts.config.sizes, parts.attention

    def allow(condition: bool, name: str, value: object, allowed: object) -> None:
        check(condition, name, value, f"{allowed}, in transformers' {target.architecture}")

    for sublayer in parts.layer.sublayers:
        allow(sublayer.skip == 1, "skip strength", sublayer.skip, 1)
    for name in ("scale", "window", "softcap", "alibi"):
        value = getattr(attention, name)
        allow(not value, name, value, "none")
    slowed = attention.rotary and attention.rotary.factors
    allow(not slowed, "factors of rotary", slowed, "none")
    allow(parts.mlp.activation != "erf", "activation", parts.mlp.activation, "relu, gelu, tanh, silu, linear")
    if not target.shared_keys:
        allow(sizes.key_heads == sizes.heads, "key_heads", sizes.key_heads, "as many as heads")
        inner = sizes.heads * parts.head_dim
        allow(inner == config.width, "width of all heads", inner, f"the model's {config.width}")
    allow(not config.mlp_bias or target.mlp_bias, "mlp_bias", True, False)
    added = config.positions == "none" or bool(target.positions)
    allow(added, "positions", config.positions, "none beside rotary ones")
    final = parts.recipe.network.final
    allow((final is None) == (not target.final), "final_norm", final, "one" if target.final else "none")
    like = parts.norms[0]
    for norm in (*parts.norms, *filter(None, (final, config.embedding_norm))):
        allow(norm.kind == like.kind, "kind of a norm", norm.kind, like.kind)
        epsilon = like.epsilon if target.epsilon is None else target.epsilon
        allow(norm.epsilon == epsilon, "epsilon of a norm", norm.epsilon, epsilon)
    allow(not config.output_bias or target.head_bias or like.kind == "layer", "output_bias", True, False)


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
    heads, size = attention.heads, attention.dimensions
    rows = heads * size, attention.key_heads * size, attention.key_heads * size
    branch = {"out": layer.branches[0].described.branch, "down": layer.branches[1].described.branch}
    modules = {"out": attention.out, "up": layer.mlp.up, "gate": layer.mlp.gate, "down": layer.mlp.down}
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        joint = _tensor(attention.qkv, kind, target.biased)
        parts: dict[str, Tensor | None] = {
            role: _tensor(module, kind, target.biased)
            for role, module in modules.items()
            if module is not None
        }
        if joint is not None:
            split = joint.split(rows)
            each = (
                torch.stack([part.unflatten(0, (-1, size)) for part in split], 1)
                if family.fused == "heads"
                else None
            )
            parts |= dict(zip(HEADS, split, strict=True))
            parts["qkv"] = joint if each is None else each.flatten(0, 2)
        for role, path in family.parts.items():
            tensor = parts.get(role)
            if tensor is not None:
                tensor = tensor * branch.get(role, 1)
                found[f"{path}.{kind}"] = tensor.T if target.transposed and tensor.ndim == 2 else tensor
    return found


def _tensor(module: nn.Linear, kind: str, biased: bool) -> Tensor | None:
    """A map's weight or bias; zeros for a bias that it lacks where it has to have one."""
    tensor = getattr(module, kind)
    return torch.zeros(module.out_features) if tensor is None and biased else tensor


def _with_constant(weight: Tensor, bias: Tensor, output: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Biases of a layer norm, and an output map W behind it, such that W·h is what W·h + c was.

    Behind a layer norm h = w ∘ n + b, where the entries of n sum to 0: along e ∝ 1/w, h has no part but a constant.
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
