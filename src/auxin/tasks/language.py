"""A grammar and a rule make a task: its lines, drawn so that the rules agree in domain and disagree in ``gen``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from auxin.errors import DataError
from auxin.tasks.cache import Lines
from auxin.tasks.dials import Dials
from auxin.tasks.grammar import Grammar
from auxin.tasks.rules import Rule
from auxin.tasks.scorers import Telling
from auxin.tasks.sentence import Sentence, Structure, belongs
from auxin.tasks.uniforms import Uniforms

Splits = dict[str, list[Sentence]]
_BARREN = 50  # draws of a thousand sentences without a new one before the request counts as impossible


@dataclass(frozen=True)
class Source:
    """What sentences are drawn from: a grammar, its templates' structures, and which draws count."""

    grammar: Grammar
    structures: tuple[Structure, ...]
    accept: Callable[[Sequence[str], Structure, bool], bool]
    """Of words, structure and whether the rule is asked for."""


class _Lines:
    """The lines drawn so far: the split of each sentence, and the kinds in which it stands there."""

    def __init__(self) -> None:
        self._split: dict[str, str] = {}
        self._lines: set[tuple[str, bool]] = set()

    def into(self, split: str) -> Callable[[str, bool], bool]:
        """Puts a sentence and its kind into a split, and says whether that was possible: once each, in one split."""

        def is_new(plain: str, transform: bool) -> bool:
            if self._split.setdefault(plain, split) != split or (plain, transform) in self._lines:
                return False
            self._lines.add((plain, transform))
            return True

        return is_new


