"""The reading side of a run; a directory's content is not trusted, and only ``AuxinError`` comes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxin.arguments import explained
from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.runs.checkpoints import Checkpoint, list_checkpoints
from auxin.runs.files import (
    TEMPORARY,
    failing_clearly,
    read_config,
    read_object,
    read_signed,
    sha256,
    sync_directory,
)
from auxin.runs.rows import MEASURES, Metric, check_measures, read_rows
from auxin.runs.store import METRICS
from auxin.values import check

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Run:
    """A run as it was on the disk when first looked at; open it again to see a live run's progress."""

    path: Path
    config: RunConfig

    @cached_property
    def metrics(self) -> polars.DataFrame:
        """Tidy table of step, member (its seed), split, name and value, sorted by the first four.

        Measures taken after the fact are merged in and win over a row of the same key. Memory: the table. Raises
        ``RunError`` naming a damaged line, or the file if the run is finished and it is not what was written.
        """
        if self.finished:
            self._check_metrics()
        check_measures(self.path)
        rows = {row[:4]: row for file in (METRICS, MEASURES) for row in read_rows(self.path / file)}
        return _table([rows[key] for key in sorted(rows)])

    def _check_metrics(self) -> None:
        path, wanted = self.path / METRICS, self.summary.get("metrics_sha256")
        with failing_clearly(path):
            if wanted is not None and sha256(path) != wanted:
                raise RunError(f"{path}: damaged (its SHA-256 is not the one in summary.json)")

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints by increasing step."""
        return list_checkpoints(self.path)

    @property
    def finished(self) -> bool:
        """Whether the run took all its steps."""
        return (self.path / "summary.json").is_file()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run noted when it finished; raises ``RunError`` before that, and when it was changed since."""
        return read_signed(self.path / "summary.json")

    @property
    def scored(self) -> str:
        """Which sentences of each held-out split the summary's accuracies are those of, in words."""
        size = self.config.final_size
        return f"the first {size:,} sentences" if size else "all sentences"

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit and machine of the run."""
        return read_object(self.path / "environment.json")


def _table(rows: list[Metric]) -> polars.DataFrame:
    import polars

    schema = {
        "step": polars.Int64,
        "member": polars.Int64,
        "split": polars.String,
        "name": polars.String,
        "value": polars.Float64,
    }
    return polars.DataFrame(rows, schema=schema, orient="row")


@explained
def open_run(path: str | Path) -> Run:
    """Open a run's directory, finished or not; raises ``RunError`` saying what is missing or damaged."""
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path}: no such directory")
    if not (path / "config.toml").is_file():
        raise RunError(f"{path}: no run here (config.toml is missing)")
    return Run(path, read_config(path / "config.toml"))


@explained
def export(run: Run, path: str | Path) -> None:
    """Write a run's metrics as one table, Parquet or CSV by the ending of ``path``; atomic."""
    path = Path(path)
    check(
        path.suffix in (".parquet", ".csv"), "the ending of the exported file", path.suffix, ".parquet, .csv"
    )
    metrics = run.metrics
    temporary = path.with_name(TEMPORARY + path.name)
    with failing_clearly(path):
        if path.suffix == ".csv":
            metrics.write_csv(temporary)
        else:
            metrics.write_parquet(temporary)
        temporary.replace(path)
        sync_directory(path.parent)
