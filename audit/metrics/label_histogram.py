"""How far the recovered class histogram is from the batch's."""

import numpy as np
import torch
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric


@entry
class LabelHistogram(Metric):
    """The total variation distance between the classes' shares in the guess and in the batch, in [0, 1]: half the sum over
    classes of |share in the guess - share in the batch|. One value a batch; what the public data tell is a blind guess.
    For as many labels as the batch has it is one minus the label accuracy; for a whole cohort's labels it is not."""

    better = "lower"
    compares = "labels"
    share = True

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        classes = int(max(truth.max(), found.max())) + 1
        guessed, true = (torch.bincount(labels, minlength=classes).double() / len(labels) for labels in (found, truth))
        return (guessed - true).abs().sum().div(2).reshape(1).numpy()
