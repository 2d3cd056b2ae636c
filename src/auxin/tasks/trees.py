"""Unlabeled constituency trees as nested tuples of words, their brackets, baselines and file formats.

A tree is a word or a tuple of trees: ``(("the", "newt"), ("does", "read"))``. Walks over trees are iterative, so
that the right-branching tree of a thousand tokens is as good as any other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any, NamedTuple, TypeAlias, TypeVar

from auxin.errors import DataError

Tree: TypeAlias = "str | tuple[Tree, ...]"
Folded = TypeVar("Folded")
_SPACE = " \t\n\r\f\v"
"""What separates words in files of trees; any other white space, as a no-break space, is part of one."""
_WORD = rf"[^{_SPACE}()]+"


class Parseval(NamedTuple):
    """Unlabeled bracketing scores, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def _fold(tree: Tree, leaf: Callable[[str], Folded], join: Callable[[list[Folded]], Folded]) -> Folded:
    """``leaf`` of every word, from left to right, and ``join`` of every node's values, from the bottom up."""
    values: list[Folded] = []
    stack: list[Tree | int] = [tree]  # an int joins that many of the last values
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            values.append(leaf(node))
        elif isinstance(node, int):
            children = values[-node:]
            del values[-node:]
            values.append(join(children))
        elif node:
            stack += (len(node), *reversed(node))
        else:
            raise DataError("a tree has an empty node; allowed: words and tuples of trees")
    return values[0]


def _brackets(tree: Tree) -> tuple[set[tuple[int, int]], list[str]]:
    spans: set[tuple[int, int]] = set()
    words: list[str] = []

    def leaf(word: str) -> tuple[int, int]:
        words.append(word)
        return len(words) - 1, len(words) - 1

    def join(children: list[tuple[int, int]]) -> tuple[int, int]:
        spans.add((children[0][0], children[-1][1]))
        return children[0][0], children[-1][1]

    _fold(tree, leaf, join)
    return {(first, last) for first, last in spans if first < last}, words


def leaves(tree: Tree) -> list[str]:
    """The words of a tree from left to right."""
    return _brackets(tree)[1]


def brackets(tree: Tree) -> set[tuple[int, int]]:
    """The spans (first word, last word) of the tree's nodes, both ends included, the whole sentence too.

    Single words are no brackets. Raises ``DataError`` for an empty tree or node.
    """
    return _brackets(tree)[0]


def parseval(trees: Sequence[Tree], gold: Sequence[Tree], *, per_sentence: bool = False) -> Parseval:
    """Unlabeled bracketing precision, recall and F1 of ``trees`` against ``gold``.

    With G and T the bracket sets of all sentences (``brackets``: the whole-sentence bracket counts, single
    words don't), precision = |G∩T|/|T|, recall = |G∩T|/|G|, F1 = 2|G∩T|/(|G| + |T|); ``per_sentence``
    averages the sentences' own scores instead of pooling, leaving out one-word sentences. Linear in the words.
    (Black et al. 1991; pooled as in Murty et al. 2023.) Raises ``DataError`` when words differ, or without brackets.
    >>> parseval([right_branching("a b c d")], [balanced("a b c d")]).f1  # two of three brackets
    0.6666666666666666
    """
    if len(trees) != len(gold):
        raise DataError(f"{len(trees)} trees against {len(gold)} gold trees; allowed: as many")
    counts: list[tuple[int, int, int]] = []
    for index, (tree, truth) in enumerate(zip(trees, gold, strict=True)):
        (found, words), (true, expected) = _brackets(tree), _brackets(truth)
        if words != expected:
            pairs = zip_longest(words, expected, fillvalue="no word")
            word, other = next(pair for pair in pairs if pair[0] != pair[1])
            raise DataError(
                f"tree {index} has {word!r} where its gold tree has {other!r}; allowed: the same words"
            )
        if len(words) > 1:
            counts.append((len(found & true), len(found), len(true)))
    if not counts:
        raise DataError("no tree has a bracket; allowed: at least one sentence of two words or more")
    groups = counts if per_sentence else [tuple(map(sum, zip(*counts, strict=True)))]
    scores = [(m / t, m / g, 2 * m / (t + g)) for m, t, g in groups]
    return Parseval(*(sum(column) / len(scores) for column in zip(*scores, strict=True)))


def _words(words: Sequence[str] | str) -> list[str]:
    words = words.split() if isinstance(words, str) else list(words)
    if not words:
        raise DataError("the sentence is empty; allowed: one word or more")
    return words


def _right(trees: Sequence[Tree]) -> Tree:
    return reduce(lambda tree, left: (left, tree), reversed(trees))


def right_branching(words: Sequence[str] | str) -> Tree:
    """(w1 (w2 (w3 …))); the words as a list or one string.
    >>> right_branching("a b c")
    ('a', ('b', 'c'))
    """
    return _right(_words(words))


