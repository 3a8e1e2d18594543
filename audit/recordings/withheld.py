"""Half of an update, for an attacker who is to predict the other half."""

import torch
from torch import Generator, Tensor

from seethrough.defenses import Defense, Params, parts_of


def half_of(step: Params, rng: Generator) -> Params:
    """A random half of the coordinates of every tensor, as masks (bool)."""
    masks: dict[str, Tensor] = {}
    for name, part in step.items():
        order = torch.randperm(part.numel(), generator=rng)
        mask = torch.zeros(part.numel(), dtype=torch.bool)
        mask[order[: -(-part.numel() // 2)]] = True
        masks[name] = mask.view(part.shape).to(part.device)
    return masks


def cosine_of(one: Params, other: Params, within: Params | None = None) -> float:
    """The cosine between two steps, over the coordinates `within` masks; 0 where one of them is zero."""

    def vector(step: Params) -> Tensor:
        parts = [step[name] if within is None else step[name].cpu()[within[name].cpu()] for name in other]
        return torch.cat([part.detach().double().flatten().cpu() for part in parts])

    left, right = vector(one), vector(other)
    lengths = float(left.norm() * right.norm())
    return float(left @ right) / lengths if lengths > 0 else 0.0


def came_too_late(defense: Defense) -> bool:
    """Whether the defense acts within the client's training, and so not on an update that was sent."""
    return any(type(part).train is not Defense.train for _, own in defense.kinds() for part in parts_of(own))
