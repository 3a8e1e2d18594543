"""Whether images can be searched for through a model."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from seethrough.common.attention import plain_attention
from seethrough.defenses import Batch

from ...randomness import drawing_from, stream

NO_SLOPE = (
    "the loss has no slope in the pixels (they are cast to integers, or cut off), so images cannot be searched for"
)


def unsearchable(model: nn.Module, batch: Batch) -> str:
    """Why no attack can search the model's pixels by matching what clients send; empty where it can."""
    images, copied = batch.inputs.clone().requires_grad_(), copy.deepcopy(model)
    trained = [parameter for parameter in copied.parameters() if parameter.requires_grad]
    rng = stream(0, "probe")
    with drawing_from(rng), plain_attention(), torch.enable_grad():
        loss = F.cross_entropy(copied(images), batch.labels)
        sent = torch.autograd.grad(loss, trained, allow_unused=True, create_graph=True)
        along = [(slope * torch.randn(slope.shape, generator=rng)).sum() for slope in sent if slope is not None]
        value = torch.stack(along).sum()
        try:
            if value.requires_grad:
                value.backward()  # to every leaf: on the way to the pixels alone, torch would leave out what it cannot do
        except Exception as error:  # the user's own backward may raise anything
            reason = " ".join(str(error).split())
            return f"the gradient cannot be differentiated again ({reason:.200}), so images cannot be searched for"
    return "" if images.grad is not None and (images.grad != 0).any() else NO_SLOPE
