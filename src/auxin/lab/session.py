"""One sitting at a list of runs, of a study or of a sweep: what it would cost, and its training in a directory."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxin import files
from auxin.experiment.data import Sentences
from auxin.lab.directory import RUNS, SESSIONS, Owner, check_unclaimed, claim, runs_directory
from auxin.lab.finished import check_places, is_finished, reusable, take_over
from auxin.lab.named import NamedRun
from auxin.lab.plan import Plan, check_fits, existing, plan
from auxin.lab.pool import Outcome
from auxin.lab.training import check_workers, default_workers, train_runs
from auxin.runs.run import Data
from auxin.screen import errors_screen


def plan_session(
    runs: Sequence[NamedRun],
    out: str | Path,
    owner: Owner,
    *,
    workers: int = 0,
    reuse: Sequence[str | Path] = (),
) -> Plan:
    """What remains to be trained, and its cost here; raises ``ConfigError`` for what cannot fit."""
    check_workers(workers)
    data = Sentences()
    directory = _check_out(runs, out, owner, data)
    runs = [run for run in runs if not is_finished(run, directory, data)]
    same = reusable(runs, directory, reuse, data)
    runs = [run for run in runs if run.name not in same]
    return plan(runs, out, workers=workers or default_workers([run.config for run in runs]))


def _check_out(runs: Sequence[NamedRun], out: str | Path, owner: Owner, data: Data) -> Path:
    """The directory of the runs; ``RunError`` where it is another owner's, or holds another run of a name."""
    if existing(Path(out)) == Path(out).absolute():
        check_unclaimed(files.directory(out), owner)
    check_places(runs, Path(out) / RUNS, data)
    return Path(out) / RUNS


def train_session(
    runs: Sequence[NamedRun],
    out: str | Path,
    owner: Owner,
    *,
    workers: int = 0,
    ray: str = "",
    reuse: Sequence[str | Path] = (),
    data: Sentences | None = None,
    progress: bool = False,
) -> list[Outcome]:
    """Train what remains of the runs in ``out``; options and errors as for ``train_runs``, and what cannot fit.

    The same runs that have finished in one of the directories ``reuse`` are copied from there. Raises ``RunError``,
    before anything is written, where ``out`` is another owner's or has another run of a name.
    """
    check_workers(workers)
    data = data or Sentences()
    _check_out(runs, out, owner, data)
    same = reusable(runs, Path(out) / RUNS, reuse, data)
    for run in same.values():
        run.verify()
    claim(out, owner)
    directory = runs_directory(out)
    take_over(same, directory)
    remaining = [run for run in runs if not is_finished(run, directory, data)]
    for problem in data.problems if progress else ():
        print(f"warning: {problem}", file=errors_screen())
    workers = workers or default_workers([run.config for run in remaining])
    if not ray:
        check_fits(remaining, out, workers)
    since = time.monotonic()
    try:
        return train_runs(runs, out, workers=workers, ray=ray, data=data, progress=progress)
    finally:
        _note_session(Path(out), time.monotonic() - since, workers)


def _note_session(out: Path, seconds: float, workers: int) -> None:
    """Append this session's wall time: a study may take several."""
    line = json.dumps({"seconds": round(seconds, 1), "workers": workers}) + "\n"
    with files.failing_clearly(out / SESSIONS), files.appending(out / SESSIONS) as file:
        file.write(line)


def read_sessions(out: Path) -> list[dict[str, Any]]:
    """Seconds and workers of every sitting; a line that a kill cut short, or that is none, is left out."""
    sessions: list[dict[str, Any]] = []
    lines = files.read_text(out / SESSIONS).splitlines() if files.is_file(out / SESSIONS) else []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            session = json.loads(line)
            if type(session["workers"]) is int and 0 <= session["seconds"] < 1e12:
                sessions.append(session)
    return sessions
