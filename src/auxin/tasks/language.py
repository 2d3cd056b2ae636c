"""A grammar and a rule: the lines of a task, and the file that holds both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from auxin.errors import DataError
from auxin.tasks.grammar import Grammar
from auxin.tasks.rules import Copy, Front, Reinflect, Rule, Swap
from auxin.tasks.sentence import Contrast, Sentence, Structure, belongs

DIRECTIVES = {
    "rule": "copy, front TARGET, reinflect TARGET [CONTROLLER] or swap TARGET [CONTROLLER]",
    "form": "WORD CONTROLLER FORM: the form of a target's word in agreement with a controller of that category",
    "before": "CONTROLLER WORD: what swap puts before the verb when its new subject is of that category",
    "after": "WORD: what swap puts after the verb",
    "markers": "COPY RULE: last words of a source that ask for a copy, and for the rule; a fair coin chooses",
    "end": "WORD: what ends an answer, by default the full stop",
    "train-without": "CATEGORY …: no in-domain sentence has a word of these",
    "gen-with": "CATEGORY …: every gen sentence has a word of each",
    "gen": "alone: the rules below it replace, for gen sentences, those of the same symbols above",
}
"""What a line that begins with % may say, in words that white space parts."""


@dataclass(frozen=True)
class Source:
    """What sentences are drawn from: a grammar, its templates' structures, and which draws count."""

    grammar: Grammar
    structures: tuple[Structure, ...]
    accept: Callable[[Sequence[str], Structure, bool], bool]
    """Of words, structure and whether the rule is asked for."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """Sentences of a grammar, with their answers by a rule.

    With ``markers`` a fair coin decides whether a sentence is only copied: ``words . copy<TAB>words .`` or
    ``words . rule<TAB>answer end``. Without, every sentence is transformed. ``continued`` writes no source of its own:
    the answer itself is the text, and goes on from its contrast, ``the newt<TAB>sleeps .``
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
    def inside(self) -> Source:
        """In-domain sentences."""
        return self._source(self.grammar, self.in_domain)

    @cached_property
    def outside(self) -> Source:
        """Generalization sentences."""
        return self._source(self.gen_grammar or self.grammar, self.generalization)

    def _source(self, grammar: Grammar, accept: Callable[[Sequence[str], Structure, bool], bool]) -> Source:
        structures = tuple(self.rule.structure(t.categories, t.shape) for t in grammar.templates)
        return Source(grammar, structures, accept)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structure of each template of the grammar, in its order."""
        return self.inside.structures

    @cached_property
    def words(self) -> set[str]:
        """Every word that a line can hold."""
        words = {*self.grammar.category, ".", self.end, *(self.markers or ())} | self.rule.words
        return words - self.rule.replaced if self.continued else words

    def line(self, words: Sequence[str], structure: Structure, transform: bool) -> Sentence:
        """The line of a sentence."""
        marked = f" {self.markers[transform]}" if self.markers else ""
        answer, end = (self.rule.answer(words, structure), self.end) if transform else (words, ".")
        if self.continued:
            place = self.rule.contrast(words, structure).place
            return Sentence(" ".join(answer[:place]), f"{' '.join(answer[place:])} {end}", structure)
        return Sentence(f"{' '.join(words)} .{marked}", f"{' '.join(answer)} {end}", structure)

    def transforms(self, sentence: Sentence) -> bool:
        """Whether a line asks for the rule."""
        return self.markers is None or sentence.marker == self.markers[1]

    def is_gen(self, sentence: Sentence) -> bool:
        """Whether a line asks for the rule where the two rules differ, as every line of ``gen`` and no other does."""
        known = sentence.structure
        return isinstance(known, Structure) and self.transforms(sentence) and self.rule.disagrees(known)

    def contrast(self, sentence: Sentence) -> Contrast:
        """Where the rules differ in a line's target, and what they have there."""
        assert isinstance(sentence.structure, Structure)
        return self.rule.contrast(sentence.words, sentence.structure)

    def linear(self, sentence: Sentence) -> str:
        """A line's target by the linear rule."""
        assert isinstance(sentence.structure, Structure)
        return f"{' '.join(self.rule.linear(sentence.words, sentence.structure))} {self.end}"

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
        if any(map(structure.has, self.train_without)):
            return False
        return not (transform and self.rule.disagrees(structure))

    def generalization(self, words: Sequence[str], structure: Structure, transform: bool) -> bool:
        """Whether a sentence may be in gen: the rules give different answers."""
        if not (transform and self._may_be_gen(structure)):
            return False
        contrast = self.rule.contrast(words, structure)
        return contrast.hierarchical != contrast.linear or not self.rule.has_rival

    def _may_be_gen(self, structure: Structure) -> bool:
        differs = self.rule.disagrees(structure) if self.rule.has_rival else bool(self.gen_with)
        return differs and all(map(structure.has, self.gen_with))

    def check(self) -> None:
        """Refuse what would only fail, or never end, when sentences are drawn."""
        if not any(self.in_domain([], structure, True) for structure in self.structures):
            raise DataError("the rules disagree on every sentence; allowed: some for the training set")
        if not (self.rule.has_rival or self.gen_with):
            raise DataError("%rule is 'copy', which has no rival; allowed: with %gen-with CATEGORY")
        if not any(map(self._may_be_gen, self.outside.structures)):
            raise DataError("no sentence tells the rules apart; allowed: some for the generalization set")


