import math
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import chi2_contingency

from auxin.tasks import english
from auxin.tasks.english import language
from auxin.tasks.generation import generate
from auxin.tasks.trees import left_branching, parseval, right_branching

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "mccoy"
AUXILIARIES = {"do", "does", "don't", "doesn't"}


@pytest.fixture(scope="module", params=["question", "tense"])
def named(request):
    return request.param, generate(language(request.param), english.SIZES)


def share(sentences, condition):
    return sum(map(condition, sentences)) / len(sentences)


def test_sizes_and_disjointness(named):
    _, splits = named
    sizes = {split: len(sentences) for split, sentences in splits.items()}
    assert sizes == {"train": 100_000, "val": 1000, "test": 10_000, "gen": 10_000}
    plain = [{s.source.rsplit(" ", 1)[0] for s in split} for split in splits.values()]
    assert len(set.union(*plain)) == sum(map(len, plain))  # no sentence is in two splits
    assert all(len({s.text for s in split}) == len(split) for split in splits.values())


def test_rules_agree_in_domain_and_disagree_in_gen(named):
    name, splits = named
    marker = language(name).markers[1]
    for split, sentences in splits.items():
        for s in sentences:
            words, structure = s.words, s.structure
            if name == "question":
                linear = next(w for w in words if w in AUXILIARIES) == words[structure.main]
                assert (structure.first == structure.main) == (words[2] not in ("who", "that"))
                allowed = structure.first == structure.main if split != "gen" else not linear
            else:
                nouns = [c for c in structure.categories[: structure.main] if c.startswith("N_")]
                allowed = (nouns[-1] == nouns[0]) == (split != "gen")
            assert allowed or (split != "gen" and s.marker != marker)
            assert s.marker == marker or split != "gen"


def test_targets(named):
    name, splits = named
    for s in splits["val"] + splits["gen"][:1000]:
        words, target = s.words, s.target.split()
        if s.marker in ("decl", "PAST"):
            assert target == [*words, "."]
        elif name == "question":
            assert sorted(target) == sorted([*words, "?"])
            assert target[0] == words[s.structure.main]
            assert target[1:-1] == words[: s.structure.main] + words[s.structure.main + 1 :]
        else:
            for i, (word, inflected) in enumerate(zip(words, target, strict=False)):
                if i not in dict(s.structure.agreement):
                    assert inflected == word
                else:
                    noun = dict(s.structure.agreement)[i]
                    number = s.structure.categories[noun]
                    assert inflected == language(name).rule.forms[word, number]
                    assert inflected.endswith("s") == (number == "N_sg")


def test_published_proportions(named):
    name, splits = named
    test = splits["test"]  # the published shares are of the 10,000 lines of this split
    marked = share(test, lambda s: s.marker == language(name).markers[1])
    clause = share(test, lambda s: s.marker == "decl" and s.structure.centre_embedded)
    assert marked == pytest.approx({"question": 0.403, "tense": 0.417}[name], abs=counting(0.41, 10_000))
    assert clause == pytest.approx({"question": 0.183, "tense": 0}[name], abs=counting(0.183, 10_000))


def counting(share, *sizes):
    """Three standard deviations of the difference of two shares, the published one counted on 10,000 lines."""
    return 3 * math.sqrt(share * (1 - share) * (1 / sizes[0] + 1 / 10_000))


def kind_of(s):
    """The kind of the subject's relative clause, and what follows the main auxiliary, of a sentence of gen."""
    after_main = {2: "intransitive", 4: "two words", 7: "phrase"}
    categories = s.structure.categories
    clause = categories[3 : s.structure.main]
    kind = "object gap" if clause[0] == "Det" else "transitive" if "V_trans" in clause else "intransitive"
    return kind, after_main.get(len(categories) - s.structure.main, "other")


