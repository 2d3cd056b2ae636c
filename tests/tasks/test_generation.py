"""The task of one grammar file: rules, conditions, and what is refused."""

import pytest

from auxin.errors import DataError
from auxin.tasks import load_task
from auxin.tasks.trees import leaves

REFLEXIVE = """\
# A reflexive agrees with the subject of its clause.
%rule	reinflect Refl N
%form	self N_sg itself   # in agreement with a singular
%form	self N_pl themselves

1	S	NP VP
3	NP	DP
1	NP	DP RC
1	DP	Det N_sg
1	DP	Det N_pl
1	RC	Rel VX
1	VX	V2 DP
1	VP	V Refl
1	Det	the
1	Det	some
1	Rel	that
1	N_sg	dog
1	N_sg	cat
1	N_sg	pig
1	N_pl	dogs
1	N_pl	cats
1	N_pl	pigs
1	V2	saw
1	V2	heard
1	V	hurt
1	V	washed
1	Refl	self
"""
AUXILIARIES = """\
%rule	front Aux
%markers	decl quest
%end	?
1	S	NP Pred
1	NP	Det N
1	NP	DP RC
1	DP	Det N
1	RC	Rel Pred
1	Pred	Aux V
1	Det	the
1	N	dog
1	N	cat
1	N	cow
1	N	pig
1	Rel	that
1	Aux	can
1	Aux	will
1	Aux	should
1	V	bark
1	V	run
1	V	eat
1	V	sleep
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str, **options):
        path = tmp_path / "my.gr"
        path.write_text(text)
        return load_task("grammar", grammar=path, **options)

    return write


def test_reinflection_by_the_subject(written):
    task = written(REFLEXIVE, train_size=200)
    assert {split: len(lines) for split, lines in task.splits.items()} == {
        "train": 200,
        "val": 20,
        "test": 20,
        "gen": 20,
    }
    for split, sentences in task.splits.items():
        for s in sentences:
            words, target = s.words, s.target.split()
            assert s.source.split() == [*words, "."]
            number = "themselves" if words[1].endswith("s") else "itself"
            assert target == [*words[:-1], number, "."]
            contrast = task.scorer.contrast(s)
            assert contrast.hierarchical == number == target[contrast.place]
            assert (contrast.linear != number) == (split == "gen")
            assert leaves(s.gold) == words
    assert task.splits == written(REFLEXIVE, train_size=200).splits
    assert task.splits != written(REFLEXIVE, train_size=200, seed=1).splits
    assert "self" in task.vocabulary
    assert all(task.scorer.linear(s) != s.target for s in task.splits["gen"])


def test_a_default_size_is_found_from_the_language(written):
    """In domain: 2·6·2 plain subjects, and 2·3·2·2·2·3·2 with a clause on a noun of the same number."""
    task = written(REFLEXIVE)
    in_domain = 2 * 6 * 2 + 2 * (2 * 3 * 2 * 2 * 3 * 2)
    assert len(task.splits["train"]) == in_domain // 2


def test_fronting_with_markers(written):
    task = written(AUXILIARIES, train_size=40)
    kinds = {s.marker for s in task.splits["train"]}
    assert kinds == {"decl", "quest"}
    for split, sentences in task.splits.items():
        for s in sentences:
            if s.marker == "decl":
                assert s.target.split() == [*s.words, "."]
                continue
            auxiliaries = [w for w in s.words if w in ("can", "will", "should")]
            assert s.target.split()[0] == auxiliaries[-1]
            assert s.target.endswith("?")
            assert (len(auxiliaries) == 2) == (split == "gen")


def test_swapping_constituents(written):
    text = REFLEXIVE.replace("reinflect Refl N", "swap V N").replace("VP	V Refl", "VP	V NP")
    text = text.replace("1	S	NP VP", "1	S	Adv NP VP\n1	Adv	today")
    text = "\n".join(line for line in text.splitlines() if "Refl" not in line and "%form" not in line.strip())
    task = written(text + "\n%before N_sg was\n%before N_pl were\n%after by\n", train_size=100)
    for s in task.splits["gen"]:
        adverb, *words = s.words
        verb = next(i for i, w in enumerate(words) if w in ("hurt", "washed"))
        subject, new = words[:verb], words[verb + 1 :]
        passive = "were" if new[1].endswith("s") else "was"
        assert s.target.split() == [adverb, *new, passive, words[verb], "by", *subject, "."]
        assert task.scorer.contrast(s) == (2, new[1], words[5])  # the noun of the clause is the second
        assert (s.target.split()[2], task.scorer.linear(s).split()[2]) == (new[1], words[5])


def test_conditions(written):
    """Copying has no rival: in gen are clauses, in domain none."""
    head = "%rule copy\n%train-without Rel\n%gen-with Rel\n"
    task = written(
        head + "\n".join(line for line in REFLEXIVE.splitlines() if not line.startswith("%")), train_size=10
    )
    for split, sentences in task.splits.items():
        assert all(("that" in s.words) == (split == "gen") for s in sentences)


def test_rules_of_gen_alone(written):
    """Below %gen, rules replace those of the same symbol above."""
    gen = "%gen\n1\tDP\tOld N\n1\tOld\told\n"
    task = written(
        AUXILIARIES.replace("1	DP	Det N", "1	DP	Old N\n1	DP	Det N") + "1\tOld\told\n" + gen,
        train_size=40,
    )
    assert all("old" in s.words for s in task.splits["gen"])
    assert any("the" in s.words and "that" in s.words for s in task.splits["train"])
    assert len(task.splits["gen"]) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%rule	reinflect Refl N", "", "my.gr: %rule is ''; allowed: copy, front TARGET"),
        ("%rule	reinflect Refl N", "%rule	reverse", "%rule is 'reverse'; allowed: copy"),
        (
            "%form	self N_sg itself",
            "%form	self N_sg",
            "grammar line 3 is .*; allowed: WORD CONTROLLER FORM",
        ),
        ("%form	self N_sg itself", "%from	self", "grammar line 3 is .*; allowed: %rule, %form"),
        ("%form	self N_sg itself", "", "word 'self' has no form in agreement with N_sg"),
        (
            "%form	self N_sg itself",
            "%form	self M itself",
            "category 'M' is not in the grammar; allowed: Det",
        ),
        ("1	VP	V Refl", "x	VP	V Refl", "grammar line 13 is"),
        ("1	VP	V Refl", "1	VP	V Refl\n1	VP	V", "has no Refl; allowed: one or more"),
        ("reinflect Refl N", "reinflect Refl Q", "has no Q to agree with"),
        ("1	NP	DP RC\n", "", "no sentence tells the rules apart"),
        (
            "%rule	reinflect Refl N",
            "%rule	copy",
            "which has no rival; allowed: with %gen-with CATEGORY",
        ),
    ],
)
def test_what_is_wrong_is_named(written, old, new, message):
    assert old in REFLEXIVE
    with pytest.raises(DataError, match=message):
        written(REFLEXIVE.replace(old, new), train_size=10)


def test_too_few_sentences_do_not_take_for_ever(written):
    with pytest.raises(
        DataError, match=r"my.gr: 1000 sentences are asked for, and the grammar has .* such; allowed: fewer"
    ):
        written(REFLEXIVE, train_size=1000)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.gr cannot be read: not a regular file"):
        load_task("grammar", grammar=tmp_path / "nowhere.gr")
    (tmp_path / "bytes.gr").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"bytes\.gr:1: byte 0 is not UTF-8"):
        load_task("grammar", grammar=tmp_path / "bytes.gr")
