"""A loss, of labels that are known and of those that an attacker is still looking for."""

from typing import ClassVar

import torch
from torch import Tensor


class Loss:
    """A loss over a batch. Hyperparameters are its fields."""

    signs_tell: ClassVar[bool] = False
    """Whether an example's slope is below zero in the logit of its own class only, so that signs of slopes tell classes."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss [] of logits [n, classes], by labels int64 [n], or by probabilities [n, classes] in their place.

        For probabilities of 0 and 1 it is that of the labels; differentiable, and fit for `torch.func.vmap`.
        Raises: ValueError, a sentence, if it cannot be had of these.
        """
        raise NotImplementedError

    def facts(self) -> str:
        """What beside the fields decides its value, such as the user's code."""
        return ""


def one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels int64 [n] as probabilities of the logits' kind [n, classes]; probabilities as they are."""
    if labels.is_floating_point():
        return labels
    return (labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)).to(logits)  # vmap has no one_hot
