"""Rules that make a target of a sentence: hierarchical ones, and the linear ones that a learner may take instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, Protocol

from auxin.errors import DataError
from auxin.tasks.grammar import Shape
from auxin.tasks.scorers import Telling
from auxin.tasks.sentence import Structure, belongs, head, path_to, positions, structure_of


class Rule(Protocol):
    """Answers and structures of the sentences of a language."""

    has_rival: ClassVar[bool]
    """Whether there is a linear rule with other answers."""

    @property
    def words(self) -> set[str]:
        """Words of answers that are in no sentence."""
        ...

    @property
    def replaced(self) -> set[str]:
        """Words of sentences that are in no answer."""
        ...

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        """What the rule needs to know of a derivation; ``DataError`` for one that it cannot transform."""
        ...

    def disagrees(self, structure: Structure) -> bool:
        """Whether the linear rule takes another word than the hierarchical one: what training data leave out."""
        ...

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        """The answer by the hierarchical rule."""
        ...

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        """The answer by the linear rule."""
        ...

    def telling(self, words: Sequence[str], structure: Structure) -> Telling:
        """The word on which the answers differ, if they do."""
        ...


@dataclass(frozen=True, kw_only=True)
class Front:
    """Fronts the main word of a category (hierarchical), or the first one (linear): does the newt read."""

    target: str
    controller: str = "N"

    has_rival: ClassVar[bool] = True

    @property
    def words(self) -> set[str]:
        return set()

    @property
    def replaced(self) -> set[str]:
        return set()

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        return structure_of(categories, shape, self.target, self.controller)

    def disagrees(self, structure: Structure) -> bool:
        return structure.first != structure.main

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        return _fronted(words, structure.main)

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        return _fronted(words, structure.first)

    def telling(self, words: Sequence[str], structure: Structure) -> Telling:
        return Telling(0, words[structure.main], words[structure.first])


def _fronted(words: Sequence[str], place: int) -> list[str]:
    return [words[place], *words[:place], *words[place + 1 :]]


@dataclass(frozen=True, kw_only=True)
class Reinflect:
    """Inflects every word of a category in agreement with its controller; the linear rule takes the nearest before."""

    target: str
    controller: str = "N"
    forms: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The form of a word in agreement with a controller of a category."""

    has_rival: ClassVar[bool] = True

    @property
    def words(self) -> set[str]:
        return set(self.forms.values())

    @property
    def replaced(self) -> set[str]:
        return {word for word, _ in self.forms} - self.words

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        return structure_of(categories, shape, self.target, self.controller)

    def disagrees(self, structure: Structure) -> bool:
        return structure.categories[structure.recent] != structure.categories[structure.subject]

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        inflected = list(words)
        for place, controller in structure.agreement:
            inflected[place] = self._form(words[place], structure.categories[controller])
        return inflected

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        inflected, categories = list(words), structure.categories
        nouns = [i for i, category in enumerate(categories) if belongs(category, self.controller)]
        for place, controller in structure.agreement:
            nearest = max((n for n in nouns if n < place), default=controller)
            inflected[place] = self._form(words[place], categories[nearest])
        return inflected

    def telling(self, words: Sequence[str], structure: Structure) -> Telling:
        verb, categories = words[structure.main], structure.categories
        by_subject, by_recent = categories[structure.subject], categories[structure.recent]
        return Telling(structure.main, self._form(verb, by_subject), self._form(verb, by_recent))

    def _form(self, word: str, category: str) -> str:
        try:
            return self.forms[word, category]
        except KeyError:
            raise DataError(
                f"word {word!r} has no form in agreement with {category}; allowed: one for each"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Exchanges subject and object: the constituents before and after the main verb (passivization).

    The linear rule exchanges the smallest phrases around the first two heads of the text instead, wherever they stand.
    """

    target: str
    """Category of the verb that stands between the two."""
    controller: str = "N"
    """Category of their heads."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Word put before the verb, by the category of the new subject's head: was, were."""
    after: str = ""
    """Word put after the verb: by."""

    has_rival: ClassVar[bool] = True

    @property
    def words(self) -> set[str]:
        return {*self.before.values(), *([self.after] if self.after else [])}

    @property
    def replaced(self) -> set[str]:
        return set()

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        structure = structure_of(categories, shape, self.target, self.controller)
        _flanks(structure, self.controller)
        return structure

    def disagrees(self, structure: Structure) -> bool:
        return _nouns(structure, self.controller)[1] != _flanks(structure, self.controller)[3]

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        before, after, _, new = _flanks(structure, self.controller)
        return self._exchanged(words, structure, before, after, new)

    def linear(self, words: Sequence[str], structure: Structure) -> list[str]:
        first, second = _nouns(structure, self.controller)[:2]
        return self._exchanged(
            words, structure, _phrase(structure.shape, first), _phrase(structure.shape, second), second
        )

    def _exchanged(
        self, words: Sequence[str], structure: Structure, one: range, other: range, new: int
    ) -> list[str]:
        inserted = self.before.get(structure.categories[new])
        verb = [
            *([inserted] if inserted else []),
            words[structure.main],
            *([self.after] if self.after else []),
        ]
        pieces = [
            words[: one.start], words[other.start : other.stop], words[one.stop : other.start],
            words[one.start : one.stop], words[other.stop :],
        ]  # fmt: skip
        places = [
            *range(one.start),
            *other,
            *range(one.stop, other.start),
            *one,
            *range(other.stop, len(words)),
        ]
        joined = [word for piece in pieces for word in piece]
        at = places.index(structure.main)
        return [*joined[:at], *verb, *joined[at + 1 :]]

    def telling(self, words: Sequence[str], structure: Structure) -> Telling:
        _, after, _, new = _flanks(structure, self.controller)
        second = _nouns(structure, self.controller)[1]
        return Telling(new - after.start, words[new], words[second])


@cache
def _nouns(structure: Structure, kind: str) -> tuple[int, ...]:
    return tuple(i for i, category in enumerate(structure.categories) if belongs(category, kind))


@cache
def _flanks(structure: Structure, kind: str) -> tuple[range, range, int, int]:
    """The constituents before and after the main verb that have heads, and the heads."""
    nouns = frozenset(_nouns(structure, kind))
    before = after = None
    for node, index in reversed(path_to(structure.shape, structure.main)):
        for sibling in node[index + 1 :]:
            if after is None and head(sibling, nouns) is not None:
                after = sibling
        for sibling in reversed(node[:index]):
            if before is None and head(sibling, nouns) is not None:
                before = sibling
    if before is None or after is None:
        raise DataError(f"sentence {' '.join(structure.categories)} has no {kind} on either side of its verb")
    one, other = head(before, nouns), head(after, nouns)
    assert one is not None
    assert other is not None
    return positions(before), positions(after), one, other


@cache
def _phrase(shape: Shape, position: int) -> range:
    """The smallest constituent of two words or more that holds a word."""
    node, _ = path_to(shape, position)[-1]
    return positions(node)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Repeats the sentence; there is no other rule."""

    has_rival: ClassVar[bool] = False

    @property
    def words(self) -> set[str]:
        return set()

    @property
    def replaced(self) -> set[str]:
        return set()

    def structure(self, categories: tuple[str, ...], shape: Shape) -> Structure:
        return Structure(categories, shape, 0, 0, 0, 0, ())

    def disagrees(self, structure: Structure) -> bool:
        return False

    def answer(self, words: Sequence[str], structure: Structure) -> list[str]:
        return list(words)

    linear = answer

    def telling(self, words: Sequence[str], structure: Structure) -> Telling:
        return Telling(0, words[0], words[0])
