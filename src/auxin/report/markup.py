"""HTML that escapes whatever it is not told to be HTML, and numbers as people read them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

VOID = ("img", "input")


class Markup(str):
    """Text that is HTML already."""


def element(name: str, *children: str, **attributes: str) -> Markup:
    """``<name attributes>children</name>``, every child escaped that is not ``Markup``; ``class_`` is class."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    end = "" if name in VOID else f"{join(children)}</{name}>"
    return Markup(f"<{name}{written}>{end}")


def join(children: Iterable[str]) -> Markup:
    """The children one after the other, every one escaped that is not ``Markup``."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children))


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table whose first column names its rows; it scrolls where the page is too narrow for it."""
    head = element("tr", *(element("th", head, scope="col") for head in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
        for row in rows
    ]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", inner, class_="wide", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *children: str) -> Markup:
    """What is shown when the reader asks for it."""
    return element("details", element("summary", summary), *children)


def number(value: float | None) -> str:
    """A number to three digits, large ones whole; – for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
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
