"""HTML that cannot be broken out of, and numbers that read well."""

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.report.markup import Glossary, duration, identifier, number, setting, texts


class Reader(HTMLParser):
    """The tags, attributes and text of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_whatever_the_text_it_stays_text(text: str) -> None:
    """Also where terms are marked in it."""
    glossary = Glossary()
    read = Reader(glossary.mark(text))
    clean = lambda text: text.replace("\r\n", "\n").replace("\r", "\n")
    assert set(read.tags) <= {"button"}
    assert clean(read.text) == clean(text)


def test_a_term_is_marked_where_it_first_stands_in_a_section() -> None:
    glossary = Glossary()
    text = glossary.mark("Seeds <b> grok at R² = −0.5 (−1.2 to 0.3), seeds again.")
    assert text.count("<button") == 3
    assert "&lt;b&gt;" in text
    assert "= −0.5 (−1.2 to 0.3), seeds again." in text
    assert "<button" not in glossary.mark("a seed")
    assert list(glossary.used) == ["seed", "grokking", "R²"]
    glossary.begin()
    assert "<button" in glossary.mark("a seed")


def test_every_term_has_a_meaning_and_an_element_of_its_own() -> None:
    terms = texts("terms")
    assert all(term["meaning"].endswith(".") for term in terms.values())
    assert len({identifier(name) for name in terms}) == len(terms)


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
