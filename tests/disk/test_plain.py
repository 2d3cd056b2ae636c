"""JSON from elsewhere: what cannot be computed with, shown or written is refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.disk.folder import Folder
from auxin.disk.plain import Each, Number, conform, dump_json, dump_signed, parse_json, read_signed
from auxin.errors import RunError


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ("NaN", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[" * 600 + "]" * 600, "nested more than 20 deep"),
        ("9" * 400, "a number is too large"),
        ("9" * 10_000, "a number is too large"),
        ("1e999", "a number is too large"),
        ('"\\ud800"', "text holds what cannot be printed"),
        ('{"\\u001b": 1}', "text holds what cannot be printed"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(text)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4))
def test_whatever_is_written_can_be_read(values: dict[str, object]) -> None:
    content = dump_json(values)
    assert dump_json(parse_json(content)) == content


@pytest.mark.parametrize(
    ("value", "shape", "told"),
    [
        ({}, {"a": int}, "a is missing; allowed: int"),
        ({"a": True}, {"a": int}, "a is a bool; allowed: int"),
        ({"a": [1, "x"]}, {"a": [int]}, "a is a str; allowed: int"),
        ({"a": {"b": 2.0}}, {"a": Each(Number(0, 1))}, "a: b is 2.0; allowed: 0 to 1"),
        ({"a": None}, {"a?": Number()}, "a is missing; allowed: int or float"),
        ({"a": 0.5}, {"a": Number(whole=True)}, "a is a float; allowed: int"),
    ],
)
def test_the_first_place_that_is_wrong_is_named(value: object, shape: object, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        conform(value, shape, "")
    assert str(caught.value) == told
    conform({"a": None, "more": math.pi}, {"a": Number(unknown=True), "b?": str}, "")


def test_a_signed_object_is_what_was_written_or_an_error(tmp_path) -> None:
    content = dump_signed({"steps": 30, "words": "so it is"})
    with Folder.open(tmp_path) as folder:
        for at in range(len(content)):
            changed = bytearray(content)
            changed[at] ^= 1
            (tmp_path / "x.json").write_bytes(changed)
            try:
                assert read_signed(folder, "x.json", {}, {"steps": int})["steps"] == 30
            except RunError:
                continue
        (tmp_path / "x.json").write_text(json.dumps({"words": "earlier"}))
        with pytest.raises(RunError, match="steps is missing"):
            read_signed(folder, "x.json", {}, {"steps": int})
