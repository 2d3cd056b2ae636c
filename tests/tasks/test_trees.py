import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.errors import DataError
from auxin.tasks.trees import (
    balanced,
    binarize,
    bracket_tree,
    brackets,
    leaves,
    left_branching,
    parseval,
    random_tree,
    read_penn,
    right_branching,
    to_brackets,
    to_svg,
)

words = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6).filter(
    lambda w: w.split() == [w] and "-LRB-" not in w and "-RRB-" not in w
)


def penn(tree, label="X"):
    """The tree in Penn Treebank brackets, every node and word under a label."""
    return f"({label} {to_brackets(tree) if isinstance(tree, str) else ' '.join(map(penn, tree))})"


def from_brackets(text):
    """The only tree of a text like (a (b c)), with labels put in."""
    (tree,) = read_penn(text.replace("(", "(X "))
    return tree


trees = st.recursive(words, lambda t: st.lists(t, min_size=1, max_size=4).map(tuple), max_leaves=12)
binary = st.recursive(words, lambda t: st.tuples(t, t), max_leaves=12)


def naive_brackets(tree):
    def visit(node, start):
        if isinstance(node, str):
            return start + 1
        end = start
        for child in node:
            end = visit(child, end)
        if end - start > 1:
            spans.add((start, end - 1))
        return end

    spans = set()
    visit(tree, 0)
    return spans


@given(binary.filter(lambda tree: not isinstance(tree, str)))
@settings(deadline=None)
def test_bracket_strings_round_trip(tree):
    assert from_brackets(to_brackets(tree)) == tree


@given(binary)
@settings(deadline=None)
def test_penn_round_trip(tree):
    assert read_penn(penn(tree)) == [tree]


@given(trees)
@settings(deadline=None)
def test_brackets_agree_with_recursion(tree):
    assert brackets(tree) == naive_brackets(tree)


@given(trees)
@settings(deadline=None)
def test_binarize_keeps_words_and_brackets(tree):
    result = binarize(tree)
    n = len(leaves(tree))
    assert leaves(result) == leaves(tree)
    assert brackets(tree) <= brackets(result)
    assert len(brackets(result)) == n - 1


@given(binary, st.integers(0, 2**31))
@settings(deadline=None)
def test_parseval_laws(tree, seed):
    if len(leaves(tree)) < 2:
        return
    assert parseval([tree], [tree]) == (1, 1, 1)
    for other in (random_tree(leaves(tree), seed), balanced(leaves(tree))):
        forward, backward = parseval([tree], [other]), parseval([other], [tree])
        assert forward.f1 == backward.f1
        assert forward.precision == backward.recall
        assert forward.f1 > 0  # both have the whole-sentence bracket


def test_parseval_pools_or_averages():
    trees = [("a", ("b", "c")), (("a", "b"), ("c", "d"))]
    gold = [(("a", "b"), "c"), (("a", "b"), ("c", "d"))]
    assert parseval(trees, gold).f1 == 4 / 5
    assert parseval(trees, gold, per_sentence=True).f1 == 3 / 4
    assert parseval([*trees, "a"], [*gold, "a"], per_sentence=True).f1 == 3 / 4


@pytest.mark.parametrize(
    ("trees", "gold", "message"),
    [
        ([("a", "b")], [], "1 trees against 0 gold trees"),
        ([("a", "b")], [("a", ("b", "c"))], "tree 0 has 'no word' where its gold tree has 'c'"),
        (["a"], ["a"], "no tree has a bracket"),
        ([()], [("a", "b")], "empty node"),
        ([("a", "b")], [("a", "c")], "tree 0 has 'b' where its gold tree has 'c'; allowed: the same words"),
    ],
)
def test_parseval_refuses(trees, gold, message):
    with pytest.raises(DataError, match=message):
        parseval(trees, gold)


def test_baselines():
    assert right_branching("a b c d") == ("a", ("b", ("c", "d")))
    assert left_branching(["a", "b", "c", "d"]) == ((("a", "b"), "c"), "d")
    assert balanced("a b c d e") == ((("a", "b"), "c"), ("d", "e"))
    assert right_branching("a") == left_branching("a") == balanced("a") == random_tree("a", 0) == "a"


