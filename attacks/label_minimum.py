"""Labels by the smallest entries of the classifier's gradient (Yin et al., "GradInversion", CVPR 2021), arXiv:2104.07586.

Equation 8: for B examples of different classes, the labels are the B classes j that minimize

    sum over the chosen classes of min_m dL/dW_jm

since with features o >= 0 only an example of class j can make an entry of row j negative. Repeated labels are out of its
reach, and features that may be negative (tanh, SiLU) void its argument: the attack is then not applicable.
"""

from typing import ClassVar

from torch import Generator

from seethrough.common.entry import entry

from ._base import Attack, Reconstruction, View
from .labels.classifier_gradient import need_positive_features, observed_classifier
from .labels.rules import lowest


@entry
class LabelMinimum(Attack):
    """Name the classes whose rows reach lowest."""

    needs: ClassVar[tuple[str, ...]] = ("count",)
    recovers_images: ClassVar[bool] = False

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Labels only; the loss is the sum of the chosen minima.

        Raises: NotApplicableError, if count > classes, or features may be negative.
        """
        classifier = observed_classifier(view)
        need_positive_features(view, classifier)
        minima = classifier.row_minima()
        labels = lowest(classifier, minima)
        return Reconstruction(None, labels, float(minima[labels].sum()))
