"""Whether images can be searched for through a model."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from seethrough.attacks import Space
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.common.attention import plain_attention
from seethrough.defenses import Batch
from seethrough.recipes.trainable import trained

from ...randomness import drawing_from, stream
from ...threat import view_of_model

NO_SLOPE = (
    "the loss has no slope in the pixels (they are cast to integers, or cut off), so images cannot be searched for"
)


def unsearchable(model: nn.Module, batch: Batch) -> str:
    """Why no attack can search the model's pixels by matching what clients send; empty where it can."""
    images, copied = batch.inputs.clone().requires_grad_(), copy.deepcopy(model)
    parameters = list(trained(copied).values())
    rng = stream(0, "probe")
    with drawing_from(rng), plain_attention(), torch.enable_grad():
        loss = F.cross_entropy(copied(images), batch.labels)
        sent = torch.autograd.grad(loss, parameters, allow_unused=True, create_graph=True)
        along = [(slope * torch.randn(slope.shape, generator=rng)).sum() for slope in sent if slope is not None]
        value = torch.stack(along).sum()
        try:
            if value.requires_grad:
                value.backward()  # to every leaf: on the way to the pixels alone, torch would leave out what it cannot do
        except Exception as error:  # the user's own backward may raise anything
            reason = " ".join(str(error).split())
            return f"the gradient cannot be differentiated again ({reason:.200}), so images cannot be searched for"
        if images.grad is None or not (images.grad != 0).any():
            return NO_SLOPE
        return _cannot_be_played(model, batch)


def _cannot_be_played(model: nn.Module, batch: Batch) -> str:
    """Why attackers cannot play a client of the model; empty where they can."""
    space = Space((batch.inputs.shape[1], batch.inputs.shape[2], batch.inputs.shape[3]), int(batch.labels.max()) + 1)
    images = batch.inputs.clone().requires_grad_()
    try:
        client = simulated_client(view_of_model(model, trained(model), space))
        torch.stack([part.square().sum() for part in client(images, batch.labels).values()]).sum().backward()
    except Exception as error:
        reason = " ".join(str(error).split())
        return f"a client cannot be played with the attacker's own weights ({reason:.200}), so images cannot be searched for"
    return ""
