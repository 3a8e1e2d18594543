"""Generators of images, trained on public data and kept in the cache by the content of all that decides them, or the user's
own. Each maps latents, distributed as N(0, I), and class probabilities to images in [0, 1], by way of features."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seethrough.common.threads import one_thread
from seethrough.defenses import Batch

from .cache import cached_tensors
from .decoders import unset
from .gan import GANPlan
from .vae import VAEPlan

SCHEMA = 1  # raise it whenever the same plan would give other weights
SHOWN = 250_000  # images that a generator sees in training, unless the number of epochs is given

Plan = VAEPlan | GANPlan


@dataclass(frozen=True, eq=False)
class Drawer:
    """A generator at work."""

    latent: int
    features: Callable[[Tensor, Tensor], Tensor]  # latents [n, latent], class probabilities [n, classes] -> [n, ...]
    images: Callable[[Tensor], Tensor]  # features [n, ...] -> images [n, channels, height, width] in [0, 1]
    losses: Tensor  # [epochs, number of losses]; no epoch for a generator that was not trained here

    def draw(self, latents: Tensor, classes: Tensor) -> Tensor:
        """The images of latents [n, latent] and class probabilities [n, classes]."""
        return self.images(self.features(latents, classes))


def epochs_for(images: int, most: int) -> int:
    """How many epochs show a generator 250,000 images, at most `most`."""
    return max(1, min(most, SHOWN // images))


def trained(plan: Plan, public: Batch, tell: Callable[[int], None] = lambda epoch: None) -> Drawer:
    """The generator that `plan` makes of the public images, and of their labels if it has classes, from the cache where it
    is there. It always trains on one thread, so that its weights do not depend on how many there are."""
    images, labels = public.inputs.cpu(), public.labels.cpu()
    classes = F.one_hot(labels, max(plan.classes, int(labels.max()) + 1)).to(images)[:, : plan.classes]
    content = f"{_digest(images)} {_digest(classes)}"
    facts = f"generator {SCHEMA}; {plan}; {tuple(images.shape)} {content}; torch {torch.__version__}"
    with one_thread():
        state = dict(cached_tensors(facts, lambda: plan.train(images, classes, tell)))
    losses = state.pop("losses")
    decoder = unset(plan.decoder)
    decoder.load_state_dict(state)
    decoder.eval().requires_grad_(False).to(public.inputs.device)

    def features(latents: Tensor, classes: Tensor) -> Tensor:
        return decoder.features(latents, classes[..., : plan.classes])  # type: ignore[operator]

    return Drawer(plan.latent, features, decoder.images, losses)  # type: ignore[arg-type]


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()