def left_branching(words: Sequence[str] | str) -> Tree:
    """(((w1 w2) w3) …); the words as a list or one string.
    >>> left_branching("a b c")
    (('a', 'b'), 'c')
    """
    return reduce(lambda tree, word: (tree, word), _words(words))


def balanced(words: Sequence[str] | str) -> Tree:
    """Every span is split in the middle, the left half one longer when the length is odd.
    >>> balanced("a b c d")
    (('a', 'b'), ('c', 'd'))
    """
    return _split(_words(words), lambda n: (n + 1) // 2)


def random_tree(words: Sequence[str] | str, seed: int) -> Tree:
    """Every span is split at a uniformly drawn point; the seed determines the tree.
    >>> random_tree("a b c", seed=0) in (left_branching("a b c"), right_branching("a b c"))
    True
    """
    generator = random.Random(seed)
    return _split(_words(words), lambda n: generator.randint(1, n - 1))


def _split(words: list[str], left_size: Callable[[int], int]) -> Tree:
    """Either of the two splits is about log n nodes deep."""
    if len(words) == 1:
        return words[0]
    middle = left_size(len(words))
    return _split(words[:middle], left_size), _split(words[middle:], left_size)


def binarize(tree: Tree) -> Tree:
    """Unary nodes become their child, (a b c …) becomes (a (b (c …))); brackets of the tree are kept."""
    return _fold(tree, lambda word: word, _right)


def bracket_tree(tokens: Sequence[str]) -> Tree:
    """The binarized tree of a Dyck string: a pair of brackets and what it holds is a constituent.

    Tokens are ``(a`` and ``a)``; unbalanced or mismatched brackets are a ``DataError`` with the token's place.
    """
    open_nodes: list[list[Tree]] = [[]]
    for place, token in enumerate(tokens, 1):
        if token.startswith("("):
            open_nodes.append([token])
        elif len(open_nodes) > 1 and open_nodes[-1][0] == "(" + token[:-1] and token.endswith(")"):
            node = open_nodes.pop()
            open_nodes[-1].append((*node, token))
        else:
            opened = open_nodes[-1][0] if len(open_nodes) > 1 else "nothing"
            raise DataError(
                f"token {place} is {token!r} where {opened!r} is open; allowed: balanced brackets"
            )
    if len(open_nodes) > 1:
        raise DataError(f"{open_nodes[-1][0]!r} is never closed; allowed: balanced brackets")
    if not open_nodes[0]:
        raise DataError("the string is empty; allowed: one pair of brackets or more")
    return binarize(tuple(open_nodes[0]))


def to_brackets(tree: Tree) -> str:
    """``(a (b c))``; parentheses inside words are written -LRB- and -RRB-, as in the Penn Treebank."""
    return _fold(tree, _escaped, lambda parts: f"({' '.join(parts)})")


def _escaped(word: str) -> str:
    if not word or any(c in _SPACE for c in word):
        raise DataError(f"word {word!r} is empty or holds a space; allowed: words without spaces")
    return word.replace("(", "-LRB-").replace(")", "-RRB-")


def read_penn(text: str) -> list[Tree]:
    """The trees of a file in Penn Treebank brackets, labels and empty elements (-NONE-) left out.

    A preterminal ``(NN newt)`` is its word, a unary node its child; other nodes keep their children. Raises
    ``DataError`` for unbalanced brackets, a label without a word, or a tree without words.
    """
    import nltk

    # a backslash is part of a word ("1\\/2"), not an escape, which is nltk's default
    options = {"node_pattern": _WORD, "leaf_pattern": _WORD, "remove_empty_top_bracketing": True}
    try:
        texts = nltk.tokenize.SExprTokenizer().tokenize(text.removeprefix("\ufeff").strip(_SPACE))
        found = [_unlabeled(nltk.Tree.fromstring(one, **options)) for one in texts]
    except (ValueError, RecursionError) as error:
        raise DataError(f"not Penn Treebank brackets: {' '.join(str(error).split())}") from None
    if not all(found):
        raise DataError("a tree has no words; allowed: one word or more")
    return [tree for trees in found for tree in trees]


def _unlabeled(node: Any) -> list[Tree]:
    """The tree below a node of nltk, or none where all its elements are empty."""
    if isinstance(node, str):
        return [node.replace("-LRB-", "(").replace("-RRB-", ")")]
    if not len(node):
        raise DataError(f"({node.label()} ) has no words; allowed: a word or a node after a label")
    if node.label() == "-NONE-":
        return []
    children = [tree for child in node for tree in _unlabeled(child)]
    return [tuple(children)] if len(children) > 1 else children


def to_svg(tree: Tree) -> str:
    """A drawing of the tree as one SVG element, in the linguists' look (svgling).

    Raises ``DataError`` for a tree of hundreds of levels, which svgling cannot lay out.
    """
    import svgling

    labeled: Any = lambda children: ("", *children)
    try:
        return svgling.draw_tree(_fold(tree, lambda word: word, labeled)).get_svg().tostring()
    except RecursionError:
        raise DataError(f"the tree of {len(leaves(tree))} words is too deep to draw") from None
