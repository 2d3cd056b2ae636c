"""The verb demo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from auxin.cli.options import Result, Verb
from auxin.config import preset
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Verb):
    """Watch structural grokking: train the question task with the laptop preset, and draw both curves.

    Example: auxin demo
    """

    out: Path = Path("runs/demo")
    """Directory of the run."""
    steps: int = 0
    """Optimizer steps; 0 means those of the preset."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the initialization, the data order and dropout."""

    def __post_init__(self) -> None:
        check(0 <= self.steps <= 10**9, "steps", self.steps, "0 (those of the preset) to 10^9")
        check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 − 1")

    def run(self) -> Result:
        """Train the demo; its summary."""
        from auxin.cli.train import summarized
        from auxin.experiment.train import train

        config = preset("laptop", "question")
        config = replace(config, seeds=(self.seed,), steps=self.steps or config.steps)
        return summarized(train(config, self.out, progress=True))
