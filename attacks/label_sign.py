"""Labels by the sign of the classifier's bias gradient, after Zhao, Mopuri, Bilen, "iDLG", 2020, arXiv:2001.02610.

For one example and cross-entropy, dL/db_j = p_j - [y = j]: the label is the only class below zero. For a batch of B the
B smallest are taken, which minimizes

    sum over the chosen classes of dL/db_j

The paper's own rule reads the weights: dL/dW_j is dL/db_j times the features, so with features >= 0 the row of the label is
the only one of negative sign. That is `rule: row_sum`, which sums each row.

Departs from the paper: by default it reads dL/db, which supposes nothing of the features, and the row sums only where the
classifier has no bias; the extension to a batch is the sum rule that Yin et al. (CVPR 2021, Table 1) compare with, and
needs unique labels.
"""

from typing import ClassVar, Literal

from torch import Generator

from seethrough.common.entry import entry

from ._base import Attack, Reconstruction, View
from .labels.bias_slopes import sign_pulls
from .labels.classifier_gradient import need_positive_features, observed_classifier
from .labels.rules import lowest
from .parts.adaptive import unaware


@entry
class LabelSign(Attack):
    """Name the classes that are pulled down most: by the bias gradient, or by the row sums of the weights'."""

    rule: Literal["bias", "row_sum"] = "bias"
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)
    recovers_images: ClassVar[bool] = False

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Labels only; the loss is the sum of the chosen classes' pulls.

        Raises: NotApplicableError, if count > classes, or if row sums are read of features that may be negative.
        """
        view = view if self.adaptive else unaware(view)
        classifier = observed_classifier(view)
        if self.rule == "row_sum":
            need_positive_features(view, classifier)
            pulls = classifier.row_sums()
        else:
            pulls = sign_pulls(view, classifier)
        labels = lowest(classifier, pulls)
        return Reconstruction(None, labels, float(pulls[labels].sum()))
