"""What half precision loses: additions that are too small for the stream, and tables that were exact."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from auxin.probes.dead import Reach
from auxin.probes.findings import Diagnostic
from auxin.probes.laws import Reference, law_of
from auxin.probes.observe import Observation
from auxin.probes.weights import Subject

LOST = 0.5
"""Share of the entries of a token that a layer has to change."""
HALF = (torch.float16, torch.bfloat16)


def rounded_away(subject: Subject, seen: Observation, reach: Reach) -> Iterator[Diagnostic]:
    """Layers that add less than half a unit in the last place to most entries of every token, x + f(x) = x.

    Layers whose branches begin at zero have tensors that no gradient reaches at the first update: they add nothing.
    """
    place, names = subject.stack.place, list(subject.stack.layers)
    first = {place(name)[0] for name, update in reach.updates.items() if update == 1}
    late = {place(name)[0] for name, update in reach.updates.items() if update > 1}
    for name, changed in zip(seen.layers, seen.changed, strict=True):
        layer = names.index(name)
        if changed < LOST and layer in first - late:
            sentence = (
                f"{name} leaves {1 - changed:.0%} of the stream's entries as they are: what it adds is too small for "
                f"the resolution of {seen.dtype}, and is rounded away."
            )
            yield Diagnostic("dead", name, sentence, layer=layer, part="rounded")


def rounded_tables(subject: Subject, reference: Reference | None) -> Iterator[str]:
    """A note on buffers in half precision, of which a fresh model has other digits (frequencies of rotations)."""
    for name, buffer in subject.model.named_buffers():
        law = None if reference is None else reference.laws.get(name)
        here = law_of(buffer) if buffer.dtype in HALF and law is not None else None
        if law is None or here is None or law.entries is None or law.shape != here.shape or law.constant:
            continue
        assert here.entries is not None
        off = float(((here.entries - law.entries) / law.entries.abs().clamp_min(1e-30)).abs().max())
        if 0 < off < torch.finfo(buffer.dtype).eps:
            kind = str(buffer.dtype).removeprefix("torch.")
            yield (
                f"{name} is rounded to {kind}, by up to {off:.2%}: what it is multiplied with (positions) is off by as "
                "much; float32 keeps it"
            )
