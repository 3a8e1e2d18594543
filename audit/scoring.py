"""Scores beside what is got without the update: by the same attack on another batch's update, by blind guessers, and by
the same reconstruction held against other private batches."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from seethrough.attacks import Reconstruction
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch
from seethrough.reports.row import Guess, Score

from .metrics import Metric, MetricNotApplicableError, UnavailableError

PROPORTIONS = "public proportions"  # the guesser of labels who deals them out as the public classes are


@dataclass(frozen=True, eq=False)
class Claimed:
    """What is held against a batch: what an attacker claims to be in it, or a guesser."""

    inputs: Tensor | None  # float32 [m, channels, height, width] in [0, 1], in any order
    labels: Tensor | None  # int64 [m], in any order
    shrunk: Tensor | None = None  # as `inputs`: the attacker's best guess in squared error
    name: str = ""  # of a guesser

    def matched_with(self, truth: Batch) -> "Claimed":
        """The same, its images in the order of those of `truth` that they are matched with."""
        return self if self.inputs is None else replace(self, inputs=matched(truth.inputs, self.inputs))


@dataclass(frozen=True, eq=False)
class Scene:
    """What a metric may know beside the batch and the guess."""

    model: nn.Module  # the attacked one
    public: Tensor  # public images


@dataclass(frozen=True, eq=False)
class Trial:
    """The truth of one trial, and all that a score is held against whatever the attack. One object for all its cells."""

    truth: Batch
    others: tuple[Batch, ...]  # private batches that might as well have been drawn
    blind: tuple[Claimed, ...]  # guessers that look at no update
    readable: Claimed  # all that the server can read: the batch, or those of all in a sum
    granted: bool = False  # whether labels were part of the view, so that finding them says nothing
    permuted: bool = False  # whether `others` are the truths of the trials after this one, around to the one before it
    scene: Scene | None = None  # without it, metrics compare batch and guess alone


def matched(truth: Tensor, found: Tensor) -> Tensor:
    """For each image of `truth` [n, ...] an image of `found` [m >= n, ...] of its own, so that the summed squared error is
    lowest (Hungarian matching). An image that holds a NaN is matched last."""
    errors = torch.cdist(truth.flatten(1).double(), found.flatten(1).double()).square()
    _, chosen = linear_sum_assignment(errors.nan_to_num(nan=1e12, posinf=1e12).numpy())
    return found[torch.from_numpy(chosen)]


def claimed_by(found: Reconstruction) -> Claimed:
    """What a reconstruction claims."""
    return Claimed(found.inputs, found.labels, found.shrunk)


def claimed_by_all(found: Reconstruction) -> Claimed:
    """What a reconstruction claims of all rounds together; nothing of what it does not claim of each of them."""
    claims = [claimed_by(each) for each in (*found.history, found)]

    def together(parts: list[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None

    return Claimed(together([each.inputs for each in claims]), together([each.labels for each in claims]))


def joined(batches: tuple[Batch, ...]) -> Batch:
    """One batch of all examples."""
    return Batch(torch.cat([batch.inputs for batch in batches]), torch.cat([batch.labels for batch in batches]))


def all_of(batches: tuple[Batch, ...]) -> Claimed:
    """The claim of who read all of `batches`."""
    whole = joined(batches)
    return Claimed(whole.inputs, whole.labels, whole.inputs)


def blind_guessers(public: Batch, size: int, granted: Tensor | None) -> tuple[Claimed, ...]:
    """Guessers of `size` examples that look at no update, each of them fixed before anything is seen.

    Images are guessed as the mean public image throughout, as mid-gray, and as the first public images; by who is `granted`
    the labels [size], also as the mean public image of each one's class. Labels are guessed as the commonest public class
    throughout, and in the proportions of the public classes.
    """
    counts = torch.bincount(public.labels)
    mean = public.inputs.mean(dim=0).expand(size, *public.inputs.shape[1:])
    drawn = public.inputs[torch.arange(size) % len(public)]
    guessed = {"the mean public image": mean, "mid-gray": torch.full_like(mean, 0.5), "public images": drawn}
    if granted is not None:
        guessed["the mean public image of each class"] = _class_means(granted, public)
    named = {
        "the commonest public class": counts.argmax().repeat(size),
        PROPORTIONS: _in_proportion(counts, size),
    }
    return (
        *(Claimed(images, None, images, name) for name, images in guessed.items()),
        *(Claimed(None, labels, None, name) for name, labels in named.items()),
    )


def score(metric: Metric, trial: Trial, found: Claimed, decoy: Claimed) -> Score:
    """One metric of one cell. What keeps it from being measured is its own trouble: the other metrics do not hear of it."""
    name = label_of(metric)
    reason = _impossible(metric, trial, found)
    if reason:
        return Score(name, metric.better, "n/a", note=reason)
    try:
        return _measured(metric, trial, found, decoy)
    except MetricNotApplicableError as error:
        return Score(name, metric.better, "n/a", note=str(error))
    except UnavailableError as error:
        return Score(name, metric.better, "unavailable", note=str(error))
    except Exception as error:
        return Score(name, metric.better, "failed", note=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _impossible(metric: Metric, trial: Trial, found: Claimed) -> str:
    """Why there is nothing to measure; empty where there is."""
    if getattr(found, metric.compares) is None:
        return f"this attack recovers no {'shrunk images' if metric.compares == 'shrunk' else metric.compares}"
    return "the threat model grants the labels" if trial.granted and metric.compares == "labels" else ""


def _measured(metric: Metric, trial: Trial, found: Claimed, decoy: Claimed) -> Score:
    name, against = label_of(metric), _against(metric, trial)
    values = _held(metric, trial, found, trial.truth)
    control = None if getattr(decoy, metric.compares) is None else _held(metric, trial, decoy, trial.truth)
    if not np.isfinite(values).all() or (control is not None and not np.isfinite(control).all()):
        return Score(
            name, metric.better, "nan", note="a value or its control is not a finite number", n=len(trial.truth)
        )
    low, high = metric.limits()
    return Score(
        metric=name,
        better=metric.better,
        status="ok",
        permuted=trial.permuted,
        value=float(values.mean()),
        worst=float((max if metric.better == "higher" else min)(values)),
        decoy=None if control is None else float(control.mean()),
        guesses=against.guesses,
        swapped=_swapped(metric, trial, found),
        perfect=against.perfect,
        perfect_swapped=against.perfect_swapped,
        low=low,
        high=high,
        share=metric.share,
        n=len(trial.truth),
        note="" if trial.scene is None else metric.remark(trial.truth.inputs, trial.scene.public),
    )


@dataclass(frozen=True)
class _Against:
    """What every attack's score of one metric in one trial is held against."""

    guesses: tuple[Guess, ...]
    perfect: float
    perfect_swapped: tuple[float, ...]


