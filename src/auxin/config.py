"""Frozen, validated dataclasses of everything that defines a run.

Every option of the command line is a field here and nowhere else. Validation happens at construction:
an instance that exists is usable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from auxin.architecture.block import STRENGTHS, Block, NormPlacement
from auxin.architecture.initialization import Initialization, block_sigmas
from auxin.architecture.mlp import Activation
from auxin.values import Value, check

Positions = Literal["sinusoidal", "learned", "none"]
ScheduleName = Literal["constant", "linear", "cosine"]
TaskName = Literal["question", "tense", "dyck"]
Precision = Literal["float32", "tf32", "bfloat16"]
PresetName = Literal["laptop", "paper", "released-code"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Value):
    """Architecture and initialization of a decoder-only transformer.

    With x the residual stream, F a sublayer (attention, then MLP) and N layer norm, a sublayer computes
    ``N(skip·x + branch·F(x))`` (post), ``skip·x + branch·F(N(x))`` (pre) or ``skip·x + branch·F(x)`` (none).
    """

    depth: int = 4
    """Layers; each is attention followed by an MLP."""
    width: int = 128
    """Dimension d of the residual stream."""
    heads: int = 4
    """Attention heads; must divide the width."""
    feedforward: int = 0
    """Hidden units m of the MLP; 0 means four times the width."""
    vocabulary_size: int = 0
    """Words, with <pad>, <eos> and <bos>; 0 means that of the task."""
    max_length: int = 512
    """Longest sequence in tokens (the size of the position table)."""
    norm: NormPlacement = "post"
    """Where layer norm stands; pre-norm ends with one more norm before the output map."""
    activation: Activation = "relu"
    """Nonlinearity of the MLP (gelu is the exact one, with erf)."""
    positions: Positions = "sinusoidal"
    """Position encoding added to the embeddings."""
    scale_embedding: bool = True
    """Multiply embeddings by √width before positions are added."""
    tied: bool = False
    """Use the embedding matrix as the output map, too."""
    attention_bias: bool = False
    """Biases in the four attention maps."""
    mlp_bias: bool = True
    """Biases in the two MLP maps."""
    dropout: float = 0.1
    """Probability of dropping a unit: embedding, attention weights, feed-forward and residual branches."""
    attention_skip: float = 1.0
    """Skip strength around attention."""
    attention_branch: float = 1.0
    """Branch strength of attention."""
    mlp_skip: float = 1.0
    """Skip strength around the MLP."""
    mlp_branch: float = 1.0
    """Branch strength of the MLP."""
    initialization: Initialization = "xavier"
    """xavier: uniform, gain √2 before a relu (the published code); pytorch: the defaults of nn.Linear and
    nn.Embedding; normal: N(0, 0.02²); gaussian: the σ's below."""
    sigma_a: float = 1.0
    """Logit scale σ_A = σ_Q·σ_K: entries of W_Q, W_K are N(0, σ_A/d) (gaussian only)."""
    sigma_v: float = 1.0
    """Gain of value and output maps together: entries of each are N(0, σ_V/d) (gaussian only)."""
    sigma_w: float = 2**0.5
    """Gain of the MLP's first map: entries N(0, σ_w²/d) (gaussian only)."""
    sigma_o: float = 1.0
    """Gain of the MLP's second map: entries N(0, σ_o²/m) (gaussian only)."""
    sigma_b: float = 0.0
    """Standard deviation of the MLP's biases (gaussian only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.depth <= 10_000, "depth", self.depth, "1 to 10000")
        check(1 <= self.width <= 65_536, "width", self.width, "1 to 65536")
        check(1 <= self.heads <= self.width, "heads", self.heads, f"1 to the width ({self.width})")
        check(self.width % self.heads == 0, "heads", self.heads, f"a divisor of the width ({self.width})")
        check(0 <= self.feedforward <= 1_048_576, "feedforward", self.feedforward, "0 (4·width) to 1048576")
        check(
            0 <= self.vocabulary_size <= 10_000_000, "vocabulary_size", self.vocabulary_size, "0 to 10000000"
        )
        check(1 <= self.max_length <= 1_048_576, "max_length", self.max_length, "1 to 1048576")
        check(0 <= self.dropout < 1, "dropout", self.dropout, "0 ≤ dropout < 1")
        sinusoidal_fits = self.positions != "sinusoidal" or self.width % 2 == 0
        check(sinusoidal_fits, "width", self.width, "even, with sinusoidal positions")
        for name in ("sigma_a", "sigma_v", "sigma_w", "sigma_o", "sigma_b"):
            check(0 <= getattr(self, name) <= 1e3, name, getattr(self, name), "0 to 1000")
        for name in ("attention_skip", "attention_branch", "mlp_skip", "mlp_branch"):
            check(0 <= getattr(self, name) <= 1e3, name, getattr(self, name), "0 to 1000")

    @property
    def hidden(self) -> int:
        """Hidden units of the MLP, with the default of four times the width resolved."""
        return self.feedforward or 4 * self.width

    def block(self, n_tokens: int = 32) -> Block:
        """The classic layer that the initialization implies; ``Block.of``."""
        strengths = {name: getattr(self, name) for name in STRENGTHS}
        return Block(
            norm=self.norm, activation=self.activation, n_tokens=n_tokens, **strengths, **block_sigmas(self)
        )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Value):
    """AdamW with warm-up and a schedule; the gradient of each member is clipped by its own norm."""

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
    """Everything that determines a run: the data, the model, the optimization and what is logged when."""

    task: TaskName = "question"
    """question, tense or dyck."""
    data_dir: str = ""
    """Directory of published files (question.train, question.dev, …); empty: generate the data."""
    data_seed: int = 0
    """Seed of the generated data."""
    train_size: int = 0
    """Training sentences generated; 0 means the task's own size (100k, dyck 200k)."""
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
    """Structural measures taken at every kept checkpoint: norms, entropy, projection."""
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
        known = ("norms", "entropy", "projection")
        check(all(measure in known for measure in self.measures), "measures", self.measures, ", ".join(known))
        device = re.fullmatch(r"cpu|cuda(:\d{1,3})?", self.device)
        check(device is not None, "device", self.device, "cpu, cuda, cuda:0, …")
        on_cpu = self.precision == "tf32" and self.device == "cpu"
        check(not on_cpu, "precision", self.precision, "float32 or bfloat16, on a CPU")
        check(1 <= self.shares <= 64, "shares", self.shares, "1 to 64")
        check(0 <= self.threads <= 4096, "threads", self.threads, "0 (all) to 4096")

    def block(self, n_tokens: int = 32) -> Block:
        """That of the model."""
        return self.model.block(n_tokens)


