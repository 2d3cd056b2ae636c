"""Templates that escape whatever they are not told to be HTML, and numbers and settings as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from auxin.report.terms import Glossary, identifier


class Table(NamedTuple):
    """A table whose first column names its rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def fill(template: str, **values: Any) -> str:
    """A template of this package with its ``values``; text in them stays text, and its terms are explained once."""
    return _templates().get_template(template).render(glossary=Glossary(), **values)


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("auxin.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "setting": setting,
        "duration": duration,
        "minus": minus,
        "script_json": script_json,
        "term_id": identifier,
        "mark": _mark,
    }
    return environment


@jinja2.pass_context
def _mark(context: jinja2.runtime.Context, text: str) -> Markup:
    """The text with the terms that the section has not marked yet."""
    return context["glossary"].mark(text)


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def number(value: float | None) -> str:
    """A number to three digits, large ones whole; – for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e-12:
        return "0"
    return minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def minus(text: str) -> str:
    """The text of a number with a true minus sign."""
    return text.replace("-", "−")


def setting(value: Any) -> str:
    """A setting as TOML-like text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}={setting(each)}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value) or "none"


def duration(seconds: float) -> str:
    """Wall time for people: 42 s, 7 min, 3.5 h, 12 days."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86_400:.0f} days"
