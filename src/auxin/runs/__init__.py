"""A run on disk: written by one process, crash-safe, and read back by anyone."""

from auxin.runs.reader import Run, export, open_run
from auxin.runs.rows import MeasureFile, Metric
from auxin.runs.store import RunDirectory

__all__ = ["MeasureFile", "Metric", "Run", "RunDirectory", "export", "open_run"]
