import threading
import time
from collections.abc import Iterator

import pytest
import torch

from auxin.config import ModelConfig
from auxin.measures.tokenizers import evaluating, side_by_side
from auxin.models.protocol import CausalModel, Output
from auxin.models.transformer import TransformerLM

MODEL = TransformerLM(
    ModelConfig(depth=1, width=16, heads=2, vocabulary_size=5), torch.Generator().manual_seed(0)
)
PATIENCE = 60  # seconds


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def other(tokens: torch.Tensor, **_: object) -> Output:
    return MODEL(tokens)


@pytest.mark.usefixtures("two_threads")
def test_our_model_takes_two_batches_at_once_with_one_thread_each() -> None:
    together = threading.Barrier(2)

    def work(batch: int) -> tuple[int, int, bool, bool]:
        together.wait(PATIENCE)  # breaks where there are no two
        return batch, torch.get_num_threads(), torch.is_inference_mode_enabled(), MODEL.training

    with evaluating(MODEL):
        found = list(side_by_side(MODEL, work, range(6)))
    assert found == [(batch, 1, True, False) for batch in range(6)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("model", "threads"), [(other, 2), (MODEL, 1)])
def test_another_model_and_a_single_thread_take_one_after_the_other(model: CausalModel, threads: int) -> None:
    torch.set_num_threads(threads)
    with evaluating(model):
        found = list(side_by_side(model, lambda batch: (batch, threading.get_ident()), range(6)))
    assert found == [(batch, threading.get_ident()) for batch in range(6)]


@pytest.mark.usefixtures("two_threads")
def test_an_error_comes_out_and_ends_the_work() -> None:
    done: list[int] = []

    def work(batch: int) -> None:
        done.append(batch)
        time.sleep(0.01)  # so that the rest take ten seconds where the error does not end them
        raise ValueError(batch)

    with pytest.raises(ValueError, match="0"):
        list(side_by_side(MODEL, work, range(1000)))
    assert len(done) < 1000
