"""One HTML page of studies and runs that opens from disk, in light and in dark, and never asks the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxin.disk.output import marked_text, write_output
from auxin.report.drawings import Drawings
from auxin.report.markup import Markup, element, join
from auxin.report.record import StudyRecord
from auxin.report.run_section import RunView, run_section
from auxin.report.study_section import study_section
from auxin.report.theme import DARK, LIGHT, bundle, fill, script_json

Part = StudyRecord | RunView


def save_page(parts: Sequence[Part], path: str | Path, *, force: bool = False) -> None:
    """Write the page of studies and runs by the rule of ``write_output``; ``RunError`` also when that fails."""
    write_output(path, marked_text(page(parts)), force=force)


def page(parts: Sequence[Part]) -> str:
    """The page as HTML: a section for every study and run.

    About 0.9 MB of JavaScript besides the data. Raises ``RunError`` for a damaged study or run, ``ConfigError``
    for a study of unknown name, ``DataError`` for a run without curves.
    """
    drawings = Drawings()
    sections: list[Markup] = []
    for i, part in enumerate(parts, 1):
        name = f"part-{i}"
        study = isinstance(part, StudyRecord)
        sections.append(study_section(part, name, drawings) if study else run_section(part, name, drawings))
    header = element(
        "header",
        element("h1", "What was found"),
        element("p", "Each answer with the numbers that decide it and their 95% intervals.", class_="soft"),
        _contents(parts) if len(parts) > 1 else "",
    )
    filled = {
        "title": join([f"auxin: {', '.join(_heading(part) for part in parts)}"]),
        "body": join([header, element("main", *sections, id="main")]),
        "specifications": script_json({"figures": drawings.specifications, "light": LIGHT, "dark": DARK}),
        "bundle": bundle(),
    }
    return fill("page.html", filled)


def _heading(part: Part) -> str:
    return part.values["question"] if isinstance(part, StudyRecord) else part.title


def _contents(parts: Sequence[Part]) -> Markup:
    """Links to all sections, with the studies' answers."""
    items = [
        element(
            "li",
            element("a", _heading(part), href=f"#part-{i}"),
            element("p", part.values["answer"]) if isinstance(part, StudyRecord) else "",
        )
        for i, part in enumerate(parts, 1)
    ]
    return element("nav", element("ul", *items), aria_label="Contents")
