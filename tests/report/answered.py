"""Directories of studies and runs as auxin leaves them, from curves that are made up."""

from pathlib import Path
from typing import get_args

import numpy as np

from auxin.config import ModelConfig, RunConfig
from auxin.lab.named import NamedRun, Outcome
from auxin.report.sections import RunView, TreeDrawing
from auxin.runs import Metric, RunDirectory, open_run
from auxin.runs.store import environment
from auxin.studies.analysis import Analysis
from auxin.studies.conduct import load_study, save_study
from auxin.studies.design import StudyName
from auxin.studies.dynamics import MEASURES
from studies.synthetic import Curves, ramp, table

STUDIES = get_args(StudyName)


def everything(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    """Whatever any study asks for, with some scatter among seeds."""
    end = 0.6 + 0.3 * rng.random()
    measures = {("train", name): ramp(0.5, rng.random()) for name in MEASURES}
    return measures | {
        ("val", "accuracy"): ramp(0, 1, first=0, last=200),
        ("gen", "accuracy"): ramp(0, end, first=400),
        ("gen", "hierarchical"): ramp(0, end),
        ("gen", "linear"): 0.9 * (1 - ramp(0, end)),
        ("gen", "neither"): 0.1 * (1 - ramp(0, end)),
        ("train", "loss"): ramp(
            4.0, 4.5 if run.settings.get("learning_rate", 0) > 1e-2 else 1 + rng.random()
        ),
        ("train", "gradient_norm"): ramp(1 + rng.random(), 1),
        ("train", "angle_total"): ramp(-5 * rng.random(), 0),
        ("train", "gradient_total"): ramp(5 * rng.random(), 0),
        ("train", "near_unit_mass"): ramp(rng.random(), 0.5),
        ("train", "loss_gradient"): ramp(1 + rng.random(), 1),
    }


def analysis(name: str) -> Analysis:
    """A study's analysis of its ``minutes`` runs."""
    study = load_study(name)
    return study.analyse(table(study.configs("minutes"), everything))


def answered(out: Path, name: str, outcomes: dict[str, Outcome] | None = None) -> Path:
    """An answered study; runs are finished unless ``outcomes`` says otherwise."""
    runs = load_study(name).configs("minutes")
    ends = [(outcomes or {}).get(run.name, Outcome(run.name, "finished", 1.5)) for run in runs]
    for run in runs:
        with RunDirectory(out / "runs" / run.name, run.config) as directory:
            directory.finish({})
    about = {
        "study": name,
        "scale": "minutes",
        "command": f"auxin study {name} --scale minutes --out runs/{name}",
        "sessions": [{"seconds": 75.0, "workers": 2}],
        "environment": environment(runs[0].config),
    }
    metrics = table(runs, everything)
    settings = [run.settings for run in runs]
    save_study(out, load_study(name).analyse(metrics), metrics, about, [*zip(ends, settings, strict=True)])
    return out


def a_run(out: Path, word: str = "newt") -> RunView:
    """A finished run of two seeds that was measured, with two trees of a word."""
    config = RunConfig(task="tense", model=ModelConfig(depth=2, scale_embedding=False), seeds=(0, 7))
    with RunDirectory(out, config) as directory:
        names = [("val", "accuracy"), ("gen", "accuracy"), ("train", "t_score")]
        rows = [
            (step, seed, *name, (step + seed) / 50) for step in (10, 20) for seed in (0, 7) for name in names
        ]
        directory.append_metrics([Metric(*row) for row in rows])
        directory.finish({"accuracy": {"gen": {"0": 0.25, "7": None}, word: {"0": 1.0}, "odd": {}}})
    trees = [
        TreeDrawing(f"step {step}", (word, ("a", "b")), f"({word} (a b))", f1)
        for step, f1 in ((10, 0.5), (20, 1.0))
    ]
    return RunView(open_run(out), trees=trees, gold=((word, "a"), "b"))
