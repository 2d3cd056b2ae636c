"""A finished run copied elsewhere: what a run consists of, file by file, and nothing through a link."""

from __future__ import annotations

from auxin.disk.folder import Folder
from auxin.runs.checkpoints import CHECKPOINTS, list_checkpoints, open_checkpoint
from auxin.runs.rows import MEASURED, MEASURES, METRICS
from auxin.runs.settings import CONFIG
from auxin.runs.store import ENVIRONMENT, EVENTS, SUMMARY

FILES = (CONFIG, ENVIRONMENT, METRICS, MEASURES, MEASURED, SUMMARY, EVENTS)


def copy_run(source: Folder, copy: Folder) -> None:
    """Copy a run into an empty directory; its figures, which can be drawn again, and its locks stay.

    Raises ``RunError`` for a part that is a link or no file, ``OSError`` when the copy cannot be written.
    """
    for name in FILES:
        if source.has(name):
            copy.take(source, name)
    with copy.make_sub(CHECKPOINTS) as target:
        for checkpoint in list_checkpoints(source):
            with open_checkpoint(source, checkpoint) as files, target.make_sub(checkpoint.path.name) as made:
                for name in files.names():
                    if files.has(name):
                        made.take(files, name)
                made.sync()
        target.sync()
    copy.sync()
