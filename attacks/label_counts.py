"""Labels with their numbers, as far as one can defend them (after Ma et al., "iLRG", ICLR 2023, and Chen and Vikalo, "RLU",
ICML 2024).

With p_k the softmax of example k, n_j = sum_k p_kj - B dL/db_j exactly. The softmax is not seen, but its mean M_j and its
spread over public images of class j are, so that in

    -B dL/db = sum_j n_j (e_j - M_j) + error

the error's covariance is known, with that of the noise. From a prior in public proportions follows the posterior of n, and of
that the B labels which put most right in expectation: a guess in public proportions where nothing was seen.

Departs from the papers: they solve for counts of least error, which on a trained network are worse than a guess, since
examples that the model is sure of hardly move dL/db. Classes are certain beforehand where dL/db_j < 0, or dL/dW_j < 0
somewhere with features >= 0 (Yin et al., CVPR 2021, arXiv:2104.07586, equation 8), by more than noise; that others are absent
is as probable as simulated public images say. Labels may be drawn in public proportions, or in a client's own, or
all be different. Without public data, M is the likeliest of several guesses (ZLG, Geng et al., arXiv:2110.09074, takes the
mean over random images). The gradient's length, which clipping, an unknown learning rate and local steps hide, is the
likeliest one, with what public images say that go through the client's training; of several rounds, the mean slopes are
taken.
"""

from typing import ClassVar

from torch import Generator

from seethrough.common.entry import entry

from ._base import Attack, Reconstruction, View
from .labels.counts import count_classes
from .parts.adaptive import unaware


@entry
class LabelCounts(Attack):
    """Count how often each class was in the batch."""

    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)
    recovers_images: ClassVar[bool] = False

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Labels only; the loss is how many are expected to be wrong."""
        counted = count_classes(view if self.adaptive else unaware(view))
        return Reconstruction(None, counted.labels(), counted.expected_wrong)
