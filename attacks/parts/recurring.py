"""Examples that come back: a client that trains on one batch after another of what it holds goes through all of it again.

Rounds of other examples are attacked each by itself. What was found in them is then matched, since every pass goes through the
same examples: those of one pass are laid over those of another, one to one, and all rounds are searched together by as many
images as the client holds, so that noise wears off as it does where every round is of the same batch.

The joint images are kept where the last round speaks for them, and all rounds together do: where they explain its update
worse than images of that round alone by no more nats than as many free pixels gain by fitting noise, half a nat each (Wilks
1938), and all updates worse than images of each round alone by no more than these gain by the pixels that they have more. So
what was matched wrongly, supposes too few examples, or is read off an exact update, is left as it was found in that round.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from seethrough.recipes.replay import sum_of

from .._base import Reconstruction, View
from .adaptive import evidence, smoothness, whitening
from .distances import cosine
from .image_priors import total_variation
from .rounds import each_round
from .simulated_client import simulated_client

Found = tuple[Tensor, Tensor]
"""Images float32 [n, *shape] in [0, 1], and their labels int64 [n]."""

SETTLED = 10  # rounds of matching and averaging at most; they rarely change anything after three


@dataclass(frozen=True, eq=False)
class Recurring:
    """Rounds of a client in which examples come back."""

    misfits: tuple[Callable[[Tensor, Tensor], Tensor], ...]  # of each round, the oldest first: of images and labels
    told: tuple[float, ...]  # nats that a unit of these is worth
    smoothness: float  # nats that a unit of total variation costs
    places: tuple[Tensor, ...]  # for each round, which of the examples it is of, int64 [count]
    images: Tensor  # float32 [held, *shape]: all that the client holds, means over the passes
    labels: Tensor  # int64 [held]
    found: tuple[Found, ...]  # of each round alone

    def misfit(self, images: Tensor) -> Tensor:
        """Of images of all examples: the distances of all rounds, each in proportion to what it tells."""
        told = sum(self.told)
        parts = zip(self.told, self.misfits, self.places, strict=True)
        return sum_of(each / told * misfit(images[at], self.labels[at]) for each, misfit, at in parts)

    def objective(self, least: float) -> Callable[[Tensor], Tensor]:
        """The same with the images' total variation, at `least` so much of it."""
        tv = max(least, self.smoothness / sum(self.told))
        return lambda images: self.misfit(images) + tv * total_variation(images)

    def of_last(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """The last round's of the joint `images`, with their labels; None where the rounds do not speak for them."""
        joint = [(images[at], self.labels[at]) for at in self.places]
        worse = [
            told * (float(misfit(*together)) - float(misfit(*alone)))
            for told, misfit, together, alone in zip(self.told, self.misfits, joint, self.found, strict=True)
        ]
        fewer = sum(part.numel() for part, _ in joint) - images.numel()  # pixels that are free
        return joint[-1] if worse[-1] <= joint[-1][0].numel() / 2 and sum(worse) <= fewer / 2 else None


def recurring(view: View, held: int, last: Reconstruction, alone: Callable[[View], Reconstruction]) -> Recurring | None:
    """The rounds of a client that is supposed to hold so many examples, by what is found in each of them `alone`, in the last
    one `last`.

    None where no example has come back yet, where these are no whole batches, or where no noise is known that would wear off.
    """
    views = each_round(view)
    whole = view.count is not None and held > 0 and held % view.count == 0
    if view.count is None or not whole or len(views) * view.count <= held or math.isinf(evidence(views[-1])):
        return None
    found, size = [_claimed(each) for each in (*map(alone, views[:-1]), last)], held // view.count
    passes = [_together(found[first : first + size]) for first in range(0, len(found), size)]
    examples, places = passes[0], list[Tensor]()
    for _ in range(SETTLED):
        before, places = places, [_matched(each, examples) for each in passes]
        examples = _means(passes, places, held)
        if before and all(map(torch.equal, before, places)):
            break
    return Recurring(
        tuple(_misfit(each) for each in views),
        tuple(evidence(each) for each in views),
        smoothness(views[-1], held),
        torch.cat(places).split(view.count),
        *examples,
        tuple(found),
    )


def _misfit(view: View) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance of a round's update to the one that images and labels would have left."""
    client, whitened = simulated_client(view), whitening(view)
    distance = cosine(whitened(view.update))
    return lambda images, labels: distance(whitened(client(images, labels)))


def _claimed(found: Reconstruction) -> Found:
    """Raises: ValueError, for what is not images with labels."""
    if found.inputs is None or found.labels is None:
        raise ValueError("found no images with labels")
    return found.inputs, found.labels


def _together(found: Sequence[Found]) -> Found:
    images, labels = zip(*found, strict=True)
    return torch.cat(images), torch.cat(labels)


def _matched(found: Found, examples: Found) -> Tensor:
    """For each image of a pass, an example of its own, so that the summed squared distance is lowest; one of another label
    counts as far away as examples are on average."""
    apart = torch.cdist(found[0].flatten(1), examples[0].flatten(1)).square()
    apart = apart + apart.mean() * (found[1][:, None] != examples[1])
    _, chosen = linear_sum_assignment(apart.cpu().numpy())
    return torch.from_numpy(chosen)


def _means(passes: Sequence[Found], places: Sequence[Tensor], held: int) -> Found:
    """Each example's mean image over the passes, and the label that was found for it most often."""
    images, labels = _together(passes)
    which = torch.cat(list(places))
    means = torch.stack([images[which == each].mean(dim=0) for each in range(held)])
    return means, torch.stack([labels[which == each].mode().values for each in range(held)])
