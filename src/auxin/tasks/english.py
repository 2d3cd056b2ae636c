"""Question formation and tense reinflection (McCoy, Frank, Linzen 2020), generated.

In the in-domain splits a hierarchical rule (main auxiliary, subject's number) and a linear one (first
auxiliary, most recent noun's number) give the same answers; in ``gen`` they never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from auxin.tasks.grammar import Grammar, load_grammar_text
from auxin.tasks.sentence import Sentence, Structure, structure_of
from auxin.tasks.uniforms import Uniforms

MARKERS = {"question": ("decl", "quest"), "tense": ("PAST", "PRESENT")}
"""The marker that asks for a copy, and the one that asks for the transformation."""

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

SIZES = {"train": 100_000, "val": 1_000, "test": 10_000, "gen": 10_000}


@cache
def grammar(name: str) -> Grammar:
    """The grammar of question or tense."""
    return Grammar(load_grammar_text(name))


@cache
def structures(name: str) -> tuple[Structure, ...]:
    """The structure of each template of the grammar, in its order."""
    return tuple(structure_of(t.categories, t.shape) for t in grammar(name).templates)


def vocabulary_words(name: str) -> list[str]:
    """Every word that a line of the task can hold."""
    words = [*grammar(name).words, ".", *MARKERS[name]]
    if name == "question":
        return [*words, "?"]
    return words + [form for plural in PLURAL.values() for form in (plural, plural + "s")]


def has_subject_clause(structure: Structure) -> bool:
    """Whether a relative clause modifies the subject."""
    return structure.first != structure.main


def has_distractor(structure: Structure) -> bool:
    """Whether the noun nearest before the main verb has another number than the subject."""
    return structure.categories[structure.recent] != structure.categories[structure.subject]


def present(verb: str, noun_category: str) -> str:
    """The present of a past form, in agreement with a noun of category N_sg or N_pl."""
    return PLURAL[verb] + ("s" if noun_category == "N_sg" else "")


def answer(name: str, words: Sequence[str], structure: Structure, transform: bool) -> str:
    """The right target for the words of a source: a copy, or the hierarchical transformation."""
    if not transform:
        return " ".join(words) + " ."
    if name == "question":
        main = structure.main
        return " ".join((words[main], *words[:main], *words[main + 1 :], "?"))
    inflected = list(words)
    for verb, noun in structure.agreement:
        inflected[verb] = present(words[verb], structure.categories[noun])
    return " ".join(inflected) + " ."


def generate(name: str, seed: int, train_size: int = SIZES["train"]) -> dict[str, list[Sentence]]:
    """The splits of question or tense: train of the size asked for, val 1k, test 10k, gen 10k.

    A sentence and a fair choice of marker are drawn together; in-domain draws on which the two rules
    disagree, and repeated sentences, are drawn again. No sentence is in two lines, whatever its marker.
    About 15 µs a sentence; the seed determines every line.
    """
    sizes = SIZES | {"train": train_size}
    disagree = has_subject_clause if name == "question" else has_distractor

    def in_domain(words: list[str], structure: Structure, transform: bool) -> bool:
        return not (transform and disagree(structure))

    def generalization(words: list[str], structure: Structure, transform: bool) -> bool:
        differ = name == "tense" or words[structure.first] != words[structure.main]
        return transform and disagree(structure) and differ

    seen: set[str] = set()
    inside = ("train", "val", "test")
    drawn = _draw(name, Uniforms(seed, 0), sum(sizes[split] for split in inside), in_domain, seen)
    # The first draws hold more of the few short sentences than later ones: shuffle, so that val is as train.
    order = np.argsort(Uniforms(seed, 1).take(len(drawn)), kind="stable").tolist()
    splits: dict[str, list[Sentence]] = {}
    start = 0
    for split in inside:
        splits[split] = [drawn[i] for i in order[start : start + sizes[split]]]
        start += sizes[split]
    splits["gen"] = _draw(name, Uniforms(seed, 2), sizes["gen"], generalization, seen)
    return splits


def _draw(
    name: str,
    uniforms: Uniforms,
    count: int,
    accept: Callable[[list[str], Structure, bool], bool],
    seen: set[str],
) -> list[Sentence]:
    """The first ``count`` accepted sentences that are not yet in ``seen``, which they join."""
    language, markers = grammar(name), MARKERS[name]
    sentences: list[Sentence] = []
    while len(sentences) < count:
        numbers = uniforms.take(1000 + 3 * (count - len(sentences)) // 2, language.columns + 1)
        chosen, lines = language.sample(numbers[:, 1:])
        coins = (numbers[:, 0] < 0.5).tolist()
        for index, words, transform in zip(chosen.tolist(), lines, coins, strict=True):
            structure = structures(name)[index]
            plain = " ".join(words)
            if plain not in seen and accept(words, structure, transform):
                seen.add(plain)
                target = answer(name, words, structure, transform)
                sentences.append(Sentence(f"{plain} . {markers[transform]}", target, structure))
                if len(sentences) == count:
                    break
    return sentences
