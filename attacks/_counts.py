"""How often each class was in the batch, from what the softmax of its examples may have been.

n_j = sum_k p_kj - B dL/db_j holds exactly; p_k, the softmax of example k, is not seen. Supposing that an example of
class j has the softmax M_j, counts solve sum_j n_j M_j - n = B dL/db with n >= 0 and sum n = B.
"""

from dataclasses import dataclass, replace

import torch
from scipy.optimize import nnls
from torch import Tensor

from attacks._adaptive import hides_length, noise_variances
from attacks._base import View
from attacks._classifier import Classifier, observed_classifier
from attacks._replay import MOST_PUBLIC, familiar_images, simulated_client, softmax_of
from attacks._rounds import rounds_of
from defenses import Batch

CLEARLY = 0.5  # share of unlikeness from which on the counts that are played best displace those of least misfit
LIKE_ENOUGH = 1e-4  # unlikeness that tells nothing: the pulls of two classes always have the same direction
PLAYS = 4  # draws of public images by which counts are judged
ROUNDING = 1e-4  # of the largest pull: a smaller one may have either sign by rounding alone


@dataclass(frozen=True, eq=False)
class Counted:
    """How often each class occurs in the batch."""

    counts: Tensor  # int64 [classes], with the batch's size for a sum
    misfit: float  # length of what the counts leave unexplained of B dL/db, in examples

    def labels(self) -> Tensor:
        """The classes, each as often as it was counted: int64 [count], sorted."""
        return torch.arange(len(self.counts), device=self.counts.device).repeat_interleave(self.counts)


def count_classes(view: View) -> Counted:
    """The counts that are nearest to the mean of those of every round.

    Raises: NotApplicableError, if the model has no linear classifier.
    """
    found = [_count_in_round(each) for each in rounds_of(view)]
    mean = torch.stack([counted.counts for counted in found]).double().mean(dim=0)
    misfit = sum(counted.misfit for counted in found) / len(found)
    return Counted(rounded(mean, int(found[0].counts.sum())), misfit)


def _count_in_round(view: View) -> Counted:
    """The whole counts that leave least of dL/db unexplained, whatever was supposed of softmax and scale.

    Where public data are granted, counts are also played: others displace them whose public images, put through the client's
    own training, pull the classes clearly more like what was seen. That sees through several local steps.

    Softmax: the mean of each class over public data (RLU, Chen and Vikalo, ICML 2024), where they are granted; the mean
    over public or else random images (ZLG, Geng et al. 2021), the uniform one, and that of each class's mean feature, dL/dW_j
    divided by dL/db_j (iLRG, Ma et al., ICLR 2023). Scale: the recipe's, and the one at which some class is absent, since an
    absent class has dL/db_j = mean_k p_kj. The latter sees through clipping, an unknown rate and several local steps;
    where it is the right one and yet every class is present, the rarest class loses its examples.
    """
    classifier = observed_classifier(view)
    pulls = classifier.pulls().double().cpu()
    noisy = bool(noise_variances(view))
    found = [
        _counted(softmax, pulls / scale, classifier.count, noisy)
        for softmax in _suppositions(view, classifier)
        for scale in _scales(view, classifier, pulls, softmax)
    ]
    best = min(found, key=lambda counted: counted.misfit)
    if view.public is not None:
        best = _played(view, view.public, found, best, pulls)
    return Counted(best.counts.to(classifier.weight.device), best.misfit)


def rounded(shares: Tensor, total: int, at_least: Tensor | None = None) -> Tensor:
    """`shares` >= 0 as whole numbers that add up to `total`, by largest remainder; none below `at_least` (int64), unless
    these alone exceed the total."""
    if at_least is not None and int(at_least.sum()) <= total:
        rest = (shares - at_least).clamp(min=0) + 1e-12
        return at_least + rounded(rest, total - int(at_least.sum()))
    exact = shares * (total / shares.sum())
    whole = exact.floor()
    missing = total - int(whole.sum())
    whole[(exact - whole).argsort(descending=True, stable=True)[:missing]] += 1
    return whole.long()


def _scales(view: View, classifier: Classifier, pulls: Tensor, softmax: Tensor) -> list[float]:
    """What `pulls` may have to be divided by: the recipe's 1, and the value of dL/db_j / mean_k p_kj where n_j = 0."""
    absent = float((pulls / softmax.mean(0)).max())
    if not absent > 0:
        return [1.0]
    if view.recipe is None or classifier.bias_slopes is None or hides_length(view):
        return [absent]
    return [1.0, absent]


