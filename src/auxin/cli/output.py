"""What verbs print: one JSON object, or tables for people; progress and warnings go to stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from auxin.screen import legible

SENTENCE = 40  # characters above which a cell is wrapped; numbers and names never are
WIDEST = 10_000  # characters of a table


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object; numbers that JSON cannot hold become null."""
    text = json.dumps(_plain(values), ensure_ascii=False, allow_nan=False)
    if legible(text, sys.stdout.encoding) != text:
        text = json.dumps(_plain(values), allow_nan=False)
    print(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table with its first column to the left and numbers to the right, wider than a terminal that would cut them.

    Before that, columns move together, and each word of a heading gets a line of its own.
    """
    own = lambda text: legible(text, sys.stdout.encoding)
    console = Console()
    unbounded = console.options.update(max_width=WIDEST)
    for gap, between in ((1, " "), (0, "\n")):
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, gap, 0, 0),
            title=own(title) or None,
            title_justify="left",
            title_style="bold",
        )
        for index, column in enumerate(columns):
            heading = own(column).replace(" ", between)
            widest = max(
                map(cell_len, (*heading.splitlines(), *(own(row[index]) for row in rows))), default=0
            )
            table.add_column(
                heading,
                justify="right" if index else "left",
                min_width=min(widest, SENTENCE),
                vertical="bottom",
            )
        for row in rows:
            table.add_row(*map(own, row))
        least = console.measure(table, options=unbounded).minimum
        if least <= console.width:
            break
    console.width = max(console.width, least)
    console.print(table)
