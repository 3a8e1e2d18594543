"""How far an attacker trusts its own pictures, by a play on public images.

The likeliest images are not the best guess in squared error: what of them is error adds to it, while a guess of the mean image
adds none. The best guess in between is mean + w (images - mean) with

    w = <images - mean, truth - mean> / ||images - mean||^2

The attacker cannot know w, but it can play: it takes public images of the labels that it recovered and of a like step,
simulates the client on them, adds to their step as much noise as its pictures leave unexplained of the observed one, whatever
the reason, and attacks that. There it knows the truth, and so w. Where the play succeeded, yet with fewer steps than the
attack, its error is scaled down by how much more of the update the attack explains.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor
from typing_extensions import Self

from seethrough.defenses import Batch, NotApplicableError, Params, Update

from .._base import Attack, NoGradientError, Reconstruction, Seen, View
from .adaptive import clients_behind, most_telling, unaware, whitening
from .batchnorm import are_running, batch_statistics
from .distances import cosine, squared_l2
from .registration import assignment
from .rounds import observed, rounds_of
from .simulated_client import simulated_client

Search = Callable[[View, Generator], Reconstruction]  # with images and labels


def simulated_steps(steps: int) -> int:
    """How long to play: a quarter of the attack's steps, but as long as the attack up to `SHORTEST`."""
    return max(min(steps, SHORTEST), steps // 4)


class Shrinking(Attack):
    """An attack that can be played from one start, in fewer steps, and so can tell how far its pictures are to be trusted."""

    steps: int
    adaptive: bool
    starts: ClassVar[str] = "restarts"  # the field that says from how many starts it searches

    def known(self, view: View) -> View:
        """The view with what the attacker reckons with: no defense, unless it is `adaptive`; of several rounds, those that
        are worth matching."""
        return most_telling(view) if self.adaptive else unaware(view)

    def shorter(self, **changes: Any) -> Self:
        """The same attack from one start and in fewer steps, to be played."""
        fewer: dict[str, Any] = {"steps": simulated_steps(self.steps), self.starts: 1}
        return dataclasses.replace(self, **fewer, **changes)  # type: ignore[type-var]

    def shrunk(self, found: Reconstruction, view: View, rng: Generator) -> Reconstruction:
        """`found`, with its best guess in squared error, by a play of the same search from one start."""
        return with_shrunk(found, self.known(view), self.shorter().reconstruct, rng)


def with_shrunk(found: Reconstruction, view: View, play: Search, rng: Generator) -> Reconstruction:
    """`found`, with its images [n, *shape] drawn toward the mean public image; as it was without public images.

    `play` is the attack from one start, for `simulated_steps`.
    """
    claimed = _claimed(found)
    if view.public is None or claimed is None:
        return found
    truth, mean = _alike(view, view.public, claimed.labels, rng), view.public.inputs.mean(dim=0)
    staged = _staged(view, truth, claimed, rng)
    try:
        again = _claimed(play(staged, rng))
    except (NoGradientError, NotApplicableError):  # where the play finds nothing, nothing is to be trusted
        again = None
    weight = 0.0 if again is None else _weight(claimed, view, again, staged, truth, mean)
    return dataclasses.replace(found, shrunk=mean + weight * (claimed.inputs - mean))


def _claimed(found: Reconstruction) -> Batch | None:
    return None if found.inputs is None or found.labels is None else Batch(found.inputs, found.labels)


def _weight(claimed: Batch, view: View, again: Batch, staged: View, truth: Tensor, mean: Tensor) -> float:
    """What is left of the images' distance from the mean, in [0, 1], after the play found `again` where there was `truth`."""
    weight = min(1.0, max(0.0, _share_kept(again.inputs, truth, mean)))
    gained = _unexplained(view, claimed) / max(_unexplained(staged, again), SMALLEST)
    return 1 - (1 - weight) * min(1.0, gained) ** (weight**TRUST)


@torch.no_grad()
def _alike(view: View, public: Batch, labels: Tensor, rng: Generator) -> Tensor:
    """Of `DRAWS` batches of public images with these labels, the one whose step is nearest to what was observed: how sure the
    model is of a batch decides how much its step tells. Where the recipe is withheld, the nearest in direction."""
    client, whitened = simulated_client(view), whitening(view)
    distance = (cosine if view.recipe is None else squared_l2)(whitened(observed(view)))
    drawn = [_drawn(public, labels, rng) for _ in range(DRAWS)]
    return min(drawn, key=lambda images: float(distance(whitened(client(images, labels)))))


def _drawn(public: Batch, labels: Tensor, rng: Generator) -> Tensor:
    """A public image [n, *shape] for each label, of that class where there is one."""
    every = torch.arange(len(public), device=public.labels.device)
    members = [every[public.labels == label] for label in labels]
    pools = [each if len(each) else every for each in members]
    places = [int(torch.randint(len(pool), (1,), generator=rng)) for pool in pools]
    return torch.stack([public.inputs[pool[place]] for pool, place in zip(pools, places, strict=True)])


def _staged(view: View, truth: Tensor, claimed: Batch, rng: Generator) -> View:
    """The view of an attacker on clients whose batch is `truth`, as noisy as what is claimed leaves the observed updates."""
    *earlier, last = [_sent(each, truth, claimed, rng) for each in rounds_of(view)]
    alike = () if view.past is None or view.fresh else view.past
    past = tuple(
        Seen(old.model, step, labels=old.labels, buffers=_statistics(each, truth))
        for old, step, each in zip(alike, earlier, rounds_of(view)[:-1], strict=True)
    )
    statistics = _statistics(view, truth)
    return dataclasses.replace(view, update=last, past=None if view.past is None else past, buffers=statistics)


@torch.no_grad()
def _sent(view: View, truth: Tensor, claimed: Batch, rng: Generator) -> Params:
    """One round's step of `truth`, with noise of the variance that is left of each tensor of the observed one."""
    step, seen = simulated_client(view)(claimed.inputs, claimed.labels), view.update
    length = sum(float((part * step[name]).sum()) for name, part in seen.items())
    scale = max(0.0, length / max(sum(float(part.square().sum()) for part in step.values()), SMALLEST))
    released = _released(view, truth, claimed.labels, rng)
    shown = view if released is None else dataclasses.replace(view, update=released)
    expected, simulated = simulated_client(shown)(truth, claimed.labels), {}
    for name, part in seen.items():
        sent = (part != 0) | (step[name] == 0) if released is None else released[name] != 0
        variance = (part - scale * step[name]).square().sum() / (part != 0).sum().clamp(min=1)
        noise = torch.randn(part.shape, generator=rng).to(part)
        simulated[name] = (expected[name] + variance.sqrt() * noise) * sent
    return simulated


def _released(view: View, truth: Tensor, labels: Tensor, rng: Generator) -> Params | None:
    """What the known defense of a single client lets through of `truth`'s step; None where that is not known."""
    if view.defense is None or clients_behind(view) > 1 or view.defense.cohort() > 1:
        return None
    step = simulated_client(unaware(view))(truth, labels)
    return view.defense.release(Update(step, len(labels), {}), rng).step


@torch.no_grad()
def _statistics(view: View, truth: Tensor) -> Params | None:
    """BatchNorm statistics as the view has them: the model's own, or those of the batch."""
    return view.buffers if view.buffers is None or are_running(view) else batch_statistics(view.model)(truth)


@torch.no_grad()
def _unexplained(view: View, found: Batch) -> float:
    """The share of the observed updates' square length that the step of what was found, at its best length, leaves over."""
    whitened = whitening(view)
    apart = float(cosine(whitened(observed(view)))(whitened(simulated_client(view)(found.inputs, found.labels))))
    return max(0.0, apart * (2 - apart))


def _share_kept(images: Tensor, truth: Tensor, mean: Tensor) -> float:
    """The w of the module's head, after `images` were assigned to the truth's one to one."""
    alike = torch.zeros(len(truth), dtype=torch.long, device=truth.device)
    away = images[assignment(truth, images, alike)] - mean
    return float((away * (truth - mean)).sum() / away.square().sum().clamp(min=SMALLEST))


DRAWS = 16
SHORTEST = 100  # steps; in fewer, plays have not settled under noise, and shrink pictures that are good
TRUST = 4  # the play's error is scaled down only where it is small: failed searches explain updates too
SMALLEST = 1e-30
