"""What auxin.watch sees while small models train: python benchmarks/watch.py [--healthy 100] [--faults 40].

Healthy runs of seconds, in which every alarm is false; runs with a fault at step 100, in which the first alarm is
compared with the first training loss more than three standard deviations above the fifty before the fault; and the
cost of watching, of two equal models that train in turn, one of them watched.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import auxin

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from probes import models

KINDS = ("gpt2", "llama", "gpt_neox", "qwen3", "olmo2", "mixtral", "olmoe", "opt")
WORDS, LENGTH, BATCH, STEPS, AT = 64, 16, 8, 160, 100


@dataclass(frozen=True)
class Setting:
    """A run that trains well: by its number, all else follows."""

    seed: int

    def drawn(self, *values: Any) -> Any:
        """One of the values, another for every list of them."""
        generator = torch.Generator().manual_seed(1000 * self.seed + len(values) + len(str(values)))
        return values[int(torch.randint(len(values), (), generator=generator))]

    @property
    def kind(self) -> str:
        return KINDS[self.seed % len(KINDS)]

    def model(self) -> nn.Module:
        own = {"vocab_size": WORDS, "depth": self.drawn(2, 2, 3), "width": 32}
        return models.build(self.kind, self.seed, **own).train()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.drawn("adamw", "adamw", "adamw", "sgd") == "sgd":
            return torch.optim.SGD(model.parameters(), self.drawn(0.1, 0.03), momentum=0.9)
        rate, betas = self.drawn(3e-4, 1e-3, 3e-3), (0.9, self.drawn(0.95, 0.98, 0.999))
        return torch.optim.AdamW(model.parameters(), rate, betas, weight_decay=self.drawn(0.0, 0.1))

    def factor(self, step: int) -> float:
        """Of the learning rate: a warm-up of 20 steps or none, a decay by a cosine or none."""
        warm = min((step + 1) / 20, 1.0) if self.drawn(True, True, False) else 1.0
        return warm * (
            1.0 if self.drawn(0, 1) else 0.5 + 0.5 * torch.tensor(step * torch.pi / STEPS).cos().item()
        )


def language(seed: int) -> Tensor:
    """Chances [W, W] of the next word: of every word some twelve that are likely."""
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(WORDS, WORDS, generator=generator), -1)


def batches(seed: int) -> Iterator[Tensor]:
    """Sentences [BATCH, LENGTH] of a language."""
    chances, generator = language(seed % 5), torch.Generator().manual_seed(seed)
    while True:
        ids = [torch.randint(WORDS, (BATCH,), generator=generator)]
        for _ in range(LENGTH - 1):
            ids.append(torch.multinomial(chances[ids[-1]], 1, generator=generator)[:, 0])
        yield torch.stack(ids, 1)


@torch.no_grad()
def times(model: nn.Module, ends: tuple[str, ...], factor: float) -> None:
    """Multiply the first parameter whose name ends so in the second layer."""
    names = [n for n, _ in model.named_parameters() if ".1." in n and n.endswith(ends)]
    model.get_parameter(names[0]).mul_(factor)


DOWN = (
    "mlp.c_proj.weight",
    "down_proj.weight",
    "down_proj",
    "dense_4h_to_h.weight",
    "fc2.weight",
    "w2.weight",
)
GAINS = ("ln_2.weight", "layernorm.weight", "layer_norm.weight")


@dataclass(frozen=True)
class Fault:
    """What goes wrong from step AT on."""

    name: str
    rate: Callable[[int], float] = lambda _: 1.0
    before: Callable[[nn.Module, int], None] = lambda *_: None
    """Before the model runs."""
    batch: Callable[[Tensor, int], Tensor] = lambda x, _: x
    router: float = 0.0
    half: bool = False


NONE = Fault("none")
FAULTS = (
    Fault("rate × 30 at one step", rate=lambda step: 30.0 if step == AT else 1.0),
    Fault("rate × 30 from a step on", rate=lambda step: 30.0 if step >= AT else 1.0),
    Fault("gain of a norm doubled", before=lambda m, step: times(m, GAINS, 2.0) if step == AT else None),
    Fault("output map of an MLP × 4", before=lambda m, step: times(m, DOWN, 4.0) if step == AT else None),
    Fault("batch of random words", batch=lambda x, step: torch.randint_like(x, WORDS) if step == AT else x),
    Fault("batches of one word", batch=lambda x, step: x[:, :1].expand_as(x) if AT <= step < AT + 5 else x),
    Fault("router collapse", router=0.3),
    Fault("fp16 overflow", before=lambda m, step: times(m, DOWN, 1.5) if step >= AT else None, half=True),
)


def loss_of(model: nn.Module, ids: Tensor, fault: Fault, step: int) -> Tensor:
    """Cross-entropy, and where a router is to collapse, a gradient that draws all tokens to its first expert."""
    amp = torch.autocast("cpu", torch.float16) if fault.half else contextlib.nullcontext()
    more = {"output_router_logits": True} if fault.router else {}
    with amp:
        output = model(input_ids=ids, use_cache=False, **more)
    loss = F.cross_entropy(output.logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
    if fault.router and step >= AT:
        drawn = sum(r.log_softmax(-1)[..., 0].mean() for r in output.router_logits)
        loss = loss - fault.router * (drawn - drawn.detach())
    return loss


def trained(setting: Setting, fault: Fault, every: int) -> tuple[list[float], list[Any]]:
    """Losses and alarms of a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        model = setting.model()
        optimizer, data = setting.optimizer(model), batches(setting.seed)
        rate = optimizer.param_groups[0]["lr"]
        watcher = auxin.watch(model, every, precision=torch.float16 if fault.half else None)
        losses: list[float] = []
        for step in range(1, STEPS + 1):
            fault.before(model, step)
            loss = loss_of(model, fault.batch(next(data), step), fault, step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), setting.drawn(1.0, 1e9))
            for group in optimizer.param_groups:
                group["lr"] = rate * setting.factor(step) * fault.rate(step)
            optimizer.step()
            losses.append(loss.item())
            watcher.step(step)
    return losses, watcher.alarms


