"""A model's initialization as it is, as it should be, and what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from auxin.architecture import Network
from auxin.architecture.recipe import Recipe
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily
from auxin.families.layers import LayerStack, find_layers, unwrapped
from auxin.families.preparation import prepared
from auxin.families.sources import Described, describe
from auxin.probes.branches import branch_mismatches, strength_mismatches
from auxin.probes.dead import bad_entries, unreached, unset_tensors, zero_designs, zero_slips
from auxin.probes.findings import Finding, folded
from auxin.probes.finite import NotFinite
from auxin.probes.laws import copies, law_mismatches, missing_norms, redrawn, settled, tie_mismatches
from auxin.probes.observe import Observation, Reading, observe
from auxin.probes.prediction import predict, predicted_of
from auxin.probes.reach import reach_of
from auxin.probes.reference import Given, Reference, reference_of, scheme_named, statistics_of
from auxin.probes.thresholds import Thresholds
from auxin.probes.weights import (
    copied_layers,
    gain_mismatches,
    odd_layers,
    scheme_mismatches,
    table_mismatches,
    unlike_layers,
)
from auxin.theory.profile import Profile
from auxin.values import check

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Diagnosis:
    """What was found; without an observation it is that of a config alone."""

    name: str
    observation: Observation | None
    recipe: Recipe | None
    intended: Network | None
    predicted: Profile | None
    """From the intended initialization, on the tokens at hand."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    thresholds: Thresholds = field(default_factory=Thresholds)

    def noting(self, note: str) -> Self:
        """The same with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))


def diagnose(
    model: nn.Module,
    reading: Reading = Reading(),  # noqa: B008  # it is frozen
    *,
    branch: float = 1.0,
    thresholds: Thresholds | None = None,
    predicting: bool = True,
    reference: Given | str | None = None,
) -> Diagnosis:
    """Measure a model and compare it with what is expected of it; all but ``predicting`` as in ``auxin.check``.

    Without ``predicting``, the Gram engine is left out: findings do not need it.
    """
    model = unwrapped(model)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    with prepared(model):  # before any weight is read: in training mode, reading some of them changes others
        described, unknown = _described(model, reading, reference)
        expected = reference_of(model, None if isinstance(reference, str) else reference)
        sources = Sources(
            described, unknown, expected, given=reference is not None and not isinstance(reference, str)
        )
        return _diagnose(model, reading, trainable, branch, sources, thresholds or Thresholds(), predicting)


@dataclass(frozen=True)
class Sources:
    """Where what is expected of a model's tensors is known from."""

    described: Described | None
    unknown: str
    """Why there is no recipe, or that none of a known law."""
    reference: Reference | None
    given: bool
    """Whether the caller has given it: then no recipe counts."""

    @property
    def scheme(self) -> Described | None:
        """The recipe that weights are compared with."""
        law = self.described is not None and self.described.meant
        return self.described if law and not self.given else None

    @property
    def words(self) -> str:
        """What the parameters were compared with."""
        scheme, reference = self.scheme, self.reference
        if scheme is not None:
            return f"{scheme.recipe.name}: {scheme.recipe.scheme.words}"
        first = f"{self.unknown}: " if self.unknown and not self.given else ""
        if reference is not None:
            return f"{first}compared with {reference.name} ({reference.draws} draws)"
        return f"{first or 'its weights follow no known law: '}layers compared with each other"


