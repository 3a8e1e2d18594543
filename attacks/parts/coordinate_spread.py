"""How far each coordinate of a step varies from batch to batch: what the attacker finds by playing the client itself.

Coordinates that are nearly the same for every batch tell little about this one, however large they are; dividing by the
spread lets the telling ones speak.
"""

import torch
from torch import Generator, Tensor

from seethrough.defenses import Params

from .._base import View
from .image_priors import photograph_like
from .simulated_client import Client

LEAST = 1e-3  # of a tensor's mean spread: coordinates that never vary do not count infinitely
ROUNDING = 1e-6  # of a tensor's mean size: spreads below it are those of float32, not of the batches


def spreads(client: Client, view: View, labels: Tensor, batches: int, rng: Generator) -> Params:
    """The standard deviation of each coordinate of the client's step over `batches` batches with these labels: of public
    images where they are granted, else of random ones. Infinite for a tensor that does not vary: it tells nothing."""
    drawn = [_batch(view, len(labels), rng).to(labels.device) for _ in range(batches)]
    with torch.no_grad():
        steps = [client(images, labels) for images in drawn]
    return {name: _spread(torch.stack([step[name] for step in steps])) for name in steps[0]}


def _spread(steps: Tensor) -> Tensor:
    """That of one tensor, from its steps [batches, ...]."""
    spread, size = steps.std(dim=0), steps.abs().mean()
    if float(spread.mean()) <= ROUNDING * float(size):
        return torch.full_like(spread, torch.inf)
    return spread + LEAST * spread.mean() + ROUNDING * size


def _batch(view: View, count: int, rng: Generator) -> Tensor:
    if view.public is None:
        return photograph_like(count, view.space.shape, rng)
    return view.public.inputs[torch.randint(len(view.public), (count,), generator=rng).to(view.public.inputs.device)]
