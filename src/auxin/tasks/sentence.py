"""One line of a task: what is read, what is to be answered, and the gold tree of what is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from auxin.tasks.grammar import Shape
from auxin.tasks.trees import Tree, bracket_tree


@dataclass(frozen=True, slots=True)
class Structure:
    """What the sentences of one derivation share; positions count words from 0."""

    categories: tuple[str, ...]
    """Lexical category of every word, such as Det, N_sg, Aux_pl, V_trans, Rel."""
    shape: Shape
    """Gold tree with positions for words."""
    main: int
    """Position of the main auxiliary (question) or verb (tense)."""
    first: int
    """Position of the first auxiliary or verb; the main one unless the subject has a relative clause."""
    subject: int
    """Position of the subject's noun."""
    recent: int
    """Position of the noun nearest before ``main``; the subject's unless a modifier stands between."""
    agreement: tuple[tuple[int, int], ...]
    """Every auxiliary (question) or verb (tense) and the noun that it agrees with."""


@cache
def structure_of(categories: tuple[str, ...], shape: Shape) -> Structure:
    """The ``Structure`` of a parsed sentence of the English tasks, whose tree is (subject, predicate)."""
    assert isinstance(shape, tuple)
    main = shape[1]
    while isinstance(main, tuple):
        main = main[0]
    nouns = [i for i, category in enumerate(categories) if category.startswith("N_")]
    agreeing = "Aux_" if any(category.startswith("Aux_") for category in categories) else "V_"
    agreement: list[tuple[int, int]] = []
    for i, category in enumerate(categories):
        if category.startswith(agreeing):
            # after "Rel" the verb belongs to the noun before it, otherwise to the last noun, or the subject
            noun = nouns[0] if i == main else max(n for n in nouns if n < i)
            agreement.append((i, noun))
    recent = max(n for n in nouns if n < main)
    return Structure(categories, shape, main, agreement[0][0], nouns[0], recent, tuple(agreement))


def _fill(shape: Shape, words: list[str]) -> Tree:
    return words[shape] if isinstance(shape, int) else tuple([_fill(child, words) for child in shape])


@dataclass(frozen=True, slots=True)
class Sentence:
    """A source and its target; ``structure`` is None for a Dyck string, whose brackets are its tree."""

    source: str
    """``the newt does read . quest``, or a whole Dyck string."""
    target: str
    """``does the newt read ?``; empty for a Dyck string."""
    structure: Structure | None = None

    @property
    def text(self) -> str:
        """What a language model reads: the source, then the target."""
        return f"{self.source} {self.target}" if self.target else self.source

    @property
    def words(self) -> list[str]:
        """The words of the gold tree: the source without the full stop and the marker."""
        words = self.source.split()
        return words if self.structure is None else words[: len(self.structure.categories)]

    @property
    def marker(self) -> str:
        """quest, decl, PAST or PRESENT; empty for a Dyck string."""
        return "" if self.structure is None else self.source.rsplit(" ", 1)[-1]

    @property
    def gold(self) -> Tree:
        """The binarized gold tree of ``words``, built at each call (about 5 µs)."""
        if self.structure is None:
            return bracket_tree(self.source.split())
        return _fill(self.structure.shape, self.source.split())
