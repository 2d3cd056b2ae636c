"""Tensors that were never set, that no gradient reaches, and those that begin at zero by design."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence

from torch import Tensor, nn

from auxin.families.layers import LayerStack
from auxin.probes.findings import Diagnostic
from auxin.probes.reach import Reach
from auxin.probes.weights import Subject, owner

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


def unset_tensors(model: nn.Module, bad: Mapping[str, int]) -> Iterator[Diagnostic]:
    """Parameters and buffers with ``bad_entries`` or absurdly large ones, and maps whose entries are all equal."""
    buffers = dict(model.named_buffers())
    for name, tensor in (*model.named_parameters(), *buffers.items()):
        if name in bad:
            what, why = (f"{name}, a buffer,", "") if name in buffers else (name, ", or overflowed")
            entries = f"{bad[name]:,} of {tensor.numel():,} entries NaN or infinite"
            yield Diagnostic("dead", owner(name), f"{what} has {entries}: never set{why}.")
    for name, p in model.named_parameters():
        if name in bad:
            continue
        lowest, highest = (value.item() for value in p.detach().float().aminmax())
        if (size := max(-lowest, highest)) > ABSURD:
            sentence = f"{name} has entries of up to {size:.3g}: memory that was never set."
            yield Diagnostic("dead", owner(name), sentence, size)
        elif lowest == highest != 0 and p.numel() >= FEW and _is_map(name, p):
            sentence = f"{name} is {lowest:g} in every entry: all its outputs are alike."
            yield Diagnostic("dead", owner(name), sentence, lowest)


def _is_map(name: str, p: Tensor) -> bool:
    return p.ndim == 2 and min(p.shape) > 1 and name.endswith("weight")


def unreached(reach: Reach, stack: LayerStack, ran: Sequence[str]) -> Iterator[Diagnostic]:
    """Modules that run and whose weights no gradient reaches; in layers that ran, also those that are never used.

    Of numbered siblings (experts) one has to be reached. A module of which one tensor is reached is not dead: the
    softmax makes the gradient of keys' biases zero.
    """
    layers = list(stack.layers)
    alive: set[tuple[int | None, str]] = set()
    lifeless: dict[tuple[int | None, str], str] = {}
    for name in (*reach.updates, *sorted(reach.blocked | reach.unused)):
        layer, part = stack.place(owner(name))
        group = layer, re.sub(r"\d+", "#", part)
        if name in reach.updates:
            alive.add(group)
        elif name in reach.blocked or (layer is not None and layers[layer] in ran):
            lifeless.setdefault(group, name)
    for (layer, part), name in lifeless.items():
        if (layer, part) not in alive:
            module = owner(name)
            what = "is never used" if module not in reach.called and name not in reach.blocked else "runs"
            sentence = f"{module} {what}: no gradient reaches its weights, now or after the first updates."
            yield Diagnostic("dead", module, sentence, layer=layer, part=part)


def zero_by_design(subject: Subject, reach: Reach, named: Container[str], *, identity: bool) -> Iterator[str]:
    """A note on what begins at zero on purpose, and what the first update does then; none where nothing is held back.

    ``named``: modules of which a finding is known already. ``identity``: the layers change nothing.
    """
    late = sum(update > 1 for update in reach.updates.values())
    place = subject.stack.place
    blocked = not any(update == 1 and place(name)[0] is not None for name, update in reach.updates.items())
    parts: Counter[str] = Counter()
    outside: list[str] = []
    for name in _zeros(subject.model) if late else ():
        parameters = [n for n, _ in subject.model.named_parameters() if name in (n, owner(n))]
        if name in named or owner(name) in named or not any(p in reach.updates for p in parameters):
            continue
        layer, part = place(name)
        if layer is not None:
            parts[part] += 1
        elif blocked:  # a head of zeros; position tables of zeros hold nothing back
            outside.append(name)
    zero = [f"{part} ({count} of {len(subject.stack.layers)} layers)" for part, count in parts.items()]
    zero += outside
    if zero:
        names = ", ".join(zero[:SHOWN]) + (f" and {len(zero) - SHOWN} more" if len(zero) > SHOWN else "")
        network = (
            "branches begin at zero: the network is the identity at initialization; " if identity else ""
        )
        total, last = len(reach.updates), max(reach.updates.values())
        yield (
            f"{network}zero by design: {names}; the first update moves {total - late} of {total} tensors, gradients "
            f"reach all of them from update {last} on"
        )


def _zeros(model: nn.Module) -> Iterator[str]:
    """Modules whose own parameters are all zero; of others, single ones that are zero and no bias."""
    for name, module in model.named_modules():
        direct = dict(module.named_parameters(recurse=False))
        zero = [n for n, p in direct.items() if not bool(p.detach().any())]
        if direct and len(zero) == len(direct) and next(module.children(), None) is None:
            yield name
        else:
            yield from (f"{name}.{n}".removeprefix(".") for n in zero if "bias" not in n)
