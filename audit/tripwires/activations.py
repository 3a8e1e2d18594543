"""Which examples pass which ReLU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .probe import BATCH, Probe

ATEN = torch.ops.aten
RECTIFIERS = {  # ReLU and ReLU6, as functions and modules
    packet.default for packet in (ATEN.relu, ATEN.relu_, ATEN.hardtanh, ATEN.hardtanh_, ATEN.clamp_min, ATEN.clamp_min_)
}
MIN_UNITS = 8  # of a layer: shares of fewer say little
ALIKE = 0.999  # correlation


class _Rectified(TorchDispatchMode):
    """Keeps what goes into every rectifier: the largest over places, for each example and unit."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in RECTIFIERS and args[0].dim() > 1:
            self.inputs.append(_by_unit(args[0].detach()))
        return func(*args, **(kwargs or {}))


def _by_unit(values: Tensor) -> Tensor:
    """The largest value over places [n, units], of maps [n, units, ...] or tokens [n, tokens, units]."""
    if values.dim() == 3:
        return values.amax(dim=1)
    return values.flatten(2).amax(dim=2) if values.dim() > 3 else values.clone()


@torch.no_grad()
def rectified(probe: Probe) -> list[Tensor]:
    """For every ReLU in the order that they are passed: what goes into its units at most [images, units]."""
    batches = []
    for batch in probe.batches():
        with _Rectified() as kept:
            probe.model(batch.inputs)
        batches.append(kept.inputs)
    return [torch.cat(layer) for layer in zip(*batches, strict=True) if layer[0].shape[1] >= MIN_UNITS]


def dead_share(layers: list[Tensor]) -> float:
    """The largest share, over layers, of units that no image passes. In [0, 1]."""
    return max(float((layer <= 0).all(dim=0).double().mean()) for layer in layers)


def lonely_share(layers: list[Tensor]) -> float:
    """The largest share, over layers, of units that exactly one image of a batch passes, among those that any does; the mean
    over batches. In [0, 1]."""
    return max(_lonely(layer > 0) for layer in layers)


def _lonely(passed: Tensor) -> float:
    counts = torch.stack([batch.sum(dim=0) for batch in passed.split(BATCH)])  # [batches, units]
    some, one = (counts > 0).sum(dim=1), (counts == 1).sum(dim=1)
    return float(torch.where(some >= MIN_UNITS, one / some.clamp(min=1), 0.0).double().mean())


def alike_units(layers: list[Tensor]) -> int:
    """The most units of one layer that measure the same as another one of it: what goes into both is proportional over all
    images but for a constant (a correlation of 0.999, either sign). Units that all images pass, or none, do not count."""
    return max(_with_partner(layer) for layer in layers)


def _with_partner(layer: Tensor) -> int:
    live = (layer > 0).any(dim=0) & (layer <= 0).any(dim=0)
    centered = layer[:, live].double() - layer[:, live].double().mean(dim=0)
    units = centered / centered.norm(dim=0)
    return int((((units.T @ units).abs() > ALIKE).sum(dim=0) > 1).sum())
