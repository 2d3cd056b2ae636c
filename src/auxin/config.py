"""Frozen, validated dataclasses of everything that defines a run.

Every option of the command line is a field here and nowhere else. Validation happens at construction:
an instance that exists is usable.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from auxin.architecture.block import Block
from auxin.architecture.model import ModelConfig
from auxin.architecture.network import Network
from auxin.architecture.published import PUBLISHED
from auxin.tasks import Dials, Task, load_task
from auxin.tasks.registry import Scoring, kind
from auxin.values import Value, check

ScheduleName = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "tf32", "bfloat16"]
MeasureName = Literal["norms", "entropy", "projection", "signals"]
PresetName = Literal["laptop", "paper", "released-code", "gpt2", "llama", "pythia", "qwen3", "bert-encoder"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Value):
    """AdamW with warm-up and a schedule; the gradient of each member is clipped by its own norm.

    Examples:
        >>> OptimizerConfig(learning_rate=3e-4, warmup=100).schedule
        'constant'
    """

    learning_rate: float = 1e-3
    """Peak rate, reached at the end of the warm-up."""
    schedule: ScheduleName = "constant"
    """After the warm-up: constant, or linear or half-cosine decay to zero at decay_steps."""
    warmup: int = 1000
    """Steps of linear warm-up."""
    decay_steps: int = 0
    """Step at which the rate reaches zero; 0 means the end of the run."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.999
    """Decay of the second moment."""
    epsilon: float = 1e-7
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.learning_rate <= 10, "learning_rate", self.learning_rate, "0 < rate ≤ 10")
        check(self.warmup >= 0, "warmup", self.warmup, "0 or more steps")
        check(self.decay_steps >= 0, "decay_steps", self.decay_steps, "0 (the run's steps) or more")
        check(0 <= self.beta1 < 1, "beta1", self.beta1, "0 ≤ beta1 < 1")
        check(0 <= self.beta2 < 1, "beta2", self.beta2, "0 ≤ beta2 < 1")
        check(0 < self.epsilon < 1, "epsilon", self.epsilon, "0 < epsilon < 1")
        check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        check(self.clip >= 0, "clip", self.clip, "0 (off) or more")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Value):
    """Everything that determines a run: the data, the model, the optimization and what is logged when.

    >>> config = RunConfig(task="tense", seeds=(0, 1), steps=100, model=ModelConfig(depth=2))
    >>> config.task, config.model.depth
    ('tense', 2)
    """

    task: str = "question"
    """question, tense, dyck, passivization, agreement; files (of data_dir), grammar (of the file grammar);
    custom: handed over in Python."""
    data_dir: str = ""
    """Directory of published files (question.train, question.dev, …), or of the task files (train.tsv, val.tsv,
    gen.tsv); empty: generate the data."""
    data_seed: int = 0
    """Seed of the generated data."""
    train_size: int = 0
    """Training sentences generated; 0 means the task's own size (100k, dyck 200k)."""
    grammar: str = ""
    """File of the task grammar."""
    dials: Dials = field(default_factory=Dials)
    scoring: Scoring = "answers"
    """answers, or choices: an answer is right where it is likelier than the linear rule's."""
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 4000
    """Optimizer steps."""
    batch_size: int = 32
    """Sequences a step, for each member."""
    seeds: tuple[int, ...] = (0,)
    """One member of the stack for each seed (initialization, data order, dropout)."""
    log_every: int = 100
    """Steps between evaluations; 0: log-spaced at first, then every 1% of the run."""
    checkpoint_every: int = 0
    """Steps between checkpoints kept for measuring; 0: log-spaced at first, then every 5% of the run."""
    eval_size: int = 300
    """Sentences of val and of gen scored at each evaluation."""
    final_size: int = 0
    """Sentences of each held-out split scored for the summary of the finished run; 0: all."""
    measures: tuple[str, ...] = ()
    """Structural measures taken at every kept checkpoint: norms, entropy, projection, signals."""
    device: str = "cpu"
    """Device that trains: cpu or cuda."""
    precision: Precision = "float32"
    """Matrix products of training: float32; factors in tf32 (10 bits); factors and results in bfloat16 (7 bits).
    Weights, optimizer state and all else stay float32. Either evaluates in tf32 on a GPU; a CPU has no tf32."""
    threads: int = 0
    """CPU threads; 0 means all of them."""
    shares: int = 2
    """Parts of a member's batch that a CPU trains side by side, a thread each; another number rounds differently.

    1 is 15% less work: better for models as narrow as 64, and where there is a member for every thread.
    """

    def __post_init__(self) -> None:
        kind(self.task)
        super().__post_init__()
        check(1 <= self.steps <= 10**9, "steps", self.steps, "1 to 10^9")
        check(1 <= self.batch_size <= 10**6, "batch_size", self.batch_size, "1 to 10^6")
        check(0 <= self.train_size <= 10**7, "train_size", self.train_size, "0 (the task's own) to 10^7")
        check(0 <= self.data_seed < 2**63, "data_seed", self.data_seed, "0 to 2^63 − 1")
        check(len(self.seeds) > 0, "seeds", self.seeds, "at least one seed")
        whole = all(type(s) is int and 0 <= s < 2**63 for s in self.seeds)
        check(whole, "seeds", self.seeds, "whole numbers from 0 to 2^63 − 1")
        check(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "each seed once")
        check(self.log_every >= 0, "log_every", self.log_every, "0 (automatic) or more steps")
        check(self.checkpoint_every >= 0, "checkpoint_every", self.checkpoint_every, "0 (automatic) or more")
        check(self.eval_size >= 1, "eval_size", self.eval_size, "1 or more sentences")
        check(self.final_size >= 0, "final_size", self.final_size, "0 (all) or more sentences")
        known = get_args(MeasureName)
        check(all(measure in known for measure in self.measures), "measures", self.measures, ", ".join(known))
        device = re.fullmatch(r"cpu|cuda(:\d{1,3})?", self.device)
        check(device is not None, "device", self.device, "cpu, cuda, cuda:0, …")
        on_cpu = self.precision == "tf32" and self.device == "cpu"
        check(not on_cpu, "precision", self.precision, "float32 or bfloat16, on a CPU")
        check(1 <= self.shares <= 64, "shares", self.shares, "1 to 64")
        check(0 <= self.threads <= 4096, "threads", self.threads, "0 (all) to 4096")

    def load_task(self) -> Task:
        """The task with its data, which are generated (or read from the cache) at every call."""
        where = {"data_dir": self.data_dir, "grammar": self.grammar}
        task = load_task(
            self.task, seed=self.data_seed, train_size=self.train_size, dials=self.dials, **where
        )
        return task.with_choices() if self.scoring == "choices" else task

    def block(self, n_tokens: int = 32) -> Block:
        """That of the model."""
        return self.model.block(n_tokens)

    def network(self) -> Network:
        """That of the model."""
        return self.model.network()

    def input_norm(self) -> float:
        """That of the model."""
        return self.model.input_norm()


