"""dL/db, the slopes of the loss in the classifier's bias: softmax less one-hot, averaged over the batch.

Exact where they were sent and nothing but their length was changed; else what the bias and the weights tell of them together,
each by its variance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.adaptive import clients_behind, keeps_direction, noise_variances
from ..parts.rounds import rounds_of
from ..parts.simulated_client import familiar_images, update_scale
from .classifier_gradient import Classifier, features_of, need_positive_features, observed_classifier

UNFAMILIAR = 0.1  # relative variance of features along the mean of random images' ones, beside that of these
EXACT = 1e-12  # relative variance of what was sent without noise
TINY = 1e-100


def output_error(view: View) -> Tensor | None:
    """The slopes [1, classes] of a single example's loss in its logits, softmax - one-hot, up to a positive scale.

    The update of one step tells them exactly, as dL/db. None, where the model has no such bias, where the update may stand
    for more than one example or step, or where the defense is known to do more to it than to change its length, or seems to,
    most of the slopes being zero, which a softmax is nowhere but by rounding.
    """
    if view.count != 1 or clients_behind(view) > 1 or (view.recipe is not None and not view.recipe.is_one_gradient(1)):
        return None
    try:
        found = observed_classifier(view)
    except NotApplicableError:
        return None
    slopes = found.bias_slopes if found.linear else None
    if slopes is None or float((slopes == 0).float().mean()) > 0.5 or not keeps_direction(view):
        return None
    return slopes[None]


def sign_pulls(view: View, classifier: Classifier) -> Tensor:
    """dL/db [classes], below zero where the class was in the batch, or the row sums where the classifier has no bias.

    Raises: NotApplicableError, if it has none and features may be negative.
    """
    if classifier.bias_slopes is None:
        need_positive_features(view, classifier)
        return classifier.row_sums()
    return read_pulls(rounds_of(view)[-1], classifier).mean.to(classifier.weight)


@dataclass(frozen=True, eq=False)
class Pulls:
    """dL/db as far as it was seen, of each class, less what label smoothing added, and as long as without it; on the CPU."""

    mean: Tensor  # float64 [classes]
    variance: Tensor  # float64 [classes], of its error; 0 where it is exact, infinite where nothing of a class was sent


def read_pulls(view: View, found: Classifier, features: Tensor | None = None) -> Pulls:
    """dL/db, or where it is noisy, not sent, or the layer has no bias, its mean with what the weights' slopes say of it, by
    inverse variance; in a view of one round. `features` [n, features] are those of familiar images, computed if not given.

    dL/dW_j is dL/db_j times the features of the examples, so <dL/dW_j, f> / |f|^2 is dL/db_j for features near their mean f.
    That is less exact where nothing was done to the update, but it outlives noise, and a bias that was not sent.

    Under label smoothing of s among C classes dL/db is the mean of p - (1 - s) onehot - s / C.
    """
    seen, smoothing = _seen_pulls(view, found, features), 0.0 if view.recipe is None else view.recipe.smoothing()
    return Pulls((seen.mean + smoothing / len(seen.mean)) / (1 - smoothing), seen.variance / (1 - smoothing) ** 2)


def _seen_pulls(view: View, found: Classifier, features: Tensor | None) -> Pulls:
    noise, scale = noise_variances(view), update_scale(view)
    if not noise and found.bias_slopes is not None and _is_whole(view, found.bias_slopes):
        exact = found.bias_slopes.cpu().double()
        return Pulls(exact, torch.zeros_like(exact))
    zero = torch.zeros(())
    in_weights, in_bias = (float(noise.get(found.parameter(kind), zero)) / scale**2 for kind in ("weight", "bias"))
    features = features_of(view, found, familiar_images(view)) if features is None else features
    rows = found.weight_slopes if found.exact_rows else torch.zeros_like(found.weight_slopes)
    slopes, features = rows.cpu().double(), features.cpu().double()
    mean = features.mean(dim=0)
    squares = ((slopes != 0) * mean.square()).sum(dim=1)
    said = (slopes * mean).sum(dim=1) / squares.clamp(min=TINY)
    length = said.square().mean() + TINY
    spread = (features @ mean / mean.square().sum().clamp(min=TINY)).var() + (UNFAMILIAR if view.public is None else 0)
    trust = torch.where(squares > 0, 1 / (in_weights / squares.clamp(min=TINY) + spread * length + TINY), 0.0)
    told = trust * said
    if found.bias_slopes is not None:
        sent = found.bias_slopes.cpu().double()
        more = torch.where(sent != 0, 1 / (in_bias + EXACT * length), 0.0)
        trust, told = trust + more, told + more * sent
    return Pulls(told / trust.clamp(min=TINY), 1 / trust)


def _is_whole(view: View, slopes: Tensor) -> bool:
    """Whether zeros among the slopes, if there are any, are those of a softmax of 0 or 1, and not what was not sent."""
    return view.defense is None or bool((slopes != 0).all()) or keeps_direction(view)
