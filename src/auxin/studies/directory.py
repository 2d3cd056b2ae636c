"""The directory of a study or a sweep: it belongs to that one, and what auxin writes there is auxin's own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from auxin.disk.folder import TEMPORARY, Folder, failing_clearly
from auxin.disk.plain import dump_signed, read_object, read_signed
from auxin.errors import RunError
from auxin.report.sweep_record import SWEEP, TABLE

CLAIM, STUDY, SESSIONS, LOG, LOCK = "claim.json", "study.json", "sessions.jsonl", "workers.log", "lock"
RUNS, TABLES, FIGURES, METRICS = "runs", "tables", "figures", "metrics.parquet"
OWN = (CLAIM, STUDY, SWEEP, TABLE, SESSIONS, LOG, LOCK, RUNS, TABLES, FIGURES, METRICS)
_SHAPE = {"study": str, "scale": str}


class Owner(NamedTuple):
    """Whose a directory is: a study at a scale, or a sweep."""

    study: str
    scale: str = ""

    def __str__(self) -> str:
        return f"the study {self.study} at scale {self.scale}" if self.study else "a sweep"


A_SWEEP = Owner("")


def claim(out: str | Path, owner: Owner) -> None:
    """Take a directory, made if need be, for its owner.

    Raises ``RunError`` when it is another's, or holds what neither study nor sweep left there.
    """
    with Folder.make(out) as folder, failing_clearly(folder.path), folder.lock(LOCK, "", wait=True):
        check_unclaimed(folder, owner)
        if not folder.has(CLAIM):
            folder.replace(CLAIM, dump_signed(owner._asdict()))


def check_unclaimed(folder: Folder, owner: Owner) -> None:
    """Raise ``RunError`` when a directory is another's, or holds what neither study nor sweep left there."""
    there = owner_of(folder)
    if there is None:
        foreign = [name for name in folder.names() if name not in OWN and not name.startswith(TEMPORARY)]
        if foreign:
            raise RunError(
                f"{folder.path}: holds files of something else ({foreign[0]}); choose an empty directory"
            )
    elif there != owner:
        raise RunError(f"{folder.path}: holds {there}, not {owner}; choose another directory")


def owner_of(folder: Folder) -> Owner | None:
    """Whose a directory is; None where nobody has claimed it."""
    if folder.has(CLAIM):
        there = read_signed(folder, CLAIM, _SHAPE, _SHAPE)
    elif folder.has(STUDY):  # answered before there were claims
        there = read_object(folder, STUDY, _SHAPE)
    else:
        return None
    return Owner(there["study"], there["scale"])


def runs_directory(out: str | Path) -> Path:
    """Where the runs are, made if need be; ``RunError`` where it, or a run in it, is a link."""
    with Folder.make(out) as folder, failing_clearly(folder.path / RUNS), folder.make_sub(RUNS) as runs:
        for name in runs.names():
            if runs.kind(name) == "link":
                raise RunError(f"{runs.path / name}: a symbolic link; auxin trains in its own directory only")
        return runs.path
