"""TensorBoard and Weights & Biases as readers of a run's metrics file: training knows nothing of them.

What a sink gets depends on the file alone, whose rows behind a checkpoint are cut back when a run is resumed. So each
point is there once, however often a run was killed: TensorBoard's files are written anew by every process, and
Weights & Biases, which cannot be taken back, gets the steps that its local log does not hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import math
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from auxin.config import RunConfig
from auxin.disk.folder import Folder
from auxin.errors import AuxinError, ConfigError
from auxin.runs import Metric, Run
from auxin.runs.rows import CHUNK, METRICS, decode
from auxin.runs.store import EVENTS
from auxin.values import to_dict

SECONDS = 1.0
"""Between two looks at the file."""
BLOCK = 1 << 15
"""Bytes of a block in W&B's logs."""
SUFFIX = ".auxin"
"""Of TensorBoard files that auxin wrote, and may delete."""


class Sink(Protocol):
    """Where points go."""

    name: str

    def begin(self, path: Path, config: RunConfig) -> None:
        """Get ready for all rows of the run in ``path``, from the first on."""

    def write(self, rows: Sequence[Metric]) -> None:
        """All rows of one step."""

    def close(self) -> None:
        """Write what is left."""


def sinks_of(tensorboard: str | Path | None, wandb: str | None) -> list[Sink]:
    """The sinks that are asked for; ``ConfigError`` where a package is missing."""
    found: list[Sink] = []
    if tensorboard is not None:
        found.append(TensorBoard(Path(tensorboard)))
    if wandb is not None:
        found.append(WandB(wandb))
    return found


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{package} is not installed; install it with pip install 'auxin[{package}]'")


def _package(name: str) -> Any:
    """A module, imported where it is needed, and not looked into for types, which takes minutes."""
    return importlib.import_module(name)