def _suppositions(view: View, classifier: Classifier) -> list[Tensor]:
    """What the softmax of an example of class j may have been, in row j: float64 [classes, classes] each."""
    classes = view.space.classes
    familiar = softmax_of(view, familiar_images(view)).double().cpu()
    supposed = [
        familiar.mean(0).expand(classes, classes),
        torch.full((classes, classes), 1 / classes, dtype=torch.float64),
    ]
    if view.public is not None:
        every = -(-len(view.public) // MOST_PUBLIC)
        supposed.append(_class_means(familiar, view.public.labels[::every].cpu(), classes))
    if classifier.bias_slopes is not None:
        features = (classifier.weight_slopes / classifier.bias_slopes[:, None]).nan_to_num(0, 0, 0)
        supposed.append((features @ classifier.weight.T + classifier.bias).double().cpu().softmax(1))
    return supposed


def _played(view: View, public: Batch, found: list[Counted], best: Counted, pulls: Tensor) -> Counted:
    """`best`, unless other counts among `found` are clearly less unlike what was seen when they are played."""
    distinct = {tuple(counted.counts.tolist()): counted for counted in (*found, best)}
    if len(distinct) == 1:
        return best
    unlike = {counts: _unlikeness(view, public, counted.counts, pulls) for counts, counted in distinct.items()}
    nearest = min(unlike, key=lambda counts: unlike[counts])
    clearly = unlike[nearest] + LIKE_ENOUGH < CLEARLY * unlike[tuple(best.counts.tolist())]
    return distinct[nearest] if clearly else best


def _unlikeness(view: View, public: Batch, counts: Tensor, pulls: Tensor) -> float:
    """One minus the cosine of `pulls` and those of the client's step on public images of these classes, on average over
    `PLAYS` draws of them; on images of any class for a class that has none."""
    fixed = torch.Generator().manual_seed(0)  # the same for all counts
    client, known = simulated_client(view), public.labels.cpu()
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    places = [torch.nonzero(known == label).flatten() for label in range(len(counts))]
    members = [each if len(each) else torch.arange(len(known)) for each in places]
    mean = torch.zeros_like(pulls)
    for _ in range(PLAYS):
        order = labels[torch.randperm(len(labels), generator=fixed)]
        drawn = [members[label][torch.randint(len(members[label]), (1,), generator=fixed)] for label in order.tolist()]
        images = public.inputs[torch.cat(drawn).to(public.inputs.device)]
        with torch.no_grad():
            step = client(images, order.to(images.device))
        mean += observed_classifier(replace(view, update=step)).pulls().double().cpu()
    return 1 - float(torch.cosine_similarity(mean, pulls, dim=0))


def _class_means(softmax: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean softmax of each class's examples; of all examples for a class that has none."""
    members = [softmax[labels == label] for label in range(classes)]
    return torch.stack([member.mean(0) if len(member) else softmax.mean(0) for member in members])


def _counted(softmax: Tensor, pulls: Tensor, count: int, noisy: bool) -> Counted:
    """The whole counts that leave least of `pulls` (dL/db) unexplained; where these are `noisy`, they put no class beyond
    doubt."""
    matrix = torch.eye(len(pulls), dtype=torch.float64) - softmax.T
    heavy = 1e3  # the rows of the matrix add up to zero, so the counts' sum is decided by this weight alone
    rows = torch.cat([matrix, torch.full((1, len(pulls)), heavy, dtype=torch.float64)])
    sides = torch.cat([-count * pulls, torch.tensor([heavy * count], dtype=torch.float64)])
    shares = torch.from_numpy(nnls(rows.numpy(), sides.numpy())[0])
    counts = rounded(shares, count, None if noisy else _least(pulls, count))
    return Counted(counts, float(torch.linalg.vector_norm(matrix @ counts.double() + count * pulls)))


def _least(pulls: Tensor, count: int) -> Tensor:
    """What the counts (int64 [classes]) cannot fall below, whatever the softmax was: n_j > -B dL/db_j, since every p_kj is
    positive, so a class that is pulled down at all was there, however sure the model is of its examples. Pulls add up to
    zero, so that is one class at least, even where the softmax of its example rounds to 1."""
    least = (-count * pulls - count * ROUNDING * pulls.abs().max()).ceil().clamp(min=0).long()
    least[pulls.argmin()] = max(1, int(least[pulls.argmin()]))
    return least
