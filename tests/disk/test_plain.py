"""JSON that auxin writes: read back as it was, or an error that names the file."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.disk.folder import Folder
from auxin.disk.plain import dump_json, dump_signed, read_object, read_signed
from auxin.errors import RunError

anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4))
def test_whatever_is_written_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    folder = Folder.open(tmp_path_factory.mktemp("json"))
    folder.replace("x.json", dump_json(values))
    assert dump_json(read_object(folder, "x.json")) == dump_json(values)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("[1]", "not a JSON object"),
        ('{"size": "1"}', "damaged .size is no int"), ("{}", "damaged .size is no int"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RunError, match=rf"x\.json: {why}"):
        read_object(Folder.open(tmp_path), "x.json", size=int)


def test_a_signed_object_is_what_was_written_or_an_error(tmp_path: Path) -> None:
    content, folder = dump_signed({"steps": 30, "words": "so it is"}), Folder.open(tmp_path)
    (tmp_path / "x.json").write_bytes(content)
    assert read_signed(folder, "x.json") == {"steps": 30, "words": "so it is"}
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        (tmp_path / "x.json").write_bytes(changed)
        with contextlib.suppress(RunError):
            assert read_signed(folder, "x.json")["steps"] == 30
