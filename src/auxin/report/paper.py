"""A figure for a paper: of a given width and font, as PDF, SVG, PNG or page, with the data behind it as CSV."""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert

from auxin.outputs import MARK, check_output, marked_png, marked_text, write_output
from auxin.report.theme import LIGHT, VERSION, Figure, figure_page, specification, title
from auxin.values import check

DPI = 300
"""Of a PNG."""
PIXELS = 108
"""An inch: labels of 12 pixels have 8 points in print."""
MARGIN, NARROWEST, TALLEST = 70, 70, 1.7
"""Pixels beside a panel at first, and of a panel; height relative to the width from which on columns are added."""
LETTER = 6.5
"""Pixels of a letter of a title."""
STACKED = {"top": {"direction": "vertical", "margin": 6}}
"""Legends, one above the other."""
FORMATS = (".pdf", ".svg", ".png", ".html")


def write_figure(
    figure: Figure, path: Path, width: float, font: str = "", *, force: bool = False
) -> list[Path]:
    """Write a figure ``width`` inches wide in the format of the path's suffix, and its data beside it (.csv).

    A paper's caption has the title; panels stand in as many columns as there is room for. Returns both paths. Raises
    ``ConfigError`` for another format, ``RunError`` where a file cannot be written.
    """
    check(path.suffix in FORMATS, "out", str(path), f"a file that ends in {', '.join(FORMATS)}")
    check(1 <= width <= 50, "width", width, "1 to 50 inches")
    spec = specification(figure.chart)
    heading, data = title(spec), rows_of(spec).write_csv().encode()
    spec.pop("title", None)
    longest = max((len(word) for word in _legend_words(spec)), default=1)
    columns = max(1, int((width * PIXELS - 60) / (30 + 7 * longest)))
    more: dict[str, Any] = {
        "legend": LIGHT["legend"]
        | {"orient": "top", "columns": columns, "layout": STACKED, "gradientLength": 90}
    }
    if font:
        more["font"] = _family(font, path.suffix)
    spec, svg = fitted(spec, width * PIXELS, LIGHT | more)
    if path.suffix == ".pdf":
        content = vl_convert.svg_to_pdf(_resized(svg, width)) + b"% " + MARK + b"\n"
    elif path.suffix == ".png":
        content = marked_png(vl_convert.svg_to_png(_resized(svg, width), ppi=DPI))
    elif path.suffix == ".svg":
        content = marked_text(_resized(svg, width, "pt"))
    else:
        del more["legend"]["columns"]
        content = marked_text(figure_page(heading, spec=spec, more=more))
    table = path.with_suffix(".csv")
    check_output(table, data, force=force)  # both or none
    write_output(path, content, force=force)
    write_output(table, data, force=force)
    return [path, table]


def _resized(svg: str, width: float, unit: str = "") -> str:
    """The drawing ``width`` inches wide, in points; what it shows stays."""
    sides = [float(side) for side in re.findall(r'(?:width|height)="([\d.]+)"', svg)[:2]]
    new = [72 * width * side / sides[0] for side in sides]
    size = f'width="{new[0]:.2f}{unit}" height="{new[1]:.2f}{unit}"'
    return re.sub(r'width="[\d.]+" height="[\d.]+"', size, svg, count=1)


