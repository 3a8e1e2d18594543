"""Image identifiability precision (Yin et al., CVPR 2021, arXiv:2104.07586, section 4.4): can the original be picked out of a
gallery by its reconstruction?

Departs from the paper: the gallery is the batch and as many public images as are asked for, not the evaluation set; the
likeness is by squared error of the pixels, or on request by the paper's cosine: of what the attacked model's classifier
reads, or of what a network makes of images that knows neither the model nor the update. Every reconstruction stands for the
original that it was matched with, in the decoy control too.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seethrough.common.entry import entry

from ._backbones import backbone_facts
from ._base import Metric
from ._features import features, squeezenet_features


@entry
class Identifiability(Metric):
    """The share of reconstructions whose nearest image in a gallery is their own original: 1 where it is, 0 where not. The
    gallery holds the batch and public images, `gallery` in all where there are enough. Nearest by squared error of the pixels,
    by the cosine of the attacked model's features, or of those of SqueezeNet, trained on ImageNet, where its weights are to be
    had."""

    gallery: int = Field(default=100, ge=2)
    likeness: Literal["pixels", "features", "squeezenet"] = "pixels"

    better = "higher"
    compares = "inputs"
    share = True

    def facts(self) -> str:
        return backbone_facts("squeeze") if self.likeness == "squeezenet" else ""

    def seen_by(self, model: nn.Module, public: Tensor) -> Callable[[Tensor, Tensor], np.ndarray]:
        look = self._look(copy.deepcopy(model).eval())

        def hits(truth: Tensor, found: Tensor) -> np.ndarray:
            return _hits(look(found), look(torch.cat([truth, self._others(truth, public)])))

        return hits

    def _look(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """What images are compared by."""
        if self.likeness == "pixels":
            return torch.clone
        seen = squeezenet_features if self.likeness == "squeezenet" else partial(features, model)
        return lambda images: F.normalize(seen(images))

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        """The same with the batch alone as the gallery, by pixels."""
        return _hits(found, truth)

    def remark(self, truth: Tensor, public: Tensor) -> str:
        size = len(truth) + len(self._others(truth, public))
        return f"{size} images in the gallery of identifiability"

    def _others(self, truth: Tensor, public: Tensor) -> Tensor:
        """The last public images: the first ones serve as blind guesses."""
        wanted = max(0, self.gallery - len(truth))
        return public[max(0, len(public) - wanted) :]


def _hits(found: Tensor, gallery: Tensor) -> np.ndarray:
    """Whether row i of `gallery` is the nearest to row i of `found`; a tie is no hit, nor is what is not a number."""
    distances = torch.cdist(found.flatten(1).double(), gallery.flatten(1).double())
    own = distances.diagonal().clone()
    distances.diagonal().fill_(torch.inf)
    return (own < distances.min(dim=1).values).double().numpy()
