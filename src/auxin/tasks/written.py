"""The task ``grammar``: one file with a weighted grammar, and a rule that makes the target of its sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from auxin.errors import DataError
from auxin.tasks.cache import cached
from auxin.tasks.grammar import Grammar
from auxin.tasks.language import Language
from auxin.tasks.request import Request
from auxin.tasks.rules import Copy, Front, Reinflect, Rule, Swap
from auxin.tasks.scorers import Answers
from auxin.tasks.task import Splits, Task
from auxin.tasks.vocabulary import Vocabulary

DIRECTIVES = {
    "rule": "copy, front TARGET, reinflect TARGET [CONTROLLER] or swap TARGET [CONTROLLER]",
    "form": "WORD CONTROLLER FORM: the form of a target's word in agreement with a controller of that category",
    "before": "CONTROLLER WORD: what swap puts before the verb when its new subject is of that category",
    "after": "WORD: what swap puts after the verb",
    "markers": "COPY RULE: last words of a source that ask for a copy, and for the rule; a fair coin chooses",
    "end": "WORD: what ends an answer, by default the full stop",
    "train-without": "CATEGORY …: no in-domain sentence has a word of these",
    "gen-with": "CATEGORY …: every gen sentence has a word of each",
}
"""What a line that begins with % may say, in words that white space parts."""


def load(name: str, request: Request) -> Task:
    """The task of a grammar file: rules of the grammar as the built-in ones are written, and lines ``%directive …``.

    The training set has ``train_size`` lines, by default half of the in-domain sentences, at most 100,000; val, test
    and gen a tenth of it, at most 1k, 10k and 10k. Derivations are gold trees; the rule's controllers are found in
    them. Raises ``DataError`` that names the file, and the line where it is one line's fault.
    """
    assert request.grammar is not None
    text = _text(request.grammar)
    try:
        language = read_language(text)
        size = request.train_size or language.default_size
        key = {
            "format": 2,
            "task": name,
            "seed": request.seed,
            "train_size": size,
            "text": text,
        } | request.dials_key
        sizes = language.sizes(size)
        make = lambda: language.to_lines(language.generate(request.seed, sizes, request.dials))
        splits = Splits(language.from_lines(cached(name, key, make)))
    except DataError as error:
        raise DataError(f"{request.grammar}: {error}") from None
    scorer = Answers(eligible=language.transforms, telling=language.telling, linear=language.linear)
    return Task(name, splits, Vocabulary(language.words), scorer)


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"grammar is {str(path)!r}; allowed: a text file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


@dataclass
class _Directives:
    """What the lines with % say."""

    rule: list[str] = field(default_factory=list)
    forms: dict[tuple[str, str], str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    after: str = ""
    markers: tuple[str, str] | None = None
    end: str = "."
    train_without: tuple[str, ...] = ()
    gen_with: tuple[str, ...] = ()

    def read(self, words: list[str]) -> None:
        """Take one directive over; ``ValueError`` where its words are too few or too many."""
        match words:
            case ["rule", *rest] if rest:
                self.rule = rest
            case ["form", word, category, form]:
                self.forms[word, category] = form
            case ["before", category, word]:
                self.before[category] = word
            case ["after", word]:
                self.after = word
            case ["markers", copy, transform] if copy != transform:
                self.markers = (copy, transform)
            case ["end", word]:
                self.end = word
            case ["train-without", *categories] if categories:
                self.train_without = tuple(categories)
            case ["gen-with", *categories] if categories:
                self.gen_with = tuple(categories)
            case _:
                raise ValueError


def read_language(text: str) -> Language:
    """The language of a grammar file's text."""
    said = _Directives()
    kept: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        kept.append("" if line.startswith("%") else line)  # an empty one, so that lines keep their numbers
        words = line.split("#")[0].removeprefix("%").split()
        if not line.startswith("%"):
            continue
        try:
            said.read(words)
        except ValueError:
            known = DIRECTIVES.get(words[0] if words else "", f"%{', %'.join(DIRECTIVES)}")
            raise DataError(f"grammar line {number} is {line!r}; allowed: {known}") from None
    grammar = Grammar("\n".join(kept))
    language = Language(
        grammar=grammar,
        rule=_rule(said),
        markers=said.markers,
        end=said.end,
        train_without=said.train_without,
        gen_with=said.gen_with,
    )
    _check(language, said)
    return language


def _rule(said: _Directives) -> Rule:
    match said.rule:
        case ["copy"]:
            return Copy()
        case ["front", target]:
            return Front(target=target)
        case ["reinflect", target, *controller] if len(controller) <= 1:
            return Reinflect(target=target, forms=said.forms, **_named(controller))
        case ["swap", target, *controller] if len(controller) <= 1:
            return Swap(target=target, before=said.before, after=said.after, **_named(controller))
        case _:
            raise DataError(f"%rule is {' '.join(said.rule)!r}; allowed: {DIRECTIVES['rule']}")


def _named(controller: list[str]) -> dict[str, str]:
    return {"controller": controller[0]} if controller else {}


def _check(language: Language, said: _Directives) -> None:
    """Refuse what would only fail, or never end, when sentences are drawn."""
    for category in (*said.before, *said.train_without, *said.gen_with, *(c for _, c in said.forms)):
        if not any(
            category == known or known.startswith(f"{category}_") for known in language.grammar.lexicon
        ):
            raise DataError(
                f"category {category!r} is not in the grammar; allowed: {', '.join(language.grammar.lexicon)}"
            )
    if not any(language.in_domain([], structure, True) for structure in language.structures):
        raise DataError("the rules disagree on every sentence; allowed: some for the training set")
    rival = language.rule.has_rival
    if not rival and not said.gen_with:
        raise DataError("%rule is 'copy', which has no rival; allowed: with %gen-with CATEGORY")
    possible = (s for s in language.structures if not rival or language.rule.disagrees(s))
    if not any(all(_has(s.categories, kind) for kind in said.gen_with) for s in possible):
        raise DataError("no sentence tells the rules apart; allowed: some for the generalization set")


def _has(categories: tuple[str, ...], kind: str) -> bool:
    return any(category == kind or category.startswith(f"{kind}_") for category in categories)
