import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.errors import DataError
from auxin.tasks.vocabulary import Vocabulary

words = st.lists(
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5), min_size=1, max_size=30
).filter(lambda ws: all(w.split() == [w] and w not in ("<pad>", "<eos>", "<bos>") for w in ws))


def test_order_of_ids():
    vocabulary = Vocabulary(["the", "newt", "<pad>", "."])
    assert vocabulary.words == ("<pad>", ".", "newt", "the", "<eos>", "<bos>")
    assert (vocabulary.pad, vocabulary.eos, vocabulary.bos, len(vocabulary)) == (0, 4, 5, 6)


@given(words, st.randoms())
@settings(deadline=None)
def test_round_trip(words, random):
    vocabulary = Vocabulary(words)
    sentence = random.choices(words, k=8)
    assert vocabulary.decode(vocabulary.encode(" ".join(sentence))) == " ".join(sentence)
    assert Vocabulary(reversed(vocabulary.words)) == vocabulary


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), max_size=40))
@settings(deadline=None)
def test_encode_all_agrees_with_encode(sentences):
    vocabulary = Vocabulary(["a", "b", "c"])
    found = vocabulary.encode_all([" ".join(s) for s in sentences])
    for tokens, sentence in zip(found, sentences, strict=True):
        assert tokens.tolist() == [vocabulary.bos, *vocabulary.encode(sentence), vocabulary.eos]


def test_unknown_word_is_named_with_the_closest():
    vocabulary = Vocabulary(["newt", "newts", "yak"])
    with pytest.raises(DataError, match=r"word 'newtt' is not in the vocabulary; closest: newt"):
        vocabulary.encode("yak newtt")
    with pytest.raises(DataError, match="word 'newtt'"):
        vocabulary.encode_all(["yak", "newtt"])
    with pytest.raises(DataError, match="known: newt, newts, yak"):
        vocabulary.encode("qqqq")
    with pytest.raises(DataError, match="token id is 6; allowed: 0 to 5"):
        vocabulary.decode([1, 6])


@pytest.mark.parametrize("words", [[], ["<pad>"], [""], ["a b"], [3], "a b"])
def test_impossible_words_are_refused(words):
    with pytest.raises(DataError):
        Vocabulary(words)
