"""HTML that cannot be broken out of, and numbers that read well."""

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.report.markup import Markup, duration, element, join, number, setting, table


class Reader(HTMLParser):
    """The tags, attributes and text of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_whatever_the_text_it_stays_text(child: str, value: str) -> None:
    read = Reader(element("p", child, title=value))
    clean = lambda text: text.replace("\r\n", "\n").replace("\r", "\n")
    assert read.tags == ["p"]
    assert clean(read.text) == clean(child)
    assert read.attributes["title"] == value


def test_markup_is_not_escaped_twice() -> None:
    inner = element("b", "a < b")
    assert element("p", inner, " & ", class_="x", aria_label='"') == (
        '<p class="x" aria-label="&quot;"><b>a &lt; b</b> &amp; </p>'
    )
    assert join(["<", Markup("<br>")]) == "&lt;<br>"


def test_a_table_names_its_columns_and_rows_and_can_be_scrolled_by_keyboard() -> None:
    text = table("Costs", ("run", "time"), [("<a>", "3 s")])
    assert "<caption>Costs</caption>" in text
    assert '<th scope="col">time</th>' in text
    assert '<th scope="row">&lt;a&gt;</th><td>3 s</td>' in text
    assert 'tabindex="0"' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (math.nan, "–"), (4.9e-17, "0"), (0.123456, "0.123"), (-0.5, "−0.5"),
        (12.0, "12"), (1234.5, "1,234"), (-1e6, "−1,000,000"),
    ],
)  # fmt: skip
def test_numbers_read_well(value: float | None, text: str) -> None:
    assert number(value) == text


def test_settings_and_durations_read_well() -> None:
    assert [setting(v) for v in (True, 1e-7, (0, 1), (), None, "cpu", "")] == [
        "true", "1e-07", "0, 1", "none", "–", "cpu", "none"
    ]  # fmt: skip
    assert [duration(s) for s in (3.2, 600, 7200, 1e6)] == ["3 s", "10 min", "2.0 h", "12 days"]
