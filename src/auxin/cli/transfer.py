"""The verb transfer: do hyperparameters carry over when a model is made wider and deeper?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxin.cli.check import FOUND, bad_arguments
from auxin.cli.options import Result, Source, Writing
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class TransferOptions(Writing):
    """Slopes of signals and first updates over width and depth; exit status 0 nothing found, 3 something is off.

    SOURCE is module:function or file.py:function of width and depth that returns a torch.nn.Module, or it and its
    optimizer: importing it and calling it RUNS it. Or a config.json of transformers, with --names.

    Example: auxin transfer my_project.model:build --widths 64 128 256
    """

    source: Source
    """module:function, or a config.json or its directory."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """At the least depth."""
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    """At the least width."""
    names: tuple[str, ...] = ("hidden_size", "num_hidden_layers")
    """What a config calls its width and its depth."""
    optimizer: str | None = None
    """module:function of parameters that returns an optimizer; by default AdamW at rate 1e-3."""
    recipe: str | None = None
    """What slopes are compared with, instead of what transfer needs: standard, mup, completep, completep-half …"""
    steps: int = 3
    """Updates that are measured."""
    seeds: int = 2
    """Draws of each model."""
    n_tokens: int = 16
    """Tokens of a sequence."""
    out: Path | None = None
    """Stem of the figure (.png, .svg, .html)."""

    def __post_init__(self) -> None:
        check(self.n_tokens >= 2, "n_tokens", self.n_tokens, "2 or more")

    def run(self) -> Result:
        """The verdict and the table."""
        from auxin.experiment.sources import function_at, scaled_models
        from auxin.probes.transfer import transfer
        from auxin.report.theme import save

        recipe: Any = self.recipe
        with bad_arguments():
            build = scaled_models(self.source, self.names)
            optimizer = None if self.optimizer is None else function_at(self.optimizer)
        found = transfer(
            build,
            self.widths,
            self.depths,
            optimizer=optimizer,
            recipe=recipe,
            steps=self.steps,
            seeds=self.seeds,
            n_tokens=self.n_tokens,
        )
        figures = [] if self.out is None else save(found.plot(), self.out, force=self.force)
        return Result(found.to_dict(), found.summary(), figures, 0 if found.ok else FOUND)
