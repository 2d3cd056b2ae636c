"""PNG images that carry the numbers that they show, so that a test can compare these with the tables."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from auxin.report import paper
from auxin.report.theme import LIGHT, VERSION, specification

KEYWORD = b"numbers\0\0"  # of the chunk, and that it is compressed
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def datasets(chart: alt.TopLevelMixin) -> list[list[dict[str, Any]]]:
    """The rows that a chart draws, in the order of its parts."""
    return json.loads(json.dumps(paper.datasets(specification(chart))))


def write_png(chart: alt.TopLevelMixin, path: Path, colours: dict[str, Any] = LIGHT) -> None:
    """Draw a chart at twice the size, its numbers in a chunk of text before the image ends."""
    png = vl_convert.vegalite_to_png(specification(chart), vl_version=VERSION, scale=2, config=colours)
    text = KEYWORD + zlib.compress(json.dumps(datasets(chart)).encode(), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    path.write_bytes(png[:-12] + chunk + png[-12:])  # the last twelve bytes end every PNG


def numbers_of(png: bytes) -> list[list[dict[str, Any]]]:
    """The rows that an image shows; raises ``ValueError`` where it carries none."""
    at = len(SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        content = png[at + 8 : at + 8 + size]
        if png[at + 4 : at + 8] == b"zTXt" and content.startswith(KEYWORD):
            return json.loads(zlib.decompress(content.removeprefix(KEYWORD)))
        at += size + 12
    raise ValueError("no numbers in this image; make results draws it with them")
