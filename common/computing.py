"""On which device what is costly is computed: clients' training, networks that judge, accuracies."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_DEVICE = ContextVar("device", default="cpu")


def computing_device() -> torch.device:
    """Where to compute what is costly; what comes of it goes back to where its inputs were."""
    return torch.device(_DEVICE.get())


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Within it, `computing_device` is `device`; it is the CPU elsewhere."""
    before = _DEVICE.set(str(device))
    try:
        yield
    finally:
        _DEVICE.reset(before)
