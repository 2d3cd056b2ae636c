"""What a quantity of a training model may be: within limits, and changing no faster than in its own past."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auxin.theory.profile import Profile
from auxin.theory.states import Array

AlarmKind = Literal["nan", "update", "collapse", "entropy", "logits", "norm", "gradient", "experts"]
PAST, UPDATES = 8, 32
"""Changes between looks, and updates, that are the past."""
FEWEST, FEWEST_UPDATES = 3, 20
"""Of them, those that are needed before a change is judged."""
FASTER = 3.0
"""Times the largest change of the past that a change may be."""
MEDIAN, SINGLE = 1.4, 10.0
"""Factors beyond the largest of the past updates: of the median over all tensors, and of one tensor."""
DEVIATIONS = 4.0
"""Standard deviations of the past updates' logarithms that those may be beyond it as well."""
MATERIAL = 1e-3
"""Updates that are smaller, relative to the weight, are no alarm."""


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
    Quantity("gradient", "gradient", "squared gradient, relative to the output's", *_size, np.log(20)),
    Quantity("experts", "experts", "entropy of the choice of experts, relative to uniform", _negative,
             lambda x: np.exp(-x), np.log(3), 0.3),
)  # fmt: skip
"""Margins and limits are set by judgement; docs/watch.md has the rate of false alarms."""


class Bands:
    """The bands of a profile's columns, which learn from the profiles that they judge."""

    def __init__(self, layers: Sequence[str], first: Profile) -> None:
        self._layers = ("input", *layers)
        self._last = {quantity.column: quantity.scale(first[quantity.column]) for quantity in QUANTITIES}
        self._limits = {quantity.column: self._limit(quantity, first) for quantity in QUANTITIES}
        self._changes = {quantity.column: deque[Array](maxlen=PAST) for quantity in QUANTITIES}
        self._outside: set[tuple[str, int]] = set()

    @staticmethod
    def _limit(quantity: Quantity, first: Profile) -> Array:
        """By layer; none where the first look is beyond it."""
        x = quantity.scale(first[quantity.column])
        end = np.inf if quantity.limit is None else quantity.scale(quantity.limit)
        return np.where(x < end, end, np.inf)

    def judge(self, step: int, profile: Profile) -> Iterator[Alarm]:
        """The quantities that have left their band since the last look; of one column the layer that is farthest."""
        for quantity in QUANTITIES:
            x, last, past = (
                quantity.scale(profile[quantity.column]),
                self._last[quantity.column],
                self._changes[quantity.column],
            )
            change = x - last
            ends = self._limits[quantity.column]
            if len(past) >= FEWEST:
                largest = np.abs(np.array(past)).max(0)
                ends = np.minimum(ends, last + np.maximum(quantity.margin, FASTER * largest))
            out = set(np.flatnonzero(x > ends).tolist())
            new = [layer for layer in out if (quantity.column, layer) not in self._outside]
            self._outside = {key for key in self._outside if key[0] != quantity.column} | {
                (quantity.column, layer) for layer in out
            }
            past.append(np.nan_to_num(change))
            self._last[quantity.column] = x
            if new:
                yield self._alarm(
                    step, quantity, profile, last, ends, max(new, key=lambda layer: x[layer] - ends[layer])
                )

    def _alarm(
        self, step: int, quantity: Quantity, profile: Profile, last: Array, ends: Array, layer: int
    ) -> Alarm:
        value, before, bound = (
            float(y)
            for y in (profile[quantity.column][layer], quantity.back(last[layer]), quantity.back(ends[layer]))
        )
        name = self._layers[layer]
        where = f"after {name}" if layer else "before the first layer"
        sentence = (
            f"{quantity.words} {where} is {value:.3g}; before {before:.3g}, and its band ends at {bound:.3g}"
        )
        return Alarm(step, quantity.kind, name, sentence, value, bound)


class Updates:
    """The size of every tensor's update by step, and whether one jumps beyond its past."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._past: deque[Array] = deque(maxlen=UPDATES)

    def judge(self, step: int, sizes: Array, relative: Array) -> Alarm | None:
        """Of one step's norms of updates [P], and those relative to the weights."""
        logs = np.log(np.maximum(sizes, 1e-30))
        alarm = self._jump(step, logs, relative) if len(self._past) >= FEWEST_UPDATES else None
        self._past.append(logs)
        return alarm

    def _jump(self, step: int, logs: Array, relative: Array) -> Alarm | None:
        past = np.array(self._past)
        most, moving = past.max(0), past.max(0) > np.log(1e-29)
        if not moving.any():
            return None
        medians = np.median(past[:, moving], 1)
        bound = medians.max() + max(np.log(MEDIAN), DEVIATIONS * medians.std())
        median = float(np.median(logs[moving]))
        ends = most + np.maximum(np.log(SINGLE), DEVIATIONS * past.std(0))
        single = (logs > ends) & moving & (relative > MATERIAL)
        together = median > bound and float(np.median(relative[moving])) > MATERIAL
        if not together and not single.any():
            return None
        ratio = np.exp(np.where(moving & (relative > MATERIAL), logs - most, -np.inf))
        worst = int(ratio.argmax())
        count = int((ratio > MEDIAN).sum())
        share = f" ({relative[worst]:.1%} of the weight)" if relative[worst] < 10 else ""
        sentence = (
            f"the update of {self._names[worst]} is {ratio[worst]:.3g} times as large as any of the last {len(past)}"
            f"{share}; {count} of {len(logs)} tensors jump"
        )
        value, end = (median, bound) if together else (logs[worst], ends[worst])
        return Alarm(step, "update", self._names[worst], sentence, float(np.exp(value)), float(np.exp(end)))
