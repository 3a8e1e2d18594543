"""Gradient Inversion with Generative Image Prior (Jeon, Kim, Lee, Oh, Ok, NeurIPS 2021), arXiv:2110.14962, with a generator
G of images trained on public data: a variational autoencoder or a generative adversarial network, or the user's own.

Search the latents z whose images produce the observed update: distance(update(G(z), y), observed) + prior * |z|^2 / 2,
and the soft labels y with them where `soft` says so. In the last steps G's features, or the pixels, may leave the manifold, no
farther than `radius` of their own length, much as GIFD lets features do layer by layer (Fang, Chen, Wang, Wang, Xia, ICCV
2023, arXiv:2308.04699).

Departs from the papers: the generator's weights stay as they are, while the first paper goes on to search them; it is small
enough to be trained on the public data that the threat model grants; labels are recovered first; there is no prior on images
but the generator and the radius, and known noise sets the weight of |z|^2; the features of one layer only are let go, and the
distance is Euclidean and relative; the iterate of lowest objective is returned.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.defenses import Batch

from ._base import NotGrantedError, Prepared, Reconstruction, Space, View
from .engine.side_by_side import at_once
from .generators.gan import GANPlan
from .generators.generator import Drawer, Plan, epochs_for, trained
from .generators.latent_search import Match, let_go, search_latents
from .generators.user_generator import own_facts, own_generator
from .generators.vae import VAEPlan
from .labels.rules import known_or_recovered
from .labels.soft import free_labels
from .parts.adaptive import evidence, whitening
from .parts.distances import cosine, relative_l1, squared_l2
from .parts.rounds import need_update, observed
from .parts.shrinkage import Shrinking
from .parts.simulated_client import simulated_client

DISTANCES = {"cosine": cosine, "relative_l1": relative_l1, "squared_l2": squared_l2}
MOST_EPOCHS = {"vae": 60, "shallow_vae": 60, "gan": 240}
SAMPLES = 40  # images that show what a generator draws unasked


@entry
class LatentPrior(Shrinking):
    """Match the update over the latents of a generator trained on the public data: `vae`, `shallow_vae` (one convolution,
    two latents), `gan`, or your own `package.module:function` with weights in `file`; labels granted or recovered."""

    generator: str = Field(default="vae", pattern=r"^(vae|shallow_vae|gan|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
    latent: int | None = Field(default=None, ge=1, le=4096)  # dimensions; None: 16, or 2 for `shallow_vae`
    conditional: bool = False  # the generator is given class labels too
    epochs: int | None = Field(
        default=None, ge=1, le=10_000
    )  # None: until 250,000 images were shown, at most 60, `gan` 240
    generator_seed: int = Field(default=0, ge=0)
    file: str = ""
    soft: bool = False  # search the labels too, unless granted
    steps: int = Field(default=300, ge=1)
    lr: float = Field(default=0.1, gt=0)
    restarts: int = Field(default=4, ge=1)
    prior: float = Field(default=1e-4, ge=0)
    distance: Literal["cosine", "relative_l1", "squared_l2"] = "cosine"
    second_stage: Literal["none", "features", "pixels"] = "features"  # what may leave the manifold in the last steps
    second_stage_share: float = Field(default=0.3, gt=0, lt=1)  # of the steps
    radius: float = Field(default=0.3, gt=0)  # farthest from the manifold, relative to the length of what is let go
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count", "public")
    renamed: ClassVar[dict[str, str]] = {"freed": "second_stage", "freed_share": "second_stage_share"}

    def facts(self, space: Space) -> str:
        own = ":" in self.generator
        return own_facts(self.generator, self.file, self.latent or 16, self.conditional, space) if own else ""

    def prepare(self, public: Batch, space: Space, tell: Callable[[str], None]) -> Prepared:
        """The generator's losses and samples from its prior, after training where the cache has none."""
        drawer = self._drawer(public, space, tell)
        rng = Generator().manual_seed(self.generator_seed)
        latents = torch.randn((SAMPLES, drawer.latent), generator=rng)
        classes = F.one_hot(torch.arange(SAMPLES) % space.classes, space.classes).to(latents)
        names = () if ":" in self.generator else self._plan(len(public), space).losses
        return Prepared(names, drawer.losses, drawer.draw(latents, classes))

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The restart of lowest objective."""
        need_update(view)
        view = self.known(view)
        view.need("count")
        if view.public is None:
            raise NotGrantedError("needs `public`, which the threat model does not grant")
        labels = known_or_recovered(view)
        drawer = self._drawer(view.public, view.space, lambda told: None)
        certain = F.one_hot(labels, view.space.classes).to(view.public.inputs)
        client, whitened = simulated_client(view), whitening(view)
        distance = DISTANCES[self.distance](whitened(observed(view)))

        def misfit(images: Tensor, classes: Tensor) -> Tensor:
            return distance(whitened(client(images, classes)))

        match = Match(misfit, certain, at_once(self.restarts, view.update))
        prior = max(self.prior, len(labels) / evidence(view))
        freely = 0 if self.second_stage == "none" else min(self.steps - 1, round(self.second_stage_share * self.steps))
        start = torch.randn((self.restarts, len(labels), drawer.latent), generator=rng).to(labels.device)
        free = free_labels(view, labels, self.restarts, self.soft)
        latents, classes, lowest = search_latents(start, free, drawer, match, prior, self.steps - freely, self.lr)
        features = drawer.features(latents, classes)
        images = drawer.images(features)
        if freely and self.second_stage == "features":
            features, lowest = let_go(features, drawer.images, classes, match, self.radius, freely, self.lr)
            images = drawer.images(features)
        elif freely:
            images, lowest = let_go(images, _in_range, classes, match, self.radius, freely, self.lr)
        return Reconstruction(_in_range(images).detach(), classes.argmax(dim=-1), lowest)

    def _plan(self, images: int, space: Space) -> Plan:
        classes = space.classes if self.conditional else 0
        epochs = self.epochs or epochs_for(images, MOST_EPOCHS[self.generator])
        if self.generator == "gan":
            return GANPlan(space.shape, classes, self.latent or 16, epochs=epochs, seed=self.generator_seed)
        shallow = self.generator == "shallow_vae"
        latent = self.latent or (2 if shallow else 16)
        return VAEPlan(space.shape, classes, latent, shallow, epochs=epochs, seed=self.generator_seed)

    def _drawer(self, public: Batch, space: Space, tell: Callable[[str], None]) -> Drawer:
        if ":" in self.generator:
            device = public.inputs.device
            return own_generator(self.generator, self.file, self.latent or 16, self.conditional, space, device)
        plan = self._plan(len(public), space)
        return trained(plan, public, lambda epoch: tell(f"{self.generator}: epoch {epoch} of {plan.epochs}"))


def _in_range(images: Tensor) -> Tensor:
    return images.clamp(0, 1)
