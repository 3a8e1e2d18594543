"""Labels by the sign of the classifier's gradient (Zhao, Mopuri, Bilen, "iDLG", 2020), arXiv:2001.02610.

For one example and cross-entropy, dL/db_j = p_j - [y = j]: the label is the only class below zero. For a batch of B the
B smallest are taken, which minimizes

    sum over the chosen classes of dL/db_j

Departs from the paper: it reads dL/db where the classifier has a bias, which supposes nothing of the features, and the
row sums of dL/dW, the paper's rule, only where it has none; the extension to a batch is the sum rule that Yin et al. (CVPR
2021, Table 1) compare with, and needs unique labels.
"""

from typing import ClassVar

from torch import Generator

from attacks._adaptive import unaware
from attacks._base import Attack, Reconstruction, View
from attacks._classifier import observed_classifier
from attacks._labels import smallest
from defenses._base import entry


@entry
class LabelSign(Attack):
    """Name the classes whose rows are pulled down most."""

    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)
    recovers_images: ClassVar[bool] = False

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Labels only; the loss is the sum of the chosen classes' pulls. Raises: NotApplicableError, if count > classes."""
        classifier = observed_classifier(view if self.adaptive else unaware(view))
        pulls = classifier.pulls()
        labels = smallest(pulls, classifier.count)
        return Reconstruction(None, labels, float(pulls[labels].sum()))
