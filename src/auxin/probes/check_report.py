"""What ``auxin.check`` has found, in every form: values, a table, text of at most 80 columns, a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from auxin import display
from auxin.architecture import Network
from auxin.architecture.recipe import Recipe
from auxin.errors import ConfigError
from auxin.probes.expectation import Known
from auxin.probes.findings import Diagnostic, wrapped
from auxin.probes.observe import BRANCH_COLUMNS, Observation
from auxin.probes.prediction import Tokens, predict
from auxin.probes.remedy import Remedy, advised, remedies
from auxin.theory.profile import Profile

SHOWN = {
    "norm": ("norm²", 9),
    "predicted_norm": ("predicted", 9),
    "cosine": ("cosine", 7),
    "predicted_cosine": ("predicted", 9),
    "gradient": ("gradient", 9),
    "predicted_gradient": ("predicted", 9),
    "attention_share": ("attn", 5),
    "cross_share": ("cross", 5),
    "mlp_share": ("MLP", 5),
}
"""Columns of the printed table: head and width."""
MOST = 26  # layers that are all shown; of more, every second, third …
HEALTHY: dict[Known, str] = {
    "given": "Nothing found: the initialization is what it should be.",
    "intended": "Nothing found: the initialization is what it should be.",
    "followed": "Nothing found: signals pass, and most weights follow one law. Whether it is the intended one is not "
    "known: reference=… (a scheme's name, a model, or a function that builds one) says.",
    "drawn": "Nothing found: signals pass, and the weights are as their class draws them. Whether it draws them as it "
    "should is not known: reference=… (a model, or a function that builds one) says.",
    "nothing": "Nothing found in what was measured. What the weights should be is not known: reference=… (a model, or "
    "a function that builds one) says.",
    "moved": "Nothing found: signals pass.",
}
"""By what the weights were compared with."""
PROFILED = ("norm", "cosine", "gradient")
DEEP, ALIKE, GROWN = 8, 0.9, 30.0
"""Layers, last mean cosine, and growth of squared gradients, from which on there is advice on a design."""


@dataclass(frozen=True, eq=False)
class CheckReport(display.Drawn, display.Displayed):
    """What ``check`` found; prints as a table, draws itself in a notebook.

    >>> settings = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 100}
    >>> report = check(settings, n_tokens=8)
    >>> report.ok, report.layers.height
    (True, 3)
    """

    name: str
    observation: Observation | None
    """None of a config alone, and of a model with weights that are not finite."""
    recipe: Recipe | None
    findings: tuple[Diagnostic, ...]
    remarks: tuple[str, ...]
    tokens: Tokens | None = None
    """What is predicted from; None: nothing is."""
    known: Known = "intended"
    """What the weights were compared with: the intended initialization, what the class draws, or nothing."""
    encoder: CheckReport | None = None
    """Of a decoder, what its encoder's layers do; its findings are among these."""

    def behind(self, encoder: CheckReport) -> CheckReport:
        """This decoder's report with its encoder's: of a module in one of the stacks, what that stack's says."""
        stacks = [of.observation and f"{of.observation.stack}." for of in (encoder, self)]
        inside = lambda finding, stack: bool(stack) and f"{finding.module}.".startswith(stack)
        found = [f for f in encoder.findings if inside(f, stacks[0])]
        named = {finding.module for finding in found}
        found += [f for f in self.findings if f.module not in named and not inside(f, stacks[0])]
        named |= {finding.module for finding in found}
        found += [f for f in encoder.findings if f.module not in named and not inside(f, stacks[1])]
        return replace(self, findings=tuple(found), encoder=encoder)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def intended(self) -> Network | None:
        """The network with the σ's of its recipe."""
        return None if self.recipe is None else self.recipe.drawn

    @cached_property
    def _prediction(self) -> tuple[Profile | None, tuple[str, ...]]:
        if self.intended is None or self.tokens is None:
            return None, ()
        try:
            return predict(self.intended, self.tokens), ()
        except ConfigError as error:  # a state that overflows on the way
            return None, (f"no prediction: {error}",)

    @property
    def predicted(self) -> Profile | None:
        """From the intended initialization, on the tokens at hand. Cost: at first use, a propagation."""
        return self._prediction[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know of how it was measured, compared and predicted."""
        return (*self.remarks, *self._prediction[1])

    @property
    def layers(self) -> pl.DataFrame:
        """A row for the stream's start (0) and for each layer.

        norm (‖x‖²/d), cosine (of two different tokens), gradient (squared, relative to the output's) as measured;
        predicted_norm, predicted_cosine, predicted_gradient from the intended initialization; attention_share and
        mlp_share of the branches' norm² in the stream after them; entropy of attention relative to uniform; spread
        of its logits; cross_share of cross-attention; gradient_error, the gradient's standard error. Null where it
        was not measured or no theory applies.
        """
        seen, predicted = self.observation, {} if self.predicted is None else self.predicted.columns
        found = {f"predicted_{name}": column for name, column in predicted.items()}
        found |= {} if seen is None else {**seen.columns, "gradient_error": seen.errors["gradient"]}
        names = [*PROFILED, *(f"predicted_{n}" for n in PROFILED), *BRANCH_COLUMNS, "gap", "gradient_error"]
        missing = [None] * (self.depth + 1)
        columns = {name: pl.Series(name, found.get(name, missing), dtype=pl.Float64) for name in names}
        table = pl.DataFrame({"layer": range(self.depth + 1)} | columns)
        return table.with_columns(pl.exclude("layer").fill_nan(None))

    @property
    def depth(self) -> int:
        """Number of layers."""
        source = self.observation or self.intended
        return 0 if source is None else source.depth

    @property
    def totals(self) -> dict[str, float | None]:
        """Over the whole depth: log (1 − c_L)/(1 − c_0), log of the gradients' growth, as measured and predicted."""
        found: dict[str, float] = {}
        for prefix, profile in (("", self.observation), ("predicted_", self.predicted)):
            found[f"{prefix}angle"] = math.nan if profile is None else profile.angle_total
            found[f"{prefix}gradient"] = math.nan if profile is None else profile.gradient_total
        gap = None if self.observation is None else self.observation.columns.get("gap")
        found["tangent"] = math.nan if gap is None else math.log(gap[-1] / gap[0])
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    @property
    def _start(self) -> Tokens | None:
        """The tokens from which remedies start."""
        seen, recipe = self.observation, self.recipe
        if recipe is None or recipe.encoder is not None:
            return None
        if seen is None:
            return Tokens.of_recipe(recipe, 24)
        return Tokens(seen.grams[0].mean(0), recipe.causal, recipe.sizes.width)

    @cached_property
    def advice(self) -> str:
        """What was measured of a deep design that neither the caller nor a family intends, and one thing to do.

        Empty where tokens stay apart and gradients do not grow. Cost: that of ``remedies`` with a target.
        """
        seen, start = self.observation, self._start
        if self.known not in ("followed", "drawn", "nothing") or seen is None or not seen.closed:
            return ""
        growth, cosine = float(seen.gradient[0] / seen.gradient[-1]), float(seen.cosine[-1])
        if seen.depth < DEEP or not (growth > GROWN or cosine > ALIKE):
            return ""
        end = f"mean cosine {cosine:.3f} at the end"
        measured = f"The design: squared gradients × {growth:.3g} at the input, {end}."
        if self.recipe is None or start is None:
            rule = len(seen.branches) ** -0.5
            return f"{measured} GPT-2's rule would multiply output maps by {rule:.3f}; network=… predicts the effect."
        return f"{measured} {advised(self.recipe, start)}".strip()

    def remedies(self, target: float | None = None) -> list[Remedy]:
        """What GPT-2's rule, CompleteP's and DeepNorm would give, and the factor for an angle total of ``target``.

        Empty where no network is known, and for one with an encoder. Cost: some 13 propagations of 24 tokens.
        """
        start = self._start
        return [] if self.recipe is None or start is None else remedies(self.recipe, start, target)

    def remedy_table(self, target: float | None = None) -> str:
        """``remedies`` as text of at most 80 columns."""
        return remedy_table(self.remedies(target))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        seen = self.observation
        return {
            "model": self.name,
            "ok": self.ok,
            "findings": [asdict(finding) | {"severity": finding.severity} for finding in self.findings],
            "notes": list(self.notes),
            "advice": self.advice,
            "totals": self.totals,
            "logit_std": getattr(seen, "logit_std", None),
            "excess_loss": getattr(seen, "excess_loss", None),
            "layers": self.layers.to_dicts(),
            "branches": [] if seen is None else [branch.to_dict() for branch in seen.branches],
            **({} if self.encoder is None else {"encoder": self.encoder.to_dict()}),
        }

    def summary(self) -> str:
        """The table and the findings as text of at most 80 columns."""
        seen, findings = self.observation, self.findings
        lines = []
        for finding in findings:
            lines.append(f"{finding.kind}: {finding.sentence}")
            lines += [f"  follows: {effect.sentence}" for effect in finding.consequences]
        if not findings and seen is not None and not seen.closed:
            lines.append("No verdict: what the layers add to the stream was not found.")
        elif not findings and self.advice:
            rest = HEALTHY[self.known].replace("signals pass, and ", "")
            lines += [self.advice, rest.replace("Nothing found", "Nothing else found")]
        elif not findings:
            lines.append(HEALTHY[self.known])
        lines += [self.advice] if findings and self.advice else []
        if seen is not None and seen.excess_loss is not None and self.known != "moved":
            loss = f"ln {seen.vocabulary:,} + {seen.excess_loss:.3g} (logits have std {seen.logit_std:.3g})"
            lines.append(f"loss at initialization: {loss}")
        if seen is not None:
            error = seen.errors["gradient"][0] / seen.gradient[0]
            probes = f"the standard error of {seen.probes} random probes"
            lines.append(f"gradient at the input: ± {error:.0%}, {probes}")
        lines += [f"({note})" for note in self.notes]
        tables = list(_table(self.layers))
        if self.encoder is not None:
            tables = ["encoder", *_table(self.encoder.layers), "", "decoder", *tables]
        return "\n".join([*tables, "", *wrapped(lines)])

    __str__ = summary

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one page with the findings, the table and the figure, for light and dark, that loads nothing.

        A file that auxin did not write is replaced only with ``force``: ``RunError``.
        """
        return display.drawing().save_check(self, path, force=force)


def remedy_table(rows: list[Remedy]) -> str:
    """What rules for the branches come to, as text."""
    lines = [f"{'branches':<24}{'factor':>9}{'skip':>6}{'cosine':>8}{'norm²':>9}{'angle':>8}{'gradient':>9}"]
    for row in rows:
        lines.append(
            f"{row.name:<24}{row.branch:>9.3g}{row.skip:>6.3g}{row.cosine:>8.3f}{row.norm:>9.3g}"
            f"{row.angle_total:>8.2f}{row.gradient_total:>9.2f}"
        )
    return "\n".join(lines)


def _table(layers: pl.DataFrame) -> Iterator[str]:
    shown = {name: column for name, column in SHOWN.items() if layers[name].is_not_null().any()}
    yield "layer" + "".join(f" {head:>{width}}" for head, width in shown.values())
    step = -(-layers.height // MOST)
    for row in layers.iter_rows(named=True):
        layer = row["layer"]
        if layer % step == 0 or layer in (1, layers.height - 1):
            numbers = (f" {_number(row[name], width):>{width}}" for name, (_, width) in shown.items())
            yield ("input" if layer == 0 else f"{layer:5}") + "".join(numbers)


def _number(value: float | None, width: int) -> str:
    if value is None:
        return "–"
    if abs(value) < 1 and width <= 7:
        return f"{value:.{min(3, width - 2)}f}".replace("-0.000", "0.000")
    return f"{value:.3g}"
