"""Tensors that were never set, that no gradient reaches, and that are zero: a slip in one layer, a design in all."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from auxin.families.layers import LayerStack
from auxin.probes.findings import Finding
from auxin.probes.reach import Reach

ABSURD = 1e6
"""An entry that no scheme draws."""
FEW = 16
"""Entries of a matrix that are too few to be called all equal."""
SHOWN = 3
"""Names that a note lists."""


def bad_entries(model: nn.Module) -> dict[str, int]:
    """How many entries of each parameter and buffer are NaN or infinite; masks, which are buffers, may hold −∞."""
    counts = {name: int((~p.detach().isfinite()).sum()) for name, p in model.named_parameters()}
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            counts[name] = int((buffer.isnan() | (buffer == float("inf"))).sum())
    return {name: count for name, count in counts.items() if count}


def unset_tensors(model: nn.Module, bad: Mapping[str, int]) -> Iterator[Finding]:
    """Parameters and buffers with ``bad_entries`` or absurdly large ones, and maps whose entries are all equal."""
    buffers = dict(model.named_buffers())
    for name, tensor in (*model.named_parameters(), *buffers.items()):
        if name in bad:
            what, why = (f"{name}, a buffer,", "") if name in buffers else (name, ", or overflowed")
            sentence = (
                f"{what} has {bad[name]:,} of {tensor.numel():,} entries NaN or infinite: never set{why}."
            )
            yield Finding("dead", owner(name), None, None, sentence)
    for name, p in model.named_parameters():
        if name in bad:
            continue
        lowest, highest = (v.item() for v in p.detach().float().aminmax())
        if (size := max(-lowest, highest)) > ABSURD:
            sentence = f"{name} has entries of up to {size:.3g}: memory that was never set."
            yield Finding("dead", owner(name), size, None, sentence)
        elif lowest == highest != 0 and p.numel() >= FEW and _is_map(name, p):
            sentence = f"{name} is {lowest:g} in every entry: all its outputs are alike."
            yield Finding("dead", owner(name), lowest, None, sentence)


def _is_map(name: str, p: Tensor) -> bool:
    return p.ndim == 2 and min(p.shape) > 1 and name.endswith("weight")


def owner(name: str) -> str:
    """The module of a parameter; the parameter itself where it is the model's own."""
    return name.rpartition(".")[0] or name


def place_of(name: str, stack: LayerStack) -> tuple[int, str] | None:
    """Number of the layer and the name inside it of a module or parameter; None outside of the layers."""
    for index, layer in enumerate(stack.layers):
        if name.startswith(f"{layer}." if layer else ""):
            return index, name.removeprefix(layer).removeprefix(".")
    return None


def unreached(reach: Reach, stack: LayerStack, ran: Sequence[str]) -> Iterator[Finding]:
    """Modules that run and whose weights no gradient reaches; in layers that ran, also those that are never used.

    Of numbered siblings (experts) one has to be reached. A module of which one tensor is reached is not dead: the
    softmax makes the gradient of keys' biases zero.
    """
    layers = list(stack.layers)
    alive: set[tuple[int | None, str]] = set()
    lifeless: dict[tuple[int | None, str], str] = {}
    for name in (*reach.updates, *sorted(reach.blocked | reach.unused)):
        layer, inner = place_of(owner(name), stack) or (None, owner(name))
        group = layer, re.sub(r"\d+", "#", inner)
        if name in reach.updates:
            alive.add(group)
        elif name in reach.blocked or (layer is not None and layers[layer] in ran):
            lifeless.setdefault(group, name)
    for group, name in lifeless.items():
        if group not in alive:
            module = owner(name)
            what = "is never used" if module not in reach.called and name not in reach.blocked else "runs"
            sentence = f"{module} {what}: no gradient reaches its weights, now or after the first updates."
            yield Finding("dead", module, None, None, sentence, group[0], group[1])


def zero_slips(stack: LayerStack) -> Iterator[Finding]:
    """Parameters that are zero in some layers and not in the others; the fewer are named."""
    for part, members in same_parts(stack).items():
        zero = [m for m in members if not bool(m[2].detach().any())]
        others = [m for m in members if bool(m[2].detach().any())]
        if not zero or not others:
            continue
        odd, size = (zero, size_of(others[0][2])) if len(zero) <= len(others) else (others, 0.0)
        for index, layer, p in odd:
            name = f"{layer}.{part}".removeprefix(".")
            found = size_of(p)
            there = "is zero in every entry" if found == 0 else f"has size {found:.4g} (rms)"
            sentence = f"{name} {there} where the other layers have {size:.4g}."
            yield Finding("mismatch", owner(name), found, size, sentence, index, part)


def same_parts(stack: LayerStack) -> dict[str, list[tuple[int, str, nn.Parameter]]]:
    """The layers' parameters by their place in a layer and their shape."""
    shapes: dict[tuple[str, tuple[int, ...]], list[tuple[int, str, nn.Parameter]]] = defaultdict(list)
    for index, (layer, module) in enumerate(stack.layers.items()):
        for name, p in module.named_parameters():
            shapes[name, tuple(p.shape)].append((index, layer, p))
    return {part: members for (part, _), members in shapes.items() if len(members) > 1}


def size_of(p: Tensor) -> float:
    """Root mean square of the entries."""
    return p.detach().float().square().mean().sqrt().item()


def zero_designs(
    model: nn.Module, reach: Reach, stack: LayerStack, named: Mapping[str, object], identity: bool
) -> Iterator[str]:
    """What begins at zero on purpose, and what the first update does then; nothing where it holds nothing back."""
    late = [name for name, update in reach.updates.items() if update > 1]
    if not late:
        return
    parts: Counter[str] = Counter()
    outside: list[str] = []
    blocked = not any(update == 1 and place_of(name, stack) for name, update in reach.updates.items())
    for name in _zeros(model):
        if name in named or owner(name) in named or not any(p in reach.updates for p in _own(model, name)):
            continue
        role = place_of(name, stack)
        if role is None and blocked:  # a head of zeros; position tables of zeros hold nothing back
            outside.append(name)
        elif role is not None:
            parts[role[1]] += 1
    zero = [f"{part} ({count} of {len(stack.layers)} layers)" for part, count in parts.items()] + outside
    if not zero:
        return
    names = ", ".join(zero[:SHOWN]) + (f" and {len(zero) - SHOWN} more" if len(zero) > SHOWN else "")
    start = "branches begin at zero: the network is the identity at initialization; " if identity else ""
    last = max(reach.updates.values())
    yield (
        f"{start}zero by design: {names}; the first update moves {len(reach.updates) - len(late)} of "
        f"{len(reach.updates)} tensors, gradients reach all of them from update {last} on"
    )


def _zeros(model: nn.Module) -> Iterator[str]:
    """Modules whose own parameters are all zero; of others, single ones that are zero and no bias."""
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        zero = [n for n, p in own.items() if not bool(p.detach().any())]
        if own and len(zero) == len(own) and next(module.children(), None) is None:
            yield name
        else:
            yield from (f"{name}.{n}".removeprefix(".") for n in zero if "bias" not in n)


def _own(model: nn.Module, name: str) -> list[str]:
    return [n for n, _ in model.named_parameters() if n == name or owner(n) == name]
