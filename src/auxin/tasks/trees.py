"""Unlabeled constituency trees as nested tuples of words, their brackets, baselines and file formats.

A tree is a word or a tuple of trees: ``(("the", "newt"), ("does", "read"))``. Every walk is iterative, so
that the right-branching tree of a thousand tokens is as good as any other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from auxin.errors import DataError

Tree: TypeAlias = "str | tuple[Tree, ...]"


class Parseval(NamedTuple):
    """Unlabeled bracketing scores, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def leaves(tree: Tree) -> list[str]:
    """The words of a tree from left to right."""
    words: list[str] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            words.append(node)
        else:
            stack.extend(reversed(node))
    return words


def brackets(tree: Tree) -> set[tuple[int, int]]:
    """The spans (first word, last word) of the tree's nodes, both ends included, the whole sentence too.

    Single words are no brackets. Raises ``DataError`` for an empty tree or node.
    """
    return _brackets(tree)[0]


def _brackets(tree: Tree) -> tuple[set[tuple[int, int]], list[str]]:
    """The tree's brackets and its words."""
    spans: set[tuple[int, int]] = set()
    words: list[str] = []
    stack: list[Tree | int] = [tree]  # an int closes the node that began at that position
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            if len(words) - node > 1:
                spans.add((node, len(words) - 1))
        elif isinstance(node, str):
            words.append(node)
        elif node:
            stack.append(len(words))
            stack.extend(reversed(node))
        else:
            raise DataError("a tree has an empty node; allowed: words and tuples of trees")
    return spans, words


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
        if len(words) != len(expected):
            raise DataError(
                f"tree {index} has {len(words)} words, its gold tree {len(expected)}; allowed: as many"
            )
        if words != expected:
            word, other = next(pair for pair in zip(words, expected, strict=True) if pair[0] != pair[1])
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


def _words(words: Iterable[str] | str) -> list[str]:
    """The words of a sentence given as a string or a sequence; refuses an empty one."""
    words = words.split() if isinstance(words, str) else list(words)
    if not words:
        raise DataError("the sentence is empty; allowed: one word or more")
    return words


def right_branching(words: Sequence[str] | str) -> Tree:
    """(w1 (w2 (w3 …))); the words as a list or one string.
    >>> right_branching("a b c")
    ('a', ('b', 'c'))
    """
    words = _words(words)
    tree: Tree = words[-1]
    for word in reversed(words[:-1]):
        tree = (word, tree)
    return tree


def left_branching(words: Sequence[str] | str) -> Tree:
    """(((w1 w2) w3) …); the words as a list or one string.
    >>> left_branching("a b c")
    (('a', 'b'), 'c')
    """
    words = _words(words)
    tree: Tree = words[0]
    for word in words[1:]:
        tree = (tree, word)
    return tree


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
    """The binary tree whose span of n words has ``left_size(n)`` of them in its left half."""
    built: list[Tree] = []
    stack: list[tuple[int, int] | None] = [(0, len(words))]  # None: join the two subtrees built last
    while stack:
        span = stack.pop()
        if span is None:
            right = built.pop()
            built.append((built.pop(), right))
        elif span[1] - span[0] == 1:
            built.append(words[span[0]])
        else:
            middle = span[0] + left_size(span[1] - span[0])
            stack += [None, (middle, span[1]), (span[0], middle)]
    return built[0]


def _rebuild(tree: Tree, join: Callable[[list[Tree]], Tree]) -> Tree:
    """The tree with every node replaced by ``join`` of its rebuilt children, from the bottom up."""
    built: list[Tree] = []
    stack: list[Tree | int] = [tree]  # an int joins that many subtrees built last
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            built.append(node)
        elif isinstance(node, int):
            children = built[len(built) - node :]
            del built[len(built) - node :]
            built.append(join(children))
        elif node:
            stack.append(len(node))
            stack.extend(reversed(node))
        else:
            raise DataError("a tree has an empty node; allowed: words and tuples of trees")
    return built[0]


def binarize(tree: Tree) -> Tree:
    """Unary nodes become their child, (a b c …) becomes (a (b (c …))); brackets of the tree are kept."""

    def join(children: list[Tree]) -> Tree:
        result = children[-1]
        for child in reversed(children[:-1]):
            result = (child, result)
        return result

    return _rebuild(tree, join)


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


_ESCAPES = {"(": "-LRB-", ")": "-RRB-"}
_SPACE = " \t\n\r\f\v"
"""What separates words in files of trees; any other white space, as a no-break space, is part of one."""
_WORD = rf"[^{_SPACE}()]+"


