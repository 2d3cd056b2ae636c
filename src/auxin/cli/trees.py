"""The verb trees, and the trees of a run's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import DataVerb, Result, Writing
from auxin.values import check

if TYPE_CHECKING:
    from auxin.measures.projection import Projection
    from auxin.report.sections import TreeDrawing
    from auxin.runs import Run
    from auxin.tasks.sentence import Sentence
    from auxin.tasks.task import Task
    from auxin.tasks.trees import Tree


SHORT, SLIDER, FEW = 14, 20, 10_000
"""Words of a sentence, and checkpoints, that a page's slider takes at most; training sentences generated for it."""


@dataclass(frozen=True, kw_only=True)
class TreesOptions(DataVerb, Writing):
    """Draw the tree that a model computes for a sentence, checkpoint by checkpoint, with the gold tree.

    Beside it, the scores of all spans at the last checkpoint, as a heat map (…-chart).

    Or of a causal model of transformers in a directory, with its tokenizer: --model path/to/gpt2 --sentence "…".

    Example: auxin trees runs/question --index 3 --checkpoint 500 1000 3000

    Example: auxin trees runs/question --sentence "my newt does sleep"
    """

    run_path: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")] = None
    """The run's directory."""
    model: Path | None = None
    """Directory of a model of transformers, in place of a run; its sentence is that of --sentence."""
    split: str = "gen"
    """Split that the sentence is from."""
    index: int = 0
    """Which of its sentences."""
    sentence: str = ""
    """Words of another sentence, of the run's vocabulary; instead of one of the split, and without a gold tree."""
    checkpoint: tuple[int, ...] = ()
    """Steps to draw; by default four from first to last."""
    member: int | None = None
    """Seed of the model; by default the run's first."""
    out: Path | None = None
    """Stem of the figure (.png, .svg, .html); by default trees in the run's directory."""

    def __post_init__(self) -> None:
        if (self.run_path is None) == (self.model is None):
            raise UsageError("one of RUN and --model DIR is needed")
        given = self.model is None or bool(self.sentence.split())
        check(given, "sentence", self.sentence, "words, with --model")

    def run(self) -> Result:
        """The trees of one sentence, of a run or of a model of transformers, drawn."""
        if self.run_path is None:
            from auxin.experiment.sources import pretrained
            from auxin.measures.projection import tree_projections

            assert self.model is not None
            model, tokenizer = pretrained(self.model)
            return self._drawn({"tree": tree_projections(model, [self.sentence], tokenizer)[0]})
        from auxin.experiment.data import task_of
        from auxin.runs import open_run

        run = open_run(self.run_path)
        task = task_of(run, self.data_dir)
        sentence = self._sentence(task)
        member = run.config.seeds[0] if self.member is None else self.member
        induced = _induced(run, task, sentence, self.checkpoint or _spread(run, 4), member)
        found = {f"step {step:,}": projection for step, projection in induced}
        return self._drawn(found, sentence.gold if sentence.has_gold else None, run)

    def _drawn(
        self, found: Mapping[str, Projection], gold: Tree | None = None, run: Run | None = None
    ) -> Result:
        from auxin.report.theme import save, save_inside
        from auxin.report.training_figures import span_chart, tree_strip
        from auxin.tasks.trees import to_brackets, to_svg

        trees = {caption: projection.tree for caption, projection in found.items()}
        trees |= {} if gold is None else {"gold": gold}
        strip = tree_strip([(caption, to_svg(tree)) for caption, tree in trees.items()])
        chart = span_chart(list(found.values())[-1])
        paths: list[Path] = []
        if self.out is not None:
            paths += save(strip, self.out, force=self.force)
            paths += save(chart, f"{self.out}-chart", force=self.force)
        elif run is not None:
            paths += save_inside(run.path, {"trees": strip, "trees-chart": chart})
        brackets = {caption: to_brackets(tree) for caption, tree in trees.items()}
        text = "\n".join(f"{caption}: {tree}" for caption, tree in brackets.items())
        return Result({"trees": brackets}, text, paths)

    def _sentence(self, task: Task) -> Sentence:
        if self.sentence:
            from auxin.tasks import Annotation, Sentence

            sentence = Sentence(" ".join(self.sentence.split()), "", Annotation())
            check(len(sentence.words) > 1, "sentence", self.sentence, "two words or more")
            task.vocabulary.encode(sentence.words)  # names an unknown word
            return sentence
        check(self.split in task.splits, "split", self.split, ", ".join(task.splits))
        sentences = task.splits[self.split]
        check(0 <= self.index < len(sentences), "index", self.index, f"0 to {len(sentences) - 1}")
        return sentences[self.index]


def _induced(
    run: Run, task: Task, sentence: Sentence, steps: Sequence[int], member: int
) -> list[tuple[int, Projection]]:
    """Step and projection of every checkpoint asked for."""
    from auxin.measures.projection import tree_projections

    check(bool(run.checkpoints), "checkpoints of the run", str(run.path), "a run with checkpoints")
    models = ((step, run.model(step, member)) for step in sorted(set(steps)))
    sentences = [sentence.words]
    return [(step, tree_projections(model, sentences, task.vocabulary)[0]) for step, model in models]


def _spread(run: Run, count: int) -> list[int]:
    """Steps of at most ``count`` checkpoints, the first and the last among them."""
    saved = [checkpoint.step for checkpoint in run.checkpoints]
    return [saved[i * (len(saved) - 1) // (count - 1)] for i in range(count)] if saved else []


def tree_drawings(run: Run) -> tuple[list[TreeDrawing], Tree | None]:
    """What the run's first member makes of a short sentence of gen, from checkpoint to checkpoint, and its gold tree.

    Few sentences are generated for it, however many the run was trained on. Raises ``DataError`` where there are none.
    """
    if not run.checkpoints:
        return [], None
    from auxin.experiment.data import task_of
    from auxin.report.sections import TreeDrawing
    from auxin.tasks.trees import parseval, to_brackets

    config = run.config
    few = replace(config, train_size=min(config.train_size or FEW, FEW))
    task = task_of(run) if config.data_dir else few.load_task()
    sentence = next((s for s in task.splits["gen"] if 1 < len(s.words) <= SHORT), None)
    if len(task.vocabulary) != config.model.vocabulary_size or sentence is None:
        return [], None
    gold = sentence.gold if sentence.has_gold else None
    drawings: list[TreeDrawing] = []
    for step, projection in _induced(run, task, sentence, _spread(run, SLIDER), run.config.seeds[0]):
        tree = projection.tree
        f1 = None if gold is None else parseval([tree], [gold]).f1
        drawings.append(TreeDrawing(f"step {step:,}", tree, to_brackets(tree), f1))
    return drawings, gold
