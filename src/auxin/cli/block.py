"""What verbs of the theory are about: a preset's or a run's layers, or a block built from options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import tyro
from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from auxin.architecture import Network
from auxin.architecture.block import ALPHAS, Block, replace
from auxin.architecture.mlp import Activation, AnyActivation
from auxin.cli import UsageError
from auxin.cli.options import Verb, parse_known, registry, spec_of
from auxin.config import ModelConfig, PresetName, preset
from auxin.values import check


@registry.primitive_rule
def _activation_by_name(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A function cannot be typed, so of a block's activations the command line knows the named ones."""
    return spec_of(Activation) if info.type == AnyActivation else None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a verb's defaults come from."""

    preset: PresetName | None = None
    """Start from what a preset's initialization implies."""
    run_path: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Start from what a run's initialization implies."""

    @property
    def model(self) -> ModelConfig | None:
        """The model of the preset or the run; None for neither."""
        both = self.preset is not None and self.run_path is not None
        check(not both, "run", str(self.run_path), "one of --preset and --run")
        if self.run_path is not None:
            from auxin.runs import open_run

            return open_run(self.run_path).config.model
        return None if self.preset is None else preset(self.preset).model


@dataclass(frozen=True, kw_only=True)
class BlockVerb(Origin, Verb):
    """A verb about one block: that of a preset, of a run, or plain pre-norm's, with options on top."""

    alpha_attention: float | None = None
    """Set attention's skip to √(1 − α²) and its branch to α."""
    alpha_mlp: float | None = None
    """Set the MLP's skip to √(1 − α²) and its branch to α."""
    start: Annotated[Block, tyro.conf.arg(name="")] = field(default_factory=Block)

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str], default: Any = None) -> Self:
        origin = parse_known(Origin, program, arguments)
        for name, part in ALPHAS.items():
            option = f"--{name.replace('_', '-')}"
            typed = {argument.split("=")[0].replace("_", "-") for argument in arguments}
            if option in typed and (twice := typed & {f"--{part}-skip", f"--{part}-branch"}):
                raise UsageError(f"{option} sets {' and '.join(sorted(twice))}, too; allowed: one of them")
        model = origin.model
        classic = model is not None and not model.layers
        start = Block.of(model) if classic else Block()
        default = cls(preset=origin.preset, run_path=origin.run_path, start=start)
        return super().parse(program, arguments, default)

    @property
    def block(self) -> Block:
        """The block that all options together describe; ``ConfigError`` for layers that are no block."""
        model = self.model
        if model is not None and model.layers:
            verb = type(self).__name__.removesuffix("Options").lower()
            allowed = f"one with classic layers, for {verb} (exponents, simulate take any)"
            check(False, "preset or run", self.preset or str(self.run_path), allowed)
        alphas = {name: getattr(self, name) for name in ALPHAS}
        return replace(self.start, **{name: value for name, value in alphas.items() if value is not None})

    def layers(self, depth: int) -> Network | Block:
        """The network of a described preset or run at this depth, else the block."""
        model = self.model
        if model is None or not model.layers:
            return self.block
        untouched = self.start == Block() and all(getattr(self, name) is None for name in ALPHAS)
        name = self.preset or str(self.run_path)
        check(untouched, "preset or run", name, "one with classic layers, beside options of a block")
        return dataclasses.replace(model, depth=depth).network()

    def start_norm(self, given: float | None) -> float:
        """Norm² that the stream starts with: the one given, that of the preset or run, or 1."""
        if given is not None:
            return given
        return 1.0 if self.model is None else self.model.input_norm()

    def own_depth(self, given: int | None) -> int:
        """The depth given, that of the preset or run, or 12."""
        check(given is None or given >= 1, "depth", given, "1 or more")
        own = 12 if self.model is None else self.model.depth
        return own if given is None else given