def _diagnose(
    model: nn.Module,
    reading: Reading,
    trainable: set[str],
    branch: float,
    sources: Sources,
    limits: Thresholds,
    predicting: bool,
) -> Diagnosis:
    stack = find_layers(model, reading.layers)
    reading = dataclasses.replace(reading, layers=stack)
    described = sources.described
    if described is not None and branch != 1:
        described = dataclasses.replace(
            described,
            recipe=dataclasses.replace(described.recipe, scheme=described.recipe.scheme.scaled(branch)),
        )
    sources = dataclasses.replace(sources, described=described)
    bad = bad_entries(model)
    causes = list(unset_tensors(model, bad))
    causes += _new(_mismatches(model, stack, sources, trainable, limits, branch), causes)
    effects: list[Finding] = []
    notes = [sources.words]
    seen = predicted = None
    if not bad:
        try:
            seen = observe(model, reading)
        except NotFinite as error:
            causes.append(Finding("dead", error.module or stack.name, None, None, f"{error}."))
    if seen is not None:
        reach = reach_of(model, reading, trainable)
        causes += _new(unreached(reach, stack, seen.layers), causes)
        identity = bool(np.allclose(seen.grams, seen.grams[0], rtol=1e-9))
        notes += [*reach.notes, *zero_designs(model, reach, stack, _modules(causes), identity)]
    if copied_layers(stack):
        notes.append(
            "all layers begin with the same weights (copies); the prediction is for independent ones"
        )
    if seen is not None and seen.closed:
        if described is not None and described.recipe.depth == seen.depth:
            causes += strength_mismatches(seen, described.recipe, limits)
            effects += branch_mismatches(seen, described.recipe, described.stds, limits)
            if predicting:
                predicted, note = _predicted(seen, described)
                notes += note
        effects += verdict(seen, predicted, stack.name, limits)
    elif seen is not None:
        notes.append(
            "the branches found do not account for the stream: no prediction, and no verdict on the depth"
        )
        effects += _loss(seen, limits)
    notes += () if seen is None else seen.notes
    recipe = None if described is None else described.recipe
    return Diagnosis(
        name=type(model).__name__,
        observation=seen,
        recipe=recipe,
        intended=None if described is None else described.intended,
        predicted=predicted,
        findings=tuple(folded(causes, effects, len(stack.layers))),
        notes=tuple(dict.fromkeys(notes)),
        thresholds=limits,
    )


def diagnose_recipe(
    recipe: Recipe, *, n_tokens: int = 64, seed: int = 0, thresholds: Thresholds | None = None
) -> Diagnosis:
    """A config alone: predicted, not measured."""
    limits = thresholds or Thresholds()
    network, words = recipe.drawn, f"{recipe.name}: {recipe.scheme.words}"
    predicted, notes = None, [words, "a config alone: predicted, not measured"]
    if recipe.embedding.norm > 0:
        gram = recipe.embedding.gram(n_tokens)
        predicted = predict(network, gram, recipe.causal, recipe.sizes.width, seed=seed)
    else:
        notes.append("its inputs are no tokens, so the stream before the first layer is not known")
    findings = [] if predicted is None else list(verdict(None, predicted, recipe.name, limits))
    return Diagnosis(recipe.name, None, recipe, network, predicted, tuple(findings), tuple(notes), limits)


def _described(model: nn.Module, reading: Reading, reference: object) -> tuple[Described | None, str]:
    """The family's description, with the scheme that the caller may have named; or why there is none, as a note."""
    scheme = scheme_named(reference) if isinstance(reference, str) else None
    try:
        described = describe(model, reading.layers)
    except NoFamily:
        described, why = None, "of no known family"
    except ConfigError as error:
        described, why = None, f"measured, not predicted: {error}"
    else:
        why = "" if described is not None else "of no known family"
    if scheme is None:
        return described, why
    known = described is not None
    check(
        known, "reference", reference, "a model or a function that builds one, for a model of no known family"
    )
    assert described is not None
    recipe = dataclasses.replace(described.recipe, scheme=scheme)
    return dataclasses.replace(described, recipe=recipe, meant=True), why


def _predicted(seen: Observation, described: Described) -> tuple[Profile | None, Sequence[str]]:
    try:
        predicted = predicted_of(seen, described.intended)
    except ConfigError as error:  # a state that overflows on the way
        return None, (f"no prediction: {error}",)
    return predicted, () if predicted is not None else ("no prediction for padded or zero inputs",)


