"""A model made ready to be measured, and left as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy

from auxin.errors import AuxinError, ConfigError

ROUNDING = {torch.float32: 5e-6, torch.float64: 1e-10, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Types of weights that can be measured, and the relative residual up to which an equation holds in each."""


@contextmanager
def restored(restore: Callable[[], None]) -> Iterator[None]:
    """Call ``restore`` at the end, and once more where Ctrl-C interrupts it: nothing is left half done."""
    try:
        yield
    finally:
        try:
            restore()
        except BaseException:
            restore()
            raise


@contextmanager
def hooks() -> Iterator[Callable[[Any], None]]:
    """A function that takes the handles of hooks, which are removed at the end."""
    handles: list[Any] = []

    def remove() -> None:
        for handle in handles:
            handle.remove()

    with restored(remove):
        yield handles.append


@contextmanager
def as_config_error(what: str, allowed: str = "") -> Iterator[None]:
    """What another's code raises, as a ``ConfigError`` of one line that begins with ``what``."""
    try:
        yield
    except AuxinError:
        raise
    except Exception as error:
        text = f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ConfigError(f"{text}; allowed: {allowed}" if allowed else text) from error


def uncompiled() -> AbstractContextManager[Any]:
    """Nothing compiled; where the compiler has not been imported, which takes seconds, nothing is."""
    stance: Any = torch.compiler.set_stance
    return stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def prepared(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on, nothing compiled, attention in its plain form.

    Modes, ``requires_grad`` and torch's random state are as before afterwards; gradients are never touched.
    Raises ``ConfigError`` naming the first tensor that cannot be read, and for scripted modules.
    """
    for root in modules:
        check_readable(root)
    modes = [(m, m.training) for m in {id(m): m for root in modules for m in root.modules()}.values()]
    parameters = list({id(p): p for root in modules for p in root.parameters()}.values())
    needing = [p for p in parameters if p.requires_grad]
    cuda = [p.device for p in parameters if p.is_cuda][:1]
    fast = torch.backends.mha.get_fastpath_enabled()  # torch's own encoder would make nested tensors

    def restore() -> None:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training
        for p in needing:
            p.requires_grad_(True)

    with restored(restore):
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:
            module.training = False
        for p in needing:
            p.requires_grad_(False)
        with (
            torch.random.fork_rng(devices=cuda),
            torch.inference_mode(False),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            uncompiled(),
        ):
            yield


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that is asked for holds NaN until it is set, so what a constructor never sets shows."""
    settings: Any = torch.utils.deterministic  # whose type names none of them
    fill = settings.fill_uninitialized_memory
    before, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        settings.fill_uninitialized_memory = fill


def check_readable(model: nn.Module) -> None:
    """Raise ``ConfigError`` for a scripted module, and for weights without data or of a type that is no float."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ConfigError(
                f"{name or type(module).__name__} is scripted, and its parts cannot be followed; allowed: the module "
                "that was scripted or traced"
            )
        if callable(getattr(type(module), "weight", None)):
            raise ConfigError(f"weight of {name} is quantized and packed; allowed: weights that are tensors")
    for name, p in (*model.named_parameters(), *model.named_buffers()):
        what = f"{'parameter' if isinstance(p, nn.Parameter) else 'buffer'} {name}"
        if is_lazy(p):
            raise ConfigError(f"{what} has no shape yet; allowed: a lazy module after its first run")
        if p.is_meta:
            raise ConfigError(
                f"{what} is on device 'meta', without data; allowed: weights that are filled (to_empty, then the "
                "model's own initialization)"
            )
        if isinstance(p, nn.Parameter) and p.dtype not in ROUNDING:
            floats = ", ".join(str(dtype) for dtype in ROUNDING)
            raise ConfigError(f"{what} is {p.dtype}; allowed: {floats}")
