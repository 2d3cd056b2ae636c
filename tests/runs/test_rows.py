"""Rows as JSON lines: exact round trip, clear refusal of anything else."""

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.runs import open_run
from auxin.runs.rows import Metric, RowFile, encode, measuring, read_rows, starts_with
from auxin.runs.run import config_bytes
from reliability.hostile import bounded

whole = st.integers(0, 2**63 - 1)
words = st.text(max_size=20).filter(str.isprintable)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_becomes_null(value: float, tmp_path: Path) -> None:
    line = encode(Metric(1, 2, "val", "loss", value))
    assert line == b'{"step": 1, "member": 2, "split": "val", "name": "loss", "value": null}\n'
    (tmp_path / "m.jsonl").write_bytes(line)
    assert read_rows(tmp_path / "m.jsonl")["value"].is_nan().all()


GOOD = encode(Metric(1, 0, "val", "loss", 0.5))


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[" * 4000, b"\xff", b"[1]", b'{"step": 1}', b"oops",
        b'{"step": 1, "member": 0, "split": "", "name": null, "value": 0}',
        b'{"step": 9223372036854775808, "member": 0, "split": "", "name": "", "value": 0}',
        b'{"step": 01, "member": 0, "split": "", "name": "", "value": 0}',
    ],
)  # fmt: skip
def test_anything_else_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "m.jsonl").write_bytes(GOOD + line + b"\n" + GOOD)
    with pytest.raises(
        RunError, match=r"m\.jsonl: damaged .a line is no row of step, member, split, name, value"
    ):
        read_rows(tmp_path / "m.jsonl")


def test_a_line_in_progress_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(GOOD + GOOD[:20])
    assert len(read_rows(tmp_path / "m.jsonl")) == 1


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a regular file"):
        read_rows(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not a regular file"):
        RowFile(tmp_path / "metrics.jsonl")


@given(st.lists(st.lists(st.builds(Metric, whole, whole, words, words, st.floats()), max_size=3), max_size=4))
def test_hash_and_size_follow_the_file(tmp_path_factory: pytest.TempPathFactory, groups) -> None:
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    file, marks = RowFile(path), []
    for group in groups:
        file.append(group)
        marks.append((file.size, file.sha256))
    assert path.stat().st_size == file.size
    for size, sha256 in marks:
        assert starts_with(path, size, sha256)
    for size, sha256 in reversed(marks):
        file.cut(size)
        assert (file.size, file.sha256) == (size, sha256)
        assert file.size == path.stat().st_size


def test_measuring_resumes_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"), measuring(tmp_path):
        pass
    (tmp_path / "config.toml").touch()
    row = Metric(10, 0, "train", "tree_score", 0.8)
    with measuring(tmp_path) as append:
        append([row])
        with pytest.raises(RunError, match="another process"), measuring(tmp_path):
            pass
    with open(tmp_path / "measures.jsonl", "ab") as file:
        file.write(b'{"step": 20, "mem')
    with measuring(tmp_path) as append:
        append([row._replace(step=20)])
    assert read_rows(tmp_path / "measures.jsonl")["step"].to_list() == [10, 20]


def test_odd_lines_are_read_as_usual_ones_are(tmp_path: Path) -> None:
    """Those that ``encode`` would have written otherwise, in their places."""
    usual = Metric(2**63 - 1, 7, "val", "ärger", -1e-300)
    odd = b' {"member": 1, "step": 2, "split": "\\u0061\\"", "value": 1E2, "name": "x"} \n'
    (tmp_path / "m.jsonl").write_bytes(encode(usual) + odd + encode(usual._replace(value=math.nan)))
    rows = read_rows(tmp_path / "m.jsonl").rows()
    assert rows[:2] == [usual, (2, 1, 'a"', "x", 100.0)]
    assert math.isnan(rows[2][4])


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.builds(Metric, whole, whole, words | st.just('a, "b'), words, finite), max_size=5))
def test_a_table_holds_the_rows_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Metric]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    path.write_bytes(b"".join(map(encode, rows)))
    assert read_rows(path).rows() == rows


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
