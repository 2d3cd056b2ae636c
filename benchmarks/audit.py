"""auxin.check on a small model of every class with a config in the installed transformers.

    python benchmarks/audit.py [--seeds 1] [--limit 60] [--again] [CLASS …]

A row a class: whether its stream is measured, and how far from what plain forward hooks show; how far the prediction is
from the mean over drawn networks; what its weights were compared with; what is flagged although nothing was harmed; why
it is refused. Rows that docs/tables/audit.csv has are kept, unless ``--again``; those of fewer seeds are checked with
the others. docs/audit.md is made from them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from auxin.errors import AuxinError
from auxin.families.preparation import prepared
from auxin.probes.check import check
from auxin.probes.check_report import CheckReport
from auxin.probes.inputs import Reading, call_of
from auxin.probes.prediction import ZERO, predict
from auxin.probes.states import stream_of
from small_models import VISION, WIDTH, classes

DOCS = Path(__file__).resolve().parents[1] / "docs"
TABLE, SLIPS, PAGE = DOCS / "tables" / "audit.csv", DOCS / "tables" / "slips.csv", DOCS / "audit.md"
TEMPLATE = Path(__file__).with_name("audit.txt")
VERSION = "5.24.0"
"""Of transformers, that the committed rows are of."""
INPUTS = re.compile("does not run on|never run|as input is not known|tokens of a sequence")
TOKENS, WIDE, DRAWS = 16, 256, 12  # the last two of the networks that a prediction is compared with
EQUAL = 1e-6
"""Difference between check's stream and that of plain hooks up to which they count as equal."""
CLOSE = {"cosine": 0.03, "norm": 0.06, "gradient": 0.12}
"""Difference between prediction and mean over networks up to which a class counts as predicted."""
SCHEMA: dict[str, Any] = {
    "model": pl.String, "stack": pl.String, "layers": pl.Int64, "equal": pl.Float64, "reference": pl.String,
    "cosine": pl.Float64, "norm": pl.Float64, "gradient": pl.Float64, "fresh": pl.Int64, "flagged": pl.Int64,
    "finding": pl.String, "note": pl.String, "refused": pl.String, "seconds": pl.Float64,
}  # fmt: skip

Build = Callable[..., nn.Module]
Task = Callable[[], dict[str, Any]]


def row_of(build: Build, seeds: int) -> dict[str, Any]:
    """What check makes of a class."""
    row: dict[str, Any] = {"fresh": 0, "flagged": 0}
    try:
        model = _seeded(build, 0)
    except Exception as error:
        return row | {"refused": f"not built small: {type(error).__name__}: {_line(error)}"}
    start, layers = time.perf_counter(), None
    try:
        try:
            report = check(model, n_tokens=TOKENS)
        except AuxinError as error:  # of two stacks, the one that is named first
            named = re.search(r"has two stacks.*?layers='(.+?)'", str(error))
            if named is None:
                raise
            layers = row["stack"] = named[1]
            report = check(model, n_tokens=TOKENS, layers=layers)
    except AuxinError as error:
        return row | {"refused": _line(error)}
    row["seconds"] = round(time.perf_counter() - start, 2)
    row |= {"reference": report.known, "note": next((n for n in report.notes if "not predicted" in n), None)}
    seen = report.observation
    if seen is not None:
        row["layers"] = seen.depth
        if seen.closed:
            row["equal"] = difference(model, report)
        else:
            row["refused"] = next(note for note in report.notes if note.startswith("the branches found"))
    if report.predicted is not None and seen is not None:
        row |= _deviations(build, layers)
    _count(row, report)
    return flags_of(build, row, seeds)


def flags_of(build: Build, row: dict[str, Any], seeds: int) -> dict[str, Any]:
    """A row with as many seeds, by checking those that it is without."""
    for seed in range(row["fresh"], seeds):
        _count(row, check(_seeded(build, seed), n_tokens=TOKENS, seed=seed, layers=row.get("stack")))
    return row


def _count(row: dict[str, Any], report: CheckReport) -> None:
    row["fresh"] += 1
    row["flagged"] += not report.ok
    if not report.ok and row.get("finding") is None:
        row["finding"] = report.findings[0].sentence