@pytest.mark.parametrize("baseline", [right_branching, left_branching, balanced, lambda w: random_tree(w, 3)])
def test_baselines_keep_words_at_any_length(baseline):
    sentence = [f"w{i}" for i in range(3000)]
    tree = baseline(sentence)
    assert leaves(tree) == sentence
    assert len(brackets(tree)) == 2999
    assert to_brackets(binarize(tree)) == to_brackets(tree)
    with pytest.raises(DataError, match="empty"):
        baseline([])


def test_random_trees_follow_the_seed_and_split_uniformly():
    sentence = ["a", "b", "c", "d"]
    assert random_tree(sentence, 5) == random_tree(sentence, 5)
    first = [random_tree(sentence, seed)[0] for seed in range(3000)]
    share = sum(left == "a" for left in first) / 3000
    assert abs(share - 1 / 3) < 0.03  # 3.5 standard errors


def test_words_with_parentheses_are_escaped():
    tree = ("(a", "a)")
    assert to_brackets(tree) == "(-LRB-a a-RRB-)"
    assert from_brackets(to_brackets(tree)) == tree
    with pytest.raises(DataError, match="holds a space"):
        to_brackets(("a b", "c"))


def test_penn_treebank_with_labels_traces_and_several_trees():
    text = """( (S (NP-SBJ (DT The) (NN newt)) (VP (VBZ reads) (NP (-NONE- *T*))) (. .)) )
    (NP (DT a) (NN yak))"""
    assert read_penn(text) == [(("The", "newt"), "reads", "."), ("a", "yak")]
    assert read_penn(f"\n{text}\n\n") == read_penn(text)


def test_penn_treebank_of_real_files():
    """A no-break space is part of a word, as in 1\u00a01/2; files may begin with a byte order mark."""
    assert read_penn("\ufeff(NP (CD 1\u00a01/2) (NNS cups))") == [("1\u00a01/2", "cups")]
    assert read_penn(penn(("1\u00a01/2", "cups"))) == [("1\u00a01/2", "cups")]
    assert from_brackets(to_brackets(("1\u00a01/2", "cups"))) == ("1\u00a01/2", "cups")
    with pytest.raises(DataError, match=r"\(HYPH \) has no words; allowed: a word or a node after a label"):
        read_penn("(NP (NN mid) (HYPH ) (NN air))")
    assert read_penn("(NP (NN mid) (HYPH -) (NN air))") == [("mid", "-", "air")]


@pytest.mark.parametrize("text", ["(S (NP a)", "(S a))", "(S)", "(" * 5000 + ")" * 5000])
def test_malformed_penn_treebank(text):
    with pytest.raises(DataError, match=r"Penn Treebank|no words"):
        read_penn(text)


def test_dyck_brackets():
    assert bracket_tree(["(a", "a)"]) == ("(a", "a)")
    expected = (("(a", (("(b", "b)"), "a)")), ("(c", "c)"))
    assert bracket_tree(["(a", "(b", "b)", "a)", "(c", "c)"]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(a b)", r"token 2 is 'b\)' where '\(a' is open"),
        ("(a (b b)", r"'\(a' is never closed"),
        ("a)", "token 1 is 'a\\)' where 'nothing' is open"),
        ("(a x", "token 2 is 'x'"),
        ("", "empty"),
    ],
)
def test_unbalanced_dyck_strings_are_named(text, message):
    with pytest.raises(DataError, match=message):
        bracket_tree(text.split())


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_dyck_tree_holds_every_pair(seed):
    generator = random.Random(seed)
    tokens, stack, pairs = [], [], set()
    while len(tokens) < 60 or stack:
        if len(tokens) < 60 and (not stack or generator.random() < 0.5):
            stack.append(("abc"[generator.randrange(3)], len(tokens)))
            tokens.append("(" + stack[-1][0])
        else:
            letter, start = stack.pop()
            pairs.add((start, len(tokens)))
            tokens.append(letter + ")")
    assert pairs <= brackets(bracket_tree(tokens))


def test_svg_shows_every_word():
    svg = to_svg((("the", "newt"), ("does", "read")))
    assert svg.startswith("<svg")
    assert all(word in svg for word in ("the", "newt", "does", "read"))
    assert "<script>" not in to_svg(("<script>", "b"))
    with pytest.raises(DataError, match="the tree of 3000 words is too deep to draw"):
        to_svg(right_branching(["a"] * 3000))
