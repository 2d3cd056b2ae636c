"""``auxin.check``: whether the initialization of a model is all right, and where it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from auxin.architecture import Network
from auxin.architecture.recipe import Recipe
from auxin.errors import AuxinError
from auxin.families.configs import recipe_of
from auxin.families.description import settings_of
from auxin.families.layers import find_stacks, unwrapped
from auxin.families.preparation import prepared
from auxin.probes import dead, siblings, weights
from auxin.probes.branches import branch_mismatches, strength_mismatches
from auxin.probes.check_report import CheckReport
from auxin.probes.expectation import Expectation
from auxin.probes.findings import KINDS, Diagnostic, Kind, Thresholds, folded
from auxin.probes.inputs import Reading
from auxin.probes.laws import laws_of, rounded_tables
from auxin.probes.observe import Observation, observe
from auxin.probes.prediction import Tokens
from auxin.probes.redraws import Given
from auxin.probes.routing import routing_mismatches
from auxin.probes.states import NotFinite
from auxin.probes.weights import Subject
from auxin.theory.profile import Profile
from auxin.values import check as check_value

MOVED = (
    "the gains of most norms vary, so the weights have been trained: they are not compared with an initialization "
    "(reference=… compares them with a model)"
)


class UnhealthyModel(AuxinError, AssertionError):
    """``assert_healthy`` has found something; the message has the findings' sentences."""


def check(
    model: nn.Module | str | Path | Mapping[str, Any] | Any,
    inputs: Any = None,
    *,
    reference: Given | str | None = None,
    network: Network | Recipe | None = None,
    branch: float = 1.0,
    thresholds: Thresholds | None = None,
    **reading: Any,
) -> CheckReport:
    """Measure a model before training, predict what it should be, and say where the two disagree.

    The model is left as it was: modes, gradients, hooks, random state.

    Args:
        model: any torch.nn.Module; or a config.json's path, settings or config of transformers, which is predicted
            alone.
        inputs: what its forward takes (a tensor, a tuple, a dict); by default random token ids, pixels or vectors.
        reference: what weights are compared with: a model, a function that builds one, or a scheme's name (gpt2,
            xavier, pytorch …); by default the family's recipe, the law that most maps of recognized layers follow,
            fresh draws of the model's own class for what these do not cover, or the other layers.
        network: what is predicted, for a model whose layers are not recognized: a ``Network``, or a Recipe.
        branch: factor by which the branches' output maps were rescaled on purpose (``rescale_``).
        thresholds: from where on a difference is a finding; ``auxin.Thresholds``.
        reading: how it is measured. ``layers``: the container of the layers by name, or the layers in order, where
            they are not found. ``batch``, ``n_tokens``: sequences of the default inputs (2), and tokens of each (64).
            ``batch_first``: whether the residual stream is [B, n, d]; found out by default. ``seed``: of the default
            inputs, and of what is differentiated (0).

    Cost: a pass forward and four to eight back, another forward, and the prediction: some three times a pass forward
    and back. 16 layers of width 2048, a billion parameters, take 40 seconds of one core, and 2 GB beside the model.

    Raises ``ConfigError`` for a model without layers that are found, inputs that it does not take, weights without
    data (device meta), and configs of unknown families.

    >>> import torch
    >>> model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(64, 4), 3, enable_nested_tensor=False)
    >>> report = check(model, n_tokens=8)
    >>> report.ok
    True
    """
    given, limits = Reading(inputs, **reading), thresholds or Thresholds()
    if not isinstance(model, nn.Module):
        return _of_config(recipe_of(settings_of(model)), given, limits)
    model = unwrapped(model)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    with prepared(model):  # before any weight is read: in training mode, reading some of them changes others
        reports = []
        for stack in find_stacks(model, given.layers):
            subject = Subject(model, stack, trainable, limits, branch)
            own = dataclasses.replace(given, layers=stack)
            reports.append(_check(subject, own, Expectation.of(subject, reference, own, network)))
        return reports[0] if len(reports) == 1 else reports[1].behind(reports[0])


