"""Keep what a study found: python docs/tables/collect.py runs/studies/grokking-laptop [table …].

Writes, beside this file, STUDY.json (command, commits, wall time, machine, answer, claims, findings) and of the named
tables STUDY-TABLE.csv. Then quote.py renews the numbers of README.md and docs/findings.md, and claims.py docs/claims.md.
"""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
MACHINE = ("processor", "cores", "torch", "python")


def collect(study: Path, tables: list[str]) -> None:
    record = json.loads((study / "study.json").read_text())
    finished = [run["name"] for run in record["runs"] if run["status"] == "finished"]
    environments = [json.loads((study / "runs" / name / "environment.json").read_text()) for name in finished]
    kept = {
        **{key: record[key] for key in ("study", "scale", "command")},
        "commit": dict(Counter(e["commit"] for e in environments)),
        "runs": f"{len(finished)} of {len(record['runs'])}",
        "sessions": record["sessions"],
        "machine": {key: environments[0][key] for key in MACHINE},
        **{key: record[key] for key in ("question", "answer", "claims", "findings")},
    }
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    (HERE / f"{record['study']}.json").write_text(text + "\n")
    for table in tables:
        shutil.copy(study / "tables" / f"{table}.csv", HERE / f"{record['study']}-{table}.csv")


if __name__ == "__main__":
    collect(Path(sys.argv[1]), sys.argv[2:])
