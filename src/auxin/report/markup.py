"""Templates, which escape text; numbers and settings as people read them; and the terms that a page explains."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

LABELS = {
    "model.depth": "depth (layers)",
    "model.width": "width",
    "model.heads": "attention heads",
    "optimizer.learning_rate": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "train_size": "training sentences",
    "batch_size": "batch size",
    "n_tokens": "tokens n",
    "alpha_attention": "attention's branch strength α",
    "alpha_mlp": "MLP's branch strength α",
    "attention_branch": "attention's branch strength",
    "mlp_branch": "MLP's branch strength",
    "attention_skip": "skip strength around attention",
    "mlp_skip": "skip strength around the MLP",
    "sigma_a": "scale σ of attention logits",
    "sigma_v": "gain σ of values",
    "sigma_w": "MLP's gain σ",
    "sigma_o": "MLP's output gain σ",
    "sigma_b": "MLP's bias σ",
}
"""Settings in words, for axes and legends, in which no subscript can be set."""


def label(name: str) -> str:
    """What a setting is called on an axis; one without a name of its own is its last part, in words."""
    return LABELS.get(name) or LABELS.get(last := name.rpartition(".")[2]) or last.replace("_", " ")


def layers(depth: float) -> str:
    """How many layers, in words.

    >>> layers(1), layers(8.0)
    ('1 layer', '8 layers')
    """
    return f"{depth:.0f} layer{'s' * (depth != 1)}"


def number(value: float | None) -> str:
    """A number to three digits, large ones whole; – for none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
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
        return " ".join(f"{name}={setting(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value) or "none"


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share with its interval, where there is one.

    >>> percent(0.5), percent(0.5, 0.25, 0.75)
    ('50%', '50% (25 to 75)')
    """
    if value is None:
        return "–"
    bounds = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * value:.0f}%{bounds}"


def duration(seconds: float | None) -> str:
    """Wall time for people: 42 s, 7 min, 3.5 h, 12 days; – for none."""
    if seconds is None:
        return "–"
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86_400:.0f} days"


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
    own = (number, setting, duration, minus, percent, script_json, identifier, rows)
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
    return [(name, setting(value)) for name, value in values.items()]


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
