"""The search of a latent prior: first over latents, and labels; then over what is let go near the manifold."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.no_gradient import Variables
from ..engine.search import cosine_schedule, descend
from ..engine.side_by_side import side_by_side
from ..labels.soft import guessed
from .generator import Drawer

GENTLER = 0.1  # of the learning rate, for what is let go


@dataclass(frozen=True, eq=False)
class Match:
    """How well images with class probabilities account for the observed update."""

    misfit: Callable[[Tensor, Tensor], Tensor]
    """The distance of the step of images [n, *shape] and class probabilities [n, classes] to the observed one."""
    certain: Tensor  # [n, classes], the known or recovered labels, one-hot
    at_once: int  # restarts that are computed together


def search_latents(
    start: Tensor, free: tuple[Tensor, ...], drawer: Drawer, match: Match, prior: float, steps: int, lr: float
) -> tuple[Tensor, Tensor, float]:
    """Latents [n, latent], class probabilities [n, classes] and loss of the lowest of the restarts in `start` [restarts, n,
    latent]. `free` holds the logits [restarts, n, classes] that labels are searched from; where it is empty, they stay."""

    def misfit(latents: Tensor, *logits: Tensor) -> Tensor:
        classes = guessed(match.certain, *logits)
        return match.misfit(drawer.draw(latents, classes), classes)

    def loss(latents: Tensor, *logits: Tensor) -> Tensor:
        return misfit(latents, *logits) + prior * latents.square().sum(dim=1).mean() / 2

    (latents, *logits), lowest = descend(
        (start, *free),
        side_by_side(loss),
        steps=steps,
        lr=lr,
        factor=cosine_schedule(steps),
        at_once=match.at_once,
        misfit=side_by_side(misfit),
    ).best()
    return latents, guessed(match.certain, *logits), lowest


def let_go(
    start: Tensor,
    show: Callable[[Tensor], Tensor],
    classes: Tensor,
    match: Match,
    radius: float,
    steps: int,
    lr: float,
) -> tuple[Tensor, float]:
    """What [n, ...] `show` makes images of that account best for the update, and the distance that is left: each of the n
    no farther from `start` than `radius` times its length. It starts there, so the distance can only fall."""
    farthest = radius * _lengths(start)

    def within(step: int, variables: Variables) -> Variables:
        away = variables[0][0] - start
        return ((start + away * (farthest / _lengths(away).clamp(min=1e-12)).clamp(max=1))[None],)

    found = descend(
        (start[None],),
        lambda variables: match.misfit(show(variables[0][0]), classes)[None],
        steps=steps,
        lr=GENTLER * lr,
        factor=cosine_schedule(steps),
        after=within,
    )
    # Whether there is anything to go by was settled over the latents; here, what cannot move further stays where it is.
    return found.variables[0][0], float(found.losses[0])


def _lengths(rows: Tensor) -> Tensor:
    """The length of each of rows [n, ...], shaped to be multiplied with them."""
    return torch.linalg.vector_norm(rows.flatten(1), dim=1).view(-1, *[1] * (rows.dim() - 1))
