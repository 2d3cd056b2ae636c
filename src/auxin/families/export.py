"""A ``TransformerLM`` as settings and weights of a model of transformers that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from auxin.architecture import Layer, Network
from auxin.architecture.model import ModelConfig
from auxin.families.matrices import HEADS
from auxin.families.names import NAMES
from auxin.families.targets import TARGETS, Target, bodies_of, form_of
from auxin.models.stack import norms_of
from auxin.models.transformer import TransformerLM
from auxin.values import check

DROPOUTS = (
    *("dropout", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
)


def huggingface(model: TransformerLM) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of a config.json, and weights, whose logits are the model's up to rounding.

    What the class of transformers has no place for goes into weights: a branch's strength into its output map, a scale
    of the embeddings into them, biases that it does not have to leave out are zero, and biases of the output map are
    read off the last layer norm, see ``_with_constant``.

    Raises ``ConfigError`` naming what no class of transformers computes.
    """
    config = model.config
    network = config.recipe().network
    layer = _only_layer(network)
    form = form_of(layer, causal=config.causal, embedding_norm=config.embedding_norm is not None)
    target = _target(form)
    _check_numbers(config, network, target)
    weights = _weights(model, target)
    head, table = f"{target.head}.weight", f"{target.embedding}.weight"
    tied = config.tied and not target.head_bias and torch.equal(weights[head], weights[table])
    if tied:
        del weights[head]
    settings = _settings(config, layer)
    written = {
        "model_type": target.kind,
        "architectures": [target.architecture],
        "vocab_size": config.vocabulary_size,
        **{name: settings[name] for name in target.settings.split()},
        "tie_word_embeddings": tied,
    }
    return written, {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}


def _only_layer(network: Network) -> Layer:
    layer, *others = set(network.layers)
    check(not others, "number of different layers", 1 + len(others), "1, to be exported")
    names = ", ".join(type(sublayer.body).__name__ for sublayer in layer.sublayers)
    check(names == "Attention, MLP", "sublayers", names, "Attention, MLP, to be exported")
    return layer


def _target(form: Mapping[str, Any]) -> Target:
    """The class that a model can be; else ``ConfigError`` for the first thing that the closest one does not have."""

    def differing(target: Target) -> list[str]:
        return [name for name, values in target.allows().items() if form[name] not in values]

    closest = min(TARGETS, key=lambda target: len(differing(target)))
    for name in differing(closest):
        allowed = " or ".join(map(str, closest.allows()[name]))
        check(False, name, form[name], f"{allowed}, in transformers' {closest.architecture}")
    return closest


def _settings(config: ModelConfig, layer: Layer) -> dict[str, Any]:
    """The model's settings by all the names that configs of transformers have for them."""
    attention, mlp = bodies_of(layer)
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


def _check_numbers(config: ModelConfig, network: Network, target: Target) -> None:
    """Refuse what the class has no setting for."""
    sizes, layer = config.sizes, network.layers[0]
    attention, mlp = bodies_of(layer)
    head_dim = attention.dimensions(sizes)

    def allow(condition: bool, name: str, value: object, allowed: object) -> None:
        check(condition, name, value, f"{allowed}, in transformers' {target.architecture}")

    for sublayer in layer.sublayers:
        allow(sublayer.skip == 1, "skip strength", sublayer.skip, 1)
    for name in ("scale", "window", "softcap", "alibi", "relative", "sink"):
        value = getattr(attention, name)
        allow(value is None or (name != "sink" and not value), name, value, "none")
    if attention.rotary is not None:
        rotary, partial = attention.rotary, "rotary_pct" in target.settings
        allow(not rotary.factors, "factors of rotary", rotary.factors, "none")
        fits = int(head_dim * rotary.fraction) == rotary.turned(head_dim) if partial else rotary.fraction == 1
        even = "one that turns an even number of dimensions" if partial else "1"
        allow(fits, "fraction of rotary", rotary.fraction, even)
    allow(mlp.shift == 0, "shift", mlp.shift, 0)
    allow(mlp.activation != "erf", "activation", mlp.activation, "relu, gelu, tanh, silu, linear")
    if not target.shared_keys:
        allow(sizes.key_heads == sizes.heads, "key_heads", sizes.key_heads, "as many as heads")
        inner = sizes.heads * head_dim
        allow(inner == config.width, "width of all heads", inner, f"the model's {config.width}")
    allow(not config.mlp_bias or target.mlp_bias, "mlp_bias", True, False)
    added = config.positions == "none" or bool(target.positions)
    allow(added, "positions", config.positions, "none beside rotary ones")
    final = network.final
    allow((final is None) == (not target.final), "final_norm", final, "one" if target.final else "none")
    norms = [norm for sublayer in layer.sublayers for norm in norms_of(sublayer).values()]
    epsilon = norms[0].epsilon if target.epsilon is None else target.epsilon
    for norm in (*norms, *filter(None, (final, config.embedding_norm))):
        allow(norm.kind == norms[0].kind, "kind of a norm", norm.kind, norms[0].kind)
        allow(norm.epsilon == epsilon, "epsilon of a norm", norm.epsilon, epsilon)
    movable = target.head_bias or norms[0].kind == "layer"
    allow(not config.output_bias or movable, "output_bias", True, False)


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
