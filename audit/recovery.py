"""How many images came back, how many a blind guesser gets, and how many the guarantee allows.

An image counts as recovered if one of the attacker's images, matched one to one, is within a PSNR that the spec
declares. The blind guesser hands in as many images as the attack did, chosen on public data alone, and any of them may
hit a target. Where the attacker may know a target's class, because labels are granted or no two of a batch are equal,
the guesser is given as many guesses for each class.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from scipy import special
from threadpoolctl import threadpool_limits
from torch import Tensor

from seethrough.attacks import Reconstruction
from seethrough.defenses import Batch, Guarantee
from seethrough.defenses.guarantees.bound import Bound, pure_bound, reconstruction_bound
from seethrough.reports.row import Recovery

from .case import Case, divided, public_batch
from .scoring import Claimed
from .specification.schema import Setting

CONFIDENCE = 0.975
MOST = 2_000  # public images that guesses are chosen from, and private ones that they are tried on


@dataclass(frozen=True)
class Blind:
    """What the best blind set of guesses recovers."""

    recovered: int
    targets: int
    limit: float  # upper confidence limit of its rate (Clopper-Pearson, for the best of all sets tried)


def recovery_of(
    case: Case, truth: Batch, found: Claimed, returned: Reconstruction, guarantee: Guarantee | None
) -> Recovery | None:
    """The recovery of the images of `truth` by `found`, of all those that were `returned`; None if none were."""
    if found.inputs is None or returned.inputs is None:
        return None
    guesses = len(returned.inputs)
    classes = "labels" in case.threat.grants or case.setting.labels == "unique"
    blind = blind_recovery(case.setting, case.seed, guesses, classes, case.recovered_psnr)
    errors = (found.inputs - truth.inputs).double().square().flatten(1).mean(dim=1)
    bound = None if guarantee is None else allowed(guarantee, blind.limit)
    return Recovery(
        threshold=case.recovered_psnr,
        recovered=int((errors <= error_at(case.recovered_psnr)).sum()),
        images=len(truth),
        guesses=guesses,
        blind=blind.recovered,
        targets=blind.targets,
        kappa=blind.limit,
        bound=None if bound is None else bound.value,
        method="" if bound is None else bound.method,
    )


def allowed(guarantee: Guarantee, kappa: float) -> Bound:
    """The highest rate of recovery that the guarantee allows, given the blind guesser's."""
    if guarantee.mechanism is not None:
        return reconstruction_bound(guarantee.mechanism, kappa)
    return Bound(pure_bound(kappa, guarantee.epsilon, guarantee.delta), "e^epsilon * kappa + delta")


def error_at(psnr: float) -> float:
    """The mean squared error of an image in [0, 1] at `psnr` dB."""
    return 10 ** (-psnr / 10)


@cache
def blind_recovery(setting: Setting, seed: int, guesses: int, classes: bool, psnr: float) -> Blind:
    """How many private images the best of some sets of `guesses` public images, or means of them, recovers."""
    images, parts = divided(setting, seed)
    public, private = public_batch(setting, seed), images.batch(parts.private[:MOST])
    hits = torch.zeros(0)
    for pool, targets in _groups(public, private) if classes else [(public, private)]:
        found = [_hits(chosen, targets.inputs, psnr) for chosen in _sets(pool.inputs[:MOST], guesses, psnr)]
        hits = torch.tensor(found) + (hits if len(hits) else 0)
    best, total = int(hits.max()), len(private)
    doubt = (1 - CONFIDENCE) / len(hits)
    return Blind(best, total, 1.0 if best == total else float(special.betaincinv(best + 1, total - best, 1 - doubt)))


def _groups(public: Batch, private: Batch) -> Iterator[tuple[Batch, Batch]]:
    """The images of each class that is there, public and private."""
    for label in private.labels.unique():
        of_class, targets = (batch.labels == label for batch in (public, private))
        pool = of_class if of_class.any() else torch.ones_like(of_class)  # a class without public images: any image
        yield Batch(public.inputs[pool], public.labels[pool]), Batch(private.inputs[targets], private.labels[targets])


def _sets(pool: Tensor, guesses: int, psnr: float) -> list[Tensor]:
    """Sets of guesses: the mean image, centers of clusters, and images that between them lie near the most others."""
    from sklearn.cluster import KMeans  # slow to import, and wanted only here
    from sklearn.exceptions import ConvergenceWarning

    flat = pool.flatten(1)
    with warnings.catch_warnings(), threadpool_limits(1):  # sums in another order would make other centers
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal images make fewer clusters, which are guesses too
        centers = KMeans(min(guesses, len(flat)), n_init=1, random_state=0).fit(flat.numpy()).cluster_centers_
    return [flat.mean(dim=0, keepdim=True), torch.from_numpy(centers), _covering(flat, guesses, psnr)]


def _covering(flat: Tensor, guesses: int, psnr: float) -> Tensor:
    near = (torch.cdist(flat, flat).square() / flat.shape[1] <= error_at(psnr)).to(flat)
    left, chosen = flat.new_ones(len(flat)), []
    for _ in range(min(guesses, len(flat))):
        chosen.append(int((near @ left).argmax()))
        left = left * (1 - near[chosen[-1]])
    return flat[chosen]


def _hits(guesses: Tensor, targets: Tensor, psnr: float) -> int:
    flat = targets.flatten(1)
    errors = torch.cdist(flat.double(), guesses.double()).square().min(dim=1).values / flat.shape[1]
    return int((errors <= error_at(psnr)).sum())
