"""Rules that make a target of a sentence: hierarchical ones, and the linear ones that a learner may take instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from auxin.errors import DataError
from auxin.tasks.grammar import Shape
from auxin.tasks.sentence import Contrast, Structure, belongs, head, path_to, positions, structure_of


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """Answers and structures of the sentences of a language."""

    target: str
    """Category of the words that it transforms."""
    controller: str = "N"
    """Category of the words that it transforms them in view of."""
    has_rival: ClassVar[bool] = True
    """Whether there is a linear rule with other answers."""

    @property
    def words(self) -> set[str]:
        """Words of answers that are in no sentence."""
        return set()

    @property
    def replaced(self) -> set[str]:
        """Words of sentences that are in no answer."""
        return set()

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        """What the rule needs to know of a derivation; ``DataError`` for one that it cannot transform."""
        return structure_of(categories, shape, self.target, self.controller)

    @abstractmethod
    def disagrees(self, structure: Structure) -> bool:
        """Whether the linear rule takes another word than the hierarchical one: what training data leave out."""

    @abstractmethod
    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        """The answer by the hierarchical rule."""

    @abstractmethod
    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        """The answer by the linear rule."""

    @abstractmethod
    def contrast(self, words: Sequence[str], structure: Structure) -> Contrast:
        """The word on which the answers differ, if they do."""


class Front(Rule):
    """Fronts the main word of a category (hierarchical), or the first one (linear): does the newt read."""

    def disagrees(self, structure: Structure) -> bool:
        return structure.first != structure.main

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        return _fronted(words, structure.main)

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        return _fronted(words, structure.first)

    def contrast(self, words: Sequence[str], structure: Structure) -> Contrast:
        return Contrast(0, words[structure.main], words[structure.first])


def _fronted(words: Sequence[str], place: int) -> list[str]:
    return [words[place], *words[:place], *words[place + 1 :]]


@dataclass(frozen=True, kw_only=True)
class Reinflect(Rule):
    """Inflects every word of a category in agreement with its controller; the linear rule takes the nearest before."""

    forms: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The form of a word in agreement with a controller of a category."""

    @property
    def words(self) -> set[str]:
        return set(self.forms.values())

    @property
    def replaced(self) -> set[str]:
        return {word for word, _ in self.forms} - self.words

    def disagrees(self, structure: Structure) -> bool:
        return structure.categories[structure.recent] != structure.categories[structure.subject]

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        inflected = list(words)
        for place, controller in structure.agreement:
            inflected[place] = self._form(words[place], structure.categories[controller])
        return inflected

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        inflected, nouns = list(words), _controllers(structure, self.controller)
        for place, controller in structure.agreement:
            nearest = max((n for n in nouns if n < place), default=controller)
            inflected[place] = self._form(words[place], structure.categories[nearest])
        return inflected

    def contrast(self, words: Sequence[str], structure: Structure) -> Contrast:
        verb, categories = words[structure.main], structure.categories
        by_subject, by_recent = categories[structure.subject], categories[structure.recent]
        return Contrast(structure.main, self._form(verb, by_subject), self._form(verb, by_recent))

    def _form(self, word: str, category: str) -> str:
        if (word, category) not in self.forms:
            raise DataError(f"word {word!r} has no form in agreement with {category}; allowed: one for each")
        return self.forms[word, category]


@dataclass(frozen=True, kw_only=True)
class Swap(Rule):
    """Exchanges subject and object: the constituents before and after the main verb (passivization).

    The linear rule exchanges the smallest phrases around the first two heads of the text instead, wherever they stand.
    The target is the verb between the two, the controllers are their heads.
    """

    before: Mapping[str, str] = field(default_factory=dict)
    """Word put before the verb, by the category of the new subject's head: was, were."""
    after: str = ""
    """Word put after the verb: by."""

    @property
    def words(self) -> set[str]:
        return {*self.before.values(), self.after} - {""}

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        structure = super().structure(categories, shape)
        _flanks(structure, self.controller)
        return structure

    def disagrees(self, structure: Structure) -> bool:
        return _controllers(structure, self.controller)[1] != _flanks(structure, self.controller)[2]

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        return self._exchanged(words, structure, *_flanks(structure, self.controller))

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        first, second = _controllers(structure, self.controller)[:2]
        one, other = _phrase(structure.shape, first), _phrase(structure.shape, second)
        return self._exchanged(words, structure, one, other, second)

    def _exchanged(
        self, words: Sequence[str], structure: Structure, one: range, other: range, subject: int
    ) -> list[str]:
        """The words with two constituents exchanged; ``subject`` is the head of the new first one."""
        order = (
            *range(one.start),
            *other,
            *range(one.stop, other.start),
            *one,
            *range(other.stop, len(words)),
        )
        inserted = self.before.get(structure.categories[subject], "")
        exchanged: list[str] = []
        for place in order:
            around = (inserted, self.after) if place == structure.main else ("", "")
            exchanged += [word for word in (around[0], words[place], around[1]) if word]
        return exchanged

    def contrast(self, words: Sequence[str], structure: Structure) -> Contrast:
        before, after, new = _flanks(structure, self.controller)
        place = before.start + new - after.start
        return Contrast(place, words[new], self.linear(words, structure)[place])


@cache
def _controllers(structure: Structure, kind: str) -> tuple[int, ...]:
    return tuple(i for i, category in enumerate(structure.categories) if belongs(category, kind))


@cache
def _flanks(structure: Structure, kind: str) -> tuple[range, range, int]:
    """The constituents before and after the main verb that have heads, and the head of the second."""
    nouns = frozenset(_controllers(structure, kind))
    found: list[tuple[range, int]] = []
    path = list(reversed(path_to(structure.shape, structure.main)))
    for siblings in (
        (sibling for node, index in path for sibling in reversed(node[:index])),
        (sibling for node, index in path for sibling in node[index + 1 :]),
    ):
        heads = ((positions(sibling), head(sibling, nouns)) for sibling in siblings)
        found += [(place, noun) for place, noun in heads if noun is not None][:1]
    if len(found) < 2:
        raise DataError(f"sentence {' '.join(structure.categories)} has no {kind} on either side of its verb")
    (before, _), (after, noun) = found
    return before, after, noun


@cache
def _phrase(shape: Shape, position: int) -> range:
    """The smallest constituent of two words or more that holds a word."""
    node, _ = path_to(shape, position)[-1]
    return positions(node)


@dataclass(frozen=True, kw_only=True)
class Copy(Rule):
    """Repeats the sentence; there is no other rule."""

    target: str = ""
    has_rival: ClassVar[bool] = False

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        return Structure(categories, shape, 0, 0, 0, 0, ())

    def disagrees(self, structure: Structure) -> bool:
        return False

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        return list(words)

    linear = answer

    def contrast(self, words: Sequence[str], structure: Structure) -> Contrast:
        return Contrast(0, words[0], words[0])
