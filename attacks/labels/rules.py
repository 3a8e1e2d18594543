"""Which labels were in the batch, read off the observed gradient of the classifier.

With logits = W o + b, mean cross-entropy over B examples, p_k the softmax of example k and n_j the count of class j,

    dL/db_j = (1/B) sum_k p_kj - n_j / B        dL/dW_j = (1/B) sum_k (p_kj - [y_k = j]) o_k

so a class that is present pulls its row down. Several local steps stand for their mean gradient. Every rule returns int64
[count], sorted, and raises NotGrantedError without `count`. Where no classifier's gradient was sent, those by signs raise
NotApplicableError (`classifier_gradient.py`), and counting plays the client (`played.py`).
"""

from torch import Tensor

from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.adaptive import clients_behind
from .bias_slopes import sign_pulls
from .classifier_gradient import Classifier, need_positive_features, observed_classifier
from .counts import count_classes


def known_or_recovered(view: View) -> Tensor:
    """The labels of the batch: the granted ones, else those that counting recovers. Every attack on pixels takes these."""
    return over_batches(view, by_counts(view) if view.labels is None else view.labels)


def over_batches(view: View, labels: Tensor) -> Tensor:
    """The labels (int64 [n], sorted) in an order in which each local batch takes examples from one end of them to the other.

    A client's batches are of mixed classes, and in which order it took its examples is not known. With labels in their own
    order a replay would train on one class after another, which no client does. As they are, where the order is known.
    """
    clients = clients_behind(view)
    count = len(labels) // clients
    if view.order is not None or view.recipe is None or len(labels) % clients or not count:
        return labels
    batches = -(-count // len(view.recipe.order(count)[0][0]))
    if batches == 1:
        return labels
    places = [place for first in range(batches) for place in range(first, count, batches)]
    return labels.unflatten(0, (count, clients))[places].flatten()


def by_sign(view: View) -> Tensor:
    """The `count` classes that are pulled down most by dL/db. Raises: NotApplicableError, for more examples than classes.

    For one example that is the only class of negative sign (after iDLG, Zhao, Mopuri, Bilen 2020, arXiv:2001.02610).
    """
    classifier = observed_classifier(view)
    return lowest(classifier, sign_pulls(view, classifier))


def by_minimum(view: View) -> Tensor:
    """The `count` classes whose row of dL/dW has the smallest minimum. Raises: NotApplicableError, for more examples than
    classes, or where features may be negative.

    Right for unique labels (GradInversion, Yin et al., CVPR 2021, equation 8).
    """
    classifier = observed_classifier(view)
    need_positive_features(view, classifier)
    return lowest(classifier, classifier.row_minima())


def by_counts(view: View) -> Tensor:
    """The labels that are probably right most, repeated ones too, and never fewer than a guesser's."""
    return count_classes(view).labels()


def lowest(classifier: Classifier, scores: Tensor) -> Tensor:
    """The `count` classes of smallest score [classes].

    Raises: NotApplicableError, for more examples than classes, or where outputs that are cut off hide some of their classes.
    """
    count, classes = classifier.count, len(scores)
    if count > classes:
        raise NotApplicableError(f"the rule names a class once, and {count} examples have {classes} classes")
    below = int((scores < 0).sum())
    if not classifier.linear and below < count:
        raise NotApplicableError(
            f"the classifier's outputs are cut off on their way to the logits, which leaves {below} classes pulled down by "
            f"{count} examples; label_counts plays the client instead"
        )
    return scores.argsort(stable=True)[:count].sort().values
