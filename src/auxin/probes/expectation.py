"""What a model's tensors should be: by its family's recipe, a scheme or model that the caller gives, or its class."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from auxin.architecture import Network
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.recipe import WRITERS, Recipe
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.families.configs import NoFamily
from auxin.families.description import Described, config_of
from auxin.families.matrices import recognized
from auxin.probes.findings import Thresholds
from auxin.probes.inputs import Reading
from auxin.probes.laws import Law, Reference
from auxin.probes.recognition import description_of
from auxin.probes.redraws import Given, reference_of
from auxin.probes.remedy import changed
from auxin.probes.weights import Subject, owner, rescaled_norms
from auxin.values import check

Known = Literal["given", "intended", "followed", "drawn", "nothing", "moved"]
"""What the caller intends, the family's scheme, the law that most maps follow, what the class draws, nothing; or that
weights have trained."""


@dataclass(frozen=True)
class Expectation:
    """Where what is expected of a model's tensors is known from."""

    described: Described | None
    """The model as its family or its modules describe it."""
    scheme: Described | None
    """The same where weights are compared with its scheme."""
    reference: Reference | None
    words: str
    """What the parameters are compared with."""
    known: Known = "intended"
    """What is known of the weights."""

    @classmethod
    def of(
        cls, subject: Subject, given: Given | str | None, reading: Reading, network: Network | Recipe | None
    ) -> Expectation:
        """Of a model and what the caller gives: a model, a function that builds one, or a scheme's name; a network."""
        described, unknown = None, ""
        named = isinstance(given, str)
        allowed = f"a model, a function that builds one, or {', '.join(SCHEMES)}"
        check(not named or given in SCHEMES, "reference", given, allowed)
        try:
            described = description_of(subject.model, subject.stack, reading)
        except NoFamily as why:
            unknown = f"of no known family, and not recognized ({why})"
        except ConfigError as error:
            unknown = f"measured, not predicted: {error}"
        if network is not None:
            described = _with_network(subject, network, described)
        allowed = "a model or a function that builds one, for a model of no known family"
        check(not named or described is not None, "reference", given, allowed)
        if described is not None:
            recipe, source = described.recipe, described.source
            if named:
                recipe, source = dataclasses.replace(recipe, scheme=SCHEMES[given]), "family"  # pyright: ignore[reportArgumentType]
            described = dataclasses.replace(described, recipe=recipe, source=source)
            described = _rescaled(described, subject.branch)
        other = None if named else given
        reference = reference_of(subject.model, other)  # pyright: ignore[reportArgumentType]
        inside = config_of(subject.model, next(iter(subject.stack.layers))) is not None
        library = (
            described is not None and described.traced and inside
        )  # which says more than most of its maps
        if described is not None and described.source != "guess" and other is None and not library:
            recipe = described.recipe
            words = f"{recipe.name}: {recipe.scheme.words}"
            if network is not None:
                words = "the given network"
            elif described.traced and not named:
                words = f"{recipe.name}'s layers are recognized, and most maps follow {recipe.scheme.words}"
            known: Known = "followed" if described.recognized else "intended"
            known = "given" if named or network is not None else known
            return cls(described, described, reference, words, known)
        first = f"{unknown}: " if unknown and other is None else ""
        if reference is not None:
            words, known = f"{first}compared with {reference.name} ({reference.draws} draws)", "drawn"
        else:
            words = f"{first or 'its weights follow no known law: '}layers compared with each other"
            known = "nothing"
        return cls(described, None, reference, words, known if other is None else "given")

    def redrawn(self, here: Mapping[str, Law], names: Collection[str], limits: Thresholds) -> bool:
        """Whether most of these parameters are not as the reference's: the model was drawn by another scheme."""
        laws = {} if self.reference is None else self.reference.laws
        other = [not self._agree(here.get(name), laws[name], limits) for name in names if name in laws]
        return sum(other) > len(other) / 2

    def settled(self, subject: Subject, here: Mapping[str, Law]) -> set[str]:
        """Modules whose own tensors are all as the reference's: other comparisons of them say nothing."""
        laws = {} if self.reference is None else self.reference.laws
        agreeing = dict.fromkeys(rescaled_norms(subject), False)
        matrices = () if self.scheme is None or subject.branch == 1 else self.scheme.matrices
        rescaled = {m.module for m in matrices if m.role in WRITERS}
        for name, _ in subject.model.named_parameters():
            law = laws.get(name)
            if law is not None and owner(name) in rescaled:
                law = law.times(subject.branch)
            same = self._agree(here.get(name), law, subject.limits)
            agreeing[owner(name)] = agreeing.get(owner(name), True) and same
        return {module for module, same in agreeing.items() if same}

    def _agree(self, found: Law | None, law: Law | None, limits: Thresholds) -> bool:
        if self.reference is None or found is None or law is None or found.shape != law.shape:
            return False
        return found.difference(law, limits, self.reference.draws) is None


def _rescaled(described: Described, branch: float) -> Described:
    """With output maps, or the norms after branches, multiplied by the caller's factor, as ``rescale_`` does."""
    if branch == 1:
        return described
    recipe = described.recipe
    if all(s.after is not None for layer in recipe.network.layers for s in layer.sublayers):
        if described.traced:
            return described  # gains are those that the norms have now
        louder = lambda norm: dataclasses.replace(norm, gain=norm.gain * branch)
        network = changed(recipe.network, lambda s: dataclasses.replace(s, after=louder(s.after)))
        return dataclasses.replace(described, recipe=dataclasses.replace(recipe, network=network))
    if described.source != "family":
        known = recognized(recipe, described.matrices, branch)
        if known is not None:
            return dataclasses.replace(described, recipe=known, source="maps")
        if described.traced and described.source == "guess":
            return described  # its σ's are those that the maps have now
    recipe = dataclasses.replace(recipe, scheme=recipe.scheme.scaled(branch))
    return dataclasses.replace(described, recipe=recipe)


def _with_network(subject: Subject, network: Network | Recipe, described: Described | None) -> Described:
    """The caller's network with the matrices that are known, or recognized, and fit it."""
    depth = len(subject.stack.layers)
    right = isinstance(network, (Network, Recipe))
    check(right, "network", type(network).__name__, "a Network or a Recipe")
    check(network.depth == depth, "depth of network", network.depth, f"that of the model, {depth}")
    recipe = network
    if isinstance(recipe, Network):
        widths = Counter(p.shape[-1] for m in subject.stack.layers.values() for p in m.parameters())
        sizes = Sizes(widths.most_common(1)[0][0]) if described is None else described.recipe.sizes
        causal = described is None or described.recipe.causal
        recipe = Recipe("the given network", recipe, sizes, SCHEMES["gaussian"], causal=causal)
    known = () if described is None else described.matrices
    return Described(recipe, tuple(m for m in known if m.role in recipe.maps[m.layer]))
