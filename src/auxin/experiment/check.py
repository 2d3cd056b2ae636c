"""``auxin.check``: whether the initialization of a model is all right, and where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from auxin.display import Drawn
from auxin.errors import AuxinError
from auxin.families.configs import recipe_of
from auxin.families.layers import Layers
from auxin.families.sources import settings_of
from auxin.probes.diagnosis import Diagnosis, diagnose, diagnose_recipe
from auxin.probes.findings import KINDS, Kind
from auxin.probes.observe import BRANCH_COLUMNS, Reading
from auxin.probes.remedy import Remedy, remedies
from auxin.probes.thresholds import Thresholds
from auxin.values import check as check_value

if TYPE_CHECKING:
    import altair

    from auxin.report.check_page import Checked


PROFILED = ("norm", "cosine", "gradient")
COLUMNS = (
    *((name, "measured", name) for name in PROFILED),
    *((f"predicted_{name}", "predicted", name) for name in PROFILED),
    *((name, "measured", name) for name in (*BRANCH_COLUMNS, "gap")),
    ("gradient_error", "error", "gradient"),
)
"""Of the table: the name, and where it is from."""


class UnhealthyModel(AuxinError, AssertionError):
    """``assert_healthy`` has found something; the message has the findings' sentences."""


@dataclass(frozen=True)
class CheckReport(Diagnosis, Drawn):
    """What ``check`` found; prints as a table, draws itself in a notebook."""

    @classmethod
    def of(cls, found: Diagnosis) -> CheckReport:
        """A diagnosis with its table, text, figure and page."""
        return cls(**vars(found))

    @property
    def diagnosis(self) -> Diagnosis:
        """What was observed, described and predicted: the report itself."""
        return self

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def layers(self) -> pl.DataFrame:
        """A row for the stream's start (0) and for each layer.

        norm (‖x‖²/d), cosine (of two different tokens), gradient (squared, relative to the output's) as measured;
        predicted_norm, predicted_cosine, predicted_gradient from the intended initialization; attention_share and
        mlp_share of the branches' norm² in the stream after them; entropy of attention relative to uniform; spread
        of its logits; cross_share of cross-attention; gradient_error, the gradient's standard error. Null where it
        was not measured or no theory applies.
        """
        columns: dict[str, Any] = {"layer": range(self.depth + 1)}
        for name, source, column in COLUMNS:
            profile = self.predicted if source == "predicted" else self.observation
            values = {} if profile is None else profile.errors if source == "error" else profile.columns
            columns[name] = pl.Series(name, values.get(column, [None] * (self.depth + 1)), dtype=pl.Float64)
        return pl.DataFrame(columns).with_columns(pl.exclude("layer").fill_nan(None))

    @property
    def depth(self) -> int:
        """Number of layers."""
        seen, network = self.observation, self.intended
        if seen is not None:
            return seen.depth
        return 0 if network is None else network.depth

    @property
    def totals(self) -> dict[str, float | None]:
        """Over the whole depth: log (1 − c_L)/(1 − c_0), log of the gradients' growth, as measured and predicted."""
        seen = self.observation
        found: dict[str, float] = {}
        for prefix, profile in (("", seen), ("predicted_", self.predicted)):
            found[f"{prefix}angle"] = math.nan if profile is None else profile.angle_total
            found[f"{prefix}gradient"] = math.nan if profile is None else profile.gradient_total
        gap = None if seen is None else seen.columns.get("gap")
        found["tangent"] = math.nan if gap is None else math.log(gap[-1] / gap[0])
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def remedies(self, target: float | None = None) -> list[Remedy]:
        """What GPT-2's rule, CompleteP's and DeepNorm would give, and the factor for an angle total of ``target``.

        Empty for a model of no known family. Cost: some 13 propagations of 24 tokens.
        """
        recipe = self.recipe
        if self.intended is None or recipe is None:
            return []
        if self.observation is not None:
            gram = self.observation.grams[0].mean(0)
        elif recipe.embedding.norm > 0:
            gram = recipe.embedding.gram(24)
        else:
            return []
        scaled = recipe.scheme.depth_scaled
        return remedies(self.intended, gram, recipe.causal, recipe.sizes.width, scaled=scaled, target=target)

    def remedy_table(self, target: float | None = None) -> str:
        """``remedies`` as text of at most 80 columns."""
        from auxin.experiment.check_text import remedy_table

        return remedy_table(self.remedies(target))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        seen = self.observation
        return {
            "model": self.name,
            "ok": self.ok,
            "findings": [asdict(finding) | {"severity": finding.severity} for finding in self.findings],
            "notes": list(self.notes),
            "totals": self.totals,
            "logit_std": None if seen is None else seen.logit_std,
            "excess_loss": None if seen is None else seen.excess_loss,
            "layers": self.layers.to_dicts(),
            "branches": [] if seen is None else [_branch(b) for b in seen.branches],
        }

    def summary(self) -> str:
        """The table and the findings as text of at most 80 columns."""
        from auxin.experiment.check_text import summary

        return summary(self.layers, self)

    def figure(self) -> altair.HConcatChart:
        """Cosine, norm² and gradient by layer: measured as points, predicted as lines with their band."""
        from auxin.report.theory_figures import profile_figure

        return profile_figure(self.predicted, self.observation, title=f"{self.name} at initialization")

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one page with the findings, the table and the figure, for light and dark, that loads nothing.

        A file that auxin did not write is replaced only with ``force``: ``RunError``.
        """
        from auxin.report.check_page import save_check

        return save_check(self._checked(), self.figure(), path, force=force)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from auxin.report.check_page import fragment

        return fragment(self._checked())

    def _checked(self) -> Checked:
        from auxin.report.check_page import Checked

        found: list[tuple[str, str]] = []
        for finding in self.findings:
            found.append((finding.kind, finding.sentence))
            found += [(f"follows: {each.kind}", each.sentence) for each in finding.consequences]
        return Checked(self.name, found, self.notes, self.layers)


def check(
    model: nn.Module | str | Path | Mapping[str, Any] | Any,
    inputs: Any = None,
    *,
    layers: Layers | None = None,
    batch: int = 2,
    n_tokens: int = 64,
    batch_first: bool | None = None,
    seed: int = 0,
    branch: float = 1.0,
    thresholds: Thresholds | None = None,
    reference: nn.Module | Callable[[], nn.Module] | str | None = None,
) -> CheckReport:
    """Measure a model before training, predict what it should be, and say where the two disagree.

    The model is left as it was: modes, gradients, hooks, random state.

    Args:
        model: any torch.nn.Module; or a config.json's path, settings or config of transformers, which is predicted
            alone.
        inputs: what its forward takes (a tensor, a tuple, a dict); by default random token ids, pixels or vectors.
        layers: the container of the layers by name, or the layers in order, where they are not found.
        batch: sequences of the default inputs.
        n_tokens: tokens of each.
        batch_first: whether the residual stream is [B, n, d]; found out by default.
        seed: of the default inputs, and of what is differentiated.
        branch: factor by which the branches' output maps were rescaled on purpose (``rescale_``).
        reference: what weights are compared with: a model, a function that builds one, or a scheme's name (gpt2,
            xavier, pytorch …); by default the family's recipe, fresh draws of the model's own class for what it does
            not cover, or the other layers.
        thresholds: from where on a difference is a finding; ``auxin.probes.thresholds.Thresholds``.

    Cost: a pass forward and eight back, another forward, and the prediction: 12 layers of width 768 on 64 tokens in
    about ten seconds on two cores.

    Raises ``ConfigError`` for a model without layers that are found, inputs that it does not take, weights without
    data (device meta), and configs of unknown families.

    >>> import torch
    >>> model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(64, 4), 3, enable_nested_tensor=False)
    >>> report = check(model, n_tokens=8)
    >>> report.ok
    True
    """
    if not isinstance(model, nn.Module):
        return CheckReport.of(
            diagnose_recipe(
                recipe_of(settings_of(model)), n_tokens=n_tokens, seed=seed, thresholds=thresholds
            )
        )
    reading = Reading(inputs, layers, batch, n_tokens, batch_first, seed)
    return CheckReport.of(diagnose(model, reading, branch=branch, thresholds=thresholds, reference=reference))


def assert_healthy(
    model: nn.Module, inputs: Any = None, *, kinds: Sequence[Kind] = KINDS, **settings: Any
) -> None:
    """Raise ``UnhealthyModel``, an ``AssertionError``, where ``check`` finds something of the given kinds.

    For a test suite; ``settings`` are those of ``check``.

    >>> import torch
    >>> layer = torch.nn.TransformerEncoderLayer(64, 4)
    >>> assert_healthy(torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), n_tokens=8)
    """
    for kind in kinds:
        check_value(kind in KINDS, "kind", kind, ", ".join(KINDS))
    found = [finding for finding in check(model, inputs, **settings).findings if finding.kinds & set(kinds)]
    if found:
        raise UnhealthyModel(f"{len(found)} found: " + " ".join(finding.sentence for finding in found))


def _branch(branch: Any) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(branch).items() if not name.startswith("mixed")}
    return {n: None if isinstance(v, float) and not np.isfinite(v) else v for n, v in plain.items()}
