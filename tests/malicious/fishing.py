"""Fishing for User Data (Wen, Geiping, Fowl, Goldblum, Goldstein, ICML 2022, arXiv:2202.00580, sections 3.1 and 3.2).

The features' slopes are (softmax - onehot) W. With all rows of W at zero but one class's, and that class held improbable, they
are of that class's examples alone. Of several examples of the class, one feature cut at the right value leaves one.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def fish_for_class(classifier: nn.Linear, target: int, lead: float, kept: float = 0.0) -> None:
    """Leave in the features' slopes the examples of class `target`: the others lead by `lead` in their bias, and keep the
    share `kept` of their rows."""
    mine = classifier.weight[target].clone()
    classifier.weight.mul_(kept)
    classifier.weight[target] = mine
    classifier.bias.fill_(lead)
    classifier.bias[target] = 0


@torch.no_grad()
def fish_for_feature(
    classifier: nn.Linear, target: int, feature: int, cut: float, sharpness: float, kept: float = 0.0
) -> None:
    """Leave in the slopes of a batch of class `target` the examples whose feature is below `cut`."""
    classifier.weight.mul_(kept)
    classifier.bias.mul_(kept)
    classifier.weight[target] = 0
    classifier.weight[target, feature] = sharpness
    classifier.bias[target] = -sharpness * cut


@torch.no_grad()
def features_of(net: nn.Sequential, images: Tensor) -> Tensor:
    """What goes into the last layer [n, features]."""
    return net[:-1](images)
