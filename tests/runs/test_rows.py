"""Rows as JSON lines: exact round trip, clear refusal of anything else."""

import math
import os
from pathlib import Path

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.config import RunConfig
from auxin.disk.folder import Folder
from auxin.errors import RunError
from auxin.runs import open_run
from auxin.runs.rows import MeasureFile, Metric, RowFile, decode, encode, read_table
from auxin.runs.settings import config_bytes
from reliability.hostile import bounded


def read(path: Path) -> polars.DataFrame:
    with Folder.open(path.parent) as folder:
        return read_table(folder, path.name)


whole = st.integers(0, 2**63 - 1)
words = st.text(max_size=20).filter(str.isprintable)


@given(st.builds(Metric, whole, whole, words, words, st.floats(allow_nan=False, allow_infinity=False)))
def test_a_row_reads_back_to_the_same_bits(row: Metric) -> None:
    line = encode(row)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert decode(line) == row
    assert math.copysign(1, decode(line).value) == math.copysign(1, row.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_becomes_null(value: float) -> None:
    line = encode(Metric(1, 2, "val", "loss", value))
    assert line == b'{"step": 1, "member": 2, "split": "val", "name": "loss", "value": null}\n'
    assert math.isnan(decode(line).value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", "not JSON"),
        (b"[" * 4000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "not an object with the keys"),
        (b'{"step": 1}', "not an object with the keys"),
        (b'{"step": -1, "member": 0, "split": "", "name": "", "value": 0}', "step is not a whole number"),
        (b'{"step": true, "member": 0, "split": "", "name": "", "value": 0}', "step is not a whole number"),
        (b'{"step": 1, "member": 0.5, "split": "", "name": "", "value": 0}', "member is not a whole number"),
        (b'{"step": 1, "member": 0, "split": 7, "name": "", "value": 0}', "split is not a string"),
        (b'{"step": 1, "member": 0, "split": "", "name": null, "value": 0}', "name is not a string"),
        (b'{"step": 1, "member": 0, "split": "", "name": "", "value": "0"}', "value is neither"),
        (b'{"step": 1, "member": 0, "split": "", "name": "", "value": 1%s}' % (b"0" * 400), "too large"),
    ],
)
def test_anything_else_is_refused_saying_why(line: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(line)


def test_reading_names_file_and_line_but_forgives_a_line_in_progress(tmp_path: Path) -> None:
    good = encode(Metric(1, 0, "val", "loss", 0.5))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(good + good[:20])
    assert len(read(path)) == 1
    path.write_bytes(good + b"oops\n" + good)
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2 is not JSON"):
        read(path)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a regular file"):
        read(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a regular file"):
        RowFile(Folder.open(tmp_path), "metrics.jsonl")


@given(st.lists(st.lists(st.builds(Metric, whole, whole, words, words, st.floats()), max_size=3), max_size=4))
def test_hash_and_size_follow_the_file(tmp_path_factory: pytest.TempPathFactory, groups) -> None:
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    folder = Folder.open(path.parent)
    file, marks = RowFile(folder, path.name), []
    for group in groups:
        file.append(group)
        marks.append((file.size, file.sha256))
    assert path.stat().st_size == file.size
    for size, sha256 in marks:
        assert RowFile(folder, path.name).starts_with(size, sha256)
    for size, sha256 in reversed(marks):
        file.cut(size)
        assert (file.size, file.sha256) == (size, sha256)
        assert file.size == path.stat().st_size


def test_measuring_resumes_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        MeasureFile(tmp_path)
    (tmp_path / "config.toml").touch()
    row = Metric(10, 0, "train", "tree_score", 0.8)
    with MeasureFile(tmp_path) as measures:
        measures.append([row])
        with pytest.raises(RunError, match="another process"):
            MeasureFile(tmp_path)
    with open(tmp_path / "measures.jsonl", "ab") as file:
        file.write(b'{"step": 20, "mem')
    with MeasureFile(tmp_path) as measures:
        measures.append([row._replace(step=20)])
    assert read(tmp_path / "measures.jsonl")["step"].to_list() == [10, 20]


def test_odd_lines_are_read_as_usual_ones_are(tmp_path: Path) -> None:
    """Those that ``encode`` would have written otherwise, in their places."""
    usual = Metric(2**63 - 1, 7, "val", "ärger", -1e-300)
    odd = b' {"member": 1, "step": 2, "split": "\\u0061\\"", "value": 1E2, "name": "x"} \n'
    (tmp_path / "m.jsonl").write_bytes(encode(usual) + odd + encode(usual._replace(value=math.nan)))
    rows = read(tmp_path / "m.jsonl").rows()
    assert rows[:2] == [usual, (2, 1, 'a"', "x", 100.0)]
    assert math.isnan(rows[2][4])
    for wrong in (b'"step": 9223372036854775808', b'"step": 01', b'"step": -1'):
        (tmp_path / "m.jsonl").write_bytes(encode(usual) + odd.replace(b'"step": 2', wrong))
        with pytest.raises(RunError, match="line 2 is"):
            read(tmp_path / "m.jsonl")


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.builds(Metric, whole, whole, words | st.just('a, "b'), words, finite), max_size=5))
def test_a_table_holds_the_rows_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Metric]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    path.write_bytes(b"".join(map(encode, rows)))
    assert read(path).rows() == rows


def test_half_a_million_rows_take_seconds(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(config_bytes(RunConfig()))
    lines = "".join(
        f'{{"step": {step}, "member": 0, "split": "val", "name": "accuracy", "value": {step / 7}}}\n'
        for step in range(500_000)
    )
    (tmp_path / "metrics.jsonl").write_text(lines)
    with bounded():
        table = open_run(tmp_path).metrics
    assert table["value"].to_list() == [step / 7 for step in range(500_000)]