class TensorBoard:
    """Event files in ``folder/RUN/seed-N``, RUN the name of the run's directory; those that auxin left are deleted."""

    def __init__(self, folder: Path) -> None:
        _check_installed("tensorboard")
        self.name, self._folder = f"TensorBoard in {folder}", folder
        self._writers: dict[int, Any] = {}

    def begin(self, path: Path, config: RunConfig) -> None:
        writer = _package("torch.utils.tensorboard").SummaryWriter
        for seed in config.seeds:
            folder = self._folder / path.resolve().name / f"seed-{seed}"
            for old in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
                old.unlink()
            self._writers[seed] = writer(str(folder), filename_suffix=SUFFIX, flush_secs=10)

    def write(self, rows: Sequence[Metric]) -> None:
        for row in rows:
            self._writers[row.member].add_scalar(f"{row.split}/{row.name}", row.value, row.step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WandB:
    """One run of Weights & Biases for a run, its log in the run's directory, where resuming finds it.

    Metrics are named split/name, of several members split/name/seed-N.
    """

    def __init__(self, project: str) -> None:
        _check_installed("wandb")
        self.name, self._project = f"Weights & Biases, project {project}", project
        self._run: Any = None
        self._there: set[int] = set()
        self._several = False

    def begin(self, path: Path, config: RunConfig) -> None:
        """Open this run's log in the run's directory, and note the steps that it has already."""
        wandb, path = _package("wandb"), path.resolve()
        with Folder.open(path) as folder, folder.reading(EVENTS) as events:
            born = events.readline()  # another run in this place later on is another one there
        identity = hashlib.sha256(f"{path}\n{self._project}\n".encode() + born).hexdigest()[:16]
        self._several = len(config.seeds) > 1
        self._there = _steps_sent(path / "wandb", identity)
        self._run = wandb.init(
            dir=path,
            project=self._project,
            name=path.name,
            id=identity,
            resume="allow",
            config=to_dict(config),
            settings=wandb.Settings(console="off"),
        )

    def write(self, rows: Sequence[Metric]) -> None:
        if rows[0].step not in self._there:
            own = lambda row: f"/seed-{row.member}" if self._several else ""
            values = {
                f"{row.split}/{row.name}{own(row)}": row.value for row in rows if math.isfinite(row.value)
            }
            self._run.log(values, step=rows[0].step)

    def close(self) -> None:
        self._run.finish()


def _steps_sent(folder: Path, identity: str) -> set[int]:
    """The steps in the logs that earlier processes left of a run."""
    proto = _package("wandb.proto.wandb_internal_pb2")
    found: set[int] = set()
    for path in folder.glob(f"*-{identity}/run-{identity}.wandb"):
        for content in _records(path.read_bytes()):
            record = proto.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                found.add(record.history.step.num)
    return found


def _records(log: bytes) -> Iterator[bytes]:
    """The whole records of a log of W&B: a head of 7 bytes, then LevelDB's format; the end that a kill left is cut.

    In blocks of 32 KB, parts of (checksum, 4 bytes; length, 2; kind, 1; content): kind 1 is a whole record, 2 begins
    one, 3 goes on, 4 ends it. Less than 7 bytes at the end of a block are left empty.
    """
    at, begun = 7, b""
    while at + 7 <= len(log):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", log, at)
        content = log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind == 0 or len(content) < length:
            return
        begun = content if kind in (1, 2) else begun + content
        if kind in (1, 4):
            yield begun


class _Follower:
    """Hands the rows of whole steps on, in order; a sink that fails gets no more."""

    def __init__(self, path: Path, sinks: Sequence[Sink], warn: Callable[[str], None]) -> None:
        self._path, self._sinks, self._warn = path, list(sinks), warn
        self._offset = 0
        self._held: list[Metric] = []

    def begin(self, config: RunConfig) -> None:
        self._each(lambda sink: sink.begin(self._path, config))

    def read(self) -> None:
        """What has come since; the newest step is held back, as more of it may come."""
        while rows := self._rows():
            *steps, self._held = [list(step) for _, step in groupby(self._held + rows, lambda row: row.step)]
            for step in steps:
                self._each(lambda sink, step=step: sink.write(step))

    def _rows(self) -> list[Metric]:
        """The rows of whole lines from the offset on; none where there is nothing new, or nothing that can be read."""
        with contextlib.suppress(AuxinError, ValueError), Folder.open(self._path) as folder:
            if folder.has(METRICS):
                with folder.reading(METRICS) as file:
                    file.seek(self._offset)
                    lines, end, _ = file.read(CHUNK).rpartition(b"\n")
                rows = [decode(line) for line in lines.split(b"\n")] if end else []
                self._offset += len(lines) + len(end)
                return rows
        return []

    def finish(self) -> None:
        """Everything that is left."""
        self.read()
        if self._held:
            self._each(lambda sink: sink.write(self._held))
        self._each(lambda sink: sink.close())

    def _each(self, act: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                act(sink)
            except Exception as error:  # whatever is wrong with a sink, training goes on
                self._sinks.remove(sink)
                text = " ".join(str(error).split())[:300]
                self._warn(f"{sink.name} gets no more: {type(error).__name__}: {text}")


@contextlib.contextmanager
def following(
    path: Path, config: RunConfig, sinks: Sequence[Sink], warn: Callable[[str], None]
) -> Iterator[None]:
    """Hand on what is and what will be in a run's metrics file, from another thread; all of it at the end."""
    if not sinks:
        yield
        return
    follower, over = _Follower(path, sinks, warn), threading.Event()

    def follow() -> None:
        follower.begin(config)
        follower.read()
        while not over.wait(SECONDS):
            follower.read()

    thread = threading.Thread(target=follow, name="auxin-sinks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        follower.finish()


def send(run: Run, sinks: Sequence[Sink]) -> None:
    """Hand a run's metrics on, finished or not; raises ``ConfigError`` where a sink does not take them."""
    failed: list[str] = []
    with following(run.path, run.config, sinks, failed.append):
        pass
    if failed:
        raise ConfigError("; ".join(failed))
