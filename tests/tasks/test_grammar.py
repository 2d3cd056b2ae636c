from collections import defaultdict
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.errors import DataError
from auxin.tasks import english
from auxin.tasks.grammar import Grammar
from auxin.tasks.sampling import UniformStream
from auxin.tasks.trees import brackets

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "mccoy"

SMALL = """
1	S	NP V   # two symbols
3	S	NP VP
1	VP	V NP
1	NP	D N
1	NP	N
1	D	the
3	N	newt
1	N	yak
1	V	sees
"""


def test_templates_with_probabilities_and_trees():
    small = Grammar(SMALL)
    found = {t.categories: (t.probability, t.shape) for t in small.templates}
    assert found["D", "N", "V"] == (1 / 8, ((0, 1), 2))
    assert found["N", "V", "N"] == (3 / 16, (0, (1, 2)))
    assert sum(p for p, _ in found.values()) == pytest.approx(1)
    assert small.category["yak"] == "N"


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_sampling_follows_the_weights(seed):
    small = Grammar(SMALL)
    chosen, sentences = small.sample(UniformStream(seed).take(4000, small.columns))
    for index, template in enumerate(small.templates):
        share = np.mean(chosen == index)
        assert abs(share - template.probability) < 6 * (template.probability / 4000) ** 0.5
    nouns = [word for sentence in sentences for word in sentence if word in ("newt", "yak")]
    assert abs(nouns.count("newt") / len(nouns) - 0.75) < 6 * (0.19 / len(nouns)) ** 0.5
    for index, sentence in zip(chosen, sentences, strict=True):
        assert tuple(small.category[w] for w in sentence) == small.templates[index].categories


@pytest.mark.parametrize("name", ["question", "tense"])
def test_parse_finds_the_derivation(name):
    grammar = english.language(name).grammar
    for template in grammar.templates:
        words = [next(iter(grammar.lexicon[category])) for category in template.categories]
        assert grammar.parse(words) == (template.categories, template.shape)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("my newt blorps", "word 'blorps' is not in the grammar"),
        ("my newt newt", "word 3, 'newt', does not fit; allowed: Aux_sg, Prep, Rel"),
        ("my newt", "the end does not fit; allowed: Aux_sg, Prep, Rel"),
        ("my newt do read", "word 3, 'do', does not fit; allowed: Aux_sg"),
        ("", "the end does not fit; allowed: Det"),
    ],
)
def test_parse_errors_name_the_word_and_what_fits(sentence, message):
    with pytest.raises(DataError, match=message):
        english.language("question").grammar.parse(sentence.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\tS\tS N\n1\tN\ta", "symbol 'S' is recursive"),
        ("one\tS\tN", "line 1 is"),
        ("-1\tS\tN", "positive weight"),
        ("1\tS\t", "line 1 is"),
        ("1\tS\tN N\n1\tN\ta\n1\tN\ta", "line 3 repeats a rule"),
        ("1\tS\tN M\n1\tN\ta\n1\tM\ta", "word 'a' is in categories N and M"),
        ("1\tS\tN M\n1\tS\tK\n1\tK\tN M\n1\tN\ta\n1\tM\tb", "ambiguous"),
        ("1\tS\tN b\n1\tN\ta", "symbol 'b' mixes"),
        ("1\tN\ta", "start symbol is 'S'"),
        ("1\tS\t" + "N " * 20 + "\n" + "1\tN\tA\n1\tN\tB\n1\tA\ta\n1\tB\tb", "over 100000 structures"),
    ],
)
def test_malformed_grammars_are_named(text, message):
    with pytest.raises(DataError, match=message):
        Grammar(text)


def reference_language(name):
    """Category sequences of the published grammar with their probabilities, and its lexicon."""
    rules = defaultdict(list)
    for line in (REFERENCE / f"{name}.gr").read_text().splitlines():
        if line.strip():
            weight, left, right = line.strip().split("\t")
            rules[left].append((float(weight), right.split()))
    lexical = {s for s, sides in rules.items() if all(len(r) == 1 and r[0] not in rules for _, r in sides)}

    def expand(symbol):
        if symbol in lexical or symbol not in rules:
            return [(1.0, (symbol,))]
        total = sum(weight for weight, _ in rules[symbol])
        return [
            (weight / total * prod(p for p, _ in parts), sum((c for _, c in parts), ()))
            for weight, right in rules[symbol]
            for parts in product(*map(expand, right))
        ]

    language = defaultdict(float)
    for probability, categories in expand("S"):
        language[categories] += probability
    return language, {symbol: [right[0] for _, right in rules[symbol]] for symbol in lexical}


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published grammars are not at hand")
@pytest.mark.parametrize("name", ["question", "tense"])
def test_language_of_the_published_grammar(name):
    published, lexicon = reference_language(name)
    renamed = {"N_S": "N_sg", "N_P": "N_pl", "Aux_S": "Aux_sg", "Aux_P": "Aux_pl"}
    if name == "tense":  # ours is in the past, which does not agree
        renamed |= {
            f"V_{kind}_{number}": f"V_{kind}" for kind in ("trans", "intrans") for number in ("sg", "pl")
        }
        for kind in ("trans", "intrans"):
            for past in english.language("tense").grammar.lexicon[f"V_{kind}"]:
                assert english.language("tense").rule.forms[past, "N_pl"] in lexicon[f"V_{kind}_pl"]
                assert english.language("tense").rule.forms[past, "N_sg"] in lexicon[f"V_{kind}_sg"]
    ours = english.language(name).grammar
    language = {tuple(renamed.get(c, c) for c in categories) for categories in published}
    assert language == {t.categories for t in ours.templates}
    for category, words in lexicon.items():
        if name == "question" or not category.startswith("V_"):
            assert list(ours.lexicon[renamed.get(category, category)]) == words


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published grammars are not at hand")
def test_tense_weights_differ_from_the_published_in_transitivity_only():
    published, _ = reference_language("tense")
    expected = defaultdict(float)
    for categories, probability in published.items():
        past = tuple(c.rsplit("_", 1)[0] if c.startswith("V_") else c for c in categories)
        main = next(t for t in english.language("tense").structures if t.categories == past).main
        expected[past] += probability * (0.5 if past[main] == "V_intrans" else 1.5)
    ours = {t.categories: t.probability for t in english.language("tense").grammar.templates}
    assert ours == pytest.approx(expected)


def test_gold_trees_are_binary():
    for name in ("question", "tense"):
        for template in english.language(name).grammar.templates:
            names = [f"w{i}" for i in range(len(template.categories))]
            assert len(brackets(fill(template.shape, names))) == len(names) - 1


def fill(shape, names):
    return names[shape] if isinstance(shape, int) else tuple(fill(child, names) for child in shape)
