"""The verb pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli.options import DataVerb, File, Result, Writing, table
from auxin.tasks.columns import Case, Form, MinimalPair, Punctuation, read_pairs
from auxin.values import check

if TYPE_CHECKING:
    import polars as pl

    from auxin.runs import Run


@dataclass(frozen=True, kw_only=True)
class PairsOptions(DataVerb, Writing):
    """Score minimal pairs: is the sentence that is right likelier than the one that is wrong?

    The file has a pair a line: good, tab, bad, tab, phenomenon; or JSON lines as BLiMP's. A sentence's score is the sum
    of its words' log-probabilities. What a run scores is kept among its metrics, and its page shows it.

    Example: auxin pairs runs/question pairs.tsv --checkpoint 500 1000 3000

    Example: auxin pairs path/to/gpt2 blimp/anaphor_number_agreement.jsonl
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's directory, or one with a causal model of transformers and its tokenizer."""
    file: File
    """The pairs."""
    checkpoint: tuple[int, ...] = ()
    """Steps of a run; by default its last checkpoint."""
    by: str = ""
    """Column of the phenomenon, as UID; by default linguistics_term, phenomenon or UID, whichever there is first."""
    case: Case = "keep"
    """lower: compare in lower case, as auxin data writes it."""
    punctuation: Punctuation = "keep"
    """tokens: punctuation marks are words of their own, as auxin data writes them."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """A CSV file with the scores of every sentence."""

    def run(self) -> Result:
        """Score the pairs under a run's checkpoints, or under a model of transformers."""
        from auxin.runs.run import holds_run, open_run

        pairs = read_pairs(self.file, self.by, Form(case=self.case, punctuation=self.punctuation))
        return self._of_run(open_run(self.source), pairs) if holds_run(self.source) else self._of_model(pairs)

    def _of_model(self, pairs: list[MinimalPair]) -> Result:
        check(not self.checkpoint, "checkpoint", self.checkpoint, "none, for a model of transformers")
        from auxin.experiment.sources import pretrained
        from auxin.measures.pairs import minimal_pairs

        model, tokenizer = pretrained(self.source)
        found = minimal_pairs(model, pairs, tokenizer)
        return self._shown(found.accuracy, found.pairs)

    def _of_run(self, run: Run, pairs: list[MinimalPair]) -> Result:
        import polars as pl

        from auxin.experiment.data import task_of
        from auxin.measures.pairs import minimal_pairs
        from auxin.report.pair_figures import PREFIX, pair_figures, scored
        from auxin.report.theme import save_inside
        from auxin.runs import Metric, measuring, open_run

        words = task_of(run, self.data_dir).vocabulary
        split = f"{PREFIX}{self.file.stem}"
        steps = self.checkpoint or tuple(c.step for c in run.checkpoints[-1:]) or (0,)
        scores: list[pl.DataFrame] = []
        with measuring(run.path) as append:
            for step in sorted(set(steps)):
                for seed in run.config.seeds:
                    found = minimal_pairs(run.model(step, seed), pairs, words)
                    append(
                        Metric(step, seed, split, f"{name}/{row['phenomenon']}", row[name])
                        for row in found.accuracy.iter_rows(named=True)
                        for name in ("accuracy", "pairs")
                    )
                    scores.append(
                        found.pairs.select(pl.lit(step).alias("step"), pl.lit(seed).alias("seed"), pl.all())
                    )
        metrics = open_run(run).metrics.filter(split=split)
        figures = {figure.name: figure.chart for figure in pair_figures(metrics)}
        now = scored(metrics.filter(pl.col("step").is_in(sorted(set(steps)))))
        result = self._shown(now, pl.concat(scores))
        return Result(result.values, result.text, save_inside(run.path, figures))

    def _shown(self, accuracy: pl.DataFrame, scores: pl.DataFrame) -> Result:
        heads = {"step": "{:,}", "member": "{}", "phenomenon": "{}", "pairs": "{:,}", "accuracy": "{:.1%}"}
        shown = [name for name in heads if name in accuracy.columns]
        rows = [
            [*(heads[name].format(row[name]) for name in shown), f"{row['low']:.1%} to {row['high']:.1%}"]
            for row in accuracy.iter_rows(named=True)
        ]
        heading = ["seed" if name == "member" else name for name in shown]
        lines = [table([*heading, "95% interval"], rows), "chance: 50%"]
        if self.out is not None:
            from auxin.outputs import write_output

            write_output(self.out, scores.write_csv().encode(), force=self.force)
            lines.append(str(self.out))
        return Result({"accuracy": accuracy.to_dicts()}, "\n".join(lines))
