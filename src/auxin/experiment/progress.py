"""The progress bar of a training run: step, loss, accuracies, tokens per second and time left."""

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


class TrainingProgress:
    """A bar on a terminal, a line an evaluation elsewhere, nothing when not enabled; all on stderr."""

    def __init__(self, config: RunConfig, enabled: bool) -> None:
        self._screen = errors_screen()
        console = Console(file=self._screen)  # pyright: ignore[reportArgumentType]
        self._enabled, self._live = enabled, enabled and console.is_terminal
        members = f"{len(config.seeds)} member{'s' if len(config.seeds) > 1 else ''}"
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
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
        rows = list(rows)
        now = time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        parts = []
        for label, split, name in (
            ("loss", "train", "loss"),
            ("val", "val", "accuracy"),
            ("gen", "gen", "accuracy"),
        ):
            values = [row.value for row in rows if (row.split, row.name) == (split, name)]
            if values:
                parts.append(f"{label} {fmean(values):.3f}")
        if rate:
            parts.append(f"{rate / 1000:.1f}k tokens/s")
        self._bar.update(self._task, numbers="  ".join(parts))
        if self._enabled and not self._live and rows:
            print(f"step {rows[0].step}/{self._steps}  " + "  ".join(parts), file=self._screen, flush=True)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._bar.console.print(f"warning: {text}", markup=False, highlight=False)
