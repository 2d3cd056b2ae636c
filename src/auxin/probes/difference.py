"""``auxin.diff``: what differs between two models: a refactored one and its original, a port, two configs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import LayerStack, find_layers, unwrapped
from auxin.families.preparation import prepared
from auxin.probes.dead import Reach, reach_of
from auxin.probes.findings import Thresholds, counted, wrapped
from auxin.probes.inputs import Reading, call_of, vocabulary_of
from auxin.probes.laws import Law, law_of
from auxin.probes.matching import matched, unlike_modules
from auxin.probes.observe import observe, run
from auxin.probes.states import tensors_of
from auxin.theory.profile import Profile
from auxin.values import check

PROFILED = ("norm", "cosine", "gradient", "attention_share", "mlp_share", "entropy", "spread")
"""Columns of the profile that are compared."""
ROUNDING = 2e-3  # difference of profiles, relative or of a cosine, that equal weights may leave
STANDARD_ERRORS = 5.0
"""Scatter that profiles of different weights may leave: after l layers of width d one network's is about √(l/d)."""
MOST = 30  # rows that the summary shows


@dataclass(frozen=True)
class Difference:
    """What ``diff`` found; prints as the tensors and layers that differ."""

    tensors: pl.DataFrame
    """A row a tensor of either: name, other (its name in the second), matched (by name, role, place or not at all),
    layer, size and other_size (root mean squares), same (entry by entry), difference (in words; empty where there is
    none beyond chance)."""
    profile: pl.DataFrame | None
    """A row a layer: norm, cosine, gradient, … of the first, other_norm, … of the second; None where not measured."""
    findings: tuple[str, ...]
    """What differs, a sentence each."""
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs beyond chance."""
        return not self.findings

    def summary(self) -> str:
        """The findings as text of at most 80 columns."""
        counts = Counter(how for how in self.tensors["matched"] if how != "none")
        matched = ", ".join(f"{count} by {how}" for how, count in counts.items()) or "nowhere"
        same, more = int(self.tensors["same"].sum()), len(self.findings) - MOST
        lines = [*self.findings[:MOST]] or ["Nothing differs beyond chance."]
        lines += [f"… and {more} more"] if more > 0 else []
        lines.append(f"({self.tensors.height} tensors, matched {matched}; {same} with the same entries)")
        return "\n".join(wrapped([*lines, *(f"({note})" for note in self.notes)]))

    __str__ = summary

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "ok": self.ok,
            "findings": list(self.findings),
            "notes": list(self.notes),
            "tensors": self.tensors.to_dicts(),
            "profile": [] if self.profile is None else self.profile.to_dicts(),
        }


def diff(
    first: nn.Module,
    second: nn.Module,
    inputs: Any = None,
    *,
    thresholds: Thresholds | None = None,
    **reading: Any,
) -> Difference:
    """Compare two models parameter by parameter and layer by layer; both are left as they were.

    Tensors are matched by their names, else by their role where both are of known families, else by their place:
    the same layer and shape (or its transpose), in order. Entries are compared first, then laws: size, mean, share of
    zeros, shape of the distribution, each beyond chance. Where most tensors hold the same entries, one that does not
    is a difference. Modules that hold the same entries run on the same inputs: one that makes something else of them is
    named, and so is a norm with another ε. Then both models run on the same inputs, and their streams, gradients,
    branches and outputs are compared: up to rounding where all entries are the same, else up to five times the scatter
    √(l/d) of l layers of width d.

    Args:
        first: a torch.nn.Module.
        second: another; the sentences say what it does where the first does otherwise.
        inputs: what both forwards take; by default the same random token ids, of the smaller vocabulary.
        thresholds: as of ``auxin.check``.
        reading: as of ``auxin.check``: ``layers``, ``batch``, ``n_tokens``, ``batch_first``, ``seed``.

    Raises ``ConfigError`` for a model without layers that are found. Where one of them does not run on the inputs, a
    note says so, and only weights are compared. Cost: that of two checks without a prediction.

    >>> import torch
    >>> layer = torch.nn.TransformerEncoderLayer(32, 4)
    >>> models = [torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) for _ in range(2)]
    >>> diff(*models).ok
    True
    >>> _ = models[1].layers[1].linear2.weight.data.mul_(2)
    >>> print(diff(*models).findings[0])
    layers.1.linear2.weight has other entries: 2 times the size in the second.
    """
    limits, read = thresholds or Thresholds(), Reading(inputs, **reading)
    models = [unwrapped(model) for model in (first, second)]
    for model in models:
        check(isinstance(model, nn.Module), "model", type(model).__name__, "a torch.nn.Module")
    with prepared(*models):
        stacks = [find_layers(model, read.layers) for model in models]
        rows = list(_rows(models, stacks, limits))
        copies = sum(row["same"] and not row["constant"] for row in rows)
        varied = sum(row["matched"] != "none" and not row["constant"] for row in rows)
        findings = _folded(rows, copies > varied / 2, max(len(stack.layers) for stack in stacks))
    profile, more, notes = _profiles(models, read, rows, stacks[0])
    columns = ("name", "other", "matched", "layer", "size", "other_size", "same", "difference")
    table = pl.DataFrame([{name: row[name] for name in columns} for row in rows], infer_schema_length=None)
    return Difference(table, profile, (*findings, *more), tuple(notes))


def _rows(
    models: Sequence[nn.Module], stacks: Sequence[LayerStack], limits: Thresholds
) -> Iterator[dict[str, Any]]:
    """Matched tensors compared, and those without a match."""
    for one, other, how in matched(models, stacks):
        present = one or other
        assert present is not None
        here, there = (None if each is None else law_of(each.entries) for each in (one, other))
        same, words = False, f"is only in the {'second' if one is None else 'first'}"
        if one is not None and other is not None:
            entries = other.entries.to(one.entries)
            same = torch.equal(one.entries, entries)
            same = same or (entries.ndim == 2 and torch.equal(one.entries, entries.mT))
            words = "" if same else _difference(here, there, limits)
        yield {
            "name": one and one.name,
            "other": other and other.name,
            "matched": how,
            "layer": present.layer,
            "part": present.part,
            "size": here and here.size,
            "other_size": there and there.size,
            "same": same,
            "difference": words,
            "constant": (here is None or here.constant) and (there is None or there.constant),
        }


def _difference(here: Law | None, there: Law | None, limits: Thresholds) -> str:
    """How a tensor's law differs from another's, in words; empty where it does not, beyond chance."""
    if here is None or there is None:
        return "" if here is there else "is not finite in one of the two"
    found = here.difference(there.random, limits, draws=1)
    return "" if found is None else f"{found[0]}, in the second {found[1].removeprefix('has ')}"


def _folded(rows: Sequence[dict[str, Any]], copies: bool, depth: int) -> list[str]:
    """A sentence for every difference; one alone for a part that differs alike in several layers."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for i, row in enumerate(rows):
        what = _words(row, copies)
        if what is not None:
            name, other = row["name"] or row["other"], row["other"]
            full = name if other in (None, name) else f"{name} ({other} in the second)"
            ratio = round(np.log2((row["other_size"] or 1) / (row["size"] or 1)), 1)
            key = i if row["layer"] is None else (row["part"], row["matched"], ratio, row["same"])
            groups[key].append(f"{full} {what}")
    return [counted(group[0], len(group), depth) for group in groups.values()]


