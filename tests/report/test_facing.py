"""Two trees across their words."""

from hypothesis import given
from hypothesis import strategies as st

from auxin.report.facing import facing
from auxin.tasks.trees import Tree, brackets, leaves

TREES: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(["newt", "who", "does"]),
    lambda inner: st.lists(inner, min_size=2, max_size=3).map(tuple),
    max_leaves=9,
).filter(lambda tree: not isinstance(tree, str))


@given(TREES)
def test_every_constituent_is_drawn_inside_and_all_are_right_against_themselves(tree: Tree) -> None:
    drawing = facing(tree, tree)
    assert [word for _, _, word in drawing.words] == leaves(tree)
    assert len(drawing.nodes) == 2 * len(brackets(tree))
    assert all(right for _, _, right in drawing.nodes)
    assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for x, y, _ in drawing.nodes)
    assert drawing.width < 358  # of a phone
    alone = facing(tree)
    assert len(alone.nodes) == len(brackets(tree))
    assert not any(right for _, _, right in alone.nodes)


def test_what_both_trees_have_is_marked_in_both() -> None:
    drawing = facing((("a", "b"), ("c", "d")), ("a", ("b", ("c", "d"))))
    left, right = drawing.nodes[:3], drawing.nodes[3:]
    assert [right for _, _, right in left] == [False, True, True]  # ab, cd, all
    assert [shared for _, _, shared in right] == [True, False, True]  # cd, bcd, all
