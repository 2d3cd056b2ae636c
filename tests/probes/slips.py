"""Slips of initialization as people report them, planted in a model: what to do, and the module that is to be named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Plant = Callable[[nn.Module], str]


@dataclass(frozen=True)
class Names:
    """Where a model keeps what slips are planted in."""

    layers: str
    out: str
    up: str
    down: str
    norm: str
    query: str
    """The matrix that queries (and perhaps keys and values) come from."""
    embedding: str = ""
    scaled: bool = False


NAMES = {
    "gpt2": Names(
        "transformer.h", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_2", "attn.c_attn", "transformer.wte", True
    ),
    "llama": Names(
        "model.layers", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm",
        "self_attn.q_proj", "model.embed_tokens",
    ),
    "torch": Names("layers", "self_attn.out_proj", "linear1", "linear2", "norm2", "self_attn"),
}  # fmt: skip


def _weight(model: nn.Module, name: str) -> Tensor:
    module = model.get_submodule(name)
    return module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight  # pyright: ignore[reportReturnType]


def _depth(model: nn.Module, names: Names) -> int:
    return len(list(model.get_submodule(names.layers).children()))


def _times(
    where: Callable[[Names], str], factor: Callable[[int], float], layer: int | None
) -> Callable[..., str]:
    """Multiply one matrix in one layer, or in all."""

    def plant(model: nn.Module, names: Names) -> str:
        depth = _depth(model, names)
        for index in range(depth) if layer is None else [layer]:
            _weight(model, f"{names.layers}.{index}.{where(names)}").mul_(factor(depth))
        return f"{names.layers}.{layer or 0}.{where(names)}"

    return plant


def _torch_default(model: nn.Module, names: Names) -> str:
    """One layer's MLP as nn.Linear leaves it (of torch's own: as GPT-2's scheme draws it)."""
    name = f"{names.layers}.1.{names.up}"
    weight = _weight(model, name)
    fan_in = weight.shape[0] if type(model.get_submodule(name)).__name__ == "Conv1D" else weight.shape[1]
    if names is NAMES["torch"]:
        weight.normal_(0.0, 0.02)
    else:
        weight.uniform_(-(fan_in**-0.5), fan_in**-0.5)
    return name


def _no_norm(model: nn.Module, names: Names) -> str:
    nothing = nn.Identity()
    nothing.eps = 1e-5  # pyright: ignore[reportAttributeAccessIssue]  # torch's own layers look at it
    setattr(model.get_submodule(f"{names.layers}.1"), names.norm, nothing)
    return f"{names.layers}.1.{names.norm}"


def _queries(model: nn.Module, names: Names) -> str:
    """The first rows of a joint matrix are those of queries; GPT-2 stores columns."""
    name = f"{names.layers}.1.{names.query}"
    weight = _weight(model, name)
    if type(model.get_submodule(name)).__name__ == "Conv1D":
        weight[:, : weight.shape[0]].mul_(2)
    else:
        weight[: weight.shape[1]].mul_(2)
    return name


def _unset(model: nn.Module, names: Names) -> str:
    """What memory may hold that was never written: here infinities among zeros."""
    name = f"{names.layers}.2.{names.down}"
    weight = _weight(model, name)
    weight.zero_()
    weight.view(-1)[::97] = math.inf
    return name


def _embedding(model: nn.Module, names: Names) -> str:
    _weight(model, names.embedding).normal_()
    return names.embedding


SLIPS: dict[str, Callable[[nn.Module, Names], str]] = {
    "depth scaling skipped": _times(lambda n: n.down, lambda depth: math.sqrt(2 * depth), None),
    "wrong matrix scaled": _times(lambda n: n.up, lambda depth: 1 / math.sqrt(2 * depth), None),
    "scaled twice": _times(lambda n: n.out, lambda depth: 1 / math.sqrt(2 * depth), None),
    "fan-in forgotten": _times(lambda n: n.up, lambda depth: 1.66, 2),
    "q doubled": _queries,
    "torch's default in one layer": _torch_default,
    "norm missing in one layer": _no_norm,
    "never set": _unset,
    "zero": _times(lambda n: n.down, lambda depth: 0.0, 1),
    "embeddings of std 1": _embedding,
}


@torch.no_grad()
def planted(model: nn.Module, kind: str, slip: str) -> str:
    """Plant a slip; the name of the module that is to be named. torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SLIPS[slip](model, NAMES[kind])