def _mismatches(
    model: nn.Module,
    stack: LayerStack,
    sources: Sources,
    trainable: Container[str],
    limits: Thresholds,
    branch: float,
) -> list[Finding]:
    """Tensors and norms that are not as expected; a module is named once, by what says most of it."""
    scheme, reference = sources.scheme, sources.reference
    covered = set() if scheme is None else {matrix.parameter for matrix in scheme.matrices}
    here = {} if reference is None else statistics_of(model)
    if scheme is not None and scheme.recognized and reference is not None:
        reference = None if redrawn(here, reference, covered, limits) else reference
    found: list[Finding] = []
    agreed = set() if reference is None else settled(model, here, reference, limits)
    alike = [
        *gain_mismatches(model, stack, limits),
        *(() if reference else unlike_layers(stack, ends=scheme is not None)),
        *zero_slips(stack),
    ]
    for finding in alike:
        found += _new([finding] if finding.module not in agreed else [], found)
    found += _new(copies(stack), found)
    if scheme is not None:
        found += _new(scheme_mismatches(scheme, stack, limits), found)
        found += _new(table_mismatches(model, scheme, stack, trainable, limits), found)
    if reference is not None:
        others = {name: of for name, of in here.items() if name not in covered}
        found += _new(law_mismatches(model, others, reference, stack, limits, branch), found)
        found += _new(missing_norms(model, reference, stack), found)
        found += _new(tie_mismatches(model, reference), found)
    found += _new((f for f in odd_layers(stack, limits) if f.module not in agreed), found)
    return found


def _new(found: Iterable[Finding], known: Sequence[Finding]) -> list[Finding]:
    """Those whose module is not named already."""
    names = _modules(known)
    return [finding for finding in found if finding.module not in names]


def _modules(findings: Sequence[Finding]) -> dict[str, None]:
    """The modules that are named already."""
    return {finding.module: None for finding in findings}


def verdict(
    seen: Observation | None, predicted: Profile | None, stack: str, limits: Thresholds
) -> Iterator[Finding]:
    """What is wrong with a design over its depth, as measured; of a config, as predicted."""
    source = seen or predicted
    if source is None:
        return
    how = "measured" if seen else "predicted"
    cosine, gradient = source.cosine, source.gradient
    depth = len(cosine) - 1
    for name, column in (("norm²", source.norm), ("cosine", cosine), ("gradient", gradient)):
        if not np.isfinite(column).all():
            layer = int(np.flatnonzero(~np.isfinite(column))[0])
            sentence = (
                f"The {name} is not finite {f'after layer {layer}' if layer else 'at the input'} ({how})."
            )
            yield Finding("explode", stack, None, None, sentence)
            return
    if cosine[0] > limits.cosine:
        sentence = (
            f"Tokens have a mean cosine of {cosine[0]:z.4f} before the first layer ({how}): the embeddings make them "
            "one, by an offset that all share."
        )
        yield Finding("collapse", stack, float(cosine[0]), limits.cosine, sentence)
    elif cosine[-1] > limits.cosine:
        sentence = (
            f"After the last of {depth} layers tokens have a mean cosine of {cosine[-1]:z.4f} ({cosine[0]:z.2f} at "
            f"the input; {how}): they collapse into one."
        )
        yield Finding("collapse", stack, float(cosine[-1]), limits.cosine, sentence)
    # where embeddings are small, the first layers multiply gradients whatever the design; and without damping they
    # grow as a power of the depth, which the second half hardly shows, while an explosion goes on in it
    middle = depth // 2
    growth = float(gradient[middle] / gradient[-1])
    if not np.isfinite(growth) or not 1 / limits.gradient <= growth <= limits.gradient:
        what = "explode" if growth > 1 or not np.isfinite(growth) else "vanish"
        sentence = (
            f"Squared gradients {what}: from the last of {depth} layers to layer {middle} they change by a factor of "
            f"{growth:.3g} ({how})."
        )
        yield Finding("explode", stack, growth, limits.gradient, sentence)
    if seen is not None:
        yield from _loss(seen, limits)


def _loss(seen: Observation, limits: Thresholds) -> Iterator[Finding]:
    loss = seen.excess_loss
    if loss is not None and not loss <= limits.excess_loss:
        sentence = (
            f"The loss starts {loss:.3g} nats above ln {seen.vocabulary:,}, that of a uniform guess: logits have a std "
            f"of {seen.logit_std:.3g}."
        )
        yield Finding("loss", seen.output_map or seen.stack, loss, limits.excess_loss, sentence)