def assert_healthy(
    model: nn.Module, inputs: Any = None, *, kinds: Sequence[Kind] = KINDS, **settings: Any
) -> None:
    """Raise ``UnhealthyModel``, an ``AssertionError``, where ``check`` finds something of the given kinds.

    For a test suite; ``settings`` are those of ``check``.

    >>> import torch
    >>> layer = torch.nn.TransformerEncoderLayer(64, 4)
    >>> assert_healthy(torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), n_tokens=8)
    """
    for kind in kinds:
        check_value(kind in KINDS, "kind", kind, ", ".join(KINDS))
    found = [finding for finding in check(model, inputs, **settings).findings if finding.kinds & set(kinds)]
    if found:
        raise UnhealthyModel(f"{len(found)} found: " + " ".join(finding.sentence for finding in found))


def _of_config(recipe: Recipe, reading: Reading, limits: Thresholds) -> CheckReport:
    """A config alone: predicted, not measured."""
    tokens = Tokens.of_recipe(recipe, reading.n_tokens, reading.seed)
    remarks = [f"{recipe.name}: {recipe.scheme.words}", "a config alone: predicted, not measured"]
    if tokens is None:
        remarks.append("its inputs are no tokens, so the stream before the first layer is not known")
    report = CheckReport(recipe.name, None, recipe, (), tuple(remarks), tokens)
    profile = report.predicted
    findings = () if profile is None else tuple(_verdict(profile, "predicted", recipe.name, limits))
    report = dataclasses.replace(report, findings=findings)
    return report if recipe.encoder is None else report.behind(_of_config(recipe.encoder, reading, limits))


def _check(subject: Subject, reading: Reading, expected: Expectation) -> CheckReport:
    model, stack, limits = subject.model, subject.stack, subject.limits
    bad = dead.bad_entries(model)
    causes = _Causes(dead.unset_tensors(model, bad))
    moved = expected.known != "given" and weights.moved_gains(subject, expected.reference)
    if not moved:
        _compare(causes, subject, expected)
    effects: list[Diagnostic] = []
    notes = [MOVED if moved else expected.words]
    seen = tokens = None
    reach = dead.Reach()
    if not bad:
        reach = dead.reach_of(model, reading, subject.trainable)  # first: what a run frees may stay allocated
        try:
            seen = observe(model, reading)
        except NotFinite as error:
            causes.append(Diagnostic("dead", error.module or stack.name, f"{error}."))
    if seen is not None:
        found = list(dead.unreached(reach, stack, seen.layers))
        usual = dead.unreached_by_class(found, subject, reading)
        causes.add(finding for finding in found if finding.module not in usual)
        causes.add(dead.rounded_away(subject, seen, reach))
        notes += rounded_tables(model, expected.reference)
        idle, optional = dead.unused_outside(reach, subject)
        causes.add(idle)
        notes += optional
        if usual:
            where = f"not reached in a fresh {type(model).__name__} either, on such inputs"
            notes.append(f"{', '.join(sorted(usual)[: dead.SHOWN])}: {where}")
        identity = bool(np.allclose(seen.grams, seen.grams[0], rtol=1e-9))
        notes += [*reach.notes, *dead.zero_by_design(subject, reach, causes.modules, identity=identity)]
        routed = list(routing_mismatches(seen.routings, expected.described, notes))
        causes.add(() if moved else routed)
    if siblings.all_copies(stack):
        notes += ["all layers begin with the same weights (copies); the prediction is for independent ones"]
    described = expected.described
    if seen is not None and seen.closed:
        if described is not None and described.recipe.depth == seen.depth:
            named = {finding.layer for finding in causes} if described.traced else set()
            strengths = () if moved else strength_mismatches(seen, described, limits)
            causes += (finding for finding in strengths if finding.layer not in named)
            effects += () if moved else branch_mismatches(seen, described, limits)
            tokens = Tokens.observed(seen)
            notes += [] if tokens is not None else ["no prediction for padded inputs"]
        effects += _verdict(seen, "measured", stack.name, limits)
    elif seen is not None:
        notes.append(
            "the branches found do not account for the stream: no prediction, and no verdict on the depth"
        )
    if seen is not None:
        effects += () if moved else _loss(seen, limits)
        notes += seen.notes
    return CheckReport(
        name=type(model).__name__,
        observation=seen,
        recipe=None if described is None else described.recipe,
        findings=tuple(folded(causes, effects, len(stack.layers))),
        remarks=tuple(dict.fromkeys(notes)),
        tokens=tokens,
        known="moved" if moved else expected.known,
    )