def read_language(text: str) -> Language:
    """The language of a file: rules of its grammar, and lines ``%directive …``.

    Raises ``DataError`` that names the line where it is one line's fault.
    """
    settings: dict[str, Any] = {}
    forms: dict[tuple[str, str], str] = {}
    before: dict[str, str] = {}
    after, rule, gen_line = "", [""], None
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("%"):
            continue
        lines[number] = ""  # an empty one, so that lines keep their numbers
        match words := line[1:].split("#")[0].split():
            case ["rule", *rule] if rule:
                pass
            case ["form", word, category, form]:
                forms[word, category] = form
            case ["before", category, word]:
                before[category] = word
            case ["after", after]:
                pass
            case ["markers", copy, transform] if copy != transform:
                settings["markers"] = (copy, transform)
            case ["end", word]:
                settings["end"] = word
            case [("train-without" | "gen-with") as name, *categories] if categories:
                settings[name.replace("-", "_")] = tuple(categories)
            case ["gen"]:
                gen_line = number
            case _:
                known = DIRECTIVES.get(words[0] if words else "", f"%{', %'.join(DIRECTIVES)}")
                raise DataError(f"grammar line {number + 1} is {line!r}; allowed: {known}")
    texts = ["\n".join(lines[:gen_line])]
    grammar = Grammar(*texts)
    if gen_line is not None:
        texts.append("\n" * gen_line + "\n".join(lines[gen_line:]))
        settings["gen_grammar"] = Grammar(*texts)
    categories = dict(zip(("target", "controller"), rule[1:], strict=False))
    match rule[0], len(rule):
        case "copy", 1:
            made = Copy()
        case "front", 2:
            made = Front(**categories)
        case "reinflect", 2 | 3:
            made = Reinflect(forms=forms, **categories)
        case "swap", 2 | 3:
            made = Swap(before=before, after=after, **categories)
        case _:
            raise DataError(f"%rule is {' '.join(rule)!r}; allowed: {DIRECTIVES['rule']}")
    language = Language(grammar=grammar, rule=made, **settings)
    known, named = ", ".join(grammar.lexicon), (*before, *language.train_without, *language.gen_with)
    for category in (*named, *(category for _, category in forms)):
        if not any(belongs(other, category) for other in grammar.lexicon):
            raise DataError(f"category {category!r} is not in the grammar; allowed: {known}")
    language.check()
    return language
