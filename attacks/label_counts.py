"""Labels with their numbers, from the classifier's bias (after Ma et al., "iLRG", ICLR 2023, and Chen and Vikalo, "RLU",
ICML 2024).

With p_k the softmax of example k, n_j = sum_k p_kj - B dL/db_j exactly. The softmax is not seen: M_j supposes it for an
example of class j, and the counts n >= 0 with sum n = B minimize

    || sum_j n_j M_j - n - B dL/db ||_2

Departs from the papers: M is the best of RLU's class means over public data (before its refinement for local steps), of
iLRG's, of the mean over public or random images (ZLG, Geng et al., arXiv:2110.09074) and of the uniform one; so is the
gradient's scale, which clipping, an unknown learning rate or a classifier without bias hide. Best is what leaves the least of
this objective at the rounded counts, unless, where public data are granted, other counts come clearly nearer to dL/db when
public images of these classes go through the client's training, local steps and all. Repeated labels are counted; of several
rounds, the counts nearest to the mean of each one's.
"""

from typing import ClassVar

from torch import Generator

from attacks._adaptive import unaware
from attacks._base import Attack, Reconstruction, View
from attacks._counts import count_classes
from defenses._base import entry


@entry
class LabelCounts(Attack):
    """Count how often each class was in the batch."""

    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)
    recovers_images: ClassVar[bool] = False

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Labels only; the loss is what the counts leave unexplained, in examples."""
        counted = count_classes(view if self.adaptive else unaware(view))
        return Reconstruction(None, counted.labels(), counted.misfit)
