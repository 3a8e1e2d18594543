"""The public images whose gradients are nearest to the update: what a look-up finds, without any search."""

import copy
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator

from seethrough import Attack, Reconstruction, View, entry


@entry
class NearestPublic(Attack):
    """Return the `count` public images whose single gradients point most in the direction of the update, with their labels."""

    needs: ClassVar[tuple[str, ...]] = ("count", "public")

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """Images and labels of the nearest; the loss is one minus their mean cosine."""
        view.need(*self.needs)
        observed = torch.cat([-part.flatten() for part in view.update.values()])
        model = copy.deepcopy(view.model)  # in train mode a forward moves the statistics of BatchNorm
        parameters = [each for name, each in model.named_parameters() if name in view.update]
        nearness = []
        for image, label in zip(view.public.inputs, view.public.labels, strict=True):
            loss = F.cross_entropy(model(image[None]), label[None])
            slopes = torch.autograd.grad(loss, parameters)
            nearness.append(F.cosine_similarity(torch.cat([each.flatten() for each in slopes]), observed, dim=0))
        nearest = torch.stack(nearness).topk(view.count)
        chosen = view.public.inputs[nearest.indices].clone()
        return Reconstruction(chosen, view.public.labels[nearest.indices].clone(), float(1 - nearest.values.mean()))
