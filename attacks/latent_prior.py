"""Gradient Inversion with Generative Image Prior (Jeon, Kim, Lee, Oh, Ok, NeurIPS 2021), arXiv:2110.14962, with a
variational autoencoder trained on public data as the generator G.

Search the latents z whose images produce the observed update: distance(update(G(z)), observed) + prior * |z|^2 / 2.

Departs from the paper: only latents are searched, the generator's weights stay as they are; the generator is an
autoencoder, small enough to be trained on the public data that the threat model grants.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.func import vmap

from attacks._adaptive import evidence, unaware, whitened
from attacks._base import Attack, NotGrantedError, Reconstruction, View
from attacks._labels import known_or_recovered
from attacks._match import cosine, relative_l1, squared_l2
from attacks._replay import simulated_client
from attacks._search import Variables, cosine_schedule, descend
from attacks._vae import Plan, trained_vae
from defenses._base import entry

DISTANCES = {"cosine": cosine, "relative_l1": relative_l1, "squared_l2": squared_l2}


@entry
class LatentPrior(Attack):
    """Match the update over the latents of a VAE trained on the public data; labels granted or recovered."""

    generator: Literal["vae"] = "vae"
    latent: int = Field(default=16, ge=1)
    epochs: int = Field(default=60, ge=1)
    generator_seed: int = Field(default=0, ge=0)
    steps: int = Field(default=300, ge=1)
    lr: float = Field(default=0.1, gt=0)
    restarts: int = Field(default=4, ge=1)
    prior: float = Field(default=1e-4, ge=0)
    distance: Literal["cosine", "relative_l1", "squared_l2"] = "cosine"
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count", "public")

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The restart of lowest objective."""
        view = view if self.adaptive else unaware(view)
        view.need("count")
        if view.public is None:
            raise NotGrantedError("needs `public`, which the threat model does not grant")
        labels = known_or_recovered(view)
        client = simulated_client(view)
        plan = Plan(latent=self.latent, epochs=self.epochs, seed=self.generator_seed)
        generator = trained_vae(view.public.inputs, plan)
        distance = DISTANCES[self.distance]

        seen = whitened(view, view.update)
        prior = max(self.prior, len(labels) / evidence(view))

        def loss(latents: Tensor) -> Tensor:
            sent = whitened(view, client(generator.decode(latents), labels))
            return distance(sent, seen) + prior * latents.square().sum(dim=1).mean() / 2

        def objective(variables: Variables) -> Tensor:
            return vmap(loss)(variables[0])

        start = torch.randn((self.restarts, len(labels), self.latent), generator=rng).to(labels.device)
        found = descend((start,), objective, steps=self.steps, lr=self.lr, factor=cosine_schedule(self.steps))
        (latents,), lowest = found.best()
        return Reconstruction(generator.decode(latents).detach(), labels, lowest)
