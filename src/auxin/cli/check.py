"""The verb check: is the initialization of a model all right, and where is it not?"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from auxin.cli import UsageError
from auxin.cli.options import Examining, Flag, Result, Source, Writing
from auxin.errors import ConfigError
from auxin.values import check, check_finite

if TYPE_CHECKING:
    from torch import nn

    from auxin.probes.check_report import CheckReport
    from auxin.probes.observe import Observation

FOUND = 3
"""Exit status where something was found."""
MOST = 100.0
"""Nats, beyond any loss that training is stuck at."""
UNIFORM = 0.02
"""Difference from ln V, in nats, up to which a loss counts as that of a uniform guess."""
Kind = Literal["dead", "mismatch", "collapse", "explode", "loss"]


@contextlib.contextmanager
def bad_arguments() -> Iterator[None]:
    """A source that is not there, or is nothing to check, is a bad argument; one whose own code raises has failed."""
    try:
        yield
    except ConfigError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError | None):
            raise
        raise UsageError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class CheckOptions(Examining, Writing):
    """Compare a model with what its initialization should be; exit status 0 nothing found, 3 findings.

    SOURCE is a config.json of transformers (or its directory), which is only read: predicted, and measured where
    transformers is installed; or module:function or file.py:function that returns a torch.nn.Module: importing it
    and calling it RUNS it.

    Example: auxin check my_project.model:build --kwargs depth=24 --out check
    """

    source: Source
    """A config.json or its directory, or module:function."""
    data: Path | None = None
    """Token ids (.npy) or a text, whose words are numbered; by default random tokens."""
    reference: str | None = None
    """What weights are compared with: a scheme (gpt2, xavier, pytorch …), or module:function that builds a model."""
    poison: bool = False
    """Fill memory with NaN before the model is built: parameters that are never set are found, whatever memory held."""
    branch: float = 1.0
    """Factor by which the branches' output maps were rescaled on purpose."""
    target: float | None = None
    """Angle total, log (1 − c_L)/(1 − c_0), for which a factor on the branches is looked for; shows the remedies."""
    loss: float | None = None
    """A loss that training is stuck at: it is compared with that of a uniform guess."""
    fail_on: tuple[Kind, ...] = get_args(Kind)
    """Kinds of findings that give exit status 3."""
    save: Path | None = None
    """A file that keeps the state at initialization, for --against."""
    against: Path | None = None
    """A file of --save: what has changed since is said, and gives exit status 3."""
    github: Flag = False
    """Print findings as annotations of GitHub's workflows, too."""
    out: Path | None = None
    """Stem of the figure (.png, .svg) and of the page (.html)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss is not None:
            check_finite("loss", self.loss, 0, MOST, f"0 to {MOST:g} nats")

    def run(self) -> Result:
        """The findings; the status says whether a kind of ``--fail-on`` is among them."""
        from auxin.files import read_json
        from auxin.probes.check_report import remedy_table

        before = None if self.against is None else read_json(self.against)
        report, model = self._report()
        remedies = report.remedies(self.target) if self.target is not None else []
        values = report.to_dict() | ({"remedies": remedies} if remedies else {})
        text = [report.summary()]
        text += [] if self.loss is None else textwrap.wrap(guess_of(self.loss, report.observation), 80)
        text += ["", remedy_table(remedies)] if remedies else []
        if self.target is not None and not remedies:
            text.append(f"--target {self.target:g}: no factor is looked for, as the network is not known.")
        found = any(finding.kinds & {*self.fail_on} for finding in report.findings)
        if self.save is not None or self.against is not None:
            changed = self._compared(report, model, before)
            values |= {"changes": changed}
            if self.against is not None:
                lines = [
                    textwrap.wrap(c, 80, subsequent_indent="  ", break_on_hyphens=False) for c in changed
                ]
                text += ["", f"Since {self.against}:", *itertools.chain(*lines or [["nothing changed."]])]
            found = found or bool(changed)
        text += github_lines(self.source, report) if self.github else []
        return Result(values, "\n".join(text), self._write(report), FOUND if found else 0)

    def _compared(
        self, report: CheckReport, model: nn.Module | None, before: Mapping[str, Any] | None
    ) -> list[str]:
        """What has changed since the state ``before``; the present one is kept in ``save``."""
        from auxin.files import dump_json
        from auxin.outputs import MARK, write_output
        from auxin.probes.saved import changes, state_of

        if model is None:
            raise ConfigError(f"{self.source} is predicted alone; allowed with --save and --against: a model")
        state = state_of(model, report)
        if self.save is not None:
            write_output(self.save, dump_json({"auxin": MARK.decode(), **state}), force=self.force)
        return [] if before is None else changes(state, before)

    def _report(self) -> tuple[CheckReport, nn.Module | None]:
        from auxin.experiment.sources import arguments_of, build, is_config, model_of_config, tokens_of
        from auxin.families.configs import read_config, recipe_of
        from auxin.families.preparation import poisoned
        from auxin.probes.check import check as examine
        from auxin.probes.inputs import vocabulary_of

        with bad_arguments(), poisoned() if self.poison else contextlib.nullcontext():
            given = arguments_of(self.kwargs)
            settings = read_config(self.source) if is_config(self.source) else None
            check(settings is None or not given, "kwargs", self.kwargs, "none, of a config")
            model = build(self.source, given) if settings is None else model_of_config(settings, self.seed)
        if isinstance(model, str):
            assert settings is not None
            try:
                recipe_of(settings)  # what cannot be measured has to be predicted
            except ConfigError as error:
                raise UsageError(f"{error}; {model}") from error
            report = examine(settings, n_tokens=self.n_tokens, seed=self.seed)
            return dataclasses.replace(report, remarks=(*report.remarks, model)), None
        inputs: Any = None
        if self.data is not None:
            table = vocabulary_of(model)
            size = None if table is None else table.num_embeddings
            inputs = tokens_of(self.data, size, self.batch, self.n_tokens)
        report = examine(
            model,
            inputs,
            layers=self.layers,
            batch=self.batch,
            n_tokens=self.n_tokens,
            seed=self.seed,
            branch=self.branch,
            reference=self._reference(),
        )
        return report, model

    def _reference(self) -> Any:
        from auxin.experiment.sources import build

        source = self.reference
        if source is None or ":" not in source:
            return source

        def reference() -> Any:
            return build(source, {})

        reference.__name__ = source
        return reference

    def _write(self, report: CheckReport) -> list[Path]:
        if self.out is None:
            return []
        from auxin.report.theme import save

        pictures = save(report.plot(), self.out, force=self.force)[:2]
        return [*pictures, report.to_html(f"{self.out}.html", force=self.force)]


def github_lines(source: str, report: CheckReport) -> list[str]:
    """Findings as lines that GitHub shows at the source: ``::error file=…,line=…,title=…::sentence``."""
    from auxin.experiment.sources import place_of

    file, line = place_of(source)
    place = f"file={_escaped(file, properties=True)},line={line}"
    return [
        f"::{f.severity} {place},title=auxin {f.kind}::{_escaped(f'{f.module}: {f.sentence}')}"
        for f in report.findings
    ]


def _escaped(text: str, *, properties: bool = False) -> str:
    """As GitHub's commands want it."""
    codes = {"%": "%25", "\r": "%0D", "\n": "%0A"} | ({":": "%3A", ",": "%2C"} if properties else {})
    return "".join(codes.get(c, c) for c in text)


def guess_of(loss: float, seen: Observation | None) -> str:
    """What a loss in nats says of the predictions: as good as a uniform guess among how many tokens."""
    words = None if seen is None else seen.vocabulary
    equal = f"A loss of {loss:g} is that of a uniform guess among {math.exp(loss):,.0f} tokens"
    if words is None:
        return f"{equal}."
    whole = f"the whole vocabulary of {words:,} (ln {words:,} = {math.log(words):.2f})"
    if abs(loss - math.log(words)) <= UNIFORM:
        return f"{equal}: {whole}. Nothing was learned."
    return f"{equal}; {'better' if loss < math.log(words) else 'worse'} than one among {whole}."
