"""What the measures share: sentences as the tokens of any model, evaluation mode, and batches of one length each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import nn

from auxin.errors import ConfigError, DataError
from auxin.models.devices import stay_single
from auxin.models.protocol import CausalModel
from auxin.models.transformer import TransformerLM
from auxin.probes.causal import as_causal_model
from auxin.tasks.vocabulary import Vocabulary


@runtime_checkable
class Tokenizer(Protocol):
    """Token ids of a word, one or several; ``auxin.Vocabulary`` is one."""

    @property
    def bos(self) -> int:
        """Id of the token that starts every sequence."""
        ...

    def encode(self, text: str, /) -> list[int]:
        """Ids of a word; raises ``DataError`` naming it when it is unknown."""
        ...


def tokenize(
    model: CausalModel | nn.Module,
    sentences: Sequence[str | Sequence[str]],
    vocabulary: Tokenizer | Any,
    least: int = 1,
) -> tuple[CausalModel, list[tuple[str, ...]], list[list[list[int]]], int]:
    """The model, the words of each sentence, the tokens of each word, and the token that begins a sequence.

    Sentences are strings with spaces, or their words; a word is encoded once.

    Raises ``DataError`` for a sentence of fewer than ``least`` words or a word without tokens, ``ConfigError`` for
    anything without ``encode``, a tokenizer without any token to start with, or a vocabulary of another model.
    """
    causal = as_causal_model(model)
    check_vocabulary(causal, vocabulary)
    tokenizer = tokenizer_of(vocabulary)
    words = [tuple(s.split() if isinstance(s, str) else s) for s in sentences]
    for number, sentence in enumerate(words):
        if len(sentence) < least:
            few = "one word" if least == 1 else "two words"
            raise DataError(f"sentence {number} is {' '.join(sentence)!r}; allowed: {few} or more")
    ids = {word: list(tokenizer.encode(word)) for word in dict.fromkeys(w for s in words for w in s)}
    for word, tokens in ids.items():
        if not tokens:
            raise DataError(f"word {word!r} has no tokens; allowed: one or more a word")
    return causal, words, [[ids[word] for word in sentence] for sentence in words], tokenizer.bos


def tokenizer_of(vocabulary: Tokenizer | Any) -> Tokenizer:
    """The vocabulary, or what makes a ``Tokenizer`` of a library's; ``ConfigError`` for anything without encode."""
    if not callable(getattr(vocabulary, "encode", None)):
        raise ConfigError(
            f"vocabulary is {type(vocabulary).__name__}; allowed: an auxin.Vocabulary, or a tokenizer with encode"
        )
    return vocabulary if hasattr(vocabulary, "bos") else _Foreign(vocabulary)


def check_vocabulary(model: CausalModel, vocabulary: Tokenizer) -> None:
    """Refuse a ``TransformerLM`` with a ``Vocabulary`` of another size; others cannot be compared."""
    if isinstance(model, TransformerLM) and isinstance(vocabulary, Vocabulary):
        expected = model.config.vocabulary_size
        if len(vocabulary) != expected:
            raise ConfigError(f"vocabulary has {len(vocabulary)} tokens; allowed: the model's {expected}")


class _Foreign:
    """Tokens of a word inside a sentence: with a space before it, where the tokenizer joins the two."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        names = ("bos_token_id", "cls_token_id", "eos_token_id", "eot_token")
        starts = [getattr(tokenizer, name, None) for name in names]
        if find := getattr(tokenizer, "token_to_id", None):
            starts += map(find, ("<s>", "<bos>", "<|endoftext|>", "[CLS]", "<|begin_of_text|>"))
        known = [start for start in starts if isinstance(start, int)]
        if not known:
            raise ConfigError(
                "the tokenizer has no token that starts a sequence; allowed: one with bos_token_id, cls_token_id or "
                "eos_token_id"
            )
        self.bos: int = known[0]
        try:
            self._joins_spaces = len(self._ids(" a")) <= len(self._ids("a"))
        except DataError:
            self._joins_spaces = False

    def encode(self, text: str) -> list[int]:
        return self._ids(f" {text}" if self._joins_spaces else text)

    def encode_sentence(self, text: str) -> list[int]:
        """Tokens of a whole sentence, as the tokenizer parts it."""
        return self._ids(text)

    def _ids(self, text: str) -> list[int]:
        try:
            found = self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError:  # encode(text) alone
            found = self._tokenizer.encode(text)
        except Exception as error:  # what tokenizers raises for an unknown word without a token for those
            raise DataError(f"{text.strip()!r} cannot be encoded: {error}") from None
        return list(getattr(found, "ids", found))


Batch = TypeVar("Batch")
Found = TypeVar("Found")


@contextmanager
def evaluating(model: CausalModel) -> Iterator[torch.device]:
    """Without gradients or dropout; gives the model's device, and training mode back afterwards."""
    module = model if isinstance(model, nn.Module) else nn.Module()
    was_training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.inference_mode():
            yield device
    finally:
        module.train(was_training)


def side_by_side(
    model: CausalModel, work: Callable[[Batch], Found], batches: Iterable[Batch]
) -> Iterator[Found]:
    """What ``work``, which calls the model, makes of each batch, in their order; inside ``evaluating``.

    A ``TransformerLM`` on a CPU takes as many batches at once as torch has threads. Every operation then runs on
    one thread: what it rounds does not depend on their number, and no thread waits for another that has no core.
    Other models, which may keep something from call to call, take one batch after the other.
    """
    ours = isinstance(model, TransformerLM) and model.output.weight.is_cpu
    if not ours or torch.get_num_threads() == 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=stay_single) as pool:
        yield from pool.map(torch.inference_mode()(work), batches)


def length_batches(
    lengths: np.ndarray, max_tokens: int, slack: float = 0.0
) -> Iterator[tuple[int, np.ndarray]]:
    """Indices in batches of one length, the longest first, so that nothing is padded.

    Yields (longest length, indices); a batch holds at most ``max_tokens`` tokens, or a single sequence. With
    ``slack`` it also takes sequences shorter than its longest by up to that fraction, rounded down.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    begin = 0
    while begin < len(order):
        longest = int(descending[begin])
        room = begin + max(1, max_tokens // longest)
        similar = np.searchsorted(-descending, int(slack * longest) - longest, side="right")
        end = min(room, int(similar))
        yield longest, order[begin:end]
        begin = end
