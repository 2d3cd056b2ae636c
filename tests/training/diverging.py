"""What a diverging member may do to a stack: nothing."""

from collections.abc import Callable

import torch

from auxin.training.loop import Trainer


def check_freezing(trained: Callable[[], Trainer]) -> None:
    """Of three members with seeds 3, 4 and 5 the second one diverges after a step."""
    trainer, healthy = trained(), trained()
    trainer.step(), healthy.step()
    trainer.ensemble.parameters["output.weight"][1] = torch.inf
    before = trainer.ensemble.flat[1].clone()
    for _ in range(3):
        result, expected = trainer.step(), healthy.step()
        assert not result.losses[1].isfinite()
        assert torch.equal(result.losses[[0, 2]], expected.losses[[0, 2]])
    assert trainer.frozen == {4: 1}
    assert torch.equal(trainer.ensemble.flat[1], before)
    assert trainer.state()["step"].tolist() == [4, 1, 4]
