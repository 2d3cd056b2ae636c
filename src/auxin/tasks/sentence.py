"""One line of a task: what is read and answered, its gold tree, and what counts as right in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, TypeAlias

from auxin.errors import DataError
from auxin.tasks.grammar import Shape
from auxin.tasks.trees import Tree, bracket_tree, leaves


@dataclass(frozen=True, slots=True)
class Structure:
    """What the sentences of one derivation share; positions count words from 0.

    A rule transforms the words of one category, its targets (auxiliaries, verbs), in view of the words of another,
    their controllers (nouns).
    """

    categories: tuple[str, ...]
    """Lexical category of every word, such as Det, N_sg, Aux_pl, V_trans, Rel."""
    shape: Shape
    """Gold tree with positions for words."""
    main: int
    """Position of the main target: the one with fewest nodes above it (auxiliary of question, verb of tense)."""
    first: int
    """Position of the first target; the main one unless the subject has a relative clause."""
    subject: int
    """Position of the main target's controller, the subject's noun."""
    recent: int
    """Position of the controller nearest before ``main``; the subject's unless a modifier stands between."""
    agreement: tuple[tuple[int, int], ...]
    """Every target and its controller."""

    @property
    def centre_embedded(self) -> bool:
        """Whether a clause, with a verb or an auxiliary of its own, stands before the main one."""
        return self.first != self.main

    def has(self, kind: str) -> bool:
        """Whether a word is of a kind of category."""
        return any(belongs(category, kind) for category in self.categories)


@cache
def structure_of(categories: tuple[str, ...], shape: Shape, target: str, controller: str) -> Structure:
    """The ``Structure`` of a sentence for a target and a controller category; ``N`` stands for N, N_sg, N_pl, ….

    A target's controller is the head (the word of the controller's category with fewest nodes above it) of the
    nearest constituent before it, on the way up the tree, that has one. Raises ``DataError`` for a sentence without
    a target, and for a target without a controller.
    """
    targets = [i for i, category in enumerate(categories) if belongs(category, target)]
    controllers = frozenset(i for i, category in enumerate(categories) if belongs(category, controller))
    if not targets:
        raise DataError(f"sentence {' '.join(categories)} has no {target}; allowed: one or more")
    found: dict[int, int] = {}
    for i in targets:
        before = (s for node, index in reversed(path_to(shape, i)) for s in reversed(node[:index]))
        noun = next((n for n in (head(s, controllers) for s in before) if n is not None), None)
        if noun is None:
            raise DataError(
                f"{categories[i]}, word {i + 1} of {' '.join(categories)}, has no {controller} to agree with"
            )
        found[i] = noun
    main = min(targets, key=lambda i: len(path_to(shape, i)))
    recent = max((n for n in controllers if n < main), default=found[main])
    return Structure(categories, shape, main, targets[0], found[main], recent, tuple(found.items()))


def belongs(category: str, kind: str) -> bool:
    """Whether a category is of a kind: ``N_sg`` and ``N`` are of kind ``N``."""
    return category == kind or category.startswith(f"{kind}_")


def path_to(shape: Shape, position: int) -> list[tuple[tuple[Shape, ...], int]]:
    """The nodes above a word from the root down, each with the index of its child that holds the word."""
    path: list[tuple[tuple[Shape, ...], int]] = []
    while not isinstance(shape, int):
        index = next(i for i, child in enumerate(shape) if position in positions(child))
        path.append((shape, index))
        shape = shape[index]
    return path


def positions(shape: Shape) -> range:
    """The positions that a constituent covers."""
    first = last = shape
    while not isinstance(first, int):
        first = first[0]
    while not isinstance(last, int):
        last = last[-1]
    return range(first, last + 1)


