"""Write docs/claims.md, every claim with its source and verdict, from the tables: python docs/tables/claims.py [OUT].

Claims of what the papers say come with the paper's sentence; tests/test_quoted.py compares the page with the tables.
"""

import json
import sys
from pathlib import Path
from typing import get_args

from auxin.studies.design import StudyName

HERE = Path(__file__).parent
HEAD = """# Claims and verdicts

Every claim that a study judges: where it comes from, the verdict, and the numbers that decide, with their 95%
intervals. *Supported*: the whole interval agrees with the claim. *Contradicted*: the whole interval disagrees.
*Not supported*: anything between, or too few models for a test. This page is written from
[the tables](tables/README.md) by `python docs/tables/claims.py`.
"""


def page() -> str:
    parts = [HEAD]
    for study in get_args(StudyName):
        kept = HERE.parent / "records" / study / "study.json"
        kept = kept if kept.exists() else HERE / f"{study}.json"
        if not kept.exists():  # not run yet
            continue
        record = json.loads(kept.read_text())
        parts.append(
            f"\n## {record['question']}\n\n| claim | source | verdict | numbers |\n|---|---|---|---|\n"
        )
        claims = record["claims"]
        if (
            study == "grokking"
        ):  # tense has been trained before the correction of question's generalization set alone
            earlier = json.loads((HERE / "grokking-before-correction.json").read_text())
            claims += [claim for claim in earlier["claims"] if "tense" in claim["statement"]]
        for claim in claims:
            cells = (claim["statement"], claim["source"], f"**{claim['verdict']}**", claim["evidence"])
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "claims.md"
    out.write_text(page())
