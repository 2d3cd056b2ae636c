"""``auxin.transfer``: whether hyperparameters carry over when a model is made wider and deeper, and why not."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from scipy.stats import linregress, t
from torch import Tensor, nn

from auxin import display
from auxin.errors import ConfigError
from auxin.probes.findings import wrapped
from auxin.probes.inputs import Reading
from auxin.probes.laws import ties_of
from auxin.probes.scaling import measured
from auxin.values import check, check_whole

Axis = Literal["width", "depth"]
RecipeName = Literal["standard", "mup", "completep", "completep-half", "gpt2", "deepnorm", "muon"]
TOLERANCE, MORE, LESS = 0.3, 0.45, 0.75
"""Difference of exponents that counts, of sizes, and of what updates change by too much and too little: slips are ½
and 1. Updates of queries and keys are small at first where heads have few dimensions."""
UP, DOWN = "larger", "smaller"
Built = nn.Module | tuple[nn.Module, torch.optim.Optimizer]


AT_MOST = ("stream", "logits", "attention")
"""Kinds of quantities whose exponents may be lower, too; so may those of branches over depth, without a recipe."""
_SIZES = {"stream": 0.0, "logits": 0.0}
_FIXED = {"branch": 0.0, "hidden": 1.0, "inputs": 0.0}
TRANSFERS = {
    "width": _SIZES | {"branch": 0.0, "hidden": 0.0, "readout": 0.0, "inputs": 0.0, "attention": -0.5},
    "depth": _SIZES | {"branch": 0.0, "hidden": 0.0, "readout": 0.0},
}
"""By axis and kind, what has to hold so that the best hyperparameters of a small model are those of a large one."""
RECIPES: dict[RecipeName, dict[str, dict[str, float]]] = {
    "standard": {"width": _FIXED, "depth": {"branch": 0.5}},
    "mup": {"width": TRANSFERS["width"], "depth": {"branch": 0.5}},
    "completep": {"width": TRANSFERS["width"], "depth": TRANSFERS["depth"] | {"branch": -0.5}},
    "completep-half": TRANSFERS,
    "gpt2": {"width": _FIXED, "depth": {"branch": 0.0}},
    "deepnorm": {"width": _FIXED, "depth": {"branch": 0.0}},
    "muon": {"width": {"branch": 0.0, "hidden": 0.0}, "depth": {}},
}
"""What follows from a recipe, where it is certain: standard, GPT-2's and DeepNorm with one rate for all widths; Muon's
orthogonal updates times √(fan_out/fan_in)."""
REMEDIES = {
    ("width", "hidden", UP): "divide its rate by the width (μP with Adam: rate ∝ 1/width)",
    ("width", "hidden", DOWN): "its rate is divided by the width too often, or its multiplier is",
    ("width", "readout", UP): "multiply the readout by 1/width, or divide its rate by the width",
    ("width", "readout", DOWN): "the readout is divided by the width twice, by its multiplier and by its rate",
    ("width", "inputs", UP): "its rate must not grow with the width",
    ("width", "inputs", DOWN): "its rate must not be divided by the width: its fan-in is not the width",
    ("width", "attention", UP): "divide attention's logits by the head's dimension d, not by √d",
    ("width", "logits", UP): "draw the readout with std ∝ 1/width or at 0, not tied, or multiply it by 1/width",
    ("width", "branch", UP): "draw its maps with variances ∝ 1/fan_in",
    ("width", "branch", DOWN): "draw its maps with variances ∝ 1/fan_in",
    ("depth", "branch", UP): "multiply branches by 1/√(2L), or by 1/L as CompleteP does",
    ("depth", "branch", DOWN): "branches are divided by the depth twice",
    ("depth", "hidden", UP): "multiply branches by 1/L (CompleteP), or by 1/√L with the rate by 1/√L",
    ("depth", "hidden", DOWN): "branches or rates are divided by the depth too often",
}  # fmt: skip


@dataclass(frozen=True)
class Slope:
    """d log(quantity)/d log(width or depth), over all seeds, with its 95% interval."""

    axis: Axis
    quantity: str
    kind: str
    exponent: float
    low: float
    high: float
    target: float | None
    """What it should be, by the recipe or so that hyperparameters transfer; None: not judged."""
    at_most: bool
    off: bool
    """Whether it differs beyond its interval and by 0.3; of updates by 0.45 up, 0.75 down."""

    @property
    def sentence(self) -> str:
        """What is wrong, and what mends it."""
        way = UP if self.target is not None and self.exponent > self.target else DOWN
        remedy = REMEDIES.get((self.axis, self.kind, way))
        bound = "at most " if self.at_most else ""
        words = (
            f"{self.axis}: {self.quantity} goes as {self.axis}^{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f}) "
            f"where {bound}{self.target:g} is expected"
        )
        return f"{words}: {remedy}." if remedy else f"{words}."


@dataclass(frozen=True, eq=False)
class TransferReport(display.Drawn):
    """Slopes and what follows from them; prints as a table with a verdict."""

    points: pl.DataFrame
    """width, depth, seed, quantity, kind, value."""
    slopes: tuple[Slope, ...]
    recipe: RecipeName | None
    shared: tuple[str, ...] = ()
    """Names by which one parameter is held twice (tied)."""

    @cached_property
    def findings(self) -> tuple[Slope, ...]:
        """The slopes that are off, causes first: what follows from another finding of its axis is left out."""
        off = sorted((s for s in self.slopes if s.off), key=_severity)
        kept: list[Slope] = []
        for slope in off:
            branches = any(s.kind == "branch" and s.axis == slope.axis for s in kept)
            follows = slope.kind == "stream" or (slope.kind, slope.axis) == ("hidden", "depth")
            if not (branches and follows):
                kept.append(slope)
        return tuple(kept)

    @property
    def ok(self) -> bool:
        """Whether nothing is off."""
        return not self.findings

    @property
    def table(self) -> pl.DataFrame:
        """A row a slope: the fields of ``Slope``."""
        return pl.DataFrame([asdict(slope) for slope in self.slopes])

    def summary(self) -> str:
        """Verdict, findings and table, as text of at most 80 columns."""
        good = "Transfers: every slope is within 0.3 of what is needed (of updates, 0.45 up, 0.75 down)."
        good = good if self.recipe is None else f"As {self.recipe} predicts."
        lines = [good] if self.ok else []
        lines += [slope.sentence for slope in self.findings]
        if self.shared and any(s.kind in ("logits", "readout") for s in self.findings):
            lines.append(f"(tied: {' is '.join(self.shared)})")
        table = [f"{'':<7}{'quantity':<40}{'exponent':>9} {'95% interval':>16}{'target':>7}"]
        for s in self.slopes:
            if s.target is None and s.kind != "theory":
                continue
            target = "–" if s.target is None else f"{'≤' * s.at_most}{s.target:g}"
            interval = f"{s.low:.2f} to {s.high:.2f}"
            mark = "*" if s.off else " "
            quantity = f"{s.axis:<7}{s.quantity[-39:]:<40}"
            table.append(f"{quantity}{s.exponent:>8.2f}{mark} {interval:>16}{target:>7}")
        return "\n".join([*wrapped(lines), "", *table])

    __str__ = summary

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "ok": self.ok,
            "recipe": self.recipe,
            "findings": [slope.sentence for slope in self.findings],
            "slopes": [asdict(slope) for slope in self.slopes],
            "points": self.points.to_dicts(),
        }


def transfer(
    build: Callable[[int, int], Built],
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 4, 8, 16, 32),
    inputs: Any = None,
    *,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    recipe: RecipeName | None = None,
    steps: int = 3,
    seeds: int = 2,
    **reading: Any,
) -> TransferReport:
    """How signals and first updates scale with width (at the least depth) and depth (at the least width).

    The exponents of what branches add, of the stream and of logits at initialization, and of what the updates of every
    group of parameters change within the first steps. Hyperparameters transfer where all are 0 (what only must not
    grow: 0 or less).

    Args:
        build: a function of width and depth that returns a model, or a model and its optimizer.
        widths: two or more, powers of two at best.
        depths: two or more.
        inputs: as of ``check``.
        optimizer: a function of parameters; AdamW at rate 1e-3 where neither it nor ``build`` gives one.
        loss: a function of the model's output; by default the cross-entropy of random words.
        recipe: what slopes are compared with instead: standard, mup, completep (branches by 1/L), completep-half
            (1/√L), gpt2, deepnorm, muon.
        steps: updates that are measured, 1 to 10.
        seeds: draws of each model.
        reading: ``layers``, ``batch`` (2), ``n_tokens`` (16), ``batch_first``, ``seed``, as of ``check``.

    Raises ``ConfigError`` for models that ``check`` does not measure or the optimizer does not train.

    >>> def build(width, depth):
    ...     layer = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, norm_first=True)
    ...     return torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    >>> import torch
    >>> report = transfer(build, widths=(16, 32), depths=(1, 2), seeds=1)
    >>> report.points["quantity"].n_unique() > 5
    True
    """
    for name, sizes in (("widths", widths), ("depths", depths)):
        several = len(set(sizes)) >= 2 and min(sizes) >= 1
        check(several, name, tuple(sizes), "two or more different numbers above 0")
    check_whole("steps", steps, 1, 10)
    check_whole("seeds", seeds, 1, 1000)
    check(recipe is None or recipe in RECIPES, "recipe", recipe, ", ".join(RECIPES))
    small: dict[str, Any] = {"n_tokens": 16}
    given = Reading(inputs, **(small | reading))
    make = optimizer or (lambda parameters: torch.optim.AdamW(parameters, 1e-3))
    rows: list[tuple[int, int, int, str, str, float]] = []
    shared: tuple[str, ...] = ()
    sizes = [(w, min(depths)) for w in widths] + [(min(widths), d) for d in depths]
    for width, depth in dict.fromkeys(sizes):
        for seed in range(seeds):
            model, optimizing = _built(build, make, width, depth, seed + given.seed)
            shared = shared or next(((one, name) for name, one in ties_of(model).items()), ())
            for quantity, (kind, value) in measured(model, optimizing, given, loss, steps).items():
                rows.append((width, depth, seed, quantity, kind, value))
    columns = ["width", "depth", "seed", "quantity", "kind", "value"]
    points = pl.DataFrame(rows, schema=columns, orient="row")
    return TransferReport(points, tuple(_slopes(points, recipe)), recipe, shared)


def _built(
    build: Callable[[int, int], Built],
    make: Callable[..., torch.optim.Optimizer],
    width: int,
    depth: int,
    seed: int,
) -> tuple[nn.Module, torch.optim.Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found: Any = _called(build, width, depth)
    model, optimizer = found if isinstance(found, tuple) else (found, None)
    kind, allowed = type(model).__name__, "a module, or it and its optimizer"
    check(isinstance(model, nn.Module), "what build returns", kind, allowed)
    return model, optimizer or make(model.parameters())


def _called(build: Callable[[int, int], Built], width: int, depth: int) -> Any:
    """What it returns, in whichever order it takes its arguments."""
    signature = inspect.signature(build)
    by_name = {"width", "depth"} <= signature.parameters.keys()
    args, named = ((), {"width": width, "depth": depth}) if by_name else ((width, depth), {})
    try:
        signature.bind(*args, **named)
    except TypeError:
        name = getattr(build, "__name__", "build")
        raise ConfigError(f"{name} is a function of {signature}; allowed: one of width and depth") from None
    return build(*args, **named)


def _slopes(points: pl.DataFrame, recipe: RecipeName | None) -> Iterator[Slope]:
    least = points.select(pl.col("width", "depth").min()).row(0, named=True)
    expected = TRANSFERS if recipe is None else RECIPES[recipe]
    axes: tuple[tuple[Axis, Axis], ...] = (("width", "depth"), ("depth", "width"))
    for axis, other in axes:
        along = points.filter(pl.col(other) == least[other])
        sizes = along[axis].n_unique()
        for quantity in along["quantity"].unique(maintain_order=True):
            rows = along.filter(quantity=quantity)
            kind = rows["kind"][0]
            if kind == "heads" or rows[axis].n_unique() < sizes:
                continue
            target = expected[axis].get(kind)
            if kind == "attention" and target is not None:  # that of logits q·k/d, d the width of a head
                heads = along.filter(quantity="heads")
                target *= 1 - (_fit(axis, heads).slope if heads.height else 0.0)
            bounded = kind in AT_MOST or (recipe is None and (axis, kind) == ("depth", "branch"))
            fit, freedom = _fit(axis, rows), rows.height - 2
            exponent = float(fit.slope)
            reach = float(t.ppf(0.975, freedom) * fit.stderr) if freedom else math.inf
            excess = 0.0 if target is None else exponent - target
            excess = max(excess, 0.0) if bounded else excess
            tolerance = TOLERANCE
            if kind in ("hidden", "readout", "inputs"):
                tolerance = MORE if excess > 0 else LESS
            off = abs(excess) > tolerance and (abs(excess) > reach or not freedom)
            at_most, interval = bounded and target is not None, (exponent - reach, exponent + reach)
            yield Slope(axis, quantity, kind, exponent, *interval, target, at_most, off)


def _fit(axis: Axis, rows: pl.DataFrame) -> Any:
    return linregress(np.log(rows[axis].to_numpy()), np.log(rows["value"].to_numpy()))


def _severity(slope: Slope) -> tuple[int, float]:
    """Causes at initialization first, then by how far they are off."""
    order = ["branch", "logits", "attention", "hidden", "readout", "inputs", "stream"]
    return order.index(slope.kind), -abs(slope.exponent - (slope.target or 0.0))
