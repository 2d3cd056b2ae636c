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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files

from auxin.tasks.files import read_published
from auxin.tasks.generation import generated_splits
from auxin.tasks.language import Language, read_language
from auxin.tasks.rules import Reinflect
from auxin.tasks.scorers import Answers, Choices
from auxin.tasks.sentence import Sentence, Structure, belongs
from auxin.tasks.task import DataSource, Task
from auxin.tasks.vocabulary import Vocabulary

SIZES = {"train": 100_000, "val": 1_000, "test": 10_000, "gen": 10_000}


def _text(name: str) -> str:
    name = "tense" if name == "agreement" else name
    return files("auxin.tasks").joinpath("grammars", f"{name}.gr").read_text(encoding="utf-8")


@cache
def language(name: str) -> Language:
    """The language and the rule of a task."""
    found = read_language(_text(name))
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
        splits = generated_splits(name, language(name), _text(name), sizes, options)
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
    answers = Answers(eligible=english.transforms, contrast=english.contrast, linear=english.linear)
    tags = {word: word for word in english.words} | dict.fromkeys(english.rule.words, "V")
    tags |= {word: category.split("_")[0] for word, category in english.grammar.category.items()}
    if name == "question":
        auxiliaries = [w for w, category in english.grammar.category.items() if belongs(category, "Aux")]
        return replace(
            answers, ranked={"first_auxiliary": auxiliaries}, decoded=partial(question_answers, tags)
        )
    if isinstance(english.rule, Reinflect):
        return replace(answers, decoded=partial(tense_answers, tags, english.rule.forms))
    return answers


def _other_number(sentence: Sentence) -> str:
    verb, *rest = sentence.target.split()
    return " ".join((verb[:-1] if verb.endswith("s") else f"{verb}s", *rest))


def question_answers(
    tags: Mapping[str, str], sentences: Sequence[Sentence], answers: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Shares of answers to ``quest`` lines; ``tags`` has the part of speech of every word.

    ``decoded_full_sentence``: exactly right. ``d1p1`` … ``dnpo``: which auxiliary was deleted inside (d1 the
    first, d2 the main one, dn none) and which stands in front (p1 the first one's word, p2 the main one's, po
    another); ``other``: none of these. They are given where every subject has a relative clause, and there
    also the share with the right first word by its kind: ``object_clause`` (that the yak does admire),
    ``transitive_clause`` (that does admire the yak), ``intransitive_clause`` (that does eat).
    """
    n = len(sentences)
    exact = [" ".join(a) == s.target for s, a in zip(sentences, answers, strict=True)]
    shares = {"decoded_full_sentence": sum(exact) / n}
    structures = [s.structure for s in sentences if isinstance(s.structure, Structure)]
    if not all(structure.centre_embedded for structure in structures):
        return shares
    moves = [f"d{d}p{p}" for d in "12n" for p in "12o"] + ["other"]
    shares |= dict.fromkeys(moves, 0.0)
    by_kind: dict[str, list[bool]] = {"object": [], "transitive": [], "intransitive": []}
    for s, structure, answer in zip(sentences, structures, answers, strict=True):
        shares[_move(tags, s.words, structure, list(answer))] += 1 / n
        by_kind[_clause(structure)].append(answer[:1] == s.target.split()[:1])
    return shares | {f"{kind}_clause": sum(v) / len(v) for kind, v in by_kind.items() if v}


def _move(tags: Mapping[str, str], words: list[str], structure: Structure, answer: list[str]) -> str:
    """The name of what was deleted and preposed."""
    first, main = structure.first, structure.main
    inside = {"1": words[:first] + words[first + 1 :], "2": words[:main] + words[main + 1 :], "n": words}
    front = answer[0] if answer else ""
    if tags.get(front) != "Aux" or answer[-1] != "?":
        return "other"
    preposed = "1" if front == words[first] else "2" if front == words[main] else "o"
    deleted = next((name for name, rest in inside.items() if answer[1:-1] == rest), None)
    return "other" if deleted is None else f"d{deleted}p{preposed}"


def _clause(structure: Structure) -> str:
    """The kind of the relative clause on the subject."""
    after = structure.categories[structure.categories.index("Rel") + 1 : structure.main]
    if after[0] == "Det":
        return "object"
    return "transitive" if "V_trans" in after else "intransitive"


def tense_answers(
    tags: Mapping[str, str],
    forms: Mapping[tuple[str, str], str],
    sentences: Sequence[Sentence],
    answers: Sequence[Sequence[str]],
) -> dict[str, float]:
    """Shares of answers to ``PRESENT`` lines; ``tags`` has the part of speech of every word, ``forms`` the presents.

    ``decoded_full_sentence``: exactly right. ``decoded_parts_of_speech``: the right sequence of them (numbers
    and tenses aside). ``decoded_main_verb``: that, and the main verb of the target in its place (McCoy's main
    measure). ``decoded_agree_recent``: that, and the main verb in agreement with the most recent noun.
    """
    counts = dict.fromkeys(("full_sentence", "parts_of_speech", "main_verb", "agree_recent"), 0)
    for s, answer in zip(sentences, answers, strict=True):
        assert isinstance(s.structure, Structure)
        target, main, categories = s.target.split(), s.structure.main, s.structure.categories
        counts["full_sentence"] += list(answer) == target
        if [tags.get(w) for w in answer] == [tags.get(w) for w in target]:
            recent = forms[s.words[main], categories[s.structure.recent]]
            counts["parts_of_speech"] += 1
            counts["main_verb"] += answer[main] == target[main]
            counts["agree_recent"] += answer[main] == recent
    return {f"decoded_{name}": count / len(sentences) for name, count in counts.items()}
