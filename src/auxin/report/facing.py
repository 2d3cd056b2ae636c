"""A model's tree and the gold tree of one sentence, facing each other across its words; what they share is marked.

A row a word fits a phone, where a tree of a long sentence that grows downward does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from auxin.tasks.trees import Tree, brackets, leaves

ROW, HEAD, LETTER, REACH, LEVEL = 22, 24, 10, 130, 16
"""Height of a word and of what stands above the first; width of a letter, of a tree at most, and of its level."""


@dataclass
class Facing:
    """What is drawn, in pixels."""

    width: float
    height: float
    words: list[tuple[float, float, str]]
    """Where each word is drawn."""
    nodes: list[tuple[float, float, bool]] = field(default_factory=list)
    """Where each constituent is drawn, and whether the other tree has it."""
    edges: list[tuple[str, bool]] = field(default_factory=list)
    """The path from a constituent to one of its parts, and whether both trees have both."""


def facing(tree: Tree, gold: Tree | None = None) -> Facing:
    """The tree on the left of its words and, where there is one, gold on their right."""
    words = leaves(tree)
    column = LETTER * max(map(len, words)) + 16
    step = min(LEVEL, REACH / max(_height(tree), _height(gold), 1))
    left = step * _height(tree) + 6
    width = left + column + (0 if gold is None else step * _height(gold) + 6)
    middle = round(left + 8 if gold is None else left + column / 2, 1)
    rows = [(middle, HEAD + ROW * (i + 0.5), word) for i, word in enumerate(words)]
    drawing = Facing(round(width, 1), HEAD + ROW * len(words), rows)
    _draw(drawing, tree, left, -step, set() if gold is None else brackets(gold))
    if gold is not None:
        _draw(drawing, gold, left + column, step, brackets(tree))
    return drawing


def _height(tree: Tree | None) -> int:
    return 0 if tree is None or isinstance(tree, str) else 1 + max(map(_height, tree))


def _draw(drawing: Facing, tree: Tree, base: float, step: float, others: set[tuple[int, int]]) -> None:
    """Add a tree whose leaves stand at ``base`` and whose levels are ``step`` apart."""

    def visit(node: Tree, at: int) -> tuple[float, float, int, bool]:
        """Where a node is drawn, the word after its last, and whether the other tree has it."""
        if isinstance(node, str):
            return base, HEAD + ROW * (at + 0.5), at + 1, True
        children, end = [], at
        for child in node:
            children.append(visit(child, end))
            end = children[-1][2]
        x = round(base + step * _height(node), 1)
        y = round((children[0][1] + children[-1][1]) / 2, 1)
        right = (at, end - 1) in others
        drawing.edges += [(f"M{x} {y}V{b}H{a}", right and both) for a, b, _, both in children]
        drawing.nodes.append((x, y, right))
        return x, y, end, right

    visit(tree, 0)
