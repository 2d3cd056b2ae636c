"""Templates that escape whatever they are not told to be HTML, and the terms that a page explains."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from auxin.report import words


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
    own = (
        words.number,
        words.setting,
        words.duration,
        words.minus,
        words.percent,
        script_json,
        identifier,
        rows,
    )
    environment.filters |= {"mark": _mark, **{function.__name__: function for function in own}}
    return environment


@cache
def texts(name: str) -> dict[str, dict[str, str]]:
    """The sentences of ``templates/NAME.toml``."""
    return tomllib.loads(
        resources.files("auxin.report").joinpath("templates", f"{name}.toml").read_text("utf-8")
    )


@jinja2.pass_context
def _mark(context: jinja2.runtime.Context, text: str) -> Markup:
    """The text with the terms that the section has not marked yet."""
    return context["glossary"].mark(text)


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings by name as the rows of a table."""
    return [(name, words.setting(value)) for name, value in values.items()]


def identifier(term: str) -> str:
    """Of the element that explains a term."""
    return "term-" + re.sub(r"\W+", "-", term)


class Glossary:
    """Marks terms where they first stand in a section, and remembers which the page must explain."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}
        """The meanings of all terms marked, by term."""
        self._marked: set[str] = set()

    def begin(self) -> str:
        """A new section: terms are marked again."""
        self._marked.clear()
        return ""

    def mark(self, text: str) -> Markup:
        """The escaped text, each term a button that opens its meaning where it first stands."""
        terms = texts("terms")
        parts, done = [], 0
        for found in _any_term().finditer(text):
            name = list(terms)[int(str(found.lastgroup)[1:])]
            if name in self._marked:
                continue
            self._marked.add(name)
            self.used[name] = terms[name]["meaning"]
            button = '<button type="button" class="term" popovertarget="{}" title="{}">{}</button>'
            parts += [
                escape(text[done : found.start()]),
                Markup(button).format(identifier(name), self.used[name], found[0]),
            ]
            done = found.end()
        return Markup("").join([*parts, escape(text[done:])])


@cache
def _any_term() -> re.Pattern[str]:
    patterns = (term["pattern"] for term in texts("terms").values())
    return re.compile(
        "|".join(rf"(?<!\w)(?P<t{i}>{pattern})(?!\w)" for i, pattern in enumerate(patterns)), re.IGNORECASE
    )
