"""The verb study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli.options import Flag, Result, Sessions, table
from auxin.studies.design import Scale, StudyName
from auxin.values import check

if TYPE_CHECKING:
    from auxin.lab.named import Outcome
    from auxin.lab.plan import Plan


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Sessions):
    """Train all runs of a study, as far as they are not trained yet, and answer its question from them.

    Example: auxin study depth --scale minutes --out runs/studies/depth
    """

    name: Annotated[StudyName, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which: grokking, depth, dynamics, trainability, joint, repair, totals, architectures,
    failure, remedies."""
    scale: Scale = "laptop"
    """minutes: tiny models; laptop: hours on two cores; paper: the published sizes, on a GPU."""
    out: Path | None = None
    """The study's directory; by default runs/studies/NAME-SCALE."""
    so_far: Flag = False
    """Train nothing and answer from the runs that have finished."""

    def __post_init__(self) -> None:
        check(not (self.dry_run and self.so_far), "so_far", True, "without --dry-run")

    def run(self) -> Result:
        """Train what is left of the study; its answer, whose status says whether runs failed."""
        from auxin.lab.places import Owner
        from auxin.lab.session import Session
        from auxin.report.study_figures import save_study_figures
        from auxin.runs.record import open_study
        from auxin.studies.conduct import answer_study, runs_of

        out = self.out or Path("runs") / "studies" / f"{self.name}-{self.scale}"
        session = Session(out, self.workers, self.ray, self.reuse, progress=True)
        owner = Owner(self.name, self.scale)
        if self.dry_run:
            return planned(session.plan(runs_of(self.name, self.scale), owner))
        outcomes: list[Outcome] = []
        if not self.so_far:
            outcomes = session.train(runs_of(self.name, self.scale), owner)
            if not self.json:
                print(outcomes_table(outcomes))
        analysis = answer_study(self.name, self.scale, out, outcomes)
        study = open_study(out)
        figures = [str(path) for path in save_study_figures(study)]
        values = {
            name: value for name, value in asdict(analysis).items() if name not in ("tables", "answered")
        }
        done = sum(run["status"] == "finished" for run in study.values["runs"])
        lines = [f"{done} of {len(study.values['runs'])} runs have finished.\n"] if self.so_far else []
        lines += [f"{analysis.question}\n\n{analysis.text}\n"]
        lines += [f"{claim.verdict}: {claim.statement}" for claim in analysis.claims]
        more = [finding for finding in analysis.findings if finding.name not in analysis.answered]
        lines += ["", *(f"- {finding.sentence}" for finding in more), ""]
        lines += [str(out / name) for name in ("study.json", "tables", "figures")]
        status = int(any(outcome.status != "finished" for outcome in outcomes))
        return Result(values | {"out": str(out), "figures": figures}, "\n".join(lines), status=status)


def planned(plan: Plan) -> Result:
    """What runs would cost."""
    from auxin.report.markup import duration

    rows = [
        ("runs left to train", f"{plan.runs} ({plan.members} models)"),
        ("steps", f"{plan.steps:,}"),
        ("FLOPs", f"{plan.flops:.2g}"),
        ("memory", f"{plan.memory / 1e9:.1f} GB for {plan.workers} at a time"),
        ("disk", f"{plan.disk / 1e9:.1f} GB"),
        ("wall time", f"about {duration(3600 * plan.hours)} on {plan.device}, {plan.workers} at a time"),
    ]
    return Result(asdict(plan), table(("plan", "estimate"), rows))


def outcomes_table(outcomes: Sequence[Outcome]) -> str:
    """How each run ended."""
    from auxin.report.markup import duration

    rows = [(o.name, o.status, duration(o.seconds) if o.seconds else "before", o.detail) for o in outcomes]
    return table(("run", "status", "time", "what went wrong"), rows)
