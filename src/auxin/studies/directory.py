"""The directory of a study: it belongs to one study at one scale, and what auxin writes there is auxin's own."""

from __future__ import annotations

from pathlib import Path

from auxin.disk.folder import TEMPORARY, Folder, failing_clearly
from auxin.disk.plain import dump_signed, read_object, read_signed
from auxin.errors import RunError

CLAIM, STUDY, SESSIONS, LOG, LOCK = "claim.json", "study.json", "sessions.jsonl", "workers.log", "lock"
RUNS, TABLES, FIGURES, METRICS = "runs", "tables", "figures", "metrics.parquet"
OWN = (CLAIM, STUDY, SESSIONS, LOG, LOCK, RUNS, TABLES, FIGURES, METRICS)
_SHAPE = {"study": str, "scale": str}


def claim(out: str | Path, study: str, scale: str) -> None:
    """Take a directory, made if need be, for a study at a scale.

    Raises ``RunError`` when it is another's, or holds what no study left there.
    """
    with Folder.make(out) as folder, failing_clearly(folder.path), folder.lock(LOCK, "", wait=True):
        check_unclaimed(folder, study, scale)
        if not folder.has(CLAIM):
            folder.replace(CLAIM, dump_signed({"study": study, "scale": scale}))


def check_unclaimed(folder: Folder, study: str, scale: str) -> None:
    """Raise ``RunError`` when a directory is another study's, or holds what no study left there."""
    if folder.has(CLAIM):
        there = read_signed(folder, CLAIM, _SHAPE, _SHAPE)
    elif folder.has(STUDY):  # answered before there were claims
        there = read_object(folder, STUDY, _SHAPE)
    else:
        foreign = [name for name in folder.names() if name not in OWN and not name.startswith(TEMPORARY)]
        if foreign:
            raise RunError(
                f"{folder.path}: holds files of something else ({foreign[0]}); choose an empty directory"
            )
        return
    if (there["study"], there["scale"]) != (study, scale):
        held = f"the study {there['study']} at scale {there['scale']}"
        raise RunError(f"{folder.path}: holds {held}, not {study} at scale {scale}; choose another directory")


def runs_directory(out: str | Path) -> Path:
    """Where the runs of a study are, made if need be; ``RunError`` where it, or a run in it, is a link."""
    with Folder.make(out) as folder, failing_clearly(folder.path / RUNS), folder.make_sub(RUNS) as runs:
        for name in runs.names():
            if runs.kind(name) == "link":
                raise RunError(
                    f"{runs.path / name}: a symbolic link; a study trains in its own directory only"
                )
        return runs.path