@dataclass(frozen=True, kw_only=True)
class Language:
    """Sentences of a grammar, with their answers by a rule.

    With ``markers`` a fair coin decides whether a sentence is only copied: ``words . copy<TAB>words .`` or
    ``words . rule<TAB>answer end``. Without, every sentence is transformed. ``continued`` writes no source of its own:
    the answer itself is the text, and goes on from its telling word, ``the newt<TAB>sleeps .``
    """

    grammar: Grammar
    rule: Rule
    markers: tuple[str, str] | None = None
    """The source's last word where it is to be copied, and where it is to be transformed."""
    end: str = "."
    """Last word of a transformed answer; sources and copies end in a full stop."""
    continued: bool = False
    gen_grammar: Grammar | None = None
    """The grammar that gen sentences are drawn from, with words and structures of ``grammar``; None: the same one."""
    gen_with: tuple[str, ...] = ()
    """Categories of which every gen sentence has a word."""
    train_without: tuple[str, ...] = ()
    """Categories of which no in-domain sentence has a word."""

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """The structure of each template of the grammar, in its order."""
        return tuple(self.rule.structure(t.categories, t.shape) for t in self.grammar.templates)

    @cached_property
    def words(self) -> set[str]:
        """Every word that a line can hold."""
        words = {*self.grammar.words, ".", self.end, *(self.markers or ())} | self.rule.words
        return words - self.rule.replaced if self.continued else words

    def line(self, words: Sequence[str], structure: Structure, transform: bool) -> Sentence:
        """The line of a sentence."""
        if not transform:
            plain = " ".join(words)
            return Sentence(f"{plain} . {self._marker(False)}", f"{plain} .", structure)
        answer = self.rule.answer(words, structure)
        if self.continued:
            place = self.rule.telling(words, structure).place
            return Sentence(" ".join(answer[:place]), f"{' '.join(answer[place:])} {self.end}", structure)
        marked = f" {self._marker(True)}" if self.markers else ""
        return Sentence(f"{' '.join(words)} .{marked}", f"{' '.join(answer)} {self.end}", structure)

    def _marker(self, transform: bool) -> str:
        assert self.markers is not None
        return self.markers[transform]

    def transforms(self, sentence: Sentence) -> bool:
        """Whether a line asks for the rule."""
        return self.markers is None or sentence.marker == self.markers[1]

    def tells(self, sentence: Sentence) -> bool:
        """Whether a line asks for the rule where the two rules part, as every line of ``gen`` and no other does."""
        structure = sentence.structure
        return (
            isinstance(structure, Structure) and self.transforms(sentence) and self.rule.disagrees(structure)
        )

    def telling(self, sentence: Sentence) -> Telling:
        """Where the rules part in a line's target, and what they have there."""
        assert isinstance(sentence.structure, Structure)
        return self.rule.telling(sentence.words, sentence.structure)

    def linear(self, sentence: Sentence) -> str:
        """A line's target by the linear rule."""
        assert isinstance(sentence.structure, Structure)
        return f"{' '.join(self.rule.linear(sentence.words, sentence.structure))} {self.end}"

    def sizes(self, train_size: int) -> dict[str, int]:
        """Lines of each split: a tenth of the training set, at most the published tasks' 1k, 10k and 10k."""
        tenth = max(1, train_size // 10)
        return {
            "train": train_size,
            "val": min(1000, tenth),
            "test": min(10_000, tenth),
            "gen": min(10_000, tenth),
        }

    @cached_property
    def default_size(self) -> int:
        """100,000 training lines, or half of the in-domain sentences that there are."""
        counts = (
            int(np.prod([len(self.grammar.lexicon[c]) for c in s.categories], dtype=np.float64).clip(max=1e9))
            for s in self.structures
            if self.in_domain([], s, True)
        )
        return max(1, min(100_000, sum(counts) // 2))

    def in_domain(self, words: Sequence[str], structure: Structure, transform: bool) -> bool:
        """Whether a sentence may be in train, val and test."""
        if self.train_without and _has_any(structure, self.train_without):
            return False
        return not (transform and self.rule.disagrees(structure))

    def generalization(self, words: Sequence[str], structure: Structure, transform: bool) -> bool:
        """Whether a sentence may be in gen: the rules give different answers."""
        if not (transform and all(_has_any(structure, (kind,)) for kind in self.gen_with)):
            return False
        if self.gen_with and not self.rule.has_rival:
            return True
        if not self.rule.disagrees(structure):
            return False
        telling = self.rule.telling(words, structure)
        return telling.hierarchical != telling.linear

    @cached_property
    def inside(self) -> Source:
        """In-domain sentences."""
        return Source(self.grammar, self.structures, self.in_domain)

    @cached_property
    def outside(self) -> Source:
        """Generalization sentences."""
        grammar = self.gen_grammar or self.grammar
        structures = tuple(self.rule.structure(t.categories, t.shape) for t in grammar.templates)
        return Source(grammar, structures, self.generalization)

    def generate(self, seed: int, sizes: Mapping[str, int], dials: Dials) -> Splits:
        """The splits of the sizes asked for; the seed determines every line. About 15 µs a sentence.

        A sentence and a fair choice of marker are drawn together; in-domain draws on which the two rules disagree, and
        repeated lines, are drawn again, so that a sentence stands in a split at most once with each marker. No sentence
        is in two splits: train, val, test and gen take in turn what those before them have left. Raises ``DataError``
        when the language has too few sentences.
        """
        placed = _Lines()
        splits: Splits = {}
        for stream, split in ((0, "train"), (1, "val"), (10, "test"), (2, "gen")):
            source = self.outside if split == "gen" else self.inside
            splits[split] = self.draw(source, Uniforms(seed, stream), sizes[split], placed.into(split))
        if dials != Dials():
            _Turned(self, splits["train"], seed, placed).turn(dials)
        return splits

    def draw(
        self,
        source: Source,
        uniforms: Uniforms,
        count: int,
        is_new: Callable[[str, bool], bool],
        templates: Sequence[int] | None = None,
        kind: bool | None = None,
    ) -> list[Sentence]:
        """The first ``count`` sentences of a source that it accepts and that are new.

        ``templates`` restricts the draw to some, ``kind`` to copies (False) or transformed ones (True).
        """
        sentences: list[Sentence] = []
        barren = 0
        while len(sentences) < count:
            before = len(sentences)
            numbers = uniforms.take(1000 + 3 * (count - len(sentences)) // 2, source.grammar.columns + 1)
            chosen, lines = source.grammar.sample(numbers[:, 1:], templates)
            coins = (numbers[:, 0] < 0.5).tolist()
            for index, words, coin in zip(chosen.tolist(), lines, coins, strict=True):
                structure = source.structures[index]
                transform = True if self.markers is None else coin if kind is None else kind
                if source.accept(words, structure, transform) and is_new(" ".join(words), transform):
                    sentences.append(self.line(words, structure, transform))
                    if len(sentences) == count:
                        break
            barren = barren + 1 if len(sentences) == before else 0
            if barren == _BARREN:
                raise DataError(
                    f"{count} sentences are asked for, and the grammar has {before} such; allowed: fewer"
                )
        return sentences

    def to_lines(self, splits: Splits) -> Lines:
        """Lines to cache: template number, source and target."""
        numbers = {structure: i for i, structure in enumerate(self.structures)}
        return {
            split: [f"{numbers[s.structure]}\t{s.source}\t{s.target}" for s in sentences]  # pyright: ignore[reportArgumentType]
            for split, sentences in splits.items()
        }

    def from_lines(self, lines: Lines) -> Splits:
        """The sentences of cached lines."""
        structures = {str(i): structure for i, structure in enumerate(self.structures)}
        splits: Splits = {}
        for split, content in lines.items():
            fields = (line.split("\t") for line in content)
            splits[split] = [
                Sentence(source, target, structures[number]) for number, source, target in fields
            ]
        return splits


def _has_any(structure: Structure, kinds: Iterable[str]) -> bool:
    return any(belongs(category, kind) for category in structure.categories for kind in kinds)


def centre_embedded(structure: Structure) -> bool:
    """Whether a clause, with a verb or an auxiliary of its own, stands before the main one."""
    return structure.first != structure.main


class _Turned:
    """A training set whose lines are replaced, in place, until the dials are where they should be."""

    def __init__(self, language: Language, train: list[Sentence], seed: int, placed: _Lines) -> None:
        self.language, self.train, self.seed, self.placed = language, train, seed, placed
        self.allowed = list(range(len(language.structures)))

    def turn(self, dials: Dials) -> None:
        if dials.structures:
            self._restrict(dials.structures)
        if dials.centre_embedded is not None:
            self._embed(dials.centre_embedded)
        if dials.disambiguating:
            self._disambiguate(dials.disambiguating)

    def _restrict(self, count: int) -> None:
        """Only ``count`` templates: a weighted draw without replacement, one at least on which the rules agree."""
        language = self.language
        weights = np.array([t.probability for t in language.grammar.templates])
        keys = Uniforms(self.seed, 3).take(len(weights)) ** (1 / weights)  # Efraimidis and Spirakis 2006
        order = np.argsort(-keys, kind="stable").tolist()
        inside = [
            i for i in order if language.in_domain([], language.structures[i], language.markers is None)
        ]
        chosen = inside[:count]
        agreeing = [i for i in inside if language.in_domain([], language.structures[i], True)]
        if not set(chosen) & set(agreeing):
            chosen[-1:] = agreeing[:1]
        if len(chosen) < count:
            raise DataError(f"structures is {count}; allowed: up to the {len(inside)} in domain")
        self.allowed = chosen
        kept = {language.structures[i] for i in chosen}
        for kind in (False, True):
            wrong = [i for i, s in enumerate(self.train) if s.structure not in kept and self._kind(s) == kind]
            self._replace(wrong, 4 + kind, language.inside, lambda structure: True, kind)

    def _embed(self, share: float) -> None:
        """Centre-embedded lines replace others, or others them."""
        kind = self.language.markers is None  # of copies, where there are some
        lines = [i for i, s in enumerate(self.train) if self._kind(s) == kind]
        embedded = [centre_embedded(self.train[i].structure) for i in lines]  # pyright: ignore[reportArgumentType]
        missing = round(share * len(lines)) - sum(embedded)
        others = [i for i, is_so in zip(lines, embedded, strict=True) if is_so == (missing < 0)]
        wanted = lambda structure: centre_embedded(structure) == (missing > 0)
        self._replace(self._some(others, abs(missing), 6), 7, self.language.inside, wanted, kind)

    def _disambiguate(self, count: int) -> None:
        """Lines as those of gen replace transformed ones."""
        transformed = [i for i, s in enumerate(self.train) if self._kind(s)]
        if count > len(transformed):
            raise DataError(
                f"disambiguating is {count}; allowed: up to the {len(transformed)} transformed lines"
            )
        source = self.language.outside
        self.allowed = list(range(len(source.structures)))
        self._replace(self._some(transformed, count, 8), 9, source, self.language.rule.disagrees, True)

    def _kind(self, sentence: Sentence) -> bool:
        return self.language.transforms(sentence)

    def _some(self, indices: Sequence[int], count: int, stream: int) -> list[int]:
        """The first of a random order, in which a larger count takes the same ones and more."""
        return [indices[i] for i in Uniforms(self.seed, stream).order(len(indices))[:count].tolist()]

    def _replace(
        self,
        indices: Sequence[int],
        stream: int,
        source: Source,
        wanted: Callable[[Structure], bool],
        kind: bool,
    ) -> None:
        """Put new sentences of the wanted structures of a source at some places of the training set."""
        templates = [i for i in self.allowed if wanted(source.structures[i])]
        if not indices:
            return
        if not templates:
            raise DataError("dials ask for sentences that the grammar does not have; allowed: others")
        uniforms, is_new = Uniforms(self.seed, stream), self.placed.into("train")
        new = self.language.draw(source, uniforms, len(indices), is_new, templates, kind)
        for i, sentence in zip(indices, new, strict=True):
            self.train[i] = sentence