def _words(row: dict[str, Any], copies: bool) -> str | None:
    """What is to be said of a row; with ``copies``, that entries differ is a difference, too."""
    if copies and row["matched"] != "none" and not row["same"]:
        ratio = row["other_size"] / row["size"] if row["size"] and row["other_size"] else 1.0
        size = f": {ratio:.3g} times the size in the second" if abs(ratio - 1) > 0.03 else ""
        return f"has other entries{size}"
    return row["difference"] or None


def _profiles(
    models: Sequence[nn.Module], reading: Reading, rows: Sequence[dict[str, Any]], stack: LayerStack
) -> tuple[pl.DataFrame | None, list[str], list[str]]:
    """Both streams on the same inputs, what differs in them, in single modules and in the outputs; and notes."""
    try:
        shared = _same_inputs(models, reading)
        seen = [observe(model, shared) for model in models]
        trained = [{n for n, p in model.named_parameters() if p.requires_grad} for model in models]
        reaches = [reach_of(model, shared, names) for model, names in zip(models, trained, strict=True)]
        with prepared(*models):
            unlike = unlike_modules(models, stack, rows, shared)
            outputs = [_output(model, shared) for model in models]
    except ConfigError as error:
        return None, [], [f"layers were not compared: {error}"]
    findings, equal = [*unlike, *_compared_use(reaches)], all(row["same"] for row in rows)
    depths, width = [observation.depth for observation in seen], min(o.width for o in seen)
    last = _compared_outputs(outputs, ROUNDING if equal else _chance(depths[0] + 1, width), equal=equal)
    if depths[0] != depths[1]:
        return None, [*findings, f"The first runs {depths[0]} layers, the second {depths[1]}.", *last], []
    names = [n for n in PROFILED if all(n in observation.columns for observation in seen)]
    columns = {"layer": np.arange(depths[0] + 1)}
    for name in names:
        columns |= {name: seen[0][name], f"other_{name}": seen[1][name]}
    findings += [*compared_streams(seen, width, names, equal), *last]
    return pl.DataFrame(columns).fill_nan(None), findings, []