@lru_cache(maxsize=512)
def _against(metric: Metric, trial: Trial) -> _Against:
    blind = [claim for claim in trial.blind if getattr(claim, metric.compares) is not None]
    return _Against(
        tuple(Guess(claim.name, float(_held(metric, trial, claim, trial.truth).mean())) for claim in blind),
        float(_held(metric, trial, trial.readable, trial.truth).mean()),
        _swapped(metric, trial, trial.readable),
    )


def _swapped(metric: Metric, trial: Trial, claim: Claimed) -> tuple[float, ...]:
    return tuple(float(_held(metric, trial, claim, other).mean()) for other in trial.others)


def _held(metric: Metric, trial: Trial, claim: Claimed, truth: Batch) -> np.ndarray:
    """The values of a claim, which has what the metric compares, held against `truth`."""
    part, measure = getattr(claim, metric.compares), _measure(metric, trial)
    if metric.compares == "labels":
        return measure(truth.labels, part)
    return measure(truth.inputs, matched(truth.inputs, part))


@lru_cache(maxsize=64)
def _measure(metric: Metric, trial: Trial) -> Callable[[Tensor, Tensor], np.ndarray]:
    return metric.score if trial.scene is None else metric.seen_by(trial.scene.model, trial.scene.public)


def _class_means(labels: Tensor, public: Batch) -> Tensor:
    """For each of `labels` [n] the mean public image of that class; of all images, for a class that has none."""
    everything = public.inputs.mean(dim=0)
    means = {
        int(label): public.inputs[public.labels == label].mean(dim=0) if (public.labels == label).any() else everything
        for label in labels.unique()
    }
    return torch.stack([means[int(label)] for label in labels])


def _in_proportion(counts: Tensor, n: int) -> Tensor:
    """`n` labels in the proportions of `counts`, by largest remainders."""
    exact = counts.double() * n / counts.sum()
    whole = exact.floor().long()
    rest = (exact - whole).argsort(descending=True, stable=True)[: n - int(whole.sum())]
    whole[rest] += 1
    return torch.arange(len(counts)).repeat_interleave(whole)