def head(shape: Shape, kind: frozenset[int]) -> int | None:
    """The position of ``kind`` with fewest nodes above it in a constituent, the leftmost of several."""
    level: list[Shape] = [shape]
    while level:
        for node in level:
            if isinstance(node, int) and node in kind:
                return node
        level = [child for node in level if not isinstance(node, int) for child in node]
    return None


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a line of a file says of its sentence, where no grammar does."""

    tree: Tree | None = None
    """Gold tree of the source's first words."""
    hierarchical: str = ""
    """The target by the hierarchical rule."""
    linear: str = ""
    """The target by the linear rule; like the hierarchical one, empty where the line has none."""


def _fill(shape: Shape, words: list[str]) -> Tree:
    return words[shape] if isinstance(shape, int) else tuple([_fill(child, words) for child in shape])


@dataclass(frozen=True, slots=True)
class Sentence:
    """A source and its target; ``structure`` is None for a Dyck string, whose brackets are its tree."""

    source: str
    """``the newt does read . quest``, or a whole Dyck string."""
    target: str
    """``does the newt read ?``; empty for a Dyck string."""
    structure: Structure | Annotation | None = None

    @property
    def text(self) -> str:
        """What a language model reads: the source, then the target."""
        return f"{self.source} {self.target}" if self.target else self.source

    @property
    def words(self) -> list[str]:
        """The words of the gold tree: the text's first ones that it covers; the source where there is no tree."""
        if isinstance(self.structure, Structure):
            return self.text.split()[: len(self.structure.categories)]
        tree = self.structure.tree if self.structure else None
        return self.source.split() if tree is None else leaves(tree)

    @property
    def marker(self) -> str:
        """The source's last word where no gold tree holds it: quest, decl, PAST, PRESENT, …; else empty."""
        return self.source.rsplit(" ", 1)[-1] if len(self.words) <= self.source.count(" ") else ""

    @property
    def has_gold(self) -> bool:
        """Whether there is a gold tree."""
        return not isinstance(self.structure, Annotation) or self.structure.tree is not None

    @property
    def gold(self) -> Tree:
        """The gold tree of ``words``, built at each call (about 5 µs); ``DataError`` where there is none."""
        if isinstance(self.structure, Structure):
            return _fill(self.structure.shape, self.words)
        if self.structure is None:
            return bracket_tree(self.source.split())
        if self.structure.tree is None:
            raise DataError(f"sentence {self.source!r} has no gold tree; allowed: a line with its bracketing")
        return self.structure.tree


class Contrast(NamedTuple):
    """The word of an answer on which the rules differ."""

    place: int
    """Its position in the target, from 0."""
    hierarchical: str
    """What the hierarchical rule has there."""
    linear: str
    """What the linear rule has there; the same where the rules agree."""


def every(sentence: Sentence) -> bool:
    """Every line is scored."""
    return True


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A source is answered by a target: right where the contrast is, after the right words before it.

    A line without a contrast is right where its whole target is. Where the rules disagree on every scored line,
    the shares of answers by either rule, and by neither, are given, too.
    """

    eligible: Callable[[Sentence], bool] = every
    """Whether a line is scored."""
    contrast: Callable[[Sentence], Contrast | None] = lambda sentence: None
    """The word of a line's target on which the rules differ."""
    linear: Callable[[Sentence], str] | None = None
    """A line's whole target by the linear rule."""
    ranked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further shares by name: the right word at the contrast is the most likely one of these words."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A text goes on in one of two ways: right where the target is likelier than the alternative.

    The language-modelling view: log-probabilities of whole continuations are compared, after the same source. A line
    without an alternative is right where its whole target is the most likely, word by word.
    """

    alternative: Callable[[Sentence], str]
    """The other way to go on; empty where there is none."""
    eligible: Callable[[Sentence], bool] = every
    """Whether a line is scored."""


@dataclass(frozen=True, kw_only=True)
class Brackets:
    """Closing brackets are predicted, and ranked among themselves; those that close a far one count."""

    distance: int = 10
    """Tokens between a closing bracket and its opening one, from which on it counts as far."""


Scorer: TypeAlias = Answers | Choices | Brackets
