"""Transformers in the style of other people's own code: what auxin.check recognizes, predicts, flags and names.

    python benchmarks/recognition.py [--networks 12] [--width 256] [--fresh 20] [--again] [MODEL …]

Writes docs/tables/recognition.csv, a row a stack of layers: its network as it is recognized; how far its prediction is
from the mean over networks, at most, in cosine, norm² and gradient; how many fresh models are flagged; how many slips
are named first, of a model with and without fresh draws of its class. Rows that it has are kept, unless ``--again`` or
named. The models are tests/probes/own.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from auxin.architecture import Network
from auxin.probes.check import check
from auxin.probes.check_report import CheckReport
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from auxin.probes.prediction import predict

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from probes import own

TABLE = Path(__file__).resolve().parents[1] / "docs" / "tables" / "recognition.csv"
TOKENS, DEPTH = 16, 4


def in_a_line(network: Network) -> str:
    """The kinds of layers of a network, without the size of weights."""
    lines = []
    for layer in dict.fromkeys(network.layers):
        parts = []
        for sublayer in layer.sublayers:
            norms = {place: getattr(sublayer, place) for place in ("before", "after", "stream")}
            around = [f"{norm.kind} norm {place}" for place, norm in norms.items() if norm is not None]
            strength = [f"× {sublayer.branch:g}"] if sublayer.branch != 1 else []
            parts.append(
                " ".join([_settings(sublayer.body), *strength]) + f" ({', '.join(around) or 'no norm'})"
            )
        lines.append((" beside " if layer.parallel else ", ").join(parts))
    return "; ".join(dict.fromkeys(lines))


def _settings(value: Any) -> str:
    """A part with what it has beyond the usual, but for σ's."""
    found = []
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if content != field.default and not field.name.startswith(("sigma", "qk_epsilon", "factors")):
            found.append(
                f"{field.name}={_settings(content) if dataclasses.is_dataclass(content) else content}"
            )
    return f"{type(value).__name__}({', '.join(found)})"


def stacks(report: CheckReport) -> Iterator[CheckReport]:
    """That of the encoder, if there is one, and its own."""
    if report.encoder is not None:
        yield report.encoder
    yield report


def _mean(seen: Sequence[Any], of: Callable[[Any], Any]) -> Any:
    return np.mean([of(each) for each in seen], 0)


def deviations(name: str, width: int, networks: int) -> list[dict[str, float]]:
    """Of each stack: the largest differences over the layers between prediction and mean over networks."""
    models = [own.built(name, seed, DEPTH, width) for seed in range(networks)]
    found = []
    for report in stacks(check(models[0], own.inputs(name), n_tokens=TOKENS)):
        network, tokens = report.intended, report.tokens
        if network is None or tokens is None:
            found.append({})
            continue
        seen = [
            observe(m, Reading(own.inputs(name), layers=report.observation.stack, n_tokens=TOKENS))
            for m in models
        ]
        mean = partial(_mean, seen)
        grams, gradient = mean(lambda s: s.grams[:, 0]), mean(lambda s: s.gradient)
        shared = mean(lambda s: s.means[0][:, None] * s.means[0])
        memory = None if tokens.memory is None else mean(lambda s: s.memory[0])
        tokens = dataclasses.replace(tokens, gram=grams[0], memory=memory, shared=shared)
        predicted = predict(network, tokens, draws=256)
        root = np.sqrt(np.einsum("lii->li", grams))
        pairs = ~np.eye(grams.shape[1], dtype=bool)
        cosine = (grams / (root[:, :, None] * root[:, None]))[:, pairs].mean(1)
        found.append(
            {
                "cosine": np.abs(predicted.cosine - cosine).max(),
                "norm": np.abs(predicted.norm / (root**2).mean(1) - 1).max(),
                "gradient": np.abs(predicted.gradient / gradient - 1).max(),
            }
        )
    return found


def named(name: str, seed: int) -> Iterator[bool]:
    """Of every slip, with fresh draws of the class and without: whether what is named first has it."""
    for slip in own.SLIPS:
        for drawn in (True, False):
            model, modules = own.harmed(name, slip, drawn=drawn, seed=seed)
            findings = check(model, own.inputs(name, seed), n_tokens=TOKENS, seed=seed).findings
            if not findings or findings[0].module not in modules:
                first = findings[0].sentence if findings else "nothing"
                print(f"{name}, {slip}, {'with' if drawn else 'without'} fresh draws: {first}")
            yield bool(findings) and findings[0].module in modules


def rows(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What is found of a model, a row a stack."""
    fresh, flagged = [], 0
    for seed in range(options.fresh):
        report = check(own.built(name, seed, DEPTH), own.inputs(name, seed), n_tokens=TOKENS, seed=seed)
        fresh, flagged = list(stacks(report)), flagged + bool(report.findings)
        for finding in report.findings:
            print(f"{name}, seed {seed}: {finding.sentence}")
    slips = list(named(name, 5))
    errors = deviations(name, options.width, options.networks)
    parts = ("",) if len(fresh) == 1 else (" encoder", " decoder")
    return [
        {"model": name + part, "network": in_a_line(report.intended) if report.intended else report.notes[0]}
        | {key: round(float(value), 4) for key, value in error.items()}
        | {
            "networks": options.networks,
            "fresh": options.fresh,
            "flagged": flagged,
            "slips": len(slips),
            "named": sum(slips),
        }
        for part, report, error in zip(parts, fresh, errors, strict=True)
    ]


def in_rows(table: pl.DataFrame) -> str:
    """The table that docs/check.md shows."""
    lines = ["| model | cosine | norm² | gradient |", "|---|---|---|---|"]
    for row in table.to_dicts():
        lines.append(f"| {row['model']} | {row['cosine']:.3f} | {row['norm']:.1%} | {row['gradient']:.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("networks", 12), ("width", 256), ("fresh", 20)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--again", action="store_true", help="replace all rows")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    found = [] if options.again or not TABLE.exists() else pl.read_csv(TABLE).to_dicts()
    for name in own.MODELS:
        known = [row for row in found if row["model"] in (name, f"{name} encoder", f"{name} decoder")]
        if name in options.models or (not options.models and not known):
            found = [row for row in found if row not in known] + rows(name, options)
            print(found[-1], flush=True)
            pl.DataFrame(found).write_csv(TABLE)
    print(in_rows(pl.DataFrame(found)))


if __name__ == "__main__":
    main()
