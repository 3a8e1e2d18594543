"""How many of the batch's labels were recovered."""

import numpy as np
import torch
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric


@entry
class LabelAccuracy(Metric):
    """The share of the batch's labels in the guess, as multisets: the sum over classes of min(guessed, true) / batch size.
    Classes that are absent from both earn nothing."""

    better = "higher"
    compares = "labels"
    share = True

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        classes = int(max(truth.max(), found.max())) + 1
        guessed = torch.bincount(found, minlength=classes)
        hits = []
        for label in truth.tolist():
            hits.append(float(guessed[label] > 0))
            guessed[label] -= 1
        return np.array(hits)
