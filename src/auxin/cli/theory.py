"""Verbs of the theory: exponents, phase, critical, attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from auxin.architecture.block import ALPHAS, Block
from auxin.cli import UsageError
from auxin.cli.block import BlockVerb
from auxin.cli.options import Flag, Writing
from auxin.cli.output import print_json, print_table
from auxin.values import check, to_dict

LARGE = 1.0
"""|total| from which on a network does much: squared gradients grow e-fold."""


@dataclass(frozen=True, kw_only=True)
class Exponents(BlockVerb):
    """Say before training whether tokens collapse and whether gradients vanish or explode.

    Example: auxin exponents --preset llama --depth 24
    """

    depth: int | None = None
    """Layers over which the exponents add up; by default those of the preset or run, else 12."""
    cosine: float = 0.3
    """Cosine of the tokens at the input, from which the fixed point is reached."""
    input_norm: float | None = None
    """Norm² per dimension that the stream starts with; by default that of the preset's or run's embeddings, else 1."""

    def run(self) -> None:
        """Print both exponents, a layer and over all."""
        from auxin.theory.exponents import CRITICAL, exponents
        from auxin.theory.propagation import BARELY

        depth, norm = self.own_depth(self.depth), self.start_norm(self.input_norm)
        source = self.layers(depth)
        found = exponents(source, self.cosine, depth, norm)
        if self.json:
            shown = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
            about = {"block": source} if isinstance(source, Block) else {"network": to_dict(source)}
            print_json({**shown, "depth": depth, "input_norm": norm, **about})
            return
        rows = [
            ["angle exponent λ_a", f"{found.angle:+z.4f}", f"{found.angle_total:+z.3f}"],
            ["gradient exponent λ_g", f"{found.gradient:+z.4f}", f"{found.gradient_total:+z.3f}"],
        ]
        if found.gradient_spectrum is not None:
            rows.append(["its second eigenvalue", f"{found.gradient_spectrum[1]:+z.4f}", ""])
        where = "q*" if isinstance(source, Block) else "at the output"
        rows += [[f"squared norm {where}", f"{found.norm:.4g}", ""]]
        rows += [[f"cosine {'c*' if isinstance(source, Block) else where}", f"{found.cosine:z.4f}", ""]]
        print_table(["quantity", "a layer", f"{depth} layers"], rows)
        total = f"over {depth} layers {_meaning(found.angle_total, found.gradient_total, BARELY, LARGE)}"
        if isinstance(source, Block) and found.norm == np.inf:
            print(f"the norm grows for ever and a layer means its limit; {total}")
            return
        if isinstance(source, Block):
            print(f"phase: {found.phase} ({_meaning(found.angle, found.gradient, CRITICAL, CRITICAL)})")
        print(f"from norm² {norm:.4g}, {total}")


def _meaning(angle: float | None, gradient: float | None, small: float, large: float) -> str:
    """What exponents, or their totals, do: up to ``small`` next to nothing, up to ``large`` little."""

    def in_words(exponent: float | None, nothing: str, little: tuple[str, str], much: tuple[str, str]) -> str:
        size, above = abs(exponent or 0.0), (exponent or 0.0) > 0
        return nothing if size <= small else (much if size > large else little)[above]

    angles = "angles shrink", "angles grow"
    gradients = "gradients shrink", "gradients grow"
    return ", ".join(
        (
            in_words(angle, "angles barely change", angles, ("tokens collapse", "tokens repel each other")),
            in_words(
                gradient, "gradients barely change", gradients, ("gradients vanish", "gradients explode")
            ),
        )
    )


@dataclass(frozen=True, kw_only=True)
class Phase(BlockVerb, Writing):
    """Map both exponents over two hyperparameters, with their zero lines and the block's own point.

    Example: auxin phase --alpha-attention 0.5 --x alpha_mlp 0.05 1 --y sigma_w 0.5 5 --out phase
    """

    x: tuple[str, float, float] = ("alpha_mlp", 0.05, 1.0)
    """Hyperparameter of the horizontal axis, from, to."""
    y: tuple[str, float, float] = ("sigma_w", 0.5, 5.0)
    """Hyperparameter of the vertical axis, from, to."""
    points: int = 60
    """Points along each axis."""
    cosine: float = 0.3
    """Cosine of the tokens at the input."""
    out: Path = Path("phase")
    """Stem of the files: figures (.png, .svg, .html) and table (.csv); -bifurcation is added for c*."""

    def __post_init__(self) -> None:
        check(2 <= self.points <= 1000, "points", self.points, "2 to 1000")

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str]) -> Self:
        """As every verb; the axis that is not chosen gives way to one that is, and a range has to rise."""
        found = super().parse(program, arguments)
        typed = {argument.split("=")[0] for argument in arguments}
        if (
            found.x[0] == found.y[0] and "--y" not in typed
        ):  # one axis was chosen: the other one's default gives way
            found = dataclasses.replace(found, y=cls.x)
        for option, (name, low, high) in (("--x", found.x), ("--y", found.y)):
            if not low < high:
                raise UsageError(
                    f"{option} is {name} {low:g} {high:g}; allowed: a name, from, to, from below to"
                )
        return found

    def run(self) -> None:
        """Draw the phase diagram and write its table."""
        from auxin.theory.phase import phase_diagram as diagram

        x, y = ((name, np.linspace(low, high, self.points).tolist()) for name, low, high in (self.x, self.y))
        frame = diagram(self.block, x, y, self.cosine)
        from auxin.outputs import write_output
        from auxin.report.theme import save
        from auxin.report.theory_figures import bifurcation, phase_diagram, sections

        point = _point(self.block, (self.x[0], self.y[0]))
        names = self.x[0], self.y[0]
        paths = save(phase_diagram(frame, names, point), self.out, force=self.force)
        lines = bifurcation(sections(frame, self.y[0]), self.x[0])
        paths += save(lines, f"{self.out}-bifurcation", force=self.force)
        table = Path(f"{self.out}.csv")
        write_output(table, frame.write_csv().encode(), force=self.force)
        shares = {phase: count / frame.height for phase, count in frame["phase"].value_counts().iter_rows()}
        if self.json:
            print_json({"phases": shares, "table": str(table), "figures": [str(path) for path in paths]})
            return
        print(", ".join(f"{phase}: {share:.1%} of the points" for phase, share in sorted(shares.items())))
        if frame["angle"].abs().max() == frame["gradient"].abs().max() == 0 and self.block.norm == "pre":
            print(
                "both exponents are 0 everywhere: with skips of 1 the norm grows for ever, and a layer's part in it "
                "tends to 0;\nauxin exponents --depth adds up the layers of a network of that depth"
            )
        print(f"table: {table}\nfigures: {', '.join(str(path) for path in paths)}")


def _point(block: Block, names: tuple[str, str]) -> tuple[float, float] | None:
    """Where the block lies; None when an axis is an α and the block's strengths are not √(1 − α²) and α."""
    shown = {name: f"{part}_branch" for name, part in ALPHAS.items()} | {"sigma_b_out": "output_bias"}
    values = [getattr(block, shown.get(name, name)) for name in names]
    on_axes = all(
        abs(getattr(block, f"{ALPHAS[name]}_skip") ** 2 + value**2 - 1) < 1e-9
        for name, value in zip(names, values, strict=True)
        if name in ALPHAS
    )
    return (values[0], values[1]) if on_axes else None


