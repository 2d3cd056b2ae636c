"""The verb diff: what differs between two models."""

from __future__ import annotations

from dataclasses import dataclass

from auxin.cli.check import FOUND, bad_arguments
from auxin.cli.options import Examining, Result, Source


@dataclass(frozen=True, kw_only=True)
class DiffOptions(Examining):
    """Compare two models, weight by weight and layer by layer; exit status 0 nothing differs, 3 something does.

    A SOURCE is a config.json of transformers; a directory with one, and with its weights where there are some; or
    module:function or file.py:function that returns a torch.nn.Module: importing it and calling it RUNS it.

    Example: auxin diff original.py:build refactored.py:build
    """

    first: Source
    """A config.json or its directory, or module:function."""
    second: Source
    """Another one."""

    def run(self) -> Result:
        """What differs."""
        from auxin.experiment.sources import arguments_of, model_at
        from auxin.probes.difference import diff

        with bad_arguments():
            models = [model_at(s, arguments_of(self.kwargs), self.seed) for s in (self.first, self.second)]
        found = diff(*models, layers=self.layers, batch=self.batch, n_tokens=self.n_tokens, seed=self.seed)
        return Result(found.to_dict(), found.summary(), status=0 if found.ok else FOUND)