def _seeded(build: Build, seed: int, **sizes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(None):
        torch.manual_seed(seed)
        return build(**sizes)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def hooked(model: nn.Module, names: list[str], seed: int = 0) -> list[Tensor]:
    """The stream before the first layer and after every run of one, by plain forward hooks."""
    states: list[Tensor] = []

    def entering(_: nn.Module, args: Any, kwargs: Any) -> None:
        if not states:
            x = stream_of((args, kwargs))
            assert x is not None
            states.append(x if x.requires_grad else x.requires_grad_())

    def leaving(_: nn.Module, __: Any, output: Any) -> None:
        x = output if isinstance(output, Tensor) else stream_of(output)
        assert x is not None
        states.append(x)

    handles = [model.get_submodule(names[0]).register_forward_pre_hook(entering, with_kwargs=True)]
    handles += [model.get_submodule(name).register_forward_hook(leaving) for name in dict.fromkeys(names)]
    try:
        with prepared(model):
            call = call_of(model, Reading(n_tokens=TOKENS, seed=seed), torch.Generator().manual_seed(seed))
            model(*call.args, **call.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return states


def _summary(x: Tensor) -> tuple[float, float]:
    """Norm² per dimension and mean cosine over pairs, of x [B, n, d]."""
    x = x.detach().double()
    unit = x / x.norm(dim=-1, keepdim=True)
    n = x.shape[1]
    cosines = (unit @ unit.mT).sum((1, 2)) - n
    return x.square().mean().item(), cosines.mean().item() / (n * (n - 1))


def difference(model: nn.Module, report: CheckReport) -> float | None:
    """Largest difference of cosines and, relative, of norms² between check's and plain hooks."""
    seen = report.observation
    assert seen is not None
    states = hooked(model, list(seen.layers))
    if seen.equal is not None and seen.equal.sum() > seen.equal.shape[0] * seen.equal.shape[1]:
        states = []  # pairs of one token are left out
    if len(states) != seen.depth + 1:
        return None
    axes = seen.grams.shape[1:3]
    found = np.array([_summary(x if x.shape[:2] == axes else x.transpose(0, 1)) for x in states])
    return float(max(np.abs(found[:, 0] / seen.norm - 1).max(), np.abs(found[:, 1] - seen.cosine).max()))


def _deviations(build: Build, layers: str | None) -> dict[str, float]:
    """Largest differences over the layers between prediction and mean over wider networks."""
    grams, gradients = [], []
    report = check(_seeded(build, 0, width=WIDE), n_tokens=TOKENS, layers=layers)
    seen = report.observation
    if seen is None or report.intended is None or report.tokens is None:
        return {}
    generator = torch.Generator().manual_seed(0)
    for draw in range(DRAWS):
        model = _seeded(build, draw, width=WIDE)
        states = hooked(model, list(seen.layers))
        squares = [
            [
                g.double().square().mean().item()
                for g in torch.autograd.grad(states[-1], states, probe, retain_graph=True)
            ]
            for probe in (torch.randn(states[-1].shape, generator=generator) for _ in range(2))
        ]
        gradients.append(np.mean(squares, 0))
        axes = seen.grams.shape[1:3]
        doubles = [x.detach().double() for x in states]
        doubles = [x if x.shape[:2] == axes else x.transpose(0, 1) for x in doubles]
        grams.append([(x @ x.mT / x.shape[-1]).mean(0).numpy() for x in doubles])
    gram, gradient = np.mean(grams, 0), np.mean(gradients, 0)
    start = gram[0] + np.diag(np.where(np.diag(gram[0]) == 0, ZERO, 0.0))
    found = predict(report.intended, dataclasses.replace(report.tokens, gram=start), draws=256)
    norm = np.einsum("lii->li", gram)
    cosines = gram / np.sqrt(np.maximum(norm[:, :, None] * norm[:, None], 1e-300))
    n = gram.shape[1]
    cosine = (cosines.sum((1, 2)) - n) / (n * (n - 1))
    return {
        "cosine": float(np.abs(found.cosine - cosine).max()),
        "norm": float(np.abs(found.norm / norm.mean(1) - 1).max()),
        "gradient": float(np.abs(found.gradient / (gradient / gradient[-1]) - 1).max()),
    }


def _work(task: Task, out: Connection) -> None:
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as silent, contextlib.redirect_stderr(silent):
        try:
            out.send(task())
        except BaseException as error:
            out.send({"refused": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def apart(task: Task, limit: float) -> dict[str, Any]:
    """A row, made in a process of its own that may crash, or be ended after so many seconds."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_work, args=(task, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(limit) else {"refused": f"more than {limit:g} seconds"}
    except EOFError:
        return {"refused": "the process crashed"}
    finally:
        process.kill()
        process.join()


def read() -> pl.DataFrame:
    """The committed table."""
    return pl.read_csv(TABLE, schema=SCHEMA) if TABLE.exists() else pl.DataFrame(schema=SCHEMA)


def write(rows: dict[str, dict[str, Any]]) -> None:
    """The table, sorted by class, with few digits."""
    table = pl.DataFrame(list(rows.values()), schema=SCHEMA).sort("model")
    errors = [pl.col(name).round_sig_figs(3) for name in ("equal", "cosine", "norm", "gradient")]
    table.with_columns(errors).write_csv(TABLE)


READ = {
    "CpmAntForCausalLM": "True: `cpmant/configuration_cpmant.py` has init_std 1, of the relative biases as well.",
    "MT5ForConditionalGeneration": "True: `mt5/modeling_mt5.py` draws an output map that is not tied from N(0, 1).",
    "OlmoHybridForCausalLM": "True of this size: attention layers of `olmo_hybrid/modeling_olmo_hybrid.py` have norms "
    "after their branches alone. At embeddings of std 0.02 such a norm multiplies a small branch, and its gradient.",
    "PhimoeForCausalLM": "False: in evaluation mode its router has a gradient only where two experts nearly tie.",
}
"""What the code says of classes that are flagged."""


def page() -> str:
    """docs/audit.md, from the two tables."""
    table, slips = read(), pl.read_csv(SLIPS)
    count = lambda condition: table.filter(condition).height
    refused = table["refused"].drop_nulls().to_list()
    unbuilt = sum(reason.startswith(("not built small", "more than", "the process")) for reason in refused)
    inputs = sum(bool(INPUTS.search(reason)) for reason in refused)
    without = sum(reason.startswith("the branches found") for reason in refused)
    flagged = table.filter(pl.col("flagged") > 0)
    true = [name for name, words in READ.items() if words.startswith("True")]
    kinds = slips.group_by("slip", maintain_order=True).agg(pl.col("named").sum(), pl.len())
    findings = [
        f"- {r['model']}: {r['finding']} {READ.get(r['model'], '')}".rstrip() for r in flagged.to_dicts()
    ]
    return TEMPLATE.read_text().format(
        version=VERSION,
        width=WIDTH,
        tokens=TOKENS,
        classes=len(table),
        vision=count(pl.col("model").is_in(list(VISION))),
        equal=count(pl.col("equal") <= EQUAL),
        predicted=count(pl.col("cosine").is_not_null()),
        limits=f"{CLOSE['cosine']} in cosine, {CLOSE['norm']:.0%} in norm², {CLOSE['gradient']:.0%} in gradient",
        close=count(pl.all_horizontal(pl.col(name) <= limit for name, limit in CLOSE.items())),
        intended=count(pl.col("reference") == "intended"),
        drawn=count(pl.col("reference") == "drawn"),
        flagged=flagged.height,
        fresh=table["fresh"].sum(),
        true=flagged.filter(pl.col("model").is_in(true))["flagged"].sum(),
        false=flagged.filter(~pl.col("model").is_in(true))["flagged"].sum(),
        open=without,
        inputs=inputs,
        layers=len(refused) - unbuilt - inputs - without,
        unbuilt=unbuilt,
        seconds=f"{table['seconds'].median():.1f}",
        draws=DRAWS,
        wide=WIDE,
        findings="\n".join(findings) or "Nothing.",
        planted=len(slips),
        models=slips["model"].n_unique(),
        named=slips["named"].sum(),
        share=f"{slips['named'].mean():.0%}",
        slips="\n".join(f"| {slip} | {named} | {planted} |" for slip, named, planted in kinds.iter_rows()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60)
    parser.add_argument("--again", action="store_true", help="replace all rows")
    parser.add_argument("classes", nargs="*", metavar="CLASS")
    options = parser.parse_args()
    import transformers.generation
    import transformers.masking_utils
    import transformers.modeling_layers
    import transformers.models.auto.modeling_auto  # what every class needs, once for all processes
    from transformers import BertForMaskedLM, LlamaForCausalLM, T5Model, ViTModel  # noqa: F401

    transformers.logging.set_verbosity_error()
    every = dict(classes())
    rows = {row["model"]: row for row in read().to_dicts() if row["model"] in (*every, *VISION)}
    for name, build in every.items():
        if options.classes and not any(re.fullmatch(pattern, name) for pattern in options.classes):
            continue
        row = rows.get(name)
        if row is None or options.again:
            rows[name] = {"model": name} | apart(partial(row_of, build, options.seeds), options.limit)
        elif 0 < (row["fresh"] or 0) < options.seeds:
            row |= apart(partial(flags_of, build, row, options.seeds), options.limit)
        else:
            continue
        print({key: value for key, value in rows[name].items() if value is not None}, flush=True)
        write(rows)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
