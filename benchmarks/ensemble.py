"""Member-steps per second of stacks of 1 to 20 members, against a simple padded loop and what the device can do.

    python benchmarks/ensemble.py --device cuda              # the published size: 6 layers, d = 512, batch 8
    python benchmarks/ensemble.py --device cpu --depth 4 --width 128

The arithmetic floor of a step is its FLOPs at the rate of one large matrix product in the same precision. The
memory floor is its smallest traffic, 11 floats a parameter (weights read forward and backward, gradient written
and read for its norm, four read and three written by AdamW), at the rate of one large copy. The share reached is
the larger of the two floors over the time measured. "Times simple" is how long so many single runs of the simple
loop would take, one after the other, over the time of the stack; the two are timed in turn, ten rounds each.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from auxin.config import RunConfig, preset
from auxin.lab.plan import parameters, step_flops
from auxin.tasks import load_task
from auxin.training.loop import Trainer, float32_products
from training import SimpleLoop

TRAFFIC = 11 * 4  # bytes a parameter and step


def round_seconds(works: Sequence[Callable[[], object]], device: str, repeats: int) -> np.ndarray:
    """[10, works]: seconds that each takes, in ten rounds of ``repeats`` of each in turn."""
    rounds: list[list[float]] = []
    for _ in range(10):
        rounds.append([])
        for work in works:
            wait(device)
            since = time.perf_counter()
            for _ in range(repeats):
                work()
            wait(device)
            rounds[-1].append((time.perf_counter() - since) / repeats)
    return np.array(rounds)


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def arithmetic_rate(config: RunConfig) -> float:
    """FLOPs a second of a large matrix product."""
    n = 2048 if config.device == "cpu" else 16_384
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, n, n, device=config.device).to(dtype)
    with float32_products(config.precision):
        return 2.0 * n**3 / np.median(round_seconds([lambda: a @ b], config.device, 3))


def memory_rate(device: str) -> float:
    """Bytes a second, read and written, of a large copy."""
    size = 2**26 if device == "cpu" else 2**30
    source, target = torch.ones(2, size, device=device)
    return 8.0 * size / np.median(round_seconds([lambda: target.copy_(source)], device, 3))


def main(config: RunConfig, members: list[int], warmup: int, repeats: int) -> None:
    task = load_task("question", train_size=20_000)
    model = dataclasses.replace(config.model, vocabulary_size=len(task.vocabulary))
    config = dataclasses.replace(config, model=model)
    sequences = task.encoded("train")
    flops, traffic = arithmetic_rate(config), memory_rate(config.device)
    gpu = config.device != "cpu"
    where = torch.cuda.get_device_name(config.device) if gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}, {config.precision}")
    print(f"{model.depth} layers, d = {model.width}, batch {config.batch_size}, {10 * repeats} steps")
    print(f"one large product {flops / 1e12:.2f} TFLOP/s, one large copy {traffic / 1e9:.0f} GB/s\n")
    print("members  ms a step  member-steps/s  arithmetic ms  memory ms  share  times simple  300k steps, h")
    for count in members:
        stack = dataclasses.replace(config, seeds=tuple(range(count)))
        loops = [SimpleLoop(config, sequences), Trainer(stack, sequences)]
        with float32_products(config.precision):
            for loop in loops:
                for _ in range(warmup):  # a GPU records its graphs meanwhile
                    loop.step()
            seconds = round_seconds([loop.step for loop in loops], config.device, repeats)
        ratio, step = np.median(seconds[:, 0] / seconds[:, 1]), np.median(seconds[:, 1])
        floors = step_flops(stack) / flops, TRAFFIC * count * parameters(model) / traffic
        print(
            f"{count:7d}  {1e3 * step:9.2f}  {count / step:14.1f}  {1e3 * floors[0]:13.2f}  {1e3 * floors[1]:9.2f}"
            f"  {max(floors) / step:5.0%}  {count * ratio:12.1f}  {300_000 * step / 3600:13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--precision", default="", help="tf32 on a GPU, float32 on a CPU, unless told otherwise"
    )
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--warmup", type=int, default=0, help="steps before the clock; 0: 100 on a GPU, 2 on a CPU"
    )
    parser.add_argument("--repeats", type=int, default=0, help="steps a round; 0: 50 on a GPU, 1 on a CPU")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    on_cpu = arguments.device == "cpu"
    published = preset("paper")
    run = dataclasses.replace(
        published,
        model=dataclasses.replace(published.model, depth=arguments.depth, width=arguments.width),
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision or ("float32" if on_cpu else "tf32"),
        shares=arguments.threads,
    )
    main(
        run,
        arguments.members,
        warmup=arguments.warmup or (2 if on_cpu else 100),
        repeats=arguments.repeats or (1 if on_cpu else 50),
    )
