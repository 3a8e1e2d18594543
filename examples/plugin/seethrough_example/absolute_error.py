"""Mean absolute error."""

import numpy as np
from torch import Tensor

from seethrough import Metric, entry


@entry
class AbsoluteError(Metric):
    """The mean absolute difference of pixels, in [0, 1]; lower is nearer."""

    better = "lower"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return 0.0, 1.0

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        return (truth.double() - found.double()).abs().flatten(1).mean(dim=1).numpy()
