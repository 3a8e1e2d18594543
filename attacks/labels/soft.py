"""Labels as something to search for: probabilities over the classes, the softmax of free logits (Zhu et al., NeurIPS 2019).

An attack that may search labels hands its objective either nothing, and the labels stay as they were recovered, or logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._base import View


def starting_logits(labels: Tensor, classes: int, confidence: float = 5.0) -> Tensor:
    """Logits [n, classes] that favor `labels` (int64 [n]): `confidence` for each one's own class, 0 for the others."""
    return confidence * F.one_hot(labels, classes).to(torch.get_default_dtype())


def free_labels(view: View, labels: Tensor, restarts: int, joint: bool, confidence: float = 5.0) -> tuple[Tensor, ...]:
    """The logits [restarts, n, classes] that are to be searched: none where labels are granted, or not `joint`."""
    if view.labels is not None or not joint:
        return ()
    return (starting_logits(labels, view.space.classes, confidence).repeat(restarts, 1, 1),)


def guessed(labels: Tensor, *logits: Tensor) -> Tensor:
    """What the loss is taken against: `labels` (int64 [n], or one-hot [n, classes]) as they are, or the probabilities
    [n, classes] of logits, where given."""
    return logits[0].softmax(dim=-1) if logits else labels


def likeliest(labels: Tensor, *logits: Tensor) -> Tensor:
    """The labels (int64 [n]) that the search ended with."""
    return logits[0].argmax(dim=-1) if logits else labels
