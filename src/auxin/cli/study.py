"""The verb that conducts a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli.options import Flag, Verb
from auxin.cli.output import print_json, print_table
from auxin.studies.design import Scale, StudyName
from auxin.values import check

if TYPE_CHECKING:
    from auxin.lab.plan import Plan
    from auxin.lab.queue import Outcome
    from auxin.studies.analysis import Analysis


@dataclass(frozen=True, kw_only=True)
class Study(Verb):
    """Train all runs of a study, as far as they are not trained yet, and answer its question from them.

    Example: auxin study depth --scale minutes --out runs/studies/depth
    """

    name: Annotated[StudyName, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which: grokking, depth, dynamics, trainability, joint, repair, totals, architectures."""
    scale: Scale = "laptop"
    """minutes: tiny models; laptop: hours on two cores; paper: the published sizes, on a GPU."""
    out: Path | None = None
    """The study's directory; by default runs/studies/NAME-SCALE."""
    workers: int = 0
    """Runs at a time; 0: as many as the cores, or GPUs, allow."""
    ray: str = ""
    """Address of a Ray cluster that trains the runs instead; auto: the one running here."""
    reuse: tuple[Path, ...] = ()
    """Directories of other studies: runs of the same config that finished there are copied, not trained again."""
    dry_run: Flag = False
    """Print what it would cost, measured here, and train nothing."""
    so_far: Flag = False
    """Train nothing and answer from the runs that have finished."""
    json: Flag = False
    """Print the answer, or the plan, as one JSON object."""

    def __post_init__(self) -> None:
        check(not (self.dry_run and self.so_far), "so_far", True, "without --dry-run")

    def run(self) -> int:
        """Train what is left of the study and print its answer; the status says whether runs failed."""
        from auxin.lab.session import Session
        from auxin.report.study_figures import save_study_figures
        from auxin.runs.record import open_study
        from auxin.studies.conduct import answer_study, plan_study, train_study

        out = self.out or Path("runs") / "studies" / f"{self.name}-{self.scale}"
        session = Session(out, self.workers, self.ray, self.reuse, progress=True)
        if self.dry_run:
            report_plan(plan_study(self.name, self.scale, session), self.json)
            return 0
        outcomes = train_study(self.name, self.scale, session) if not self.so_far else []
        if not self.so_far and not self.json:
            report_outcomes(outcomes)
        analysis = answer_study(self.name, self.scale, out, outcomes)
        study = open_study(out)
        figures = save_study_figures(study)
        if self.so_far and not self.json:
            done = sum(run["status"] == "finished" for run in study.values["runs"])
            print(f"{done} of {len(study.values['runs'])} runs have finished.\n")
        _report_answer(analysis, out, figures, self.json)
        return int(any(outcome.status != "finished" for outcome in outcomes))


def report_plan(plan: Plan, as_json: bool) -> None:
    """Print what the runs would cost."""
    from auxin.report.words import duration

    if as_json:
        print_json(asdict(plan))
        return
    rows = [
        ("runs left to train", f"{plan.runs} ({plan.members} models)"),
        ("steps", f"{plan.steps:,}"),
        ("FLOPs", f"{plan.flops:.2g}"),
        ("memory", f"{plan.memory / 1e9:.1f} GB for {plan.workers} at a time"),
        ("disk", f"{plan.disk / 1e9:.1f} GB"),
        ("wall time", f"about {duration(3600 * plan.hours)} on {plan.device}, {plan.workers} at a time"),
    ]
    print_table(("plan", "estimate"), rows)


def report_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print how each run ended."""
    from auxin.report.words import duration

    rows = [(o.name, o.status, duration(o.seconds) if o.seconds else "before", o.detail) for o in outcomes]
    print_table(("run", "status", "time", "what went wrong"), rows)


def _report_answer(analysis: Analysis, out: Path, figures: Sequence[Path], as_json: bool) -> None:
    findings = [asdict(finding) for finding in analysis.findings]
    if as_json:
        claims = [asdict(claim) for claim in analysis.claims]
        answer = {"answer": analysis.answer, "more": analysis.more}
        summary = {"question": analysis.question, **answer, "claims": claims}
        paths = [str(path) for path in figures]
        print_json(summary | {"findings": findings, "out": str(out), "figures": paths})
        return
    print(f"{analysis.question}\n\n{analysis.text}\n")
    for claim in analysis.claims:
        print(f"{claim.verdict}: {claim.statement}")
    print()
    for finding in analysis.findings:
        if finding.name not in analysis.answered:
            print(f"- {finding.sentence}")
    print(f"\n{out / 'study.json'}\n{out / 'tables'}\n{out / 'figures'}")
