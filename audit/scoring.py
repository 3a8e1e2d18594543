"""Scores beside their floors: what the attack found, what its decoy control found, and what a blind guesser gets."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from attacks import Reconstruction
from audit._entries import label_of
from audit.metrics import Metric, UnavailableError
from defenses import Batch
from reports._row import Score


@dataclass(frozen=True, eq=False)
class Guess:
    """What is held against a batch of n examples."""

    inputs: Tensor | None  # float32 [n, channels, height, width] in [0, 1], matched one to one with the batch's
    labels: Tensor | None  # int64 [m], in any order


@dataclass(frozen=True, eq=False)
class Scene:
    """What a metric may know beside the batch and the guess."""

    model: nn.Module  # the attacked one
    public: Tensor  # public images


def matched(truth: Tensor, found: Tensor) -> Tensor:
    """For each image of `truth` [n, ...] an image of `found` [m >= n, ...] of its own, so that the summed squared error is
    lowest (Hungarian matching). An image that holds a NaN is matched last."""
    errors = torch.cdist(truth.flatten(1).double(), found.flatten(1).double()).square()
    _, chosen = linear_sum_assignment(errors.nan_to_num(nan=1e12, posinf=1e12).numpy())
    return found[torch.from_numpy(chosen)]


def guess_from(truth: Batch, found: Reconstruction) -> Guess:
    """The reconstruction, its images matched with the truth's."""
    return Guess(None if found.inputs is None else matched(truth.inputs, found.inputs), found.labels)


def blind_guesses(truth: Batch, public: Batch, size: int) -> tuple[Guess, ...]:
    """Guesses of `size` examples that look at no update: the mean public image, mid-gray, the first public images, and
    for each example the nearer one of these and the mean.

    Labels are guessed as the commonest public class throughout, and in the proportions of the public classes.
    """
    counts = torch.bincount(public.labels)
    in_proportion = _in_proportion(counts, size)
    mean = public.inputs.mean(dim=0).expand_as(truth.inputs)
    drawn = torch.cat([public.inputs[:size], mean])
    return (
        Guess(mean, counts.argmax().repeat(size)),
        Guess(torch.full_like(mean, 0.5), in_proportion),
        Guess(matched(truth.inputs, drawn[:size]), in_proportion),
        Guess(matched(truth.inputs, drawn), in_proportion),
    )


def _in_proportion(counts: Tensor, n: int) -> Tensor:
    """`n` labels in the proportions of `counts`, by largest remainders."""
    exact = counts.double() * n / counts.sum()
    whole = exact.floor().long()
    rest = (exact - whole).argsort(descending=True, stable=True)[: n - int(whole.sum())]
    whole[rest] += 1
    return torch.arange(len(counts)).repeat_interleave(whole)


def score(
    metric: Metric,
    truth: Batch,
    found: Guess,
    decoy: Guess,
    blind: tuple[Guess, ...],
    granted: bool,
    scene: Scene | None = None,
) -> Score:
    """One metric of one cell; `granted` tells that the labels were part of the view, so that finding them says nothing.
    Without a scene, metrics compare batch and guess alone."""
    name = label_of(metric)
    if getattr(found, metric.compares) is None:
        return Score(name, metric.better, "n/a", note=f"this attack recovers no {metric.compares}")
    if granted and metric.compares == "labels":
        return Score(name, metric.better, "n/a", note="the threat model grants the labels")
    compared = [getattr(guess, metric.compares) for guess in (found, decoy, *blind)]
    measure = metric.score if scene is None else metric.seen_by(scene.model, scene.public)
    try:
        values, control, *guesses = (measure(getattr(truth, metric.compares), guess) for guess in compared)
    except UnavailableError as reason:
        return Score(name, metric.better, "unavailable", note=str(reason))
    if not (np.isfinite(values).all() and np.isfinite(control).all()):
        return Score(name, metric.better, "nan", note="a value or its control is not a finite number", n=len(truth))
    best = max if metric.better == "higher" else min
    blindly = best(float(guess.mean()) for guess in guesses)
    return Score(
        metric=name,
        better=metric.better,
        status="ok",
        value=float(values.mean()),
        worst=float(best(values)),
        decoy=float(control.mean()),
        blind=blindly,
        floor=best(blindly, float(control.mean())),
        n=len(truth),
        note="" if scene is None else metric.remark(truth.inputs, scene.public),
    )
