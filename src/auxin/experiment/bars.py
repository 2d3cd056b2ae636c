"""Progress bars of training, of measuring and of many runs: what is done, its numbers, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import fmean
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auxin.config import RunConfig
from auxin.runs import Metric
from auxin.screen import errors_screen

SHOWN = (("loss", "train", "loss"), ("val", "val", "accuracy"), ("gen", "gen", "accuracy"))
"""Label, split and name of the metrics beside the bar."""


class Bar:
    """A bar on a terminal; elsewhere ``lines``, or the bar as it ends; nothing when not enabled; all on stderr."""

    def __init__(self, text: str, total: float, enabled: bool, *, lines: bool = True) -> None:
        """``text`` stands after the bar, a format of rich's task and of its field ``numbers``."""
        self.screen = errors_screen()
        console = Console(file=self.screen)  # pyright: ignore[reportArgumentType]
        self.lines = enabled and lines and not console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn(text))
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, *times, console=console, disable=not enabled or self.lines)
        self._task = self.bar.add_task("", total=total, numbers="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, **fields: Any) -> None:
        """Show other fields of the task: completed, advance, description, numbers."""
        self.bar.update(self._task, **fields)


class TrainingProgress(Bar):
    """The bar of a run, or a line an evaluation."""

    def __init__(self, config: RunConfig, enabled: bool) -> None:
        text = "step {task.completed:.0f}/{task.total:.0f}  {task.fields[numbers]}"
        super().__init__(text, config.steps, enabled)
        members = f"{len(config.seeds)} member{'s' if len(config.seeds) > 1 else ''}"
        self.update(description=f"{config.task}, {members}")
        self._steps = config.steps
        self._tokens, self._since = 0, time.monotonic()

    def advance(self, step: int, tokens: int) -> None:
        """A step was finished (or resumed from, with 0 tokens)."""
        self._tokens += tokens
        self.update(completed=step)

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
        self.update(numbers=numbers)
        if self.lines and rows:
            print(f"step {rows[0].step}/{self._steps}  {numbers}", file=self.screen, flush=True)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self.bar.console.print(f"warning: {text}", markup=False, highlight=False)
