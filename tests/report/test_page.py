"""The page of studies: well formed, complete, safe whatever the data holds, and drawn by a real browser."""

import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from auxin.errors import ConfigError, RunError
from auxin.report.markup import setting, texts
from auxin.report.page import page, save_page
from auxin.report.sections import RunView
from auxin.report.study_figures import study_figures
from auxin.report.theme import bundle, specification, title
from auxin.runs.record import StudyRecord, open_study
from report.answered import STUDIES, a_run, answered

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)">'{{bundle}}&amp;"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """A page's elements; every one must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.data = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.words += data
        elif self.elements[-1] == ("script", {"type": "application/json", "id": "specifications"}):
            self.data += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("study") / "grokking", "grokking")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    return a_run(tmp_path_factory.mktemp("runs") / "question")


@pytest.fixture(scope="module")
def outline(study: Path, view: RunView) -> Outline:
    return Outline(page([open_study(study), view]))


def changed(study: Path, values: dict[str, Any]) -> StudyRecord:
    record = open_study(study)
    return StudyRecord(record.path, {**record.values, **values})


def test_every_part_of_the_study_is_there(study: Path, outline: Outline) -> None:
    record = open_study(study)
    assert texts("studies")["grokking"]["question"] in outline.words
    for name in ("question", "command"):
        assert record.values[name] in outline.words
    for part in ("answer", "more"):
        assert record.values[part] in " ".join(outline.words.split())
    for claim in record.values["claims"]:
        assert claim["statement"] in outline.words
        assert f"{claim['verdict']}:" in outline.words
    for finding in record.values["findings"]:
        assert outline.words.count(finding["sentence"]) == 1
    assert "0.929" in outline.words
    assert re.search(r"0\.856 \((in|out)side\)", outline.words)
    assert "Wall time of training: 75 s (runs at a time: 2)" in outline.words
    for name, value in record.values["environment"].items():
        assert name in ("seeds", "data_seed", "threads", "device") or setting(value) in outline.words
    config = record.runs[0].config
    assert config is not None
    assert all(name in outline.words for name in config)


def test_headings_descend_and_every_link_and_label_has_its_target(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = [a["id"] for _, a in outline.elements if a.get("id")]
    assert len(names) == len(set(names))
    for _, attributes in outline.elements:
        for key in ("href", "aria-labelledby", "popovertarget", "for"):
            if key in attributes:
                assert str(attributes[key]).removeprefix("#") in names
    assert outline.all("html") == [{"lang": "en"}]
    assert all(a.get("scope") in ("col", "row") for a in outline.all("th"))


def test_nothing_on_the_page_can_ask_the_network(outline: Outline) -> None:
    for _, attributes in outline.elements:
        assert attributes.keys() & {"srcset", "action", "data", "poster"} == set()
        assert str(attributes.get("src", "data:")).startswith("data:")
        assert str(attributes.get("href", "#")).startswith("#")
    (policy,) = (
        a["content"] for a in outline.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert str(policy).startswith("default-src 'none';")
    assert "http" not in str(policy)


def test_the_page_draws_from_the_specifications_of_the_files(study: Path, outline: Outline) -> None:
    record = open_study(study)
    figures, _ = study_figures(record.study, record.tables)
    drawn = json.loads(outline.data)["figures"]
    specs = [json.loads(json.dumps(specification(f.chart))) for f in figures]
    assert list(drawn.values())[:2] == [
        {k: v for k, v in s.items() if k not in ("title", "$schema")} for s in specs
    ]
    assert all(title(spec) in outline.words for spec in specs)
    places = [a["id"] for a in outline.all("div") if a.get("class") == "drawing"]
    assert places == list(drawn)
    assert all(spec["description"] in outline.words for spec in drawn.values())


def hostile(value: Any) -> Any:
    """The same with every text replaced."""
    if isinstance(value, dict):
        return {HOSTILE + key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_text_from_data_stays_text(study: Path, outline: Outline, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(study, tmp_path / "grokking"))
    for table in (copy / "tables").glob("*.csv"):
        table.write_text(table.read_text().replace("question", '"' + HOSTILE.replace('"', '""') + '"'))
    kept = open_study(copy).values
    values = {
        "question": HOSTILE, "answer": HOSTILE, "more": HOSTILE, "answered": [HOSTILE],
        "command": HOSTILE, "scale": HOSTILE,
        "claims": [dict.fromkeys(claim, HOSTILE) for claim in kept["claims"]],
        "findings": [{k: hostile(v) for k, v in finding.items()} for finding in kept["findings"]],
        "runs": [{k: hostile(v) for k, v in run.items()} for run in kept["runs"]],
        "environment": hostile(kept["environment"]), "shared": {k: hostile(v) for k, v in kept["shared"].items()},
        "files_sha256": {
            f"tables/{table.name}": hashlib.sha256(table.read_bytes()).hexdigest()
            for table in (copy / "tables").glob("*.csv")
        },
    }  # fmt: skip
    view = a_run(tmp_path / "a <b> run", HOSTILE)
    text = page([changed(copy, values), view])
    read = Outline(text)
    assert HOSTILE not in text
    assert len(read.all("script")) == len(outline.all("script"))
    assert read.all("img") == []
    assert not any(name.startswith("on") for _, a in read.elements for name in a)
    assert HOSTILE in read.words
    drawn = json.loads(read.data)["figures"]
    assert HOSTILE in json.dumps(drawn, ensure_ascii=False).replace('\\"', '"')


def test_an_unfinished_study_says_what_is_missing(study: Path) -> None:
    runs = [dict(run) for run in open_study(study).values["runs"]]
    runs[1].update(status="failed", detail="the loss of seed 2 is not finite")
    read = Outline(page([changed(study, {"runs": runs})]))
    assert "1 of 2 runs have not finished; everything here rests on the others." in read.words
    assert "tense failed: the loss of seed 2 is not finite" in read.words
    record = open_study(study)
    del record.tables["stopping"]
    words = Outline(page([record])).words
    assert "A figure is missing: the study has no table 'stopping'." in words


def test_runs_that_are_gone_leave_the_page_as_it_is(study: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(study, tmp_path / "grokking"))
    shutil.rmtree(copy / "runs")
    assert page([open_study(copy)]) == page([open_study(study)])


def test_what_cannot_be_written_or_is_no_study_is_an_error(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: a file, not a directory"):
        save_page([open_study(study)], tmp_path / "file" / "page.html")
    with pytest.raises(ConfigError, match="study is 'cooking'"):
        page([changed(study, {"study": "cooking"})])


USE = """<script>
  const paths = (root, extra = "") => [...root.querySelectorAll(".mark-group path" + extra)];
  const pause = () => new Promise((go) => setTimeout(go, 300));
  async function all(count) {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    for (let last = -1, now = 0; now !== last || !now; now = document.querySelectorAll(".drawn, .failed").length) {
      last = now;
      window.dispatchEvent(new Event("beforeprint"));
      await pause();
      if (now >= count) break;
    }
  }
  async function use() {
    await all(18);
    const figure = document.querySelector("#figure-1");
    const legend = figure.querySelector(".role-legend-symbol path");
    legend.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    await pause();
    document.body.dataset.faint = paths(figure, '[opacity="0.2"]').length;
    const select = document.querySelector("select"), other = select.closest(".drawing");
    const dots = () => paths(other, "[aria-label]").map((dot) => dot.getAttribute("aria-label")).join();
    const before = dots();
    select.value = "initial loss";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await pause();
    document.body.dataset.moved = before !== dots();
    const range = document.querySelector(".slider input"), caption = document.querySelector("output");
    document.body.dataset.trees = caption.textContent;
    range.value = 0;
    range.dispatchEvent(new Event("input"));
    const seen = [...document.querySelectorAll(".slider svg")].filter((tree) => tree.checkVisibility()).length;
    document.body.dataset.trees += ", then " + caption.textContent + (seen === 1 ? " alone" : " among others");
    const term = document.querySelector(".term");
    term.click();
    document.body.dataset.term = document.querySelector(":popover-open").id === term.getAttribute("popovertarget");
  }
  use();
