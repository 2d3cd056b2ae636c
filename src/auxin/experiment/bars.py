"""Progress bars of a training run and of measuring: what is done, its numbers, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import fmean
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auxin.config import RunConfig
from auxin.runs import Metric
from auxin.screen import errors_screen

SHOWN = (("loss", "train", "loss"), ("val", "val", "accuracy"), ("gen", "gen", "accuracy"))
"""Label, split and name of the metrics beside the bar."""


def bar(text: str, console: Console, shown: bool) -> Progress:
    """A bar between a description and a text of the task's fields."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn(text))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, *times, console=console, disable=not shown)


class TrainingProgress:
    """A bar on a terminal, a line an evaluation elsewhere, nothing when not enabled; all on stderr."""

    def __init__(self, config: RunConfig, enabled: bool) -> None:
        self._screen = errors_screen()
        console = Console(file=self._screen)  # pyright: ignore[reportArgumentType]
        self._lines = enabled and not console.is_terminal
        members = f"{len(config.seeds)} member{'s' if len(config.seeds) > 1 else ''}"
        text = "step {task.completed:.0f}/{task.total:.0f}  {task.fields[numbers]}"
        self._bar = bar(text, console, enabled and console.is_terminal)
        self._task = self._bar.add_task(f"{config.task}, {members}", total=config.steps, numbers="")
        self._steps = config.steps
        self._tokens, self._since = 0, time.monotonic()

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, step: int, tokens: int) -> None:
        """A step was finished (or resumed from, with 0 tokens)."""
        self._tokens += tokens
        self._bar.update(self._task, completed=step)

    def show(self, rows: Iterable[Metric]) -> None:
        """Show the mean over members of loss and accuracies, and the rate since the last time."""
        rows, now = list(rows), time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        parts: list[str] = []
        for label, split, name in SHOWN:
            values = [row.value for row in rows if (row.split, row.name) == (split, name)]
            parts += [f"{label} {fmean(values):.3f}"] if values else []
        numbers = "  ".join(parts + ([f"{rate / 1000:.1f}k tokens/s"] if rate else []))
        self._bar.update(self._task, numbers=numbers)
        if self._lines and rows:
            print(f"step {rows[0].step}/{self._steps}  {numbers}", file=self._screen, flush=True)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._bar.console.print(f"warning: {text}", markup=False, highlight=False)
