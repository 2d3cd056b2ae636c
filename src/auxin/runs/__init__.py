"""A run on disk: written by one process, crash-safe, and read back by anyone."""

from auxin.runs.rows import Metric, measuring
from auxin.runs.run import Run, export, open_run
from auxin.runs.store import RunDirectory

__all__ = ["Metric", "Run", "RunDirectory", "export", "measuring", "open_run"]
