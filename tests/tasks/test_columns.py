"""People's own tables: headers, what counts as a word, and the split."""

from pathlib import Path

import pytest

from auxin.errors import ConfigError, DataError
from auxin.tasks.columns import NAMES, Columns, Form, read_table, split_pairs

ROLES = dict(zip(NAMES, NAMES, strict=True))
SHARES = (0.8, 0.1, 0.1)


def table(folder: Path, text: str, wanted: tuple[str, ...] = ("source", "target")) -> Columns:
    (folder / "t.tsv").write_text(text, encoding="utf-8")
    return read_table(folder / "t.tsv", wanted, NAMES)


def numbered(count: int, kind: str) -> str:
    return "".join(f"a{i}\tb{i}\t{kind}\n" for i in range(count))


@pytest.mark.parametrize(
    ("case", "punctuation", "expected"),
    [
        ("keep", "keep", "«Is 's avonds foto's (mooi)...»"),
        ("lower", "keep", "«is 's avonds foto's (mooi)...»"),
        ("keep", "tokens", "« Is 's avonds foto's ( mooi ) . . . »"),
        ("lower", "strip", "is 's avonds foto's mooi"),
    ],
)
def test_what_counts_as_a_word(case: str, punctuation: str, expected: str) -> None:
    assert Form(case=case, punctuation=punctuation)(" «Is 's  avonds foto's (mooi)...» ") == expected
    assert Form()("e\u0301") == "é"


def test_a_first_line_that_names_the_columns_is_a_header(tmp_path: Path) -> None:
    found = table(tmp_path, '\ufefftarget\tsource\tkind\n\n"b ""x"""\ta\n')
    assert (found.header, found.names) == (True, ("target", "source", "kind"))
    assert found.rows == [(3, {"target": 'b "x"', "source": "a", "kind": ""})]
    plain = table(tmp_path, "target\tb\n")
    assert (plain.header, plain.rows[0][1]["source"]) == (False, "target")
    with pytest.raises(DataError, match="columns are 'target, b'; wanted: zin, vraag"):
        table(tmp_path, "target\tb\n", ("zin", "vraag"))
    with pytest.raises(DataError, match=r"t\.tsv:2: 3 columns; allowed: 2 to 2: source, target"):
        table(tmp_path, "source\ttarget\na\tb\tc\n")


def test_gen_is_what_a_condition_picks_and_the_others_are_shared_out_by_the_seed(tmp_path: Path) -> None:
    """Equal lines stay together, so that none of val or test is in train."""
    text = "source\ttarget\tkind\n" + 3 * numbered(100, "main") + numbered(7, "rel")
    found = table(tmp_path, text)
    splits = split_pairs(found, ROLES, Form(), "kind=rel", SHARES, 0)
    assert {split: len(lines) for split, lines in splits.items()} == {
        "gen": 7,
        "train": 240,
        "val": 30,
        "test": 30,
    }
    texts = {split: {s.text for s in splits[split]} for split in ("train", "val", "test")}
    assert len(set.union(*texts.values())) == sum(map(len, texts.values())) == 100
    assert splits == split_pairs(found, ROLES, Form(), "kind~^r.l", SHARES, 0)
    other = split_pairs(found, ROLES, Form(), "kind=rel", SHARES, 1)
    assert (other["gen"] == splits["gen"], other["val"] == splits["val"]) == (True, False)


def test_without_a_condition_gen_is_where_the_rules_differ(tmp_path: Path) -> None:
    rows = "A\tB\t\tB\tB\nC\tD\t\tD\tE\nF\tG\nH\tI\n"
    splits = split_pairs(table(tmp_path, rows), ROLES, Form(case="lower"), "", (0.5, 0.5), 0)
    (gen,) = splits["gen"]
    assert (gen.source, gen.structure.linear, len(splits["train"]), len(splits["val"])) == ("c", "e", 2, 1)


@pytest.mark.parametrize(
    ("text", "condition", "error", "message"),
    [
        (
            "a\tb\n",
            "",
            ConfigError,
            "gen_where is ''; allowed: COLUMN=VALUE or COLUMN~PATTERN, since no line",
        ),
        ("a\tb\n", "kind=x", ConfigError, "columns: source, target, bracketing"),
        ("a\tb\nc\td\n", "source=x", ConfigError, "one that holds somewhere; source is 'a', 'c'"),
        ("a\tb\nc\td\n", "source~[", DataError, "allowed: a regular expression"),
        ("a\tb\nc\td\n", "source=a", ConfigError, "one that leaves 3 different lines or more"),
        (
            "zin\tvraag\ttype\na\tb\tc\n",
            "",
            DataError,
            r"t\.tsv:1: not Penn .*; a header names source and target",
        ),
        ("source\ttarget\na\t\n", "", DataError, r"t\.tsv:2: target of 'a' is empty|target of 'a"),
    ],
)
def test_what_cannot_be_split_is_named(
    tmp_path: Path, text: str, condition: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        split_pairs(table(tmp_path, text), ROLES, Form(), condition, SHARES, 0)
