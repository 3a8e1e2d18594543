"""A variational autoencoder of images (Kingma, Welling, ICLR 2014), arXiv:1312.6114; given class labels, a conditional one
(Sohn, Yan, Lee, NeurIPS 2015).

Trained to raise the evidence lower bound E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I)), with p(x|z) a product of Bernoulli
distributions of the pixels. Both terms are sums, over pixels and over latent dimensions, averaged over images only:
averaging each over its own dimensions, as is often seen, weighs the divergence hundreds of times too heavily.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seethrough.defenses import Params

from .decoders import Decoder, convolutional, initialized, quarter, shallow, unset


@dataclass(frozen=True)
class VAEPlan:
    """How the autoencoder is built and trained."""

    shape: tuple[int, ...]  # channels, height, width
    classes: int = 0  # of the labels that it is given; 0 for none
    latent: int = 16  # dimensions of the latent space
    shallow: bool = False  # one convolution each way at full size, instead of two with strides and a hidden layer
    width: int = 16  # channels at half the images' size; twice as many at a quarter
    hidden: int = 128  # units between the smallest feature maps and the latents
    epochs: int = 30
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0

    losses = ("negative evidence lower bound (nats an image)",)

    def decoder(self) -> Decoder:
        """The decoder as yet untrained."""
        inputs = self.latent + self.classes
        return (
            shallow(self.shape, inputs) if self.shallow else convolutional(self.shape, inputs, self.width, self.hidden)
        )

    def train(self, images: Tensor, classes: Tensor, tell: Callable[[int], None]) -> Params:
        """The decoder's state and its "losses" [epochs, 1] after training on images [n, *shape] in [0, 1] with classes
        [n, classes] (one-hot); `tell` hears the number of each epoch when it ends."""
        rng = Generator().manual_seed(self.seed)
        encoder = initialized(unset(lambda: _Encoder(self)), rng)
        decoder = initialized(unset(self.decoder), rng)
        weights = [*encoder.parameters(), *decoder.parameters()]
        batches = -(-len(images) // self.batch_size)
        adam = torch.optim.Adam(weights, self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, self.lr, total_steps=self.epochs * batches + 1)
        losses = []
        for epoch in range(self.epochs):
            total = 0.0
            for chosen in torch.randperm(len(images), generator=rng).split(self.batch_size):
                batch, given = images[chosen], classes[chosen]
                mean, log_variance = encoder(batch, given).chunk(2, dim=1)
                latents = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=rng)
                loss = negative_elbo(batch, decoder(latents, given), mean, log_variance)
                for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight.grad = slope
                adam.step()
                schedule.step()
                total += float(loss.detach()) * len(batch)
            losses.append([total / len(images)])
            tell(epoch + 1)
        return {**decoder.state_dict(), "losses": torch.tensor(losses)}


def negative_elbo(images: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean over images of -log p(x|z) + KL(q(z|x) || N(0, I)), nats; `logits` [n, ...] are the decoder's."""
    surprise = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return surprise / len(images) + divergence(mean, log_variance).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of each row [n, latent], nats (Kingma and Welling, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class _Encoder(nn.Module):
    """Images and classes to mean and log-variance of the latents, side by side: [n, 2 * latent]."""

    def __init__(self, plan: VAEPlan) -> None:
        super().__init__()
        channels, height, width = plan.shape
        if plan.shallow:
            self.look = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Flatten())
            self.place: nn.Module = nn.Linear(16 * height * width + plan.classes, 2 * plan.latent)
            return
        self.look = nn.Sequential(
            nn.Conv2d(channels, plan.width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(plan.width, 2 * plan.width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.place = nn.Sequential(
            nn.Linear(2 * plan.width * quarter(height) * quarter(width) + plan.classes, plan.hidden),
            nn.SiLU(),
            nn.Linear(plan.hidden, 2 * plan.latent),
        )

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        return self.place(torch.cat([self.look(images), classes], dim=1))
