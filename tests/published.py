"""A few sentences in the form of the published files, so that loading and scoring them takes no time."""

from collections.abc import Mapping
from pathlib import Path

from auxin.tasks import load_task


def write_published(folder: Path, task: str, lines: Mapping[str, int]) -> None:
    """``task.train``, ``task.dev``, … in ``folder``, with so many lines each."""
    splits = load_task(task, train_size=1000).splits
    for name, count in lines.items():
        sentences = splits[{"dev": "val"}.get(name, name)][:count]
        text = "".join(f"{s.source}\t{s.target}\n" for s in sentences)
        (folder / f"{task}.{name}").write_text(text)
