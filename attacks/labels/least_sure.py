"""A batch taken for one image: the one that the model is least sure of.

The gradient of cross-entropy is as long as the error, softmax less one-hot, which differs between images of a trained model
by powers of ten. So a batch's mean gradient is often nearly that of a single image, and dL/db of the classifier its error.
That image a search can find; of the others the update tells little.
"""

import dataclasses
from typing import cast

import torch
from torch import Tensor

from seethrough.defenses import NotApplicableError

from .._base import Reconstruction, View
from .bias_slopes import output_error
from .rules import known_or_recovered


def least_sure(view: View) -> View:
    """The view of an attacker who takes the batch for that image, of the class whose slope is the most below zero.

    Raises: NotApplicableError, where the update does not tell the error.
    """
    alone = dataclasses.replace(view, count=1, labels=None)
    error = output_error(alone)
    if error is None:
        raise NotApplicableError(
            "a batch can be taken for the image that the model is least sure of where its update is one gradient whose error "
            "can be read off the classifier's bias, and this one is not"
        )
    return dataclasses.replace(alone, labels=error.argmin(dim=1))


def among_others(found: Reconstruction, view: View) -> Reconstruction:
    """A whole batch, with what was `found` of one image in the place of its class; the others are the mean public image, or
    gray.

    Their labels are those granted or recovered; where the class is not among them, it takes the place of the first.
    """
    image, label = cast(Tensor, found.inputs)[0], cast(Tensor, found.labels)[0]
    labels = (known_or_recovered(view) if view.labels is None else view.labels).clone()
    place = int((labels == label).float().argmax())
    labels[place] = label
    mean = torch.full_like(image, 0.5) if view.public is None else view.public.inputs.mean(dim=0)
    inputs = mean.expand(len(labels), *mean.shape).clone()
    inputs[place] = image
    return dataclasses.replace(found, inputs=inputs, labels=labels)
