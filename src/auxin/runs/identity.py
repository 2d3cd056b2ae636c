"""What makes two runs the same: their settings and the sentences that they were trained on, wherever those are."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.runs.reader import Run
from auxin.runs.store import CHANGEABLE, PLACES
from auxin.values import flat

Data = Callable[[RunConfig], str]
"""SHA-256 of a config's sentences."""


def difference(run: Run, config: RunConfig, data: Data) -> str:
    """What tells a run from the one that a config wants, in words; empty where it is that run.

    A finished run has every number of the wanted one, to the bit: structural measures are taken at checkpoints, so
    where none are wanted it does not matter when those were written. An unfinished one can be resumed as that.
    """
    there, wanted = flat(run.config), flat(config)
    free = {*PLACES} if run.finished else {*CHANGEABLE}
    if run.finished and not config.measures:
        free |= {"measures", "checkpoint_every"}
    if not config.model.vocabulary_size:  # a run that began has filled it in
        free.add("model.vocabulary_size")
    for name in dict.fromkeys((*there, *wanted)):
        if name not in free and there.get(name) != wanted.get(name):
            return f"{name} is {there.get(name)!r} there, {wanted.get(name)!r} here"
    recorded, place = data_of(run), config.data_dir or config.grammar
    if (recorded or place) and recorded != data(config):
        return f"begun with other sentences than now {f'in {place}' if place else 'generated'}"
    return ""


def data_of(run: Run) -> str:
    """SHA-256 of the sentences that a run was begun with; empty where it is lost."""
    with contextlib.suppress(RunError):
        return str(run.environment.get("data", ""))
    return ""


def identity(run: Run) -> str:
    """A digest of the settings that a run's numbers depend on and of its sentences."""
    settings = {n: v for n, v in flat(run.config).items() if n not in (*CHANGEABLE, "measures")}
    return hashlib.sha256(json.dumps([settings, data_of(run)], sort_keys=True).encode()).hexdigest()
