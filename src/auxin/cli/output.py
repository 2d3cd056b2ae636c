"""What verbs print: one JSON object, or text and tables for people; progress and warnings go to stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from auxin.screen import legible

SENTENCE = 40  # characters above which a cell is wrapped; numbers and names never are
WIDEST = 10_000  # characters of a table


@dataclass(frozen=True)
class Result:
    """What a verb shows: ``values`` as JSON or ``text`` for people, with either the figures it has written."""

    values: Mapping[str, Any]
    text: str
    figures: Sequence[Path] | None = None
    status: int = 0
    """Exit status."""

    def show(self, as_json: bool) -> None:
        """Print it."""
        paths = [str(path) for path in self.figures or ()]
        if as_json:
            print(_json({**self.values, "figures": paths} if self.figures is not None else self.values))
        else:
            print("\n".join([self.text, f"figures: {', '.join(paths)}"] if paths else [self.text]))


def _json(values: Mapping[str, Any]) -> str:
    """One JSON object; numbers that JSON cannot hold become null."""
    text = json.dumps(_plain(values), ensure_ascii=False, allow_nan=False)
    return text if legible(text, sys.stdout.encoding) == text else json.dumps(json.loads(text))


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


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table with its first column to the left and numbers to the right, wider than a terminal that would cut them.

    Before that, columns move together, and each word of a heading gets a line of its own.
    """
    columns, *rows = ([legible(cell, sys.stdout.encoding) for cell in row] for row in (columns, *rows))
    console = Console()
    unbounded = console.options.update(max_width=WIDEST)
    for gap, between in ((1, " "), (0, "\n")):
        found = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), title_justify="left", title_style="bold")
        found.title = legible(title, sys.stdout.encoding) or None
        for i, column in enumerate(columns):
            heading = column.replace(" ", between)
            widest = max(map(cell_len, (*heading.splitlines(), *(row[i] for row in rows))), default=0)
            found.add_column(
                heading,
                justify="right" if i else "left",
                min_width=min(widest, SENTENCE),
                vertical="bottom",
            )
        for row in rows:
            found.add_row(*row)
        least = console.measure(found, options=unbounded).minimum
        if least <= console.width:
            break
    console.width = max(console.width, least)
    with console.capture() as capture:
        console.print(found)
    return capture.get().removesuffix("\n")