def _chance(layers: Any, width: int) -> Any:
    """Relative difference that networks of different weights may have after so many layers."""
    return STANDARD_ERRORS * np.sqrt(2 * layers / width)


def _output(model: nn.Module, reading: Reading) -> Tensor | None:
    """The first tensor of floats that a model returns."""
    call = call_of(model, reading)
    with torch.no_grad():
        return next((x for x in tensors_of(run(model, call)) if x.is_floating_point()), None)


def _compared_outputs(outputs: Sequence[Tensor | None], allowed: float, *, equal: bool) -> Iterator[str]:
    """How the outputs differ: what comes after the last layer is in them, too."""
    one, other = outputs
    if one is None or other is None:
        return
    if one.ndim == other.ndim == 3:  # logits of the last token alone are all that is needed to generate
        count = min(one.shape[1], other.shape[1])
        one, other = one[:, -count:], other[:, -count:]
    if one.shape != other.shape:
        yield f"The output has shape {tuple(one.shape)}, in the second {tuple(other.shape)}."
        return
    one, other = one.double(), other.double().to(one.device)
    sizes = [x.square().mean().sqrt().item() for x in (one, other)]
    if abs(sizes[1] - sizes[0]) > allowed * sizes[0]:
        yield f"The output differs: its root mean square is {sizes[0]:.4g}, in the second {sizes[1]:.4g}."
    elif equal and (apart := ((other - one).square().mean().sqrt() / sizes[0]).item()) > allowed:
        yield f"The output differs by {100 * apart:.2g}%, at the same size."


def _same_inputs(models: Sequence[nn.Module], reading: Reading) -> Reading:
    """Token ids that both models know and have positions for, where nothing is given and both read token ids."""
    tables = [vocabulary_of(model) for model in models]
    if reading.inputs is not None or None in tables:
        return reading
    words = [table.num_embeddings for table in tables if table is not None]
    calls = [call_of(model, reading) for model in models]
    tokens = [call.tokens for call in calls if call.tokens is not None]
    if len(tokens) < len(models):
        return reading
    shortest = min(ids.shape[1] for ids in tokens)
    return replace(reading, inputs=tokens[words.index(min(words))][:, :shortest])


def _compared_use(reaches: Sequence[Reach]) -> list[str]:
    """Parameters of one name that the output of one model alone depends on."""
    findings: list[str] = []
    for which, here, there in (("first", *reaches), ("second", *reaches[::-1])):
        idle = (here.unused | here.blocked) & there.updates.keys()
        findings += [f"{name} has no gradient in the {which}." for name in sorted(idle)]
    return findings


def compared_streams(seen: Sequence[Profile], width: int, names: Sequence[str], equal: bool) -> list[str]:
    """Where each column differs first: forward from the input, gradients from the output."""
    layers = np.arange(seen[0].depth + 1)
    differing = []
    for name in names:
        one, other = seen[0][name], seen[1][name]
        passed = layers[::-1] if name == "gradient" else layers
        chance = _chance(passed + 1, width)
        scale = np.ones(len(layers)) if name == "cosine" else np.maximum(np.abs(one), 1e-12)
        close = np.abs(other - one) <= (ROUNDING if equal else chance) * scale
        wrong = np.flatnonzero(~close & ~(np.isnan(one) & np.isnan(other)))
        if len(wrong):
            at = int(wrong[-1 if name == "gradient" else 0])
            where = f"after layer {at}" if at else "before the first layer"
            word = {"norm": "norm²", "gradient": "squared gradient"}.get(name, name.replace("_", " "))
            values = f"{one[at]:.4g}, in the second {other[at]:.4g}"
            differing.append((name == "gradient", at, f"The {word} differs first {where}: {values}."))
    return [sentence for *_, sentence in sorted(differing)]