def test_generalization_sentences_of_question_are_of_the_published_kind(named):
    name, splits = named
    if name != "question":
        return
    gen = splits["gen"]
    for s in gen:
        first, second = (w for w in s.words if w in AUXILIARIES)  # exactly two
        assert {first, second} in ({"do", "don't"}, {"does", "doesn't"})
        assert s.structure.categories.count("Rel") == 1
        assert s.structure.categories[2] == "Rel"
    kinds = [kind_of(s) for s in gen]
    for clause, published in {"object gap": 3333, "transitive": 3463, "intransitive": 3204}.items():
        found = sum(kind == clause for kind, _ in kinds) / len(gen)
        assert found == pytest.approx(published / 10_000, abs=counting(1 / 3, len(gen)))
    for clause, published in {"intransitive": 5921, "two words": 2002, "phrase": 2077}.items():
        found = sum(main == clause for _, main in kinds) / len(gen)
        assert found == pytest.approx(published / 10_000, abs=counting(0.6, len(gen)))


def test_short_sentences_stand_in_training_as_often_as_published(named):
    name, splits = named
    short = lambda split: share(split, lambda s: len(s.words) == 4 and s.structure.categories[2] != "Prep")
    if name == "question":  # nearly all of the 5,616 possible lines, each once; about 5% of the published set
        assert short(splits["train"]) == pytest.approx(0.052, abs=0.003)
        assert short(splits["train"][:20_000]) == pytest.approx(0.108, abs=0.006)
        assert short(splits["val"]) < 0.01  # published: 5 of 1,000


def patterns(sentences):
    """How often each sequence of categories, numbers aside, stands with each marker."""
    without = lambda s: " ".join(c.split("_")[0] if c[0] in "NA" else c for c in s.structure.categories)
    return Counter((s.marker, without(s)) for s in sentences)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published samples are not at hand")
def test_in_domain_sentences_are_distributed_as_the_published_ones(named):
    from auxin.tasks.files import read_split

    name, splits = named
    ours = patterns(splits["test"])
    published = patterns(read_split(REFERENCE / f"{name}.dev", name, language(name)))
    common = [key for key in ours if ours[key] + published[key] >= 20]
    table = [[counts[key] for key in common] for counts in (ours, published)]
    assert len(common) > 20
    assert chi2_contingency(table).pvalue > 0.001


def test_published_scores_of_branching(named):
    name, splits = named
    sources = [s for s in splits["train"] if name == "tense" or s.marker == "quest"][-20_000:]
    gold = [s.gold for s in sources]
    right = parseval([right_branching(s.words) for s in sources], gold).f1
    left = parseval([left_branching(s.words) for s in sources], gold).f1
    expected_right, expected_left = {"question": (0.6628, 0.2855), "tense": (0.5015, 0.3556)}[name]
    assert right == pytest.approx(expected_right, abs=0.004)
    assert left == pytest.approx(expected_left, abs=0.006)


def test_held_out_sentences_are_like_training_ones_but_for_the_shortest(named):
    _, splits = named
    for condition in (
        lambda s: s.centre_embedded,
        language("tense").rule.disagrees,
        lambda s: len(s.categories) < 8,
    ):
        train, test = (
            [condition(s.structure) for s in splits[k] if len(s.words) > 4] for k in ("train", "test")
        )
        assert abs(share(train, bool) - share(test, bool)) < 0.02


def test_seed_and_size_determine_every_line():
    spoken, sizes = language("question"), {"train": 500, "val": 20, "test": 20, "gen": 20}
    small = generate(spoken, sizes, 5)
    assert small == generate(spoken, sizes, 5)
    assert small["train"] != generate(spoken, sizes, 6)["train"]
    assert len(small["train"]) == 500
    first = small["train"][0]
    assert first.source == ("the newts do admire the quails who the salamander doesn't applaud . quest")


def test_gold_tree_of_an_example():
    splits = generate(language("question"), {"train": 100, "val": 20, "test": 20, "gen": 100})
    s = next(s for s in splits["gen"] if len(s.words) == 7)
    a, b, c, d, e, f, g = s.words
    assert s.gold == (((a, b), (c, (d, e))), (f, g))
    assert s.text == f"{s.source} {s.target}"


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published samples are not at hand")
@pytest.mark.parametrize("name", ["question", "tense"])
def test_answers_equal_the_published_targets(name):
    from auxin.tasks.files import read_split

    for s in read_split(REFERENCE / f"{name}.dev", name, language(name)):
        transform = s.marker == language(name).markers[1]
        assert language(name).line(s.words, s.structure, transform) == s
    words = language(name).words
    assert {
        w for s in read_split(REFERENCE / f"{name}.dev", name, language(name)) for w in s.text.split()
    } <= words
