"""Generated beside published sentences of question and tense: python docs/figures/patterns.py DIRECTORY

Reads question.gen, question.test, question.dev, tense.gen and tense.dev of a directory of published files, and writes
docs/tables/patterns.csv: task, split, the source's last word, the sequence of word categories (numbers aside), and how
many lines have them among the generated ones of seed 0 and among the published ones.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from scipy.stats import chi2_contingency

from auxin.tasks import Sentence, load_task
from auxin.tasks.english import language
from auxin.tasks.files import read_split

TABLE = Path(__file__).parents[1] / "tables" / "patterns.csv"
FILES = {("question", "gen"): "gen", ("question", "test"): "test", ("question", "val"): "dev"}
FILES |= {("tense", "gen"): "gen", ("tense", "val"): "dev"}


def patterns(sentences: Iterable[Sentence]) -> Counter[tuple[str, str]]:
    """How many sentences have a marker and a sequence of categories."""
    numberless = {"Aux_sg": "Aux", "Aux_pl": "Aux", "N_sg": "N", "N_pl": "N"}
    return Counter(
        (s.marker, " ".join(numberless.get(c, c) for c in s.structure.categories))  # pyright: ignore
        for s in sentences
    )


def main() -> None:
    rows = []
    for (task, split), name in FILES.items():
        ours = patterns(load_task(task).splits[split])
        theirs = patterns(read_split(Path(sys.argv[1]) / f"{task}.{name}", task, language(task)))
        for marker, pattern in sorted(ours | theirs):
            counts = {"generated": ours[marker, pattern], "published": theirs[marker, pattern]}
            rows.append({"task": task, "split": split, "marker": marker, "pattern": pattern} | counts)
    table = pl.DataFrame(rows)
    table.write_csv(TABLE)
    for (task, split), group in table.group_by("task", "split", maintain_order=True):
        ours, theirs = (group[c] / group[c].sum() for c in ("generated", "published"))
        common = group.filter(pl.col("generated") + pl.col("published") >= 10).select(
            "generated", "published"
        )
        chance = chi2_contingency(common.to_numpy().T).pvalue
        variation = (ours - theirs).abs().sum() / 2
        print(
            f"{task} {split}: total variation {variation:.3f}, chi-square p {chance:.2g}, {len(common)} patterns"
        )


if __name__ == "__main__":
    main()
