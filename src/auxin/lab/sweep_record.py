"""What a sweep leaves in a directory; its content is not trusted.

- ``sweep.json``: axes, runs (name, settings, status, detail), SHA-256 of the table and of the rest of this file.
- ``table.csv``: a row a trained model: its run, the settings that differ, seed, summary, exponents at initialization.
- ``runs/NAME/``: each run.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from auxin import files
from auxin.display import Displayed, Drawn
from auxin.errors import RunError
from auxin.lab.named import Setting
from auxin.runs.run import CONFIG, Run, holds_run, open_run

if TYPE_CHECKING:
    import polars as pl

SWEEP, TABLE = "sweep.json", "table.csv"


@dataclass(frozen=True)
class Axis:
    """What a sweep varies."""

    name: str
    """A field of the run's config, dotted: ``model.depth``."""
    values: tuple[Setting, ...]
    """In the order of the sweep."""
    log: bool = False
    """Whether its values lie on a logarithmic scale."""
    drawn: bool = False
    """Whether its values were drawn together with those of the other axes, so that there is no grid."""

    @property
    def categorical(self) -> bool:
        """Whether its values are words."""
        return any(isinstance(value, (str, bool)) for value in self.values)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep."""

    name: str
    status: str
    """finished, failed or unfinished."""
    detail: str
    """Why it failed."""
    settings: Mapping[str, Setting]
    """Its value on each axis."""
    path: Path
    """Its directory, which ``auxin.open`` opens."""
    identity: str = ""
    """Of a finished run: digest of its settings and sentences."""


@dataclass(frozen=True)
class Sweep(Displayed, Drawn):
    """A sweep's axes, its runs, and the table of what came out; ``plot`` draws the first two axes, or the only one."""

    path: Path
    axes: tuple[Axis, ...]
    runs: tuple[SweepRun, ...]
    table_sha256: str

    @property
    def finished(self) -> list[Run]:
        """Its finished runs in their order."""
        return [open_run(run.path) for run in self.runs if run.status == "finished"]

    @property
    def metrics(self) -> pl.DataFrame:
        """What all finished runs logged: run, a column for each axis, step, member, split, name, value."""
        finished = [(run.name, run.settings, run.path) for run in self.runs if run.status == "finished"]
        if not finished:
            raise RunError(f"{self.path}: no run has finished")
        return logged_by(finished)

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row a trained model; raises ``RunError`` when the file is not what was written.

        Columns: ``run``, the settings, ``seed``; ``loss`` (training) and the shares of ``hierarchical`` and ``linear``
        answers, means over the last fifth of the steps; ``accuracy_val``, ``_gen`` and ``_test`` at the end; those of
        ``auxin.grokking_summary``; ``diverged``, the step; ``angle_total`` and ``gradient_total``, the accumulated
        exponents at initialization. Null: what a run has not measured or not reached, and what the theory cannot say.
        """
        import polars as pl
        from polars.exceptions import PolarsError

        file = self.path / TABLE
        content = files.read(file)
        if files.sha256(content) != self.table_sha256:
            raise RunError(f"{file}: damaged (its SHA-256 is not the one in {SWEEP})")
        words = {axis.name: pl.String for axis in self.axes if axis.categorical}
        try:
            return pl.read_csv(content, infer_schema_length=None, schema_overrides=words)
        except (PolarsError, OverflowError, ValueError):
            raise RunError(f"{file}: not a table") from None


def logged_by(runs: Iterable[tuple[str, Mapping[str, Setting], Path]]) -> pl.DataFrame:
    """What runs logged, each given by its name, settings and directory; null for a setting that a run lacks."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    for name, settings, path in runs:
        values = {"run": name} | {n: word(v) if isinstance(v, bool) else v for n, v in settings.items()}
        columns = [pl.lit(value).alias(column) for column, value in values.items()]
        frames.append(open_run(path).metrics.select(*columns, pl.all()))
    return pl.concat(frames, how="diagonal_relaxed")


def word(value: Setting) -> str:
    """A setting as the table has it among words."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def holds_sweep(path: str | Path) -> bool:
    """Whether a directory is a sweep's; ``RunError`` where it cannot be looked into."""
    return files.is_file(files.directory(path) / SWEEP)


def open_sweep(path: str | Path) -> Sweep:
    """Open the directory of a sweep, finished or not; raises ``RunError`` saying what is missing or damaged."""
    path = files.directory(path)
    if not files.is_file(path / SWEEP):
        raise RunError(f"{path}: no sweep here ({SWEEP} is missing); auxin sweep writes it")
    values = files.read_signed(path / SWEEP)
    axes = tuple(Axis(**axis | {"values": tuple(axis["values"])}) for axis in values["axes"])
    runs = tuple(SweepRun(**run, path=path / "runs" / run["name"]) for run in values["runs"])
    return Sweep(path, axes, runs, values["table_sha256"])


def open(path: str | Path | Run) -> Run | Sweep:
    """The run or the sweep in a directory, finished or not; raises ``RunError`` saying what is missing or damaged.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> _ = train(config, "opened")
    >>> auxin.open("opened").finished
    True
    """
    path = Path(path)
    if holds_run(path):
        return open_run(path)
    if holds_sweep(path):
        return open_sweep(path)
    raise RunError(f"{path}: no run here ({CONFIG} is missing), and no sweep ({SWEEP} is missing)")


def write_sweep(path: Path, axes: Sequence[Axis], runs: Sequence[SweepRun], table: pl.DataFrame) -> None:
    """Write a sweep's table and record into its directory."""
    content = io.BytesIO()
    table.write_csv(content)
    files.replace(path / TABLE, content.getvalue())
    plain = [{name: value for name, value in asdict(run).items() if name != "path"} for run in runs]
    digest = files.sha256(content.getvalue())
    record = {"axes": [asdict(axis) for axis in axes], "runs": plain, "table_sha256": digest}
    files.replace(path / SWEEP, files.dump_signed(record))
