"""The network of whatever a user holds: by its family, or recognized by what its layers do."""

from __future__ import annotations

from typing import Any

from torch import nn

from auxin.architecture import Network
from auxin.config import ModelConfig, RunConfig
from auxin.families.configs import NoFamily, recipe_of
from auxin.families.description import KNOWN, Described, describe, settings_of
from auxin.families.layers import LayerStack, find_stacks, unwrapped
from auxin.models.transformer import TransformerLM
from auxin.probes.inputs import Reading
from auxin.probes.recognition import recognize
from auxin.values import check


def network_of(source: Any, *, actual: bool = False) -> Network:
    """The network that a config or a model stands for, with the σ's of its family's initialization.

    Args:
        source: the path of a config.json or of its directory; its settings as a dict; a config of transformers; any
            model whose family is known, or whose layers are recognized by what they do, in a pass; a ``ModelConfig``,
            ``RunConfig`` or ``TransformerLM``. No config runs any code.
        actual: of a model, the σ's that its weights have now, instead of the intended ones.

    Raises:
        ConfigError: a family that is not known (the known ones are listed), a layer that is not recognized, or a
            setting that is missing.

    >>> settings = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}
    >>> network = network_of(settings)
    >>> len(network.layers), round(exponents(network).gradient_total, 2)
    (12, 4.22)
    """
    if isinstance(source, Network):
        return source
    if isinstance(source, nn.Module):
        if isinstance(source, TransformerLM) and not actual:
            return source.config.network()
        model = unwrapped(source)
        try:
            described = description_of(model)
        except NoFamily as why:
            kind = type(model).__name__
            raise NoFamily(
                f"{kind} is of no known family, and is not recognized: {why}; allowed: {KNOWN}"
            ) from why
        return described.actual if actual else described.recipe.drawn
    check(not actual, "actual", True, "False, of a config, which has no weights")
    if isinstance(source, (ModelConfig, RunConfig)):
        return (source.model if isinstance(source, RunConfig) else source).network()
    return recipe_of(settings_of(source)).drawn


def description_of(
    model: nn.Module,
    stack: LayerStack | None = None,
    reading: Reading = Reading(),  # noqa: B008  # it is frozen
) -> Described:
    """The description of a model by its family; of no known one, by what its layers do.

    Raises ``NoFamily``, which says what is not recognized, and ``ConfigError`` of what a known family does not cover.
    """
    try:
        return describe(model, stack)
    except NoFamily:
        return recognize(model, stack or find_stacks(model, reading.layers)[-1], reading)
