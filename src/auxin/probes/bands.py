"""What a quantity of a training model may be: within limits, and changing no faster than in its own past."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auxin.theory.profile import Profile
from auxin.theory.states import Array

AlarmKind = Literal["nan", "update", "collapse", "entropy", "logits", "norm", "gradient", "experts", "batch"]
PAST, UPDATES = 8, 32  # changes between looks, and updates, that are the past
FEWEST, FEWEST_UPDATES = 3, 20  # of them, those that are needed before a change is judged
FASTER = 3.0  # times the largest change of the past that a change may be
MEDIAN, SINGLE = 1.4, 10.0
"""Factors beyond the largest of the past updates: of the median over all tensors, and of one tensor."""
DEVIATIONS = 4.0  # standard deviations of the past updates' logarithms that those may be beyond it as well
MATERIAL = 1e-3  # updates that are smaller, relative to the weight, are no alarm
ZERO = -69.0  # logarithm of a size that is none
RISE = 3.0  # factor beyond the largest of the past gradients, of the median over all matrices
FAR, SPREAD, UNLIKE = 30.0, 0.05, 0.15
"""Standard deviations of a gradient's logarithm, at least ``SPREAD``, by which more than this share of matrices must be
away from their past. In 60 healthy runs of 160 steps the most was 20."""


@dataclass(frozen=True)
class Alarm:
    """A quantity that has left its band."""

    step: int
    kind: AlarmKind
    module: str
    """Name of the layer or parameter."""
    sentence: str
    value: float
    bound: float
    """Where the band ends."""

    def __str__(self) -> str:
        return f"step {self.step:,}: {self.kind}: {self.sentence}"


@dataclass(frozen=True)
class Quantity:
    """The band of one column of a profile: it is left upwards on the scale of ``scale``."""

    column: str
    kind: AlarmKind
    words: str
    scale: Callable[[Any], Any]
    back: Callable[[Any], Any]
    """The inverse of ``scale``."""
    margin: float
    """Change between two looks that is never too fast."""
    limit: float | None = None
    """Value beyond which the band ends, where the first look was within."""


_negative = lambda x: -np.log(np.maximum(x, 1e-12))
_size = (lambda x: np.log(np.maximum(x, 1e-30)), np.exp)
QUANTITIES = (
    Quantity("cosine", "collapse", "mean cosine of tokens", lambda c: _negative(1 - c), lambda x: 1 - np.exp(-x),
         np.log(5), 0.999),
    Quantity("entropy", "entropy", "entropy of attention, relative to uniform", _negative, lambda x: np.exp(-x),
         np.log(5), 0.02),
    Quantity("spread", "logits", "spread of attention's logits", *_size, np.log(3), 50.0),
    Quantity("norm", "norm", "norm² of the stream", *_size, np.log(4)),
    Quantity("gradient", "gradient", "squared gradient, relative to the output's", *_size, np.log(50)),
    Quantity("experts", "experts", "share of experts that are first choices", _negative,
             lambda x: np.exp(-x), np.log(3), 0.3),
)  # fmt: skip
"""Margins and limits are set by judgement; docs/watch.md has the rate of false alarms."""


class Bands:
    """The bands of a profile's columns, which learn from the profiles that they judge."""

    def __init__(self, layers: Sequence[str], first: Profile) -> None:
        self._bands = [_Band(quantity, layers, first) for quantity in QUANTITIES]

    def judge(self, step: int, profile: Profile) -> Iterator[Alarm]:
        """The quantities that have left their band since the last look; of one column the layer that is farthest."""
        found = (band.judge(step, profile) for band in self._bands)
        return (alarm for alarm in found if alarm is not None)


class _Band:
    """The band of one column, by layer."""

    def __init__(self, quantity: Quantity, layers: Sequence[str], first: Profile) -> None:
        self._quantity, self._layers = quantity, ("input", *layers)
        self._last = quantity.scale(first[quantity.column])
        limit = np.inf if quantity.limit is None else quantity.scale(quantity.limit)
        self._limits = np.where(self._last < limit, limit, np.inf)  # none where the first look is beyond it
        self._changes: deque[Array] = deque(maxlen=PAST)
        self._outside: set[int] = set()

    def judge(self, step: int, profile: Profile) -> Alarm | None:
        """The layer that has left its band since the last look, the farthest of several."""
        quantity, last, ends = self._quantity, self._last, self._limits
        x = quantity.scale(profile[quantity.column])
        if len(self._changes) >= FEWEST:
            largest = np.abs(np.array(self._changes)).max(0)
            ends = np.minimum(ends, last + np.maximum(quantity.margin, FASTER * largest))
        out = set(np.flatnonzero(x > ends).tolist())
        new = sorted(out - self._outside, key=lambda layer: ends[layer] - x[layer])
        self._changes.append(np.nan_to_num(x - last))
        self._last, self._outside = x, out
        if not new:
            return None
        layer = new[0]
        value, name = float(profile[quantity.column][layer]), self._layers[layer]
        before, bound = (float(quantity.back(y[layer])) for y in (last, ends))
        where = f"after {name}" if layer else "before the first layer"
        past = f"before {before:.3g}, and its band ends at {bound:.3g}"
        sentence = f"{quantity.words} {where} is {value:.3g}; {past}"
        return Alarm(step, quantity.kind, name, sentence, value, bound)


