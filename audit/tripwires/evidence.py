"""All that checks are made on, measured once."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .activations import rectified
from .classifier import Classifier, classifier_of
from .gradients import Gradients, gradients_of
from .probe import Probe, probe


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model does to images."""

    probe: Probe
    layers: list[Tensor]  # as `rectified` gives them
    gradients: list[Gradients]  # a batch each


@dataclass(frozen=True, eq=False)
class Evidence:
    """A model, and what it does to images, where there are enough of them."""

    model: nn.Module
    classifier: Classifier | None
    seen: Seen | None
    images: int


def evidence(model: nn.Module, inputs: Tensor, classes: int) -> Evidence:
    """What is there of a model with images [n, channels, height, width] in [0, 1].

    Raises: ValueError, a sentence without its period, if what it returns or its gradient is not finite, or nothing trains.
    """
    found = probe(model, inputs, classes)
    seen = None
    if found is not None:
        with torch.no_grad():
            outputs = torch.cat([found.model(batch.inputs) for batch in found.batches()])
        if not outputs.isfinite().all():
            raise ValueError("it returns numbers that are not finite for the images that it is checked on")
        seen = Seen(found, rectified(found), gradients_of(found))
    return Evidence(model, classifier_of(model, classes), seen, len(inputs))
