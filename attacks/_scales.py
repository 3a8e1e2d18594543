"""How far each coordinate of a step varies from batch to batch: what the attacker finds by playing the client itself.

Coordinates that are nearly the same for every batch tell little about this one, however large they are; dividing by the
spread lets the telling ones speak.
"""

import torch
from torch import Generator, Tensor

from attacks._base import View
from attacks._replay import Client
from defenses import Params

LEAST = 1e-3  # of a tensor's mean spread: coordinates that never vary do not count infinitely


def spreads(client: Client, view: View, labels: Tensor, batches: int, rng: Generator) -> Params:
    """The standard deviation of each coordinate of the client's step over `batches` batches with these labels: of public
    images where they are granted, else of uniform noise. Infinite for a tensor that does not vary: it tells nothing."""
    drawn = [_batch(view, len(labels), rng).to(labels.device) for _ in range(batches)]
    with torch.no_grad():
        steps = [client(images, labels) for images in drawn]
    found = {name: torch.stack([step[name] for step in steps]).std(dim=0) for name in steps[0]}
    return {
        name: spread + LEAST * spread.mean() + torch.finfo(spread.dtype).tiny
        if spread.any()
        else torch.full_like(spread, torch.inf)
        for name, spread in found.items()
    }


def _batch(view: View, count: int, rng: Generator) -> Tensor:
    if view.public is None:
        return torch.rand((count, *view.space.shape), generator=rng)
    return view.public.inputs[torch.randint(len(view.public), (count,), generator=rng).to(view.public.inputs.device)]