def to_brackets(tree: Tree) -> str:
    """``(a (b c))``; parentheses inside words are written -LRB- and -RRB-, as in the Penn Treebank."""
    if isinstance(tree, str):
        return _escape(tree)
    parts: list[str] = []
    stack: list[Tree | int] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            parts[-1] += ")"
        elif isinstance(node, str):
            parts.append(_escape(node))
        else:
            stack.append(0)
            stack.extend(reversed(node))
            parts.append("(")
    return re.sub(r"\( ", "(", " ".join(parts))


def _escape(word: str) -> str:
    if not word or any(c in _SPACE for c in word):
        raise DataError(f"word {word!r} is empty or holds a space; allowed: words without spaces")
    return re.sub(r"[()]", lambda match: _ESCAPES[match[0]], word)


def from_brackets(text: str) -> Tree:
    """Read ``(a (b c))``, the reverse of ``to_brackets``; unbalanced brackets are a ``DataError``."""
    open_nodes: list[list[Tree]] = [[]]
    for match in re.finditer(rf"[()]|{_WORD}", text):
        token = match[0]
        if token == "(":
            open_nodes.append([])
        elif token != ")":
            open_nodes[-1].append(token.replace("-LRB-", "(").replace("-RRB-", ")"))
        elif len(open_nodes) == 1:
            raise DataError(f"')' at character {match.start()} closes nothing; allowed: balanced brackets")
        elif not open_nodes[-1]:
            raise DataError(f"'()' at character {match.start() - 1} is empty; allowed: words inside")
        else:
            node = open_nodes.pop()
            open_nodes[-1].append(tuple(node))
    if len(open_nodes) > 1:
        raise DataError(f"{len(open_nodes) - 1} '(' never closed in {text!r:.80}; allowed: balanced brackets")
    if len(open_nodes[0]) != 1:
        raise DataError(f"{len(open_nodes[0])} trees in {text!r:.80}; allowed: exactly one")
    return open_nodes[0][0]


def read_penn(text: str) -> list[Tree]:
    """The trees of a file in Penn Treebank brackets, labels and empty elements (-NONE-) left out.

    A preterminal ``(NN newt)`` is its word, a unary node its child; other nodes keep their children. Raises
    ``DataError`` for unbalanced brackets, a label without a word, or a tree without words.
    """
    import nltk

    try:
        texts = nltk.tokenize.SExprTokenizer().tokenize(text.removeprefix("\ufeff").strip(_SPACE))
        # a backslash is part of a word ("1\\/2"), not an escape, which is nltk's default
        options = {
            "node_pattern": _WORD,
            "leaf_pattern": _WORD,
            "remove_empty_top_bracketing": True,
        }
        return [_unlabeled(nltk.Tree.fromstring(one, **options)) for one in texts]
    except (ValueError, RecursionError) as error:
        raise DataError(f"not Penn Treebank brackets: {' '.join(str(error).split())}") from None


def _unlabeled(node: object) -> Tree:
    """The tree below a labeled node of nltk."""
    import nltk

    built: list[list[Tree]] = [[]]
    stack: list[object] = [node]  # None closes a node
    while stack:
        top = stack.pop()
        if isinstance(top, nltk.Tree):
            if not len(top):
                raise DataError(f"({top.label()} ) has no words; allowed: a word or a node after a label")
            if top.label() != "-NONE-":
                built.append([])
                stack += [None, *reversed(top)]
        elif top is None:
            children = built.pop()
            if children:
                built[-1].append(children[0] if len(children) == 1 else tuple(children))
        else:
            built[-1].append(str(top).replace("-LRB-", "(").replace("-RRB-", ")"))
    if not built[0]:
        raise DataError("a tree has no words; allowed: one word or more")
    return built[0][0]


def write_penn(tree: Tree, label: str = "X") -> str:
    """One line of Penn Treebank brackets, every node and word under ``label``; ``read_penn`` reads it back."""
    if isinstance(tree, str):
        return f"({label} {_escape(tree)})"
    text = re.sub(_WORD, lambda match: f"({label} {match[0]})", to_brackets(tree))
    return re.sub(rf"\((?!{re.escape(label)} )", f"({label} ", text)


def to_svg(tree: Tree) -> str:
    """A drawing of the tree as one SVG element, in the linguists' look (svgling).

    Raises ``DataError`` for a tree of hundreds of levels, which svgling cannot lay out.
    """
    import svgling

    def labeled(children: list[Tree]) -> Tree:
        return ("", *children)

    try:
        return svgling.draw_tree(_rebuild(tree, labeled)).get_svg().tostring()
    except RecursionError:
        raise DataError(f"the tree of {len(leaves(tree))} words is too deep to draw") from None
