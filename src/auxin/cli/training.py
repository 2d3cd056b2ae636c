"""Verbs that make a run, or a table of it: train, demo, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

import tyro

from auxin.cli.options import Flag, Verb, Writing, parse, parse_known, refused
from auxin.config import PresetName, RunConfig, preset
from auxin.models.devices import check_device
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class _Defaults:
    """What decides about the defaults of everything else."""

    preset: PresetName = "laptop"
    task: str = "question"
    out: Path | None = None

    def config(self, arguments: Sequence[str]) -> RunConfig:
        """The preset's; where none is named and a run is there, that run's own, so that ``--out`` goes on with it."""
        typed = {argument.split("=")[0] for argument in arguments}
        if "--preset" not in typed and self.out is not None and (self.out / "config.toml").is_file():
            from auxin.runs import open_run

            return open_run(self.out).config
        config = preset(self.preset, self.task)
        return replace(config, model=config.model.for_layers()) if "--model.layers" in typed else config


@dataclass(frozen=True, kw_only=True)
class Following(Verb):
    """Base of the verbs whose metrics can be looked at elsewhere."""

    tensorboard: Path | None = None
    """Directory for TensorBoard, which gets the metrics as they are written."""
    wandb: str | None = None
    """Project of Weights & Biases, which gets them, too."""

    @property
    def sinks(self) -> dict[str, Any]:
        """Both by name."""
        return {"tensorboard": self.tensorboard, "wandb": self.wandb}


@dataclass(frozen=True, kw_only=True)
class Train(Following):
    """Train a stack of seeds on a task; a run that was stopped goes on where it was.

    Example: auxin train --task question --model.depth 4 --steps 3000 --seeds 0 1 2 --out runs/question
    """

    out: Path
    """Directory of the run: metrics, checkpoints, figures."""
    preset: PresetName = "laptop"
    """Where the defaults of all other options come from; unless it is named, from a run that is in --out."""
    json: Flag = False
    """Print the summary as one JSON object."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str]) -> Self:
        with refused(()):
            chosen = parse_known(_Defaults, program, arguments)
            default = cls(out=tyro.MISSING, preset=chosen.preset, config=chosen.config(arguments))
        return parse(cls, program, arguments, default)

    def run(self) -> None:
        """Train the run and print its summary."""
        check_device(self.config.device)
        for name, files in (("data_dir", Path.is_dir), ("grammar", Path.is_file)):
            path = getattr(self.config, name)
            check(
                not path or files(Path(path)),
                name,
                path,
                "a directory" if name == "data_dir" else "a text file",
            )
        from auxin.cli.summary import report
        from auxin.experiment.train import train

        report(train(self.config, self.out, progress=True, **self.sinks), self.json)


@dataclass(frozen=True, kw_only=True)
class Resume(Following):
    """Go on with a run from its own settings: to its last step, or, also where it is finished, to more steps.

    Example: auxin resume runs/question --steps 20000
    """

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's directory."""
    steps: int = 0
    """Optimizer steps in all; 0 means the run's."""
    stretch: Flag = False
    """Extend a run whose learning rate decays to its end: the rate goes on as that of the longer run."""
    data_dir: str | None = None
    """Where the run's data are now; they must be the same."""
    grammar: str | None = None
    """Where the run's grammar file is now; its data must be the same."""
    log_every: int | None = None
    """Steps between evaluations from here on."""
    checkpoint_every: int | None = None
    """Steps between checkpoints kept from here on."""
    device: str | None = None
    """Device that trains from here on; another one changes last bits."""
    threads: int | None = None
    """CPU threads from here on."""
    json: Flag = False
    """Print the summary as one JSON object."""

    def run(self) -> None:
        """Train the run on and print its summary."""
        from auxin.runs import open_run
        from auxin.runs.run import CHANGEABLE

        run = open_run(self.run_path)
        check_device(self.device or run.config.device)
        from auxin.cli.summary import report
        from auxin.experiment.train import resume

        given = {name: getattr(self, name) for name in CHANGEABLE if getattr(self, name) is not None}
        settings = {"steps": self.steps, "stretch": self.stretch, **self.sinks, **given}
        report(resume(run, progress=True, **settings), self.json)


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Watch structural grokking: train the question task with the laptop preset, and draw both curves.

    Example: auxin demo
    """

    out: Path = Path("runs/demo")
    """Directory of the run."""
    steps: int = 0
    """Optimizer steps; 0 means those of the preset."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the initialization, the data order and dropout."""
    json: Flag = False
    """Print the summary as one JSON object."""

    def __post_init__(self) -> None:
        check(0 <= self.steps <= 10**9, "steps", self.steps, "0 (those of the preset) to 10^9")
        check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 − 1")

    def run(self) -> None:
        """Train the demo and print its summary."""
        from auxin.cli.summary import report
        from auxin.experiment.train import train

        config = preset("laptop", "question")
        config = replace(config, seeds=(self.seed,), steps=self.steps or config.steps)
        report(train(config, self.out, progress=True), self.json)


@dataclass(frozen=True, kw_only=True)
class Export(Writing):
    """Write a run's metrics as one table, or for TensorBoard, or its model as a folder that transformers loads.

    The table's columns are step, member, split, name and value.

    Example: auxin export runs/question --out question.parquet
    Example: auxin export runs/question --hf question-model --checkpoint 3000
    """

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's directory."""
    out: Path | None = None
    """File of the table; its ending decides: .parquet or .csv."""
    tensorboard: Path | None = None
    """Directory for TensorBoard."""
    wandb: str | None = None
    """Project of Weights & Biases."""
    hf: Path | None = None
    """Folder of the model and its vocabulary, for transformers."""
    checkpoint: int | None = None
    """Step of the model; by default the last one kept."""
    member: int | None = None
    """Seed of the model; by default the run's first."""
    data_dir: str = ""
    """Where the sentences of a run with a --data-dir are now, if they have moved."""

    def __post_init__(self) -> None:
        given = (self.out, self.hf, self.tensorboard, self.wandb)
        allowed = "one or more of --out FILE, --hf DIR, --tensorboard DIR, --wandb PROJECT"
        check(any(each is not None for each in given), "out", self.out, allowed)

    def run(self) -> None:
        """Write the run to every place that is named."""
        from auxin.runs import export, open_run

        run = open_run(self.run_path)
        if self.out is not None:
            export(run, self.out, force=self.force)
            print(self.out)
        if self.tensorboard is not None or self.wandb is not None:
            from auxin.experiment.sinks import send, sinks_of

            sinks = sinks_of(self.tensorboard, self.wandb)
            send(run, sinks)
            print("\n".join(sink.name for sink in sinks))
        if self.hf is not None:
            from auxin.experiment.data import task_of

            model, words = run.model(self.checkpoint, self.member), task_of(run, self.data_dir).vocabulary
            print(model.to_transformers(self.hf, words, force=self.force))