def fitted(spec: dict[str, Any], room: float, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The specification laid out for ``room`` pixels, and what it draws: panels in few columns, but no tower."""
    rows, found, svg = spec.get("vconcat", [spec]), spec, ""
    for columns in range(max(_columns(row, room) for row in rows), 0, -1):
        margin = MARGIN
        for _ in range(6):
            laid = [_laid_out(row, room, margin, columns) for row in rows]
            found = spec | {"vconcat": laid} if "vconcat" in spec else laid[0]
            svg = vl_convert.vegalite_to_svg(found, vl_version=VERSION, config=config)
            over = float(re.findall(r'width="([\d.]+)"', svg)[0]) - room
            if over <= 0:
                return found, svg
            margin += math.ceil(over / columns)
            if columns > 1 and room / columns - margin < NARROWEST:
                break
    return found, svg


def _columns(spec: dict[str, Any], room: float) -> int:
    """As many as there is room for, and more where panels would be higher than ``TALLEST`` allows."""
    inner, count, most = _panels(spec)
    columns = max(1, min(most, int(room / (0.55 * inner["width"] + MARGIN))))
    height = lambda: inner["height"] * min(1, (room / columns - MARGIN) / inner["width"]) + MARGIN
    while columns < most and -(-count // columns) * height() > TALLEST * room:
        columns += 1
    return columns


def _panels(spec: dict[str, Any]) -> tuple[dict[str, Any], int, int]:
    """The first panel, how many there are (of a facet: columns), and the columns that they stand in at most."""
    panels = spec.get("concat") or spec.get("hconcat")
    inner = panels[0] if panels else spec.get("spec", spec)
    most = spec.get("columns", len(panels) if panels else 1)
    return inner, len(panels) if panels else most, most


def _laid_out(spec: dict[str, Any], room: float, margin: float, columns: int) -> dict[str, Any]:
    """Panels in at most so many columns, each with ``margin`` pixels beside it, of their shape."""
    inner, _, most = _panels(spec)
    columns, several = min(columns, most), "spec" in spec or inner is not spec
    width = max(NARROWEST, int(min(inner["width"], room / columns - margin)))
    height = max(110 if several else 170, round(inner["height"] * width / inner["width"]))
    size = {"width": width, "height": height}
    if panels := spec.get("concat") or spec.get("hconcat"):
        rest = {key: value for key, value in spec.items() if key not in ("hconcat", "concat")}
        return rest | {"concat": [_titled(panel, size) | size for panel in panels], "columns": columns}
    if "spec" in spec:
        return spec | {"columns": columns, "spec": _titled(spec["spec"], size) | size}
    return _titled(spec, size) | size


def _titled(node: Any, size: dict[str, int]) -> Any:
    """A panel with its title and those of its axes in lines that are no longer than it is."""
    if isinstance(node, list):
        return [_titled(inner, size) for inner in node]
    if not isinstance(node, dict):
        return node
    found = {key: value if key == "datasets" else _titled(value, size) for key, value in node.items()}
    for channel, side in (("x", "width"), ("y", "height")):
        axis = found.get("encoding", {}).get(channel, {})
        if isinstance(axis.get("title"), str):
            axis["title"] = _lines(axis["title"], size[side])
    heading = found.get("title")
    if isinstance(heading, dict) and isinstance(heading.get("text"), str):
        found["title"] = heading | {"text": _lines(heading["text"], size["width"] + MARGIN / 2)}
    return found


def _lines(text: str, room: float) -> str | list[str]:
    lines = textwrap.wrap(text, max(14, int(room / LETTER)))
    return lines if len(lines) > 1 else text


def _legend_words(node: Any) -> Iterator[str]:
    """The words that legends name: all domains of a specification."""
    for key, value in (
        node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ())
    ):
        if key == "domain" and isinstance(value, list):
            yield from map(str, value)
        elif key != "datasets":
            yield from _legend_words(value)


def _family(font: str, suffix: str) -> str:
    """The font with what stands in for it; a warning where the file cannot have it."""
    image = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9" font-family="{}">x</text></svg>'
    drawn, blank = (
        vl_convert.svg_to_png(image.format(name.replace('"', ""))) for name in (font, "no such font")
    )
    other = "sans-serif" if re.search("sans|arial|helvetica", font, re.IGNORECASE) else "serif"
    if drawn == blank and suffix in (".pdf", ".png"):
        warnings.warn(f"no font {font!r} on this machine: drawn in its {other} font", stacklevel=2)
    return f"{font}, {other}"


def datasets(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows that a specification draws, in the order of its parts."""

    def names(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(data := node.get("data"), dict) and data.get("name") is not None:
                yield data["name"]
            for inner in node.values():
                yield from names(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from names(inner)

    shown = {key: value for key, value in spec.items() if key != "datasets"}
    return [spec["datasets"][name] for name in dict.fromkeys(names(shown))]


def rows_of(spec: dict[str, Any]) -> pl.DataFrame:
    """All that a specification draws as one table; where it has several, ``part`` is their number."""
    tables = [pl.DataFrame(rows, infer_schema_length=None) for rows in datasets(spec)]
    if len(tables) == 1:
        return tables[0]
    parts = [table.select(pl.lit(i).alias("part"), pl.all()) for i, table in enumerate(tables, 1)]
    return pl.concat(parts, how="diagonal_relaxed")
