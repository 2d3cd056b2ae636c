"""Put the studies' numbers into README.md, findings and limits: python docs/tables/quote.py [--check].

They are those of a study's record in docs/records, or of the table here where its runs are gone.

quoted.json names, page by page, the finding behind each interval that the page quotes, in the page's order:
"grokking: question: gain over early stopping" for ``33 points (20 to 46)``; with − before it, its opposite.
A number keeps the digits and the unit that it is quoted with. With --check nothing is written, and a page that
differs ends the script with a line for each number that is not the table's.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(
    rf"(?P<value>{NUMBER})(?P<unit>%|\s+(?:points|steps|nats))?(?:\s+\(|,\s+)(?P<low>{NUMBER})(?:–|\s+to\s+)"
    rf"(?P<high>{NUMBER})(?![\d.,]*\d)"
)


def names() -> dict[str, list[str]]:
    return json.loads((HERE / "quoted.json").read_text())


def finding(name: str) -> tuple[float, float, float]:
    """Value and interval of a finding, of the opposite sign where its name begins with −."""
    study, _, title = name.removeprefix("−").partition(": ")
    kept = HERE.parent / "records" / study / "study.json"
    record = json.loads((kept if kept.exists() else HERE / f"{study}.json").read_text())
    found = {f["name"]: f for f in record["findings"]}[title]
    value, low, high = (found[key] for key in ("value", "low", "high"))
    return (-value, -high, -low) if name.startswith("−") else (value, low, high)


def written(quoted: str, value: float) -> str:
    """A number with the digits that it is quoted with; as it stands where it is that number, rounded."""
    digits = len(quoted.partition(".")[2])
    if abs(float(quoted.replace(",", "").replace("−", "-")) - value) <= 0.51 * 10.0**-digits:
        return quoted
    text = f"{value:,.{digits}f}".replace("-", "−")
    return text.removeprefix("−") if re.fullmatch(r"−[0.]+", text) else text


def renewed(text: str, quoted: list[str]) -> str:
    """A page's text with the tables' numbers; raises ``ValueError`` where intervals and names are not as many."""
    parts, end = [], 0
    for interval, name in zip(INTERVAL.finditer(text), quoted, strict=True):
        percent = (interval["unit"] or "").strip() in ("%", "points")
        for group, value in zip(("value", "low", "high"), finding(name), strict=True):
            parts += [
                text[end : interval.start(group)],
                written(interval[group], value * (100 if percent else 1)),
            ]
            end = interval.end(group)
    return "".join([*parts, text[end:]])


def main(check: bool) -> None:
    differ = []
    for page, quoted in names().items():
        path = ROOT / page
        text = path.read_text()
        new = renewed(text, quoted)
        if check:
            pairs = zip(INTERVAL.finditer(text), INTERVAL.finditer(new), quoted, strict=True)
            differ += [
                f"{page}: {old[0]} is {now[0]} ({name})" for old, now, name in pairs if old[0] != now[0]
            ]
        else:
            path.write_text(new)
    if differ:
        raise SystemExit("\n".join(differ))


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
