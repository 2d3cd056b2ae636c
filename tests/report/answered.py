"""Directories of studies as ``auxin study`` leaves them, from curves that are made up."""

from pathlib import Path

import numpy as np

from auxin.runs import RunDirectory
from auxin.runs.environment import environment
from auxin.studies.answers import Analysis, save_study
from auxin.studies.conduct import load_study
from auxin.studies.design import NamedRun
from auxin.studies.dynamics import MEASURES
from auxin.studies.pool import Outcome
from studies.synthetic import Curves, ramp, table

STUDIES = ("grokking", "depth", "dynamics", "trainability", "joint")


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
        ("train", "loss"): ramp(4.0, 1 + rng.random()),
        ("train", "gradient_norm"): ramp(1 + rng.random(), 1),
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
        with RunDirectory.open(out / "runs" / run.name, run.config) as directory:
            directory.finish({})
    about = {
        "study": name,
        "scale": "minutes",
        "command": f"auxin study {name} --scale minutes --out runs/{name}",
        "sessions": [{"seconds": 75.0, "workers": 2}],
        "environment": environment(runs[0].config),
    }
    metrics = table(runs, everything)
    save_study(out, load_study(name).analyse(metrics), metrics, runs, ends, about)
    return out
