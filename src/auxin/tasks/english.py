"""Question formation and tense reinflection (McCoy, Frank, Linzen 2020), passivization and agreement.

In the in-domain splits a hierarchical rule (main auxiliary, subject's number, whole object) and a linear one (first
auxiliary, most recent noun's number, second noun) give the same answers; in ``gen`` they never do.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from auxin.errors import DataError
from auxin.tasks import files
from auxin.tasks.answers import question_answers, tense_answers
from auxin.tasks.cache import cached
from auxin.tasks.dials import Dials
from auxin.tasks.grammar import Grammar, load_grammar_text
from auxin.tasks.language import Language
from auxin.tasks.request import Request
from auxin.tasks.rules import Front, Reinflect, Swap
from auxin.tasks.scorers import Answers, Choices
from auxin.tasks.sentence import Sentence
from auxin.tasks.task import Splits, Task, all_words
from auxin.tasks.vocabulary import Vocabulary

PLURAL = {
    "giggled": "giggle",
    "smiled": "smile",
    "slept": "sleep",
    "swam": "swim",
    "waited": "wait",
    "moved": "move",
    "changed": "change",
    "read": "read",
    "ate": "eat",
    "entertained": "entertain",
    "amused": "amuse",
    "high_fived": "high_five",
    "applauded": "applaud",
    "confused": "confuse",
    "admired": "admire",
    "accepted": "accept",
    "remembered": "remember",
    "comforted": "comfort",
}
"""Present plural of each past form; the singular adds an s."""

FORMS = {
    (past, number): plural + ending
    for past, plural in PLURAL.items()
    for number, ending in (("N_sg", "s"), ("N_pl", ""))
}
"""The present of a past form in agreement with a noun of a category."""

SIZES = {"train": 100_000, "val": 1_000, "test": 10_000, "gen": 10_000}


@cache
def language(name: str) -> Language:
    """The language and the rules of a task.

    - question: ``quest`` fronts the main auxiliary (linear: the first one); gen is drawn from a grammar of its own,
      so that its sentences are of the published kind.
    - tense: ``PRESENT`` inflects every verb in agreement with its subject (linear: with the noun nearest before).
    - passivization (Mueller et al. 2022): ``passiv`` fronts the object (linear: the phrase of the second noun).
    - agreement (Ahuja et al. 2024): the sentences of tense in the present; their main verb is chosen in one form or
      the other after the words before it.
    """
    if name == "question":
        words = load_grammar_text("question-words")
        grammar, gen = (Grammar(load_grammar_text(name) + words) for name in ("question", "question-gen"))
        return Language(
            grammar=grammar, gen_grammar=gen, rule=Front(target="Aux"), markers=("decl", "quest"), end="?"
        )
    grammar = Grammar(load_grammar_text("tense" if name == "agreement" else name))
    if name == "passivization":
        rule = Swap(target="V", before={"N_sg": "was", "N_pl": "were"}, after="by")
        return Language(grammar=grammar, rule=rule, markers=("decl", "passiv"))
    rule = Reinflect(target="V", forms=FORMS)
    if name == "agreement":
        return Language(grammar=grammar, rule=rule, continued=True)
    return Language(grammar=grammar, rule=rule, markers=("PAST", "PRESENT"))


def generate(
    name: str, seed: int, train_size: int = 0, dials: Dials | None = None
) -> dict[str, list[Sentence]]:
    """The splits of a task: train of the size asked for, by default 100k, val 1k, test 10k, gen 10k."""
    sizes = SIZES | {"train": train_size or SIZES["train"]}
    return language(name).generate(seed, sizes, dials or Dials())


def load(name: str, request: Request) -> Task:
    """A task of this module, generated or, where it has published files, read."""
    if request.data_dir:
        return _read(name, request.data_dir, request.train_size)
    spoken = language(name)
    size = request.train_size or SIZES["train"]
    key: dict[str, object] = {"format": 2, "task": name, "seed": request.seed, "train_size": size}
    key["grammar"] = [grammar.sha256 for grammar in (spoken.grammar, spoken.gen_grammar) if grammar]
    key |= request.dials_key
    make = lambda: spoken.to_lines(generate(name, request.seed, size, request.dials))
    splits = Splits(spoken.from_lines(cached(name, key, make)))
    return _task(name, splits, spoken.words, generated=True)


def _read(name: str, directory: Path, train_size: int) -> Task:
    if name not in files.PUBLISHED:
        raise DataError(
            f"task {name} is not published as files; allowed with data_dir: {', '.join(files.PUBLISHED)}"
        )
    spoken = language(name)
    splits = Splits(files.read_splits(name, directory, train_size, spoken))
    splits.origin = str(directory)
    if "test" in splits and "gen" not in splits and all(map(spoken.tells, splits["test"])):
        splits["gen"] = splits.pop(
            "test"
        )  # the released code calls the generalization set so, and has no other test
    return _task(name, splits, all_words(splits))


def _task(name: str, splits: Splits, words: set[str], *, generated: bool = False) -> Task:
    scorer = choices() if name == "agreement" else scorers(name)
    copied = "decl" if name == "question" else None  # which the published measurements leave out
    measured = lambda sentence: sentence.marker != copied
    return Task(name, splits, Vocabulary(words), scorer, measured=measured, generated=generated)


@cache
def scorers(name: str) -> Answers:
    """The scorer of question, tense or passivization: lines that are transformed count."""
    spoken = language(name)
    assert spoken.markers is not None
    ranked: dict[str, tuple[str, ...]] = {}
    if name == "question":
        lexicon = spoken.grammar.lexicon
        ranked["first_auxiliary"] = tuple(word for c in ("Aux_sg", "Aux_pl") for word in lexicon[c])
        decoded = partial(question_answers, _tags(spoken))
    else:
        decoded = partial(tense_answers, _tags(spoken), FORMS) if name == "tense" else None
    marker = spoken.markers[1]
    return Answers(
        eligible=lambda s: s.marker == marker,
        telling=spoken.telling,
        linear=spoken.linear,
        ranked=ranked,
        decoded=decoded,
    )


def _tags(spoken: Language) -> dict[str, str]:
    """The part of speech of every word of an answer: Det, N, V, Prep, Rel, Aux, or the word itself."""
    tags = {word: word for word in spoken.words} | dict.fromkeys(spoken.rule.words, "V")
    return tags | {word: category.split("_")[0] for word, category in spoken.grammar.category.items()}


@cache
def choices() -> Choices:
    """The scorer of agreement: the alternative has the main verb in its other number."""

    def alternative(sentence: Sentence) -> str:
        verb, *rest = sentence.target.split()
        return " ".join((verb[:-1] if verb.endswith("s") else verb + "s", *rest))

    return Choices(alternative=alternative)
