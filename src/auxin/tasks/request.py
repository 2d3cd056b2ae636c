"""What a loader is told: where a task's sentences come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from auxin.tasks.dials import Dials
from auxin.values import to_dict


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of ``load_task``."""

    seed: int = 0
    train_size: int = 0
    data_dir: Path | None = None
    grammar: Path | None = None
    dials: Dials = field(default_factory=Dials)

    @property
    def dials_key(self) -> dict[str, object]:
        """What the dials add to the key of cached lines: nothing where none is turned."""
        return {} if self.dials == Dials() else {"dials": to_dict(self.dials)}