def shown(losses: list[float]) -> int | None:
    """The first step from AT on whose loss is out, NaN among them."""
    past = losses[AT - 51 : AT - 1]
    end = statistics.mean(past) + 3 * statistics.stdev(past)
    return next((i for i, loss in enumerate(losses, 1) if i >= AT and not loss <= end), None)


def healthy(count: int, every: int, first: int) -> None:
    """Print the false alarms of healthy runs."""
    false = 0
    for seed in range(first, first + count):
        losses, alarms = trained(Setting(seed), NONE, every)
        if not statistics.mean(losses[-20:]) < statistics.mean(losses[:5]) - 0.1:
            print(f"run {seed} ({Setting(seed).kind}) does not train: {losses[0]:.2f} to {losses[-1]:.2f}")
        false += bool(alarms)
        for alarm in alarms:
            print(f"run {seed} ({Setting(seed).kind}): {alarm}")
    print(f"{false} of {count} healthy runs had an alarm\n")


def faulty(count: int, every: int, first: int) -> None:
    """Print, by kind of fault, how many steps the first alarm comes before the loss shows it."""
    print(
        f"{'fault':<28}{'runs':>5}{'before':>8}{'with it':>9}{'later':>7}{'missed':>8}{'lead':>6}  loss shows it"
    )
    every_lead: list[float] = []
    for fault in FAULTS:
        leads: list[float] = []
        counts = [0, 0, 0, 0, 0]
        for seed in range(first, first + -(-count // len(FAULTS))):
            setting = Setting(seed)
            if fault.router:
                setting = Setting(8 * seed + 5 + seed % 2)
            losses, alarms = trained(setting, fault, every)
            at, out = next((a.step for a in alarms if a.step >= AT), None), shown(losses)
            counts[4] += out is not None
            if at is None:
                counts[3] += 1
                continue
            lead = float("inf") if out is None else out - at
            leads.append(lead)
            counts[0 if lead > 0 else 1 if lead == 0 else 2] += 1
        every_lead += leads + [-float("inf")] * counts[3]
        runs, finite = len(leads) + counts[3], [lead for lead in leads if lead < STEPS]
        median = f"{statistics.median(finite):g}" if finite else "–"
        print(
            f"{fault.name:<28}{runs:>5}"
            f"{counts[0]:>8}{counts[1]:>9}{counts[2]:>7}{counts[3]:>8}{median:>6}  {counts[4]}",
            flush=True,
        )
    before = sum(lead > 0 for lead in every_lead)
    print(
        f"before the loss in {before} of {len(every_lead)}; median lead {statistics.median(every_lead):g} steps\n"
    )


def cost(every: int, blocks: int) -> None:
    """Print the share of a step's time that watching takes: two equal models train in turn, one of them watched."""
    for kind, width, depth in (("gpt2", 48, 3), ("llama", 128, 6), ("mixtral", 96, 4)):
        pair = [models.build(kind, 0, vocab_size=WORDS, width=width, depth=depth).train() for _ in range(2)]
        optimizers, data = [torch.optim.AdamW(model.parameters(), 1e-3) for model in pair], batches(0)
        ids = torch.cat([next(data) for _ in range(4)])
        watcher = auxin.watch(pair[1], every)
        ratios, count = [], 0
        for _ in range(blocks):
            seconds = [0.0, 0.0]
            for _ in range(every):
                count += 1
                for i, (model, optimizer) in enumerate(zip(pair, optimizers, strict=True)):
                    begun = time.process_time()
                    loss = loss_of(model, ids, NONE, 0)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    if i:
                        watcher.step(count)
                    seconds[i] += time.process_time() - begun
            ratios.append(seconds[1] / seconds[0] - 1)
        low, *_, high = sorted(ratios)
        print(
            f"{kind} d={width}, {depth} layers, 32 × {LENGTH} tokens: {seconds[0] / every * 1e3:.1f} ms a step, "
            f"watching {statistics.median(ratios):+.1%} ({low:+.1%} to {high:+.1%}, {blocks} pairs)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("healthy", 100), ("faults", 40), ("every", 10), ("first", 0), ("blocks", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    logging.getLogger("auxin").setLevel(logging.ERROR)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if options.healthy:
        healthy(options.healthy, options.every, options.first)
    if options.faults:
        faulty(options.faults, options.every, options.first)
    if options.blocks:
        cost(100, options.blocks)


if __name__ == "__main__":
    main()