</script></body>"""
"""A reader who unfolds all, clicks on a legend, another predictor, the first tree, and a word that is explained."""


def browse(path: Path, profile: Path) -> tuple[str, str]:
    """Let Chromium open a page without a network: its elements in the end, and what its console said."""
    assert CHROMIUM is not None
    quiet = ["background-networking", "component-update", "sync", "gpu", "extensions"]
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in quiet),
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--user-data-dir={profile}",
        "--virtual-time-budget=30000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    seen = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return seen.stdout, "\n".join(line for line in seen.stderr.splitlines() if ":CONSOLE" in line)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of all studies and a run, as text."""
    where = tmp_path_factory.mktemp("all")
    studies = [open_study(answered(where / name, name)) for name in STUDIES]
    return page([*studies, a_run(where / "question")])


def test_the_page_of_everything_weighs_little_more_than_what_draws_it(report: str) -> None:
    assert len(report.encode()) < len(bundle().encode()) + 500_000
    assert report.count(bundle()) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_draws_every_figure_and_has_nothing_to_complain_of(report: str, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    content, _, end = report.rpartition("</body>")
    broken = '"figure-12":{"transform": 3, '
    out.write_text(content.replace('"figure-12":{', broken) + USE + end)
    assert broken in content.replace('"figure-12":{', broken)
    dom, console = browse(out, tmp_path / "profile")
    assert console == ""
    assert len(re.findall(r'<svg [^>]*class="marks"', dom)) == 23
    assert not re.search(r'<svg [^>]*class="marks" width="0"', dom)
    assert 'data-drawn="23"' in dom
    assert re.search(r'id="figure-12" class="drawing[^"]* failed"[^>]*>This figure could not be drawn: ', dom)
    assert 'data-moved="true"' in dom
    assert 'data-trees="step 20, then step 10 alone"' in dom
    assert 'data-term="true"' in dom
    assert re.search(r'data-faint="[1-9]', dom)


MEASURE = """<script>
  const out = (e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1;
  const cut = (what) => [...document.querySelectorAll(what)].filter((e) => out(e) && !e.closest(".wide, .tall, defs"));
  async function measured() {
    for (let last = -1, now = 0; now !== last || !now; now = document.querySelectorAll(".drawn").length) {
      last = now;
      window.dispatchEvent(new Event("beforeprint"));
      await new Promise((go) => setTimeout(go, 300));
    }
    const sizes = { height: document.body.offsetHeight, drawn: document.querySelectorAll(".drawn").length };
    sizes.cut = cut("body *").map((e) => e.outerHTML.slice(0, 80));
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    sizes.cut.push(...cut("p, h2, h3, pre, button, summary").map((e) => e.outerHTML.slice(0, 80)));
    parent.postMessage(sizes, "*");
  }
  measured();
</script></body>"""
FRAMES = """<!doctype html><body><iframe width="390" height="800" src="report.html"></iframe>
<iframe width="1400" height="800" src="report.html"></iframe><pre></pre><script>
  const sizes = {};
  window.addEventListener("message", ({ data, source }) => {
    sizes[source === frames[0] ? "phone" : "screen"] = data;
    document.querySelector("pre").textContent = JSON.stringify(sizes);
  });
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_on_a_phone_and_on_a_screen_nothing_is_cut_and_five_studies_are_short(tmp_path: Path) -> None:
    studies = [open_study(answered(tmp_path / name, name)) for name in STUDIES[:5]]
    content, _, end = page(studies).rpartition("</body>")
    (tmp_path / "report.html").write_text(content + MEASURE + end)
    (tmp_path / "frames.html").write_text(FRAMES)
    dom, console = browse(tmp_path / "frames.html", tmp_path / "profile")
    assert console == ""
    sizes = json.loads(html.unescape(re.findall(r"<pre>(.*?)</pre>", dom)[0]))
    for frame in ("phone", "screen"):
        assert sizes[frame]["cut"] == []
        assert sizes[frame]["drawn"] == 5  # one a study
    assert sizes["phone"]["height"] < 12_000
    assert sizes["screen"]["height"] < 9_000
