"""Tables as the runs of a study would have logged them, with a truth that the test knows."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun

STEPS = (0, 1, 100, 200, 400, 600, 800, 900, 1000)
Curves = dict[tuple[str, str], Sequence[float]]


def table(
    runs: Sequence[NamedRun], log: Callable[[NamedRun, int, np.random.Generator], Curves]
) -> pl.DataFrame:
    """What ``log`` says that each run's member (by its seed) logged, at STEPS; training has nothing at step 0."""
    rows: list[dict[str, object]] = []
    for index, run in enumerate(runs):
        for seed in run.config.seeds:
            curves = log(run, seed, np.random.default_rng([index, seed]))
            for (split, name), values in curves.items():
                for step, value in zip(STEPS, values, strict=True):
                    if step or (split, name) not in (("train", "loss"), ("train", "gradient_norm")):
                        key = {"run": run.name, **run.settings, "step": step, "member": seed}
                        rows.append(key | {"split": split, "name": name, "value": float(value)})
    return pl.DataFrame(rows, infer_schema_length=None)


def ramp(start: float, end: float, first: int = 100, last: int = 600) -> np.ndarray:
    """A straight rise between two steps, constant before and after."""
    return np.interp(STEPS, [first, last], [start, end])
