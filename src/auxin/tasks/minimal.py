"""Files of minimal pairs: two sentences that differ in what makes one of them right, and the phenomenon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from auxin.errors import DataError
from auxin.tasks.columns import Form, read_table
from auxin.tasks.files import read_lines, read_text

NAMES = ("good", "bad", "phenomenon")
BLIMP = ("sentence_good", "sentence_bad")
PHENOMENA = ("linguistics_term", "phenomenon", "UID")
"""Where a file says what a pair is about; the first that there is."""


class MinimalPair(NamedTuple):
    """A sentence that is right, and one that is wrong."""

    good: str
    bad: str
    phenomenon: str = ""


def read_pairs(path: Path, by: str = "", form: Form | None = None) -> list[MinimalPair]:
    """The pairs of a file, their sentences in a form.

    A line is ``good<TAB>bad<TAB>phenomenon`` (the last is optional; a first line that names the columns good and bad,
    or sentence_good and sentence_bad, is a header), or JSON as in BLiMP (Warstadt et al. 2020) with sentence_good and
    sentence_bad. The phenomenon is the column ``by``, else linguistics_term, phenomenon or UID.
    Raises ``DataError`` as ``file:line: what is wrong``.
    """
    form = form or Form()
    as_json = read_text(path).lstrip().startswith("{")
    rows = read_lines(path, _record) if as_json else _rows(path)
    found: list[MinimalPair] = []
    for number, row in enumerate(rows, 1):
        if not row:  # a blank line
            continue
        good, bad = BLIMP if BLIMP[0] in row else NAMES[:2]
        name = by or next((name for name in PHENOMENA if name in row), "")
        for wanted in (good, bad, *([by] if by else [])):
            if not isinstance(row.get(wanted), str):
                raise DataError(f"{path}:{number}: no {wanted}; there are {', '.join(row)}")
        if not (row[good].split() and row[bad].split()):
            raise DataError(f"{path}:{number}: {good if row[bad].split() else bad} is empty; allowed: words")
        found.append(MinimalPair(form(row[good]), form(row[bad]), str(row.get(name, ""))))
    if not found:
        raise DataError(f"{path} holds no pair; allowed: one or more")
    return found


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line) if line.strip() else {}
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{line[:80]!r} is no object; allowed: sentence_good and sentence_bad by name")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, each at the place of its line."""
    first = read_lines(path, lambda line: line.split("\t"))[0]
    table = read_table(path, BLIMP if {*BLIMP} <= {*first} else NAMES[:2], (*NAMES, *BLIMP))
    rows: list[dict[str, str]] = [{} for _ in range(table.rows[-1][0] if table.rows else 0)]
    for number, row in table.rows:
        rows[number - 1] = row if table.header else {name: row[name] for name in NAMES}
    return rows