def preset(name: PresetName, task: TaskName = "question") -> RunConfig:
    """A published or tested configuration by name.

    ``paper`` is what Murty et al. 2023 (arXiv 2305.18741) say, ``released-code`` what their code does
    (8 heads, untied, clip 1, linear decay over 2M steps). ``laptop`` takes two minutes on a CPU core, and some
    of its seeds grok: eight narrow post-norm layers with branches below the published 1, L·λ_a = −4.5.
    """
    check(name in get_args(PresetName), "preset", name, ", ".join(get_args(PresetName)))
    max_length = 2048 if task == "dyck" else 512  # generated Dyck strings reach about 1,200 tokens
    if name == "laptop":
        model = ModelConfig(
            depth=8, width=64, dropout=0.0, attention_branch=0.87, mlp_branch=0.87, max_length=max_length
        )
        optimizer = OptimizerConfig(warmup=300, schedule="linear")
        return RunConfig(task=task, model=model, optimizer=optimizer, batch_size=16, steps=2500, shares=1)
    released = name == "released-code"
    heads = 8 if released else 4
    model = ModelConfig(depth=6, width=512, heads=heads, tied=not released, max_length=max_length)
    optimizer = OptimizerConfig(
        learning_rate=1e-4,
        schedule="linear" if released else "constant",
        warmup=10_000,
        decay_steps=2_000_000 if released else 0,
        clip=1.0 if released else 10.0,
    )
    return RunConfig(
        task=task,
        model=model,
        optimizer=optimizer,
        steps=400_000 if task == "dyck" else 300_000,
        batch_size=8,
        seeds=tuple(range(42, 133, 10)),
        log_every=3000,
        eval_size=10_000,
    )
