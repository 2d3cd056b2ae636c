"""A language model of any described network: embeddings, a stack of layers, an output map.

Shapes in comments: B sequences, L tokens, d width, V words.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from auxin import outputs
from auxin.architecture.initialization import POSITION_STD, Draw, Map, Scheme
from auxin.architecture.model import ModelConfig
from auxin.architecture.network import Network
from auxin.errors import ConfigError
from auxin.models import formats
from auxin.models.basic import Dropout, Embedding, Linear, draw, sinusoidal_positions
from auxin.models.batch import Batch, Masks
from auxin.models.context import Context
from auxin.models.norm import norm_module
from auxin.models.protocol import Output
from auxin.models.stack import Stack


class TransformerLM(nn.Module):
    """Language model of a ``ModelConfig``; ``generator`` draws its initial weights.

    Without a generator the weights are left as allocated, for a state dict to fill. Raises ``ConfigError`` when
    the vocabulary size is 0, which stands for "that of the task" and has to be settled first.

    >>> import torch
    >>> config = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5)
    >>> model = TransformerLM(config, torch.Generator().manual_seed(0))
    >>> model(torch.tensor([[3, 1, 2]])).logits.shape  # [batch, tokens, vocabulary]
    torch.Size([1, 3, 5])
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        config = getattr(config, "model", config)  # a run's stands for its model's
        if not config.vocabulary_size:
            raise ConfigError("vocabulary_size is 0; allowed here: 1 or more (0 is settled by a task)")
        network = config.network()
        self.config = config
        self.embedding = Embedding(config.vocabulary_size, config.width)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.empty(config.max_length, config.width))
        elif config.positions == "sinusoidal":
            self.register_buffer(
                "positions", sinusoidal_positions(config.max_length, config.width), persistent=False
            )
        if config.embedding_norm is not None:
            self.embedding_norm = norm_module(config.embedding_norm, config.width)
        self.layers = Stack(network, config.sizes, config.dropout)
        self.final_norm = None if network.final is None else norm_module(network.final, config.width)
        self.output = Linear(config.width, config.vocabulary_size, bias=config.output_bias)
        if config.tied:
            self.output.weight = self.embedding.weight
        self.dropout = Dropout(config.dropout)
        if generator is not None:
            self.draw(network, config.scheme, generator)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Load a model, in eval mode, from a file of ``save_pretrained`` or a checkpoint's.

        Raises ``CheckpointError`` naming the file when it is missing, damaged, a pickle, does not fit its config, or
        holds what the model has no place for.

        >>> import torch
        >>> config = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5)
        >>> TransformerLM(config, torch.Generator().manual_seed(0)).save_pretrained("model.safetensors")
        >>> TransformerLM.from_pretrained("model.safetensors").config == config
        True
        """
        return formats.load_model(cls, path)

    def save_pretrained(self, path: str | Path, *, force: bool = False) -> None:
        """Write weights and config to one safetensors file, which ``from_pretrained`` reads back to the same logits.

        Raises ``RunError`` when the file cannot be written (an older one stays whole), is a link or another's file
        (which ``force`` replaces), and ``CheckpointError`` for a model that a file could not hold: parameters of
        another precision, or changed by hand so that it computes something else than its config and weights say.
        """
        formats.save_model(self, path, force)

    def to_transformers(self, path: str | Path, vocabulary: Any = None, *, force: bool = False) -> Path:
        """Write a folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` of transformers load; its path.

        The logits are the model's up to rounding. A model that is not causal becomes a ``BertForTokenClassification``,
        whose labels are the vocabulary. The tokenizer is that of ``vocabulary``, a ``Vocabulary``; without one none is
        written, and one that an earlier export left is removed. ``force`` replaces or removes files that auxin did not
        write; a directory is never replaced. Docs: docs/export.md.

        Raises ``ConfigError`` naming the part of the model that no class of transformers computes, or a vocabulary of
        another size; ``RunError`` for files that auxin did not write.

        >>> import torch
        >>> model = auxin.TransformerLM(auxin.ModelConfig(vocabulary_size=5), torch.Generator().manual_seed(0))
        >>> folder = model.to_transformers("mine", auxin.Vocabulary(["newt", "sleeps"]))
        >>> auxin.network_of(folder).depth
        4
        """
        return outputs.folders().write_folder(self, Path(path), vocabulary, force)

    @torch.no_grad()
    def draw(self, network: Network, scheme: Scheme, generator: torch.Generator) -> None:
        """Draw the weights, in place, by a scheme's laws; those that it leaves to a description from ``network``.

        Parameter by parameter in their order, those of a matrix that holds several maps map by map. Norms start at
        their gains and without biases, learned positions at N(0, 0.02²).
        """
        config = self.config
        if config.positions == "learned":
            draw(self.positions, Draw(POSITION_STD), generator)
        draw(self.embedding.weight, scheme.embeddings(config.embedding), generator)
        if config.embedding_norm is not None:
            self.embedding_norm.set_(config.embedding_norm)
        self.layers.draw(network, scheme, generator)
        if self.final_norm is not None and network.final is not None:
            self.final_norm.set_(network.final)
        output = Map(config.width, config.vocabulary_size, biased=config.output_bias)
        if not config.tied:
            draw(self.output.weight, scheme.weight(output), generator)
        if config.output_bias:
            draw(self.output.bias, scheme.bias(output), generator)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        states: bool = False,
        attention: bool = False,
    ) -> Output:
        """See ``CausalModel``; a sequence longer than the position table raises ``ConfigError``."""
        where = torch.arange(tokens.shape[1], device=tokens.device) if positions is None else positions
        context = Context(where, causal=self.config.causal, mask=mask, attention=attention)
        longest = tokens.shape[1] if positions is None else int(positions.max()) + 1
        x = self._embed(tokens, where, longest, context)  # [B, L, d]
        all_states = self.layers.states(x, context) if states else [self.layers(x, context)]
        logits = self._logits(all_states[-1])  # [B, L, V]
        return Output(logits, tuple(all_states) if states else (), tuple(context.weights or ()))

    def packed(self, batch: Batch, masks: Masks) -> Tensor:
        """Scores [T, V] of the packed tokens [T] of one member's batch, with dropout's masks: nothing is padding."""
        inside = torch.arange(batch.shape[1], device=batch.tokens.device)
        context = Context(inside, causal=self.config.causal, packed=batch, masks=masks)
        x = self._embed(batch.tokens[None], batch.positions, batch.shape[1], context)
        return self._logits(self.layers(x, context))[0]

    def _embed(self, tokens: Tensor, positions: Tensor, longest: int, context: Context) -> Tensor:
        """Embeddings, scaled, with positions added, and normed."""
        x = self.embedding(tokens)
        if self.config.scale_embedding:
            x = x * math.sqrt(self.config.width)
        if self.config.positions != "none":
            if longest > self.config.max_length:
                raise ConfigError(
                    f"sequence of {longest} tokens; allowed: up to max_length = {self.config.max_length}"
                )
            x = x + self.positions[positions]
        if self.config.embedding_norm is not None:
            x = self.embedding_norm(x)
        return self.dropout(x, context)

    def _logits(self, x: Tensor) -> Tensor:
        return self.output(x if self.final_norm is None else self.final_norm(x))
