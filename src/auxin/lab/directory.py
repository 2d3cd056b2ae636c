"""The directory of a study or a sweep: it belongs to that one, and what auxin writes there is auxin's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auxin.disk.folder import TEMPORARY, Folder, failing_clearly
from auxin.disk.plain import dump_signed, read_signed
from auxin.errors import RunError
from auxin.lab.sweep_record import SWEEP, TABLE

CLAIM, STUDY, SESSIONS, LOG, LOCK = "claim.json", "study.json", "sessions.jsonl", "workers.log", "lock"
RUNS, TABLES, FIGURES, METRICS = "runs", "tables", "figures", "metrics.parquet"
OWN = (CLAIM, STUDY, SWEEP, TABLE, SESSIONS, LOG, LOCK, RUNS, TABLES, FIGURES, METRICS)


@dataclass(frozen=True)
class Owner:
    """Whose a directory is: a study at a scale, or a sweep, which is known by what all its runs share."""

    study: str = ""
    scale: str = ""
    axes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of a sweep: by dotted name what is the same in all its runs, whatever the values of its axes."""
    data: str = ""
    """SHA-256 of its sentences, where they are the same in all its runs."""

    def __str__(self) -> str:
        return f"the study {self.study} at scale {self.scale}" if self.study else "a sweep"

    def difference(self, other: Owner) -> str:
        """What tells one from the other, in words; empty where both may have runs in one directory."""
        if (self.study, self.scale) != (other.study, other.scale):
            return f"it is {self}, not {other}"
        if self.axes != other.axes:
            return f"its axes are {', '.join(self.axes) or 'none'}, not {', '.join(other.axes) or 'none'}"
        for name, value in self.settings.items():
            if name in other.settings and other.settings[name] != value:
                return f"{name} is {value!r} there, {other.settings[name]!r} here"
        return "its sentences are others" if self.data != other.data else ""


def claim(out: str | Path, owner: Owner) -> None:
    """Take a directory, made if need be, for its owner.

    Raises ``RunError`` when it is another's, or holds what neither study nor sweep left there.
    """
    with Folder.make(out) as folder, failing_clearly(folder.path), folder.lock(LOCK, "", wait=True):
        check_unclaimed(folder, owner)
        if not folder.has(CLAIM):
            folder.replace(CLAIM, dump_signed(asdict(owner)))


def check_unclaimed(folder: Folder, owner: Owner) -> None:
    """Raise ``RunError`` when a directory is another's, or holds what neither study nor sweep left there."""
    there = owner_of(folder)
    if there is None:
        foreign = [name for name in folder.names() if name not in OWN and not name.startswith(TEMPORARY)]
        if foreign:
            raise RunError(
                f"{folder.path}: holds files of something else ({foreign[0]}); choose an empty directory"
            )
    elif why := there.difference(owner):
        another = f"{there}, not {owner}" if there.study or owner.study else f"another sweep ({why})"
        raise RunError(f"{folder.path}: holds {another}; choose another directory")


def owner_of(folder: Folder) -> Owner | None:
    """Whose a directory is; None where nobody has claimed it."""
    if not folder.has(CLAIM):
        return None
    there = read_signed(folder, CLAIM)
    more = (tuple(there.get("axes", ())), there.get("settings", {}), there.get("data", ""))
    return Owner(there["study"], there["scale"], *more)


def runs_directory(out: str | Path) -> Path:
    """Where the runs are, made if need be; ``RunError`` where it, or a run in it, is a link."""
    with Folder.make(out) as folder, failing_clearly(folder.path / RUNS):
        folder.make_sub(RUNS)
    check_no_links(out)
    return folder.path / RUNS


def check_no_links(out: str | Path) -> None:
    """Raise ``RunError`` where the directory of the runs, or a run in it, is a link."""
    with Folder.open(out) as folder, failing_clearly(folder.path / RUNS):
        if folder.kind(RUNS) is None:
            return
        with folder.sub(RUNS) as runs:
            for name in runs.names():
                if runs.kind(name) == "link":
                    raise RunError(
                        f"{runs.path / name}: a symbolic link; auxin reads and writes its own files only"
                    )