@dataclass(frozen=True, kw_only=True)
class Critical(BlockVerb):
    """Find hyperparameters at which a network of given depth starts at the edge of chaos.

    Example: auxin critical --depth 24 --vary alpha_attention alpha_mlp --sigma-w 2
    """

    depth: int = 24
    """Layers."""
    vary: tuple[str, ...] = ("alpha_attention", "alpha_mlp")
    """One or two hyperparameters to solve for."""

    def run(self) -> None:
        """Print the hyperparameters that are critical."""
        from auxin.theory.critical import critical

        found = critical(self.block, self.depth, self.vary)
        values = found.hyperparameters
        if self.json:
            print_json(dataclasses.asdict(found))
            return
        print_table(["hyperparameter", "value"], [[name, f"{value:.6g}"] for name, value in values.items()])
        print(
            f"over {self.depth} layers: angle {found.angle_total:+.3g}, gradient {found.gradient_total:+.3g}"
        )
        if not found.reached:
            print("the angle exponent has no zero within the ranges; this is the nearest point")


@dataclass(frozen=True, kw_only=True)
class Attention(Writing):
    """Compare the exact moments of softmax attention at finite length with the published approximations.

    Example: auxin attention --n-tokens 16 128 1024 --spread 6 --out attention
    """

    n_tokens: tuple[int, ...] = (16, 128, 1024)
    """Sequence lengths, a panel each."""
    spread: float = 6.0
    """Largest standard deviation of a row's logits."""
    cosine: float = 0.0
    """Correlation of two rows' logits."""
    points: int = 25
    """Spreads from 0 on."""
    out: Path = Path("attention")
    """Stem of the figure (.png, .svg, .html)."""
    json: Flag = False
    """Print the table as one JSON object."""

    def __post_init__(self) -> None:
        check(2 <= self.points <= 1000, "points", self.points, "2 to 1000")
        check(len(self.n_tokens) > 0, "n_tokens", "", "one or more sequence lengths")

    def run(self) -> None:
        """Print and draw the moments of attention."""
        import polars

        from auxin.report.theme import save
        from auxin.report.theory_figures import attention_moments as draw
        from auxin.theory.moments import attention_moments

        spreads = np.linspace(0, self.spread, self.points)
        rows = [
            {"n_tokens": n, "method": method, "spread": float(spread), "r1": float(r1)}
            for n in self.n_tokens
            for method in ("exact", "annealed", "rem")
            for spread, r1 in zip(spreads, attention_moments(n, spreads, self.cosine, method).r1, strict=True)
        ]
        paths = save(draw(polars.DataFrame(rows)), self.out, force=self.force)
        if self.json:
            print_json({"moments": rows, "figures": [str(path) for path in paths]})
            return
        last = {(row["n_tokens"], row["method"]): row["r1"] for row in rows}
        table = [
            [str(n), *(f"{last[n, m]:.4g}" for m in ("exact", "annealed", "rem"))] for n in self.n_tokens
        ]
        print_table(["tokens", "exact", "annealed", "REM limit"], table, f"R1 at spread {self.spread:g}")
        print(f"figures: {', '.join(str(path) for path in paths)}")
