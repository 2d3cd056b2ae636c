"""What the choice of the generalization set does: python docs/figures/gen_sets.py NAME=FILE ... -- RUN@STEP ...

Scores a model of each run at a step on sets of question's gen, files of lines ``source<TAB>target``, and writes
docs/tables/gen-sets.csv: run, seed, step, set, sentences, and the shares of right first words among all words
(``accuracy``) and among the four auxiliaries (``first_auxiliary``), of the first auxiliary moved (``linear``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from auxin.measures.accuracy import Evaluator
from auxin.models.transformer import TransformerLM
from auxin.runs import open_run
from auxin.tasks import Task, load_task
from auxin.tasks.english import language
from auxin.tasks.files import read_split

TABLE = Path(__file__).parents[1] / "tables" / "gen-sets.csv"
COLUMNS = ("accuracy", "first_auxiliary", "linear")


def main() -> None:
    files, runs = (part.split() for part in " ".join(sys.argv[1:]).split("--"))
    generated = load_task("question")
    sets = {
        name: read_split(Path(file), "question", language("question"))
        for name, file in (f.split("=") for f in files)
    }
    rows = []
    for run, step in (r.split("@") for r in runs):
        (checkpoint,) = (c for c in open_run(run).checkpoints if c.step == int(step))
        for seed, file in checkpoint.members.items():
            model = TransformerLM.from_pretrained(file)
            for name, sentences in sets.items():
                task = Task("question", {"gen": sentences}, generated.vocabulary, generated.scorer)
                scores = Evaluator(task, "gen", limit=None)(model)
                row = {"run": Path(run).name, "seed": seed, "step": int(step), "set": name}
                shares = {column: round(scores[column], 4) for column in COLUMNS}
                rows.append(row | {"sentences": len(sentences)} | shares)
    pl.DataFrame(rows).write_csv(TABLE)


if __name__ == "__main__":
    main()