class _Past:
    """Rows of numbers of the last steps, [n, D]."""

    def __init__(self, columns: int) -> None:
        self._ring, self._count = np.zeros((UPDATES, columns)), 0

    @property
    def rows(self) -> Array | None:
        """None while they are too few to judge by."""
        return self._ring[: self._count] if self._count >= FEWEST_UPDATES else None

    def add(self, row: Array) -> None:
        """One step's, in place of the oldest."""
        self._ring[self._count % UPDATES] = row
        self._count += 1


class Updates:
    """The size of every tensor's update by step, and whether one jumps beyond its past."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._past = names, _Past(len(names))

    def judge(self, step: int, sizes: Array, weights: Array) -> Alarm | None:
        """Of one step's norms of updates [P], and those of weights."""
        logs, past, alarm = np.log(sizes + 1e-30), self._past.rows, None
        if past is not None and (logs > (most := past.max(0)) + math.log(MEDIAN)).any():  # which is rare
            alarm = self._jump(step, logs, sizes / np.maximum(weights, 1e-12), past, most)
        self._past.add(logs)
        return alarm

    def _jump(self, step: int, logs: Array, relative: Array, past: Array, most: Array) -> Alarm | None:
        moving = most > ZERO
        if not moving.any():
            return None
        medians, median = np.median(past[:, moving], 1), float(np.median(logs[moving]))
        bound = medians.max() + max(np.log(MEDIAN), DEVIATIONS * medians.std())
        ends = most + np.maximum(np.log(SINGLE), DEVIATIONS * past.std(0))
        material = moving & (relative > MATERIAL)
        half = np.median((logs - most)[moving]) > math.log(
            MEDIAN
        )  # beyond their own past, not their median's
        together = half and median > bound and float(np.median(relative[moving])) > MATERIAL
        if not together and not (material & (logs > ends)).any():
            return None
        ratio = np.exp(np.where(material, logs - most, -np.inf))
        worst = int(ratio.argmax())
        share = f" ({relative[worst]:.1%} of the weight)" if relative[worst] < 10 else ""
        sentence = (
            f"the update of {self._names[worst]} is {ratio[worst]:.3g} times as large as any of the last {len(past)}"
            f"{share}; {int((ratio > MEDIAN).sum())} of {len(logs)} tensors jump"
        )
        value, end = (median, bound) if together else (logs[worst], ends[worst])
        return Alarm(step, "update", self._names[worst], sentence, float(np.exp(value)), float(np.exp(end)))


class Gradients:
    """The size of every matrix's gradient by step, and whether a batch's is unlike those before it.

    Its median rises, or the sizes of many, relative to it, leave the usual ones: that shows behind clipping, too.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._past = names, _Past(len(names) + 1)

    def judge(self, step: int, sizes: Array) -> Alarm | None:
        """Of one step's norms of gradients [P], not all of them 0."""
        logs = np.log(sizes + 1e-30)
        some = logs[there] if not (there := logs > ZERO).all() else logs
        median = np.partition(some, len(some) // 2)[len(some) // 2]
        row, past = np.append(np.where(there, logs - median, ZERO), median), self._past.rows
        alarm = None if past is None else self._unlike(step, row, past)
        self._past.add(row)
        return alarm

    def _unlike(self, step: int, row: Array, past: Array) -> Alarm | None:
        away, before, median = row - past.mean(0), past[:, -1].max(), row[-1]
        if median <= before + math.log(RISE) and np.abs(away[:-1]).max() <= FAR * SPREAD:  # as nearly always
            return None
        spread, last = past.std(0), len(past)
        if median > (end := before + max(math.log(RISE), DEVIATIONS * spread[-1])):
            ratio = math.exp(median - before)
            sentence = f"the batch's gradient is {ratio:.3g} times as large as any of the last {last}"
            return Alarm(step, "batch", "", sentence, math.exp(median), math.exp(end))
        moving = past[:, :-1].min(0) > ZERO
        far = moving * np.abs(away[:-1]) / np.maximum(spread[:-1], SPREAD)
        odd, worst = int(np.count_nonzero(far > FAR)), int(far.argmax())
        if odd <= UNLIKE * moving.sum():
            return None
        sentence = (
            f"the batch's gradient is unlike those of the last {last} in {odd} of {len(far)} matrices; that of "
            f"{self._names[worst]} is {math.exp(away[worst]):.3g} times what it usually is beside the others"
        )
        return Alarm(step, "batch", self._names[worst], sentence, odd / len(far), UNLIKE)
