"""The reading side of a run; a directory's content is not trusted, and only ``AuxinError`` comes out."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxin.config import RunConfig
from auxin.disk.folder import Folder, NotThere
from auxin.disk.output import MARK, write_output
from auxin.disk.plain import read_signed
from auxin.display import Displayed, Drawn
from auxin.errors import RunError
from auxin.runs.checkpoints import CHECKPOINTS, Checkpoint, list_checkpoints, verify_checkpoint
from auxin.runs.rows import MEASURES, METRICS, check_measures, read_table
from auxin.runs.settings import CONFIG, read_config
from auxin.runs.store import ENVIRONMENT, SUMMARY
from auxin.values import check

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Run(Displayed, Drawn):
    """A run as it was on the disk when first looked at; open it again to see a live run's progress."""

    path: Path
    config: RunConfig

    def __fspath__(self) -> str:
        """Its directory: a run is taken wherever a run's path is."""
        return str(self.path)

    @cached_property
    def metrics(self) -> polars.DataFrame:
        """Tidy table of step, member (its seed), split, name and value, sorted by the first four.

        Measures taken after the fact are merged in and win over a row of the same key. About 2 µs of a core and 120
        bytes a row. Raises ``RunError`` naming a damaged line, or the file if the run is finished and it is not what
        was written.
        """
        return self.metrics_named(())

    def metrics_named(self, names: Iterable[str]) -> polars.DataFrame:
        """Rows of ``metrics`` with these names alone, all for none: what a page draws of millions, in little memory.

        Every line is read and checked all the same.
        """
        import polars as pl

        keys, names = ["step", "member", "split", "name"], frozenset(names)
        with Folder.open(self.path) as folder:
            if folder.has(SUMMARY):
                self._check_metrics(folder)
            check_measures(folder)
            rows = pl.concat([read_table(folder, file, names) for file in (METRICS, MEASURES)])
        # sorted as codes of the texts: a third of the time and the memory
        texts = pl.Enum(pl.concat([rows["split"].unique(), rows["name"].unique()]).unique().sort())
        rows = rows.with_columns(pl.col("split", "name").cast(texts)).sort(keys, maintain_order=True)
        last = pl.any_horizontal(pl.col(keys) != pl.col(keys).shift(-1)).fill_null(True)
        return rows.filter(last).with_columns(pl.col("split", "name").cast(pl.String))

    def _check_metrics(self, folder: Folder) -> None:
        wanted = self.summary.get("metrics_sha256")
        if not folder.has(METRICS):
            raise RunError(f"{self.path / METRICS}: the directory or file is gone")
        if wanted is not None and folder.sha256(METRICS) != wanted:
            raise RunError(f"{self.path / METRICS}: damaged (its SHA-256 is not the one in summary.json)")

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints by increasing step."""
        with Folder.open(self.path) as folder:
            return list_checkpoints(folder)

    @property
    def finished(self) -> bool:
        """Whether the run took all its steps."""
        with Folder.open(self.path) as folder:
            return folder.has(SUMMARY)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run noted when it finished; raises ``RunError`` before that, and when it was changed since."""
        with Folder.open(self.path) as folder:
            return read_signed(folder, SUMMARY)

    @property
    def scored(self) -> str:
        """Which sentences of each held-out split the summary's accuracies are those of, in words."""
        size = self.config.final_size
        return f"{size:,} sentences" if size else "all sentences"

    def verify(self) -> None:
        """Compare every file of a finished run with its digest; raises ``AuxinError`` naming a damaged one."""
        with Folder.open(self.path) as folder:
            self._check_metrics(folder)
            check_measures(folder)
            saved = list_checkpoints(folder)
            if not saved or saved[-1].step < self.summary.get("steps", 0):
                raise RunError(f"{self.path / CHECKPOINTS}: the last checkpoint is missing")
            for checkpoint in saved:
                verify_checkpoint(folder, checkpoint, self.config.seeds)
        _ = self.environment

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit and machine of the run."""
        with Folder.open(self.path) as folder:
            return read_signed(folder, ENVIRONMENT)


def holds_run(path: str | Path) -> bool:
    """Whether a directory is a run's, whole or not; ``RunError`` where it cannot be looked into."""
    with Folder.open(path) as folder:
        return folder.has(CONFIG)


def is_finished(path: str | Path) -> bool:
    """Whether a run that took all its steps is there; ``RunError`` where the directory cannot be looked into."""
    try:
        with Folder.open(path) as folder:
            return folder.has(SUMMARY)
    except NotThere:
        return False


def open_run(path: str | Path | Run) -> Run:
    """Open a run's directory, finished or not; raises ``RunError`` saying what is missing or damaged.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> _ = train(config, "opened")
    >>> open_run("opened").metrics.columns
    ['step', 'member', 'split', 'name', 'value']
    """
    path = Path(path)
    with Folder.open(path) as folder:
        if not folder.has(CONFIG):
            raise RunError(f"{path}: no run here (config.toml is missing)")
        return Run(path, read_config(folder))


def export(run: Run, path: str | Path, *, force: bool = False) -> None:
    """Write a run's metrics as one table, Parquet or CSV by the ending of ``path``; see ``write_output``."""
    path = Path(path)
    check(
        path.suffix in (".parquet", ".csv"), "the ending of the exported file", path.suffix, ".parquet, .csv"
    )
    content = io.BytesIO()
    if path.suffix == ".csv":
        run.metrics.write_csv(content)
    else:
        run.metrics.write_parquet(content, metadata={"auxin": MARK.decode()})
    write_output(path, content.getvalue(), force=force)
