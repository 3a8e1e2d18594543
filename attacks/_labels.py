"""Which labels were in the batch, read off the observed gradient of the classifier.

With logits = W o + b, mean cross-entropy over B examples, p_k the softmax of example k and n_j the count of class j,

    dL/db_j = (1/B) sum_k p_kj - n_j / B        dL/dW_j = (1/B) sum_k (p_kj - [y_k = j]) o_k

so a class that is present pulls its row down. Several local steps stand for their mean gradient. Every rule returns int64
[count], sorted; raises NotGrantedError without `count` and NotApplicableError if the model has no linear classifier.
"""

from torch import Tensor

from attacks._base import View
from attacks._classifier import observed_classifier
from attacks._counts import count_classes
from defenses import NotApplicableError


def known_or_recovered(view: View) -> Tensor:
    """The labels of the batch: the granted ones, else those that counting recovers."""
    return by_counts(view) if view.labels is None else view.labels


def by_sign(view: View) -> Tensor:
    """The `count` classes that are pulled down most. Raises: NotApplicableError, for more examples than classes.

    For one example that is the only class of negative sign (iDLG, Zhao, Mopuri, Bilen 2020, arXiv:2001.02610).
    """
    classifier = observed_classifier(view)
    return smallest(classifier.pulls(), classifier.count)


def by_minimum(view: View) -> Tensor:
    """The `count` classes whose row of dL/dW has the smallest minimum. Raises: NotApplicableError, as `by_sign` does.

    Right for unique labels and features that are never negative (GradInversion, Yin et al., CVPR 2021, equation 8).
    """
    classifier = observed_classifier(view)
    return smallest(classifier.row_minima(), classifier.count)


def by_counts(view: View) -> Tensor:
    """Labels, repeated ones too, from the identity n_j = sum_k p_kj - B dL/db_j."""
    return count_classes(view).labels()


def smallest(scores: Tensor, count: int) -> Tensor:
    """The `count` classes of smallest score [classes]. Raises: NotApplicableError, for more examples than classes."""
    if count > len(scores):
        raise NotApplicableError(f"the rule names a class once, and {count} examples have {len(scores)} classes")
    return scores.argsort(stable=True)[:count].sort().values