class _Causes(list[Diagnostic]):
    """Findings, where a module is named by the first comparison that has found something of it."""

    @property
    def modules(self) -> set[str]:
        return {finding.module for finding in self}

    def add(self, found: Iterable[Diagnostic]) -> None:
        """Those whose module is not named by another comparison."""
        named = self.modules
        self += [finding for finding in found if finding.module not in named]


def _compare(causes: _Causes, subject: Subject, expected: Expectation) -> None:
    """Add the tensors and norms that are not as expected, by what says most of a module first."""
    stack, limits = subject.stack, subject.limits
    scheme, reference = expected.scheme, expected.reference
    covered = set() if scheme is None else {matrix.parameter for matrix in scheme.matrices}
    here = {} if reference is None else laws_of(subject.model)
    if scheme is not None and scheme.recognized and expected.redrawn(here, covered, limits):
        reference = None
    agreed = set() if reference is None else expected.settled(subject, here)
    unlike = () if reference else siblings.unlike_layers(stack, ends=scheme is not None)
    for finding in (*weights.gain_mismatches(subject), *unlike, *siblings.zeros_in_some(stack)):
        causes.add([finding] if finding.module not in agreed else [])
    causes.add(siblings.copies(stack))
    causes.add(siblings.copied_parts(stack, reference.copies if reference is not None else ()))
    if scheme is not None:
        causes.add(weights.scheme_mismatches(subject, scheme, agreed))
        causes.add(weights.table_mismatches(subject, scheme))
    if reference is not None:
        intended = covered if expected.known == "given" else set()  # by the caller, not as the class draws it
        others = {name: law for name, law in here.items() if name not in intended}
        causes.add(weights.reference_mismatches(subject, reference, others, weights.divisors(scheme)))
        causes.add(weights.missing_norms(subject, reference))
        causes.add(weights.tie_mismatches(subject, reference))
    causes.add(finding for finding in siblings.odd_layers(stack, limits) if finding.module not in agreed)


def _verdict(profile: Profile, how: str, stack: str, limits: Thresholds) -> Iterator[Diagnostic]:
    """What is wrong with a design over its depth, as it was measured or predicted (``how``)."""
    cosine, gradient, depth = profile.cosine, profile.gradient, profile.depth
    for name, column in (("norm²", profile.norm), ("cosine", cosine), ("gradient", gradient)):
        if not np.isfinite(column).all():
            layer = int(np.flatnonzero(~np.isfinite(column))[0])
            place = f"after layer {layer}" if layer else "at the input"
            yield Diagnostic("explode", stack, f"The {name} is not finite {place} ({how}).")
            return
    if cosine[0] > limits.cosine:
        sentence = (
            f"Tokens have a mean cosine of {cosine[0]:z.4f} before the first layer ({how}): the embeddings make them "
            "one, by an offset that all share."
        )
        yield Diagnostic("collapse", stack, sentence, float(cosine[0]), limits.cosine)
    elif cosine[-1] > limits.cosine:
        sentence = (
            f"After the last of {depth} layers tokens have a mean cosine of {cosine[-1]:z.4f} ({cosine[0]:z.2f} at "
            f"the input; {how}): they collapse into one."
        )
        yield Diagnostic("collapse", stack, sentence, float(cosine[-1]), limits.cosine)
    # where embeddings are small, the first layers multiply gradients whatever the design; and without damping they
    # grow as a power of the depth, which the second half hardly shows, while an explosion goes on in it
    middle = max(depth // 2, min(2, depth))
    growth = float(gradient[middle] / gradient[-1])
    if not np.isfinite(growth) or not 1 / limits.gradient <= growth <= limits.gradient:
        what = "explode" if growth > 1 or not np.isfinite(growth) else "vanish"
        sentence = (
            f"Squared gradients {what}: from the last of {depth} layers to layer {middle} they change by a factor of "
            f"{growth:.3g} ({how})."
        )
        yield Diagnostic("explode", stack, sentence, growth, limits.gradient)


def _loss(seen: Observation, limits: Thresholds) -> Iterator[Diagnostic]:
    loss = seen.excess_loss
    if loss is not None and not loss <= limits.excess_loss:
        sentence = (
            f"The loss starts {loss:.3g} nats above ln {seen.vocabulary:,}, that of a uniform guess: logits have a std "
            f"of {seen.logit_std:.3g}."
        )
        yield Diagnostic("loss", seen.output_map or seen.stack, sentence, loss, limits.excess_loss)
