"""The directory of a study or a sweep: it belongs to that one, and what auxin writes there is auxin's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auxin import files
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
    out = files.directory(out, make=True)
    with files.lock(out / LOCK, wait=True):
        check_unclaimed(out, owner)
        if not files.is_file(out / CLAIM):
            files.replace(out / CLAIM, files.dump_signed(asdict(owner)))


def check_unclaimed(out: Path, owner: Owner) -> None:
    """Raise ``RunError`` when a directory is another's, or holds what neither study nor sweep left there."""
    there = owner_of(out)
    if there is None:
        foreign = [
            name for name in files.names(out) if name not in OWN and not name.startswith(files.TEMPORARY)
        ]
        if foreign:
            raise RunError(f"{out}: holds files of something else ({foreign[0]}); choose an empty directory")
    elif why := there.difference(owner):
        another = f"{there}, not {owner}" if there.study or owner.study else f"another sweep ({why})"
        raise RunError(f"{out}: holds {another}; choose another directory")


def owner_of(out: Path) -> Owner | None:
    """Whose a directory is; None where nobody has claimed it."""
    if not files.is_file(out / CLAIM):
        return None
    there = files.read_signed(out / CLAIM)
    more = (tuple(there.get("axes", ())), there.get("settings", {}), there.get("data", ""))
    return Owner(there["study"], there["scale"], *more)


def runs_directory(out: str | Path) -> Path:
    """Where the runs are, made if need be; ``RunError`` where it, or a run in it, is a link."""
    runs = files.subdirectory(files.directory(out, make=True) / RUNS, make=True)
    check_no_links(out)
    return runs


def check_no_links(out: str | Path) -> None:
    """Raise ``RunError`` where the directory of the runs, or a run in it, is a link."""
    runs = files.directory(out) / RUNS
    if files.kind(runs):
        for name in files.names(files.subdirectory(runs)):
            if files.kind(runs / name) == "link":
                files.subdirectory(runs / name)
