"""Question formation and tense reinflection (McCoy, Frank, Linzen 2020), passivization and agreement.

In the in-domain splits a hierarchical rule (main auxiliary, subject's number, whole object) and a linear one (first
auxiliary, most recent noun's number, second noun) give the same answers; in ``gen`` they never do. Grammars and rules
are the files of grammars/; agreement has those of tense.

- question: ``quest`` fronts the main auxiliary (linear: the first one).
- tense: ``PRESENT`` inflects every verb in agreement with its subject (linear: with the noun nearest before).
- passivization (Mueller et al. 2022): ``passiv`` fronts the object (linear: the phrase of the second noun).
- agreement (Ahuja et al. 2024): the sentences of tense in the present; their main verb is chosen in one form or
  the other after the words before it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files

from auxin.tasks.files import read_published
from auxin.tasks.generation import generate
from auxin.tasks.language import Language, read_language
from auxin.tasks.sentence import Answers, Choices, Sentence, belongs
from auxin.tasks.task import DataSource, Splits, Task
from auxin.tasks.vocabulary import Vocabulary

SIZES = {"train": 100_000, "val": 1_000, "test": 10_000, "gen": 10_000}


@cache
def language(name: str) -> Language:
    """The language and the rule of a task."""
    file = "tense.gr" if name == "agreement" else f"{name}.gr"
    found = read_language(files("auxin.tasks").joinpath("grammars", file).read_text(encoding="utf-8"))
    return replace(found, markers=None, continued=True) if name == "agreement" else found


def load(name: str, options: DataSource) -> Task:
    """A task of this module, generated or, where it has published files, read.

    Without a size, train has 100k lines; val has 1k, test and gen 10k, whatever the size.
    """
    if options.data_dir:
        splits = read_published(name, options, language(name))
        vocabulary = Vocabulary(splits.words)
    else:
        sizes = SIZES | ({"train": options.train_size} if options.train_size else {})
        splits = Splits(generate(language(name), sizes, options.seed, options.dials))
        vocabulary = Vocabulary(language(name).words)
    copied = "decl" if name == "question" else None  # which the published measurements leave out
    return Task(
        name,
        splits,
        vocabulary,
        scorer(name),
        measured=lambda sentence: sentence.marker != copied,
        generated=not options.data_dir,
    )


@cache
def scorer(name: str) -> Answers | Choices:
    """Transformed lines count; of agreement the alternative has the main verb in its other number."""
    english = language(name)
    if name == "agreement":
        return Choices(alternative=_other_number)
    auxiliaries = [w for w, category in english.grammar.category.items() if belongs(category, "Aux")]
    ranked = {"first_auxiliary": auxiliaries} if name == "question" else {}
    return Answers(
        eligible=english.transforms, contrast=english.contrast, linear=english.linear, ranked=ranked
    )


def _other_number(sentence: Sentence) -> str:
    verb, *rest = sentence.target.split()
    return " ".join((verb[:-1] if verb.endswith("s") else f"{verb}s", *rest))
