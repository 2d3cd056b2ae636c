"""README.md and docs/ are short and easy to read: words are counted, sentences measured (Flesch 1948)."""

import re
from pathlib import Path

import pyphen
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EASY = ["README.md", "docs/index.md", "docs/start.md", "docs/check.md", "docs/findings.md"]
OLD = re.compile(
    r"\b(behind (?:the|every|each|l) |blam\w+|finds? (?:no )?fault|(?:held|holds) .{0,40}\bagainst|"
    r"the two part\b|had been guessed|its start\b|at the start\b)"
)
"""Words that the project once had for after, flagged, compared with, where two disagree, expected, initialization."""
HYPHENS = pyphen.Pyphen(lang="en_US")


def section(name: str) -> set[str]:
    """The pages of a section of the site's navigation."""
    nav = (ROOT / "mkdocs.yml").read_text()
    found = re.search(rf"^  - {name}:\n((?:      - .*\n)+)", nav, re.MULTILINE)
    assert found is not None
    return set(re.findall(r": (\S+\.md)$", found[1], re.MULTILINE))


def words(path: Path) -> int:
    return len(path.read_text().split())


def prose(text: str) -> str:
    """Without code, tables, pictures, headings, addresses of links and marks."""
    lines = r"^```.*?^```$|^\|.*?$|^ {4}\S.*?$|^ *<.*?$|^#.*?$|!\[.*?\]\(.*?\)"
    text = re.sub(lines, "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`", "it", text)
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    return re.sub(r"\[(.*?)\]\(.*?\)|\*+", r"\1", text, flags=re.DOTALL)


def sentences(text: str) -> list[list[str]]:
    """The words of every sentence; a paragraph's or list item's end ends one, too."""
    parts = re.split(r"[.!?:][)*”]*(?=\s)|\n\s*\n", text)
    return [found for part in parts if (found := re.findall(r"[A-Za-z][A-Za-z'’]*", part))]


def flesch(found: list[list[str]]) -> float:
    """206.835 − 1.015 words a sentence − 84.6 syllables a word: above 60 is plain English."""
    every = [word for sentence in found for word in sentence]
    syllables = sum(len(HYPHENS.positions(word.lower())) + 1 for word in every)
    return 206.835 - 1.015 * len(every) / len(found) - 84.6 * syllables / len(every)


def test_the_formula_tells_plain_words_from_a_treatise() -> None:
    plain = sentences("The cat sat on the mat. It was a warm day.\n\n- A dog came by.\n")
    assert [len(s) for s in plain] == [6, 5, 4]
    assert flesch(plain) > 100
    heavy = sentences(
        "Notwithstanding considerable methodological heterogeneity, initialization determines asymptotics."
    )
    assert flesch(heavy) < 0
    text = "# Top\n\nRun `auxin demo` [here](a.md).\n\n| a |\n\n```sh\nauxin x\n```\n\n    code\n\n1. One;\n2. two.\n"
    assert sentences(prose(text)) == [["Run", "it", "here"], ["One"], ["two"]]


def test_the_readme_has_at_most_900_words_and_no_comments() -> None:
    readme = ROOT / "README.md"
    assert words(readme) <= 900
    for path in (readme, *DOCS.glob("*.md")):
        assert "<!--" not in path.read_text(), path


def test_a_newcomer_reads_at_most_400_words() -> None:
    assert words(ROOT / "CONTRIBUTING.md") <= 400


def test_a_block_of_the_readme_has_at_most_eight_lines() -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    assert max(block.count("\n") for block in blocks) <= 8


def test_the_two_commands_are_on_the_first_screen() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:20]
    assert {"make demo", "make test"} <= {line.partition("  #")[0] for line in first}


def test_the_documents_have_at_most_16000_words_without_laboratory_and_reference() -> None:
    other = section("Laboratory") | section("Reference")
    assert {"notebook.md", "files.md", "api.md"} <= other
    pages = [path for path in DOCS.glob("*.md") if path.name not in other]
    assert sum(map(words, pages)) <= 16_000
    assert words(DOCS / "findings.md") <= 1_500


@pytest.mark.parametrize("page", EASY)
def test_what_everybody_reads_is_easy_to_read(page: str) -> None:
    found = sentences(prose((ROOT / page).read_text()))
    assert flesch(found) > 60


@pytest.mark.parametrize("page", EASY)
def test_no_sentence_is_long(page: str) -> None:
    found = sentences(prose((ROOT / page).read_text()))
    assert not [" ".join(sentence) for sentence in found if len(sentence) > 30]


def test_pages_for_readers_have_the_words_of_the_field() -> None:
    later = section("Laboratory")
    pages = [path for path in DOCS.glob("*.md") if path.name not in later]
    found = {
        f"{path.name}: {old[0]}"
        for path in (ROOT / "README.md", *pages)
        for old in OLD.finditer(" ".join(prose(path.read_text()).split()))
    }
    assert found == set()
