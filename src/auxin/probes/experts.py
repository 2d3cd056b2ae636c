"""The output maps of a branch that is a mixture of experts: none of them stands last, and together they scale it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import hooks, prepared
from auxin.probes.states import stream_of

DOUBLED = 1e-2
"""Relative error of an output that counts as doubled: half precision has three digits."""


def holds_experts(module: nn.Module) -> bool:
    """Whether a branch has a list of modules of several matrices each, or matrices in one tensor."""
    for inner in module.modules():
        if isinstance(inner, nn.ModuleList):
            several = [sum(p.ndim == 2 for p in expert.parameters()) > 1 for expert in inner]
            if len(several) > 1 and all(several):
                return True
    return any(p.ndim == 3 for p in module.parameters())


def output_maps(model: nn.Module, name: str, run: Callable[[], Any]) -> dict[str, Tensor]:
    """The parameters of the output maps of a branch's experts by name, to all of which its output is proportional.

    Parameters of one last name (down_proj, w2) are doubled together; those that double the output, and lead to the
    stream's width, are what is looked for. ``run`` calls the model. Cost: a pass, and one of the branch for each name.

    Raises ``ConfigError`` where there are none.
    """
    module = model.get_submodule(name)
    inputs: list[Any] = []
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, p in module.named_parameters():
        last = key.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias").rpartition(".")[2]
        groups[last][f"{name}.{key}"] = p

    def output() -> Tensor | None:
        args, kwargs = inputs[0]
        return stream_of(module(*args, **kwargs))

    with prepared(model), torch.no_grad():
        with hooks() as hook:
            hook(module.register_forward_pre_hook(lambda _, *given: inputs.append(given), with_kwargs=True))  # pyright: ignore[reportArgumentType]
            run()
        before = output()
        assert before is not None
        found: list[dict[str, Tensor]] = []
        for parameters in groups.values():
            for p in parameters.values():
                p.mul_(2)
            after = output()
            for p in parameters.values():
                p.div_(2)
            if after is not None and (after - 2 * before).norm() <= DOUBLED * before.norm():
                found.append(parameters)
    found.sort(key=lambda of: all(p.shape[0] == before.shape[-1] for p in of.values() if p.ndim == 2))
    if not found:
        raise ConfigError(
            f"output map of {name} is not found; allowed: a branch that is proportional to some of its maps"
        )
    return found[-1]
