"""A run's directory as it is read back, and its ``config.toml``; only ``AuxinError`` comes out."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxin import files
from auxin.config import RunConfig
from auxin.display import Displayed, Drawn
from auxin.errors import ConfigError, RunError
from auxin.outputs import MARK, write_output
from auxin.runs.checkpoints import CHECKPOINTS, Checkpoint, list_checkpoints
from auxin.runs.rows import MEASURED, MEASURES, METRICS, check_measures, read_rows
from auxin.values import check, flat, from_toml, to_toml

if TYPE_CHECKING:
    import polars

    from auxin.models.transformer import TransformerLM

CONFIG, SUMMARY, ENVIRONMENT, EVENTS = "config.toml", "summary.json", "environment.json", "events.log"
FILES = (CONFIG, ENVIRONMENT, METRICS, MEASURES, MEASURED, SUMMARY, EVENTS)
"""What a run consists of beside its checkpoints; figures can be drawn again."""
PLACES = ("data_dir", "grammar")
"""Settings that say where data are; they may differ where the data are the same."""
CHANGEABLE = ("threads", "device", "log_every", "checkpoint_every", *PLACES)
"""Settings that may differ when a run is resumed: they don't change what is learned (a device but for last bits)."""
_DIGEST = "# sha256: "

Data = Callable[[RunConfig], str]
"""SHA-256 of a config's sentences."""


def config_bytes(config: RunConfig) -> bytes:
    """The content of ``config.toml``: every setting written out, and after them their SHA-256."""
    text = to_toml(config) + "\n"
    return f"{text}{_DIGEST}{files.sha256(text.encode())}\n".encode()


