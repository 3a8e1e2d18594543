"""What single examples do to the gradient of their batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .probe import Probe

GRADIENT_BATCHES = 3  # of a probe: each example needs a backward pass of its own
MIN_ROWS = 8  # of a matrix or kernel, that have a gradient: shares of fewer say little
ONE = 10.0  # disaggregation signal-to-noise ratio from which on a row is one example's


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of a batch's examples, by their squared norms, and of the batch."""

    rows: dict[str, Tensor]  # of each row of each matrix or kernel [examples, rows], by the parameter's name
    whole: Tensor  # of all parameters [examples]
    zero: float  # share of the coordinates of the batch's gradient that are exactly zero


def gradients_of(probe: Probe) -> list[Gradients]:
    """For each of the first batches, the gradient of the cross-entropy of every example in every parameter that trains.

    Raises: ValueError, a sentence without its period, if none trains, or the gradient is not finite.
    """
    return [_gradients(probe, batch.inputs, batch.labels) for batch in probe.batches()[:GRADIENT_BATCHES]]


def _gradients(probe: Probe, inputs: Tensor, labels: Tensor) -> Gradients:
    parameters = {name: each for name, each in probe.model.named_parameters() if each.requires_grad}
    if not parameters:
        raise ValueError("none of its parameters trains (requires_grad)")
    total = {name: torch.zeros_like(each) for name, each in parameters.items()}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for image, label in zip(inputs.split(1), labels.split(1), strict=True):
        loss = F.cross_entropy(probe.model(image), label)
        slopes = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        for name, slope in zip(parameters, slopes, strict=True):
            total[name] += slope
            each = slope.flatten(1) if slope.dim() > 1 else slope.reshape(1, -1)
            rows[name].append(each.norm(dim=1).double().square())
    squares = {name: torch.stack(each) for name, each in rows.items()}
    whole = torch.stack([each.sum(dim=1) for each in squares.values()]).sum(dim=0)
    if not whole.isfinite().all():
        raise ValueError("its gradient is not finite for the images that it is checked on")
    zero = sum(int((part == 0).sum()) for part in total.values()) / sum(part.numel() for part in total.values())
    return Gradients({name: each for name, each in squares.items() if parameters[name].dim() > 1}, whole, zero)


def signal_to_noise(squares: Tensor) -> Tensor:
    """Of squared norms [examples, ...]: the largest norm over the root of the sum of the others' squares, [...]. Zero where
    all are zero, infinite where the others are."""
    largest = squares.amax(dim=0)
    rest = squares.sum(dim=0) - largest
    return torch.where(largest > 0, (largest / rest.clamp(min=0)).sqrt(), torch.zeros_like(largest))


def disaggregation(batches: list[Gradients]) -> float:
    """The disaggregation signal-to-noise ratio (Garov et al., ICLR 2024, section 3): of all matrices and kernels, the largest;
    the median over batches. In [0, inf]."""
    found = [
        max((float(signal_to_noise(rows.sum(dim=1))) for rows in each.rows.values()), default=0.0) for each in batches
    ]
    return float(torch.tensor(found).median())


def owned_share(batches: list[Gradients], classifier: str) -> float:
    """The largest share, over matrices and kernels but the classifier's, of rows whose gradient is nearly one example's, among
    rows that have any; the mean over batches. In [0, 1]."""
    names = [name for name in batches[0].rows if name != classifier]
    return max((_owned([each.rows[name] for each in batches]) for name in names), default=0.0)


def _owned(batches: list[Tensor]) -> float:
    found = []
    for rows in batches:
        moved = rows.amax(dim=0) > 0
        ratios = signal_to_noise(rows)[moved]
        found.append(float((ratios > ONE).double().mean()) if len(ratios) >= MIN_ROWS else 0.0)
    return sum(found) / len(found)


def largest_share(batches: list[Gradients]) -> float:
    """The largest norm of an example's gradient over the sum of all examples' norms; the median over batches. In [1/32, 1]."""
    found = [float(each.whole.sqrt().max() / each.whole.sqrt().sum().clamp(min=1e-300)) for each in batches]
    return float(torch.tensor(found).median())


def zero_share(batches: list[Gradients]) -> float:
    """The share of the gradient's coordinates that are exactly zero; the mean over batches. In [0, 1]."""
    return sum(each.zero for each in batches) / len(batches)
