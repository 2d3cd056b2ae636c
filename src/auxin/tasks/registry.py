"""Tasks by name: the one table of them, and loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auxin.errors import DataError
from auxin.tasks import dyck, english, files, generation
from auxin.tasks.task import DataSource, Dials, Task
from auxin.values import check

Scoring = Literal["answers", "choices"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a task is loaded, and what is known of it before."""

    load: Callable[[str, DataSource], Task]
    """From its name and the options."""
    dialled: bool = False
    """Whether its training data have dials."""
    lengths: tuple[int, int] | None = None
    """Mean and longest text of its own sentences in tokens; None: to be found from the data."""
    source_share: float = 0.5
    """Share of a text that is its source."""
    max_length: int = 512
    """Size of a position table that its texts need."""
    published_steps: int = 300_000
    """Steps of the published runs."""


def _handed(name: str, options: DataSource) -> Task:
    raise DataError("task 'custom' is not loaded by name; allowed: hand it over, as in train(…, task=task)")


KINDS: dict[str, Kind] = {
    "question": Kind(load=english.load, dialled=True, lengths=(23, 36)),
    "tense": Kind(load=english.load, dialled=True, lengths=(21, 30)),
    # generated Dyck strings reach about 1,200 tokens
    "dyck": Kind(
        load=dyck.load, lengths=(64, 1167), source_share=1.0, max_length=2048, published_steps=400_000
    ),
    "passivization": Kind(load=english.load, dialled=True),
    "agreement": Kind(load=english.load, dialled=True),
    "files": Kind(load=files.load),
    "grammar": Kind(load=generation.load, dialled=True),
    "custom": Kind(load=_handed),
}


def kind(name: str) -> Kind:
    """What is known of a task; ``ConfigError`` for an unknown name."""
    check(isinstance(name, str) and name in KINDS, "task", name, ", ".join(KINDS))
    return KINDS[name]


def load_task(
    name: str,
    seed: int = 0,
    train_size: int = 0,
    data_dir: str | Path = "",
    *,
    grammar: str | Path = "",
    dials: Dials | None = None,
) -> Task:
    """A task by name: question, tense, dyck, passivization, agreement, files or grammar.

    Generated from the seed (deterministic) with ``train_size`` training sentences, 0 for the
    task's own size; or read from the files in ``data_dir``, as they are; ``grammar`` is the file of a grammar task.
    ``dials`` turn what training data hold; ``Task.with_choices`` scores as a language model.
    Raises ``ConfigError`` for an unknown task, an impossible size or an option that the task does not have, and
    ``DataError`` for a malformed file.

    >>> task = load_task("question", train_size=100)
    >>> task.splits["gen"][0].source.split()[-1], len(task.splits["train"])
    ('quest', 100)
    """
    found, dials = kind(name), dials or Dials()
    check(type(seed) is int and 0 <= seed < 2**63, "seed", seed, "0 to 2^63 − 1")
    check(type(train_size) is int and 0 <= train_size <= 10**7, "train_size", train_size, "0 to 10^7")
    dialled = ", ".join(name for name, kind in KINDS.items() if kind.dialled)
    allowed = dials == Dials() or (found.dialled and not str(data_dir))
    check(allowed, "dials", dials, f"those of a generated task: {dialled}")
    check(not str(grammar) or name == "grammar", "grammar", str(grammar), "none, but for the task grammar")
    check(bool(str(grammar)) or name != "grammar", "grammar", "", "a grammar file, for the task grammar")
    options = DataSource(
        seed=seed,
        train_size=train_size,
        data_dir=Path(data_dir) if str(data_dir) else None,
        grammar=Path(grammar) if str(grammar) else None,
        dials=dials,
    )
    return found.load(name, options)
