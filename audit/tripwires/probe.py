"""What the checks are made on: the model as the client would run it, and batches of the client's images."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seethrough.defenses import Batch

from ..randomness import stream
from ..weights._base import set_batchnorm_statistics

BATCH = 32  # images a batch, whatever the client's own: thresholds are of this size
IMAGES = 256  # at most


@dataclass(frozen=True, eq=False)
class Probe:
    """The model in eval mode, and images in whole batches."""

    model: nn.Module
    inputs: Tensor  # [batches * BATCH, channels, height, width] in [0, 1]
    labels: Tensor  # [batches * BATCH] in [0, classes), drawn uniformly, not the truth
    classes: int

    def batches(self) -> tuple[Batch, ...]:
        """The images and labels, BATCH at a time."""
        return tuple(
            Batch(inputs, labels)
            for inputs, labels in zip(self.inputs.split(BATCH), self.labels.split(BATCH), strict=True)
        )


def probe(model: nn.Module, inputs: Tensor, classes: int) -> Probe | None:
    """A probe of `model` with the first of `inputs`, in whole batches, IMAGES at most.

    Labels are drawn: a model that fits its client's labels has gradients of the few examples that it misses alone, and
    would look as if it isolated them. A model in train mode gets the BatchNorm statistics of these images. None, where
    there are fewer images than a batch.
    """
    if len(inputs) < BATCH:
        return None
    chosen = inputs[: min(IMAGES, len(inputs) // BATCH * BATCH)]
    labels = torch.randint(classes, (len(chosen),), generator=stream(0, "tripwires"))
    copied = copy.deepcopy(model)
    if copied.training:
        set_batchnorm_statistics(copied, Batch(chosen, labels))
    return Probe(copied.eval(), chosen, labels, classes)