def preset(name: PresetName, task: str = "question") -> RunConfig:
    """A published or tested configuration by name.

    ``paper`` is what Murty et al. 2023 (arXiv 2305.18741) say, ``released-code`` what their code did in the logged
    runs (8 heads, untied, clip 1, PyTorch's biases, rate decaying linearly to zero at the last of 300,000 steps).
    ``laptop`` takes three minutes on a CPU core, and most of its seeds grok (docs/preset-study.md): twelve narrow
    post-norm layers with branches of strength 0.65 and a rate that stays high, L·λ_a = −4.2. ``gpt2``, ``llama``,
    ``pythia``, ``qwen3`` and ``bert-encoder`` are these architectures with their own initialization, 6 layers of width
    128; the last is not causal and cannot be trained.

    >>> laptop = preset("laptop")
    >>> laptop.model.depth, laptop.model.width, laptop.steps
    (12, 64, 4400)
    """
    check(name in get_args(PresetName), "preset", name, ", ".join(get_args(PresetName)))
    max_length = kind(task).max_length
    if name == "laptop":
        model = ModelConfig(
            depth=12, width=64, attention_branch=0.65, mlp_branch=0.65, dropout=0.0, max_length=max_length
        )
        optimizer = OptimizerConfig(warmup=300)
        return RunConfig(task=task, model=model, optimizer=optimizer, batch_size=16, steps=4400, shares=1)
    if name in PUBLISHED:
        model = dataclasses.replace(PUBLISHED[name], max_length=max_length)
        return RunConfig(task=task, model=model, optimizer=OptimizerConfig(warmup=300), steps=3000)
    released = name == "released-code"
    heads = 8 if released else 4
    steps = kind(task).published_steps
    model = ModelConfig(
        depth=6,
        width=512,
        heads=heads,
        tied=not released,
        initialization="released-code" if released else "xavier",
        max_length=max_length,
    )
    optimizer = OptimizerConfig(
        learning_rate=1e-4,
        schedule="linear" if released else "constant",
        warmup=10_000,
        decay_steps=steps if released else 0,
        clip=1.0 if released else 10.0,
    )
    return RunConfig(
        task=task,
        model=model,
        optimizer=optimizer,
        steps=steps,
        batch_size=8,
        seeds=tuple(range(42, 133, 10)),
        log_every=3000,
        eval_size=10_000,
    )
