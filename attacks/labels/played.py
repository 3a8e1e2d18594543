"""Counts of classes where no gradient of a classifier can be read: because it is frozen, or its outputs are cut off.

Every part of an update tells of labels, only not by a formula. So the attacker plays the client on batches of familiar images,
whose labels it knows, and learns by ridge regression what the steps say of the counts: of the parameter tensors that say most.
How far that can be trusted is seen by leaving out, together, all batches of one part of the images, so that no image is met
again: where steps say nothing, the counts are the mean ones, as uncertain as a draw, and so is the answer a guess in public
proportions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.adaptive import clients_behind, hides_length, noise_variances
from ..parts.rounds import observed, rounds_of
from ..parts.simulated_client import familiar_images, familiar_labels, inputs_of, simulated_client, update_scale
from .classifier_gradient import observed_classifier

FEWEST, MOST, FOR_EACH_CLASS = 64, 256, 16  # played batches
FOLDS = 4  # parts of the images, whose batches are left out together
IMAGES = 4096  # in all plays, unless these are the fewest
COORDINATES = 4096  # that are looked at in each parameter tensor
PENALTIES = torch.logspace(-6, 3, 19, dtype=torch.float64)  # of the mean square length of a step
LEAST_DEVIATION = 1e-3  # of a count
ROUNDING, CERTAIN = 1e-6, 5.0  # a slope is below zero by more than rounding, and by so many deviations of noise
TINY, TINY_SHARE = 1e-30, 1e-6


@dataclass(frozen=True, eq=False)
class Played:
    """How often each class was in the batch, by what was learned from plays."""

    mean: Tensor  # float64 [classes]
    deviation: Tensor  # float64 [classes], of its error: that of plays which were left out
    least: Tensor  # int64 [classes]: how many examples there were for certain
    absent: Tensor  # bool [classes]: whether there was none for certain

    def with_certain(self, least: Tensor) -> "Played":
        """The same, knowing that there were so many of each class (int64 [classes]) for certain."""
        return replace(self, least=torch.maximum(self.least, least), absent=self.absent & (least == 0))

    def tails(self, count: int) -> Tensor:
        """P(n_j >= t) for t = 1 to `count` [classes, count], float64."""
        counts = torch.arange(1, count + 1, dtype=torch.float64)
        more = torch.special.ndtr((self.mean[:, None] - counts + 0.5) / self.deviation[:, None])
        more = torch.where(self.absent[:, None], 0.0, more)
        return torch.where(counts <= self.least[:, None], 1.0, more)


def play(view: View) -> Played:
    """What playing the client tells of the counts. Raises: NotGrantedError, without `count`."""
    view.need("count")
    seen, fixed = observed(view), Generator().manual_seed(0)  # the same each time, as in `familiar_images`
    places = {name: _places(part, fixed) for name, part in seen.items()}
    counts, steps = _plays(view, places, fixed)
    told = {name: part.flatten()[places[name]][None].cpu().double() for name, part in seen.items()}
    if view.recipe is None or view.defense is None or hides_length(view):
        steps, told = _of_length_one(steps), _of_length_one(told)
    known, asked = {}, {}
    for name, part in steps.items():
        center = part.mean(dim=0)
        apart, length = part - center, (part - center).square().sum(dim=1).mean()
        if float(length) > 0:
            known[name], asked[name] = apart @ apart.T / length, apart @ (told[name][0] - center) / length
    least, absent = _certain(view)
    return replace(_learned(known, asked, counts), least=least, absent=absent)


def _places(part: Tensor, fixed: Generator) -> Tensor:
    """The coordinates of a tensor that are looked at: all, or some of those that were sent, if they are too many."""
    if part.numel() <= COORDINATES:
        return torch.arange(part.numel(), device=part.device)
    sent = part.flatten().nonzero()[:, 0]
    return sent[torch.randperm(len(sent), generator=fixed)[:COORDINATES].to(part.device)]


def _plays(view: View, places: Mapping[str, Tensor], fixed: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The counts [plays, classes] of played batches, and their steps at `places` [plays, coordinates], on the CPU."""
    images, labels, client = familiar_images(view), familiar_labels(view), simulated_client(view)
    count, noise = view.count or 0, noise_variances(view)
    plays = min(MOST, FOR_EACH_CLASS * view.space.classes, IMAGES // count)
    counted, steps = [], []
    folds = torch.randperm(len(images), generator=fixed).tensor_split(FOLDS)
    for number in range(max(FEWEST, plays)):
        pool = folds[number % FOLDS] if len(images) >= FOLDS else torch.arange(len(images))
        chosen = pool[torch.randint(len(pool), (count,), generator=fixed)]
        drawn = torch.randint(view.space.classes, (count,), generator=fixed)
        given = drawn if labels is None else labels[chosen]
        with torch.no_grad():
            step = client(images[chosen.to(images.device)], given.to(images.device))
        looked_at = {name: part.flatten()[places[name]].cpu().double() for name, part in step.items()}
        for name, variance in noise.items():
            draw = torch.randn(looked_at[name].shape, generator=fixed, dtype=torch.float64)
            looked_at[name] = looked_at[name] + math.sqrt(float(variance)) * draw
        counted.append(torch.bincount(given, minlength=view.space.classes).double())
        steps.append(looked_at)
    return torch.stack(counted), {name: torch.stack([step[name] for step in steps]) for name in places}


def _of_length_one(steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    lengths = torch.stack([part.square().sum(dim=1) for part in steps.values()]).sum(dim=0).sqrt().clamp(min=TINY)
    return {name: part / lengths[:, None] for name, part in steps.items()}


def _learned(known: Mapping[str, Tensor], asked: Mapping[str, Tensor], counts: Tensor) -> Played:
    """What ridge regression on the inner products of played steps, [plays, plays] by tensor, makes of those with the observed
    step, [plays] by tensor: by the tensors that alone do best, as many of them as do best together."""
    mean = counts.mean(dim=0)
    best = _uncertain(mean, counts.std(dim=0))
    ranked = sorted(known, key=lambda name: float(_ridge(known[name], asked[name], counts).deviation.square().sum()))
    for number in [2**power for power in range(len(ranked).bit_length())] + [len(ranked)]:
        chosen = ranked[:number]
        if chosen:
            together, between = (sum((each[name] for name in chosen), torch.zeros(())) for each in (known, asked))
            found = _ridge(together / len(chosen), between / len(chosen), counts)
            best = min(best, found, key=lambda each: float(each.deviation.square().sum()))
    return best


def _ridge(inner: Tensor, asked: Tensor, counts: Tensor) -> Played:
    """The prediction of least error over plays that are left out, of all penalties."""
    values, basis = torch.linalg.eigh(inner)
    mean, plays = counts.mean(dim=0), len(counts)
    found = []
    for penalty in PENALTIES:
        inverse = basis @ (1 / (values.clamp(min=0) + penalty)).diag() @ basis.T
        weights = inverse @ (counts - mean)
        left_out = _left_out(counts - mean - inner @ weights, inner @ inverse + 1 / plays)
        found.append(_uncertain(mean + asked @ weights, left_out.square().mean(dim=0).sqrt()))
    return min(found, key=lambda each: float(each.deviation.square().sum()))


def _left_out(misses: Tensor, hat: Tensor) -> Tensor:
    """What a linear prediction misses [plays, classes] where all batches of a part of the images are left out."""
    found = torch.empty_like(misses)
    for fold in range(FOLDS):
        kept_in = (1 + TINY_SHARE) * torch.eye(len(hat[fold::FOLDS]), dtype=hat.dtype) - hat[fold::FOLDS, fold::FOLDS]
        found[fold::FOLDS] = torch.linalg.solve(kept_in, misses[fold::FOLDS])
    return found


def _uncertain(mean: Tensor, deviation: Tensor) -> Played:
    nothing = torch.zeros(len(mean), dtype=torch.long)
    return Played(mean, deviation.clamp(min=LEAST_DEVIATION), nothing, nothing.bool())


def _certain(view: View) -> tuple[Tensor, Tensor]:
    """By the signs in a classifier whose outputs are cut off on their way to the logits: one example of each class that is
    surely pulled down in some round (int64 [classes]); and of one example and step, no class that is surely pushed up."""
    down, up = (torch.zeros(view.space.classes, dtype=torch.bool) for _ in range(2))
    alone = view.count == 1 and clients_behind(view) == 1 and view.recipe is not None and view.recipe.is_one_gradient(1)
    for each in rounds_of(view):
        try:
            classifier = observed_classifier(each)
        except NotApplicableError:
            continue
        noise, scale = noise_variances(each), update_scale(each)
        rows = [(classifier.bias_name, classifier.bias_slopes)]
        if classifier.signed_rows and bool((inputs_of(each, classifier.name, familiar_images(each)) >= 0).all()):
            rows.append((classifier.weight_name, classifier.row_minima()))
        for name, slopes in rows:
            if slopes is not None:
                deviation = math.sqrt(float(noise.get(name, torch.zeros(())))) / scale
                unsure = ROUNDING * slopes.abs().max() + CERTAIN * deviation
                down |= (slopes < -unsure).cpu()
                up |= (slopes > unsure).cpu() & alone
    if int(down.sum()) > (view.count or 0) or bool((up & down).any()):  # something unknown was done to it
        down, up = torch.zeros_like(down), torch.zeros_like(up)
    return down.long(), up