def read_config(run: Path) -> RunConfig:
    """The config of a run; raises ``RunError`` naming the file when it is not what was written."""
    path = run / CONFIG
    text, _, digest = files.read_text(path).rpartition(_DIGEST)
    if digest != f"{files.sha256(text.encode())}\n":
        raise RunError(f"{path}: changed or damaged (its SHA-256 is not the one that it ends with)")
    try:
        return from_toml(RunConfig, text)
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Run(Displayed, Drawn):
    """A run as it was on the disk when first looked at; open it again to see a live run's progress.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> run = train(config, "a-run")
    >>> run.metrics.columns
    ['step', 'member', 'split', 'name', 'value']
    >>> run.model(step=2, seed=0).config.width
    8
    """

    path: Path
    config: RunConfig

    def __fspath__(self) -> str:
        """Its directory: a run is taken wherever a run's path is."""
        return str(self.path)

    @cached_property
    def metrics(self) -> polars.DataFrame:
        """Tidy table of step, member (its seed), split, name and value, sorted by the first four.

        Measures taken after the fact are merged in and win over a row of the same key. Raises ``RunError`` naming a
        damaged line, or the file if the run is finished and it is not what was written.
        """
        import polars as pl

        if self.finished:
            self._check_metrics()
        check_measures(self.path)
        keys = ["step", "member", "split", "name"]
        rows = pl.concat([read_rows(self.path / METRICS), read_rows(self.path / MEASURES)])
        return rows.unique(keys, keep="last", maintain_order=True).sort(keys)

    def _check_metrics(self) -> None:
        path = self.path / METRICS
        if files.file_sha256(path) != self.summary.get("metrics_sha256"):
            raise RunError(f"{path}: damaged (its SHA-256 is not the one in {SUMMARY})")

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints by increasing step."""
        return list_checkpoints(files.directory(self.path))

    def model(self, step: int | None = None, seed: int | None = None) -> TransformerLM:
        """The model after ``step``, by default at the last checkpoint, of the member with that seed, else the first.

        Raises ``ConfigError`` for a step without a checkpoint, ``CheckpointError`` for another seed or a damaged file.
        """
        from auxin.models.formats import read_model
        from auxin.models.transformer import TransformerLM

        saved = {checkpoint.step: checkpoint for checkpoint in self.checkpoints}
        check(bool(saved), "checkpoints of the run", str(self.path), "a run with checkpoints")
        step = max(saved) if step is None else step
        check(step in saved, "checkpoint", step, ", ".join(map(str, saved)))
        seed = self.config.seeds[0] if seed is None else seed
        content = saved[step].read(seed)
        return read_model(TransformerLM, content, saved[step].members[seed])

    @property
    def finished(self) -> bool:
        """Whether the run took all its steps."""
        return is_finished(self.path)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run noted when it finished; raises ``RunError`` before that, and when it was changed since."""
        return files.read_signed(self.path / SUMMARY)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit and machine of the run."""
        return files.read_signed(self.path / ENVIRONMENT)

    @property
    def data(self) -> str:
        """SHA-256 of the sentences that the run was begun with; empty where it is lost."""
        with contextlib.suppress(RunError):
            return str(self.environment.get("data", ""))
        return ""

    @property
    def accuracy(self) -> dict[str, tuple[str, float]]:
        """What accuracy counts on each split, in words, and its chance level; empty for runs that did not note it."""
        with contextlib.suppress(RunError):
            noted = self.environment.get("accuracy", {})
            return {split: (str(of), float(chance)) for split, (of, chance) in noted.items()}
        return {}

    @property
    def identity(self) -> str:
        """A digest of the settings that the run's numbers depend on and of its sentences."""
        settings = {n: v for n, v in flat(self.config).items() if n not in (*CHANGEABLE, "measures")}
        return files.sha256(json.dumps([settings, self.data], sort_keys=True).encode())

    @property
    def scored(self) -> str:
        """Which sentences of each held-out split the summary's accuracies are those of, in words."""
        size = self.config.final_size
        return f"{size:,} sentences" if size else "all sentences"

    def difference(self, config: RunConfig, data: Data) -> str:
        """What tells this run from the one that a config wants, in words; empty where it is that run.

        A finished run has every number of the wanted one, to the bit: structural measures are taken at checkpoints, so
        where none are wanted it does not matter when those were written. An unfinished one can be resumed as that.
        """
        there, wanted = flat(self.config), flat(config)
        free = {*PLACES} if self.finished else {*CHANGEABLE}
        if self.finished and not config.measures:
            free |= {"measures", "checkpoint_every"}
        if not config.model.vocabulary_size:  # a run that began has filled it in
            free.add("model.vocabulary_size")
        for name in dict.fromkeys((*there, *wanted)):
            if name not in free and there.get(name) != wanted.get(name):
                return f"{name} is {there.get(name)!r} there, {wanted.get(name)!r} here"
        place = config.data_dir or config.grammar
        if (self.data or place) and self.data != data(config):
            return f"begun with other sentences than now {f'in {place}' if place else 'generated'}"
        return ""

    def verify(self) -> None:
        """Compare every file of a finished run with its digest; raises ``AuxinError`` naming a damaged one."""
        self._check_metrics()
        check_measures(self.path)
        saved = self.checkpoints
        if not saved or saved[-1].step < self.summary.get("steps", 0):
            raise RunError(f"{self.path / CHECKPOINTS}: the last checkpoint is missing")
        for checkpoint in saved:
            if checkpoint.has_state:
                checkpoint.load(self.config.seeds)
            else:
                checkpoint.read_members(self.config.seeds)
        _ = self.environment

    def copy_to(self, path: Path) -> None:
        """Copy the run into an empty directory, file by file and nothing through a link; its locks stay."""
        target = files.subdirectory(path / CHECKPOINTS, make=True)
        copies = {self.path / name: path / name for name in FILES if files.is_file(self.path / name)}
        for checkpoint in self.checkpoints:
            made = files.subdirectory(target / checkpoint.path.name, make=True)
            copies |= {checkpoint.path / name: made / name for name in files.names(checkpoint.path)}
        with files.failing_clearly(path):
            for source, copy in copies.items():
                files.write_new(copy, files.read(source))
        for directory in {copy.parent for copy in copies.values()} | {target}:
            files.sync(directory)


def holds_run(path: str | Path) -> bool:
    """Whether a directory is a run's, whole or not; ``RunError`` where it cannot be looked into."""
    return files.is_file(files.directory(path) / CONFIG)


def is_finished(path: str | Path) -> bool:
    """Whether a run that took all its steps is there; ``RunError`` where the directory cannot be looked into."""
    try:
        return files.is_file(files.directory(path) / SUMMARY)
    except files.MissingDirectory:
        return False


def open_run(path: str | Path | Run) -> Run:
    """Open a run's directory, finished or not; raises ``RunError`` saying what is missing or damaged."""
    path = Path(path)
    if not holds_run(path):
        raise RunError(f"{path}: no run here ({CONFIG} is missing)")
    return Run(path, read_config(path))


def export(metrics: polars.DataFrame, path: str | Path, *, force: bool = False) -> None:
    """Write metrics as one table, Parquet or CSV by the ending of ``path``; see ``write_output``."""
    path = Path(path)
    endings = (".parquet", ".csv")
    check(path.suffix in endings, "the ending of the exported file", path.suffix, ", ".join(endings))
    content = io.BytesIO()
    if path.suffix == ".csv":
        metrics.write_csv(content)
    else:
        metrics.write_parquet(content, metadata={"auxin": MARK.decode()})
    write_output(path, content.getvalue(), force=force)
