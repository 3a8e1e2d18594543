"""How far the mean of the reconstructions is from the mean of the batch."""

import numpy as np
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric, as_images


@entry
class MeanImage(Metric):
    """The root mean square difference between the mean reconstruction and the mean private image, in [0, 1]: what the
    cohort has in common, whichever image is whose. One value a batch; the mean public image is a blind guess."""

    better = "lower"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return 0.0, 1.0

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        difference = as_images(found).mean(axis=0) - as_images(truth).mean(axis=0)
        return np.sqrt(np.square(difference).mean(keepdims=True)).ravel()
