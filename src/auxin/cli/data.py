"""The verb data."""

from __future__ import annotations

from dataclasses import dataclass

from auxin.cli.options import File, Out, Result, Writing, table
from auxin.config import preset
from auxin.files import directory, kind, remove
from auxin.outputs import check_output, write_output
from auxin.tasks.columns import NAMES, Case, Columns, Form, Punctuation, read_table, split_pairs
from auxin.tasks.files import SPLITS, line_of, problems
from auxin.tasks.task import Splits
from auxin.values import check

CASES = {"keep": "as it is", "lower": "lower"}
MARKS = {"keep": "as it is", "tokens": "words of their own", "strip": "left out at the ends of words"}


@dataclass(frozen=True, kw_only=True)
class DataOptions(Writing):
    """Make the folder of a files task from one table: a line is a source, a tab and its target.

    A first line that names the columns is a header; without one they are source, target, bracketing, hierarchical,
    linear, of which the last three may lack.

    Example: auxin data pairs.tsv --gen-where type=relative --out dutch
    """

    file: File
    """The table, in UTF-8."""
    out: Out
    """The folder: train.tsv, val.tsv, gen.tsv, perhaps test.tsv."""
    gen_where: str = ""
    """Lines for generalization only: COLUMN=VALUE, or COLUMN~PATTERN for a regular expression; by default those whose
    targets by both rules differ."""
    split: tuple[float, ...] = (0.9, 0.1)
    """Shares of train, val and perhaps test among the other lines."""
    seed: int = 0
    """Of the random split."""
    columns: tuple[str, ...] = ()
    """Names in the header of source, target and, if they are there, bracketing, hierarchical and linear target."""
    case: Case = "lower"
    """Lower case, or as it is."""
    punctuation: Punctuation = "tokens"
    """At the ends of words: words of their own (tokens), left out (strip), or as it is (keep)."""

    def __post_init__(self) -> None:
        count = len(self.columns)
        check(count in (0, *range(2, len(NAMES) + 1)), "columns", " ".join(self.columns), "two to five names")
        check(
            len(self.split) in (2, 3), "split", self.split, "two or three shares: train, val and perhaps test"
        )
        check(self.seed >= 0, "seed", self.seed, "0 or more")

    def run(self) -> Result:
        """Split the table and write the folder; what is in it, and what is doubtful."""
        found = read_table(self.file, self.columns or NAMES[:2], NAMES)
        own = dict(zip(NAMES, self.columns or NAMES, strict=False))
        form = Form(case=self.case, punctuation=self.punctuation)
        splits = split_pairs(found, own, form, self.gen_where, self.split, self.seed)
        self._write(splits)
        return self._shown(found, splits)

    def _write(self, splits: Splits) -> None:
        folder = directory(self.out, make=True)
        contents = {split: "".join(f"{line_of(s)}\n" for s in splits.get(split, ())) for split in SPLITS}
        for split, text in contents.items():
            check_output(folder / f"{split}.tsv", text.encode(), force=self.force)
        for split, text in contents.items():
            if text:
                write_output(folder / f"{split}.tsv", text.encode(), force=self.force)
            elif kind(folder / f"{split}.tsv"):  # of an earlier split: it may hold lines that train now has
                remove(folder / f"{split}.tsv")

    def _shown(self, found: Columns, splits: Splits) -> Result:
        words = {split: {w for s in lines for w in s.text.split()} for split, lines in splits.items()}
        unseen = sorted(words["gen"] - words["train"])
        how = {"gen": self.gen_where or "the rules' targets differ"}
        how |= {split: f"random, seed {self.seed}" for split in splits if split != "gen"}
        rows = [
            [split, f"{len(splits[split]):,}", f"{len(words[split]):,}", how[split]]
            for split in SPLITS
            if split in splits
        ]
        first = found.rows[0][1]
        header = f"header: {', '.join(found.names)}"
        if not found.header:
            header = f"no header: the first pair is {first['source']!r}, {first['target']!r}"
        lines = [table(("split", "lines", "different words", "which"), rows)]
        lines += [header, f"case: {CASES[self.case]}; punctuation: {MARKS[self.punctuation]}"]
        doubtful = problems(splits)
        lines += [f"warning: {line}" for line in doubtful]
        few = len(splits["train"]) < preset("laptop").batch_size
        batch = f" --batch-size {len(splits['train'])}" * few
        lines += ["", f"auxin train --task files --data-dir {self.out}{batch} --out runs/{self.out.name}"]
        sizes = {split: len(lines) for split, lines in splits.items()}
        values = {"out": str(self.out), "lines": sizes, "words_of_gen_only": unseen, "warnings": doubtful}
        return Result(values, "\n".join(lines))
