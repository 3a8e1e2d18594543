"""A generative adversarial network of images (DCGAN; Radford, Metz, Chintala, ICLR 2016, arXiv:1511.06434) with a spectrally
normalized discriminator and the hinge loss (Miyato, Kataoka, Koyama, Yoshida, ICLR 2018, arXiv:1802.05957, equations 16, 17).

    L_D = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]        L_G = -E[D(G(z))]

What is kept is a running mean of the generator's weights, which is smoother than its last ones (Yazici et al., ICLR 2019,
arXiv:1806.04498). Given class labels, both networks are: the generator beside its latents, the discriminator as constant
planes beside the image.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seethrough.defenses import Params

from .decoders import Decoder, convolutional, initialized, quarter, unset


@dataclass(frozen=True)
class GANPlan:
    """How the generator and its discriminator are built and trained."""

    shape: tuple[int, ...]  # channels, height, width
    classes: int = 0  # of the labels that both are given; 0 for none
    latent: int = 16  # dimensions of the latent space
    width: int = 16  # channels at half the images' size; twice as many at a quarter
    hidden: int = 128  # units after the latents
    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3  # the generator's; the discriminator's is twice as high (Heusel et al., NeurIPS 2017)
    decay: float = 0.995  # of the running mean of the generator's weights, a step
    seed: int = 0

    losses = ("discriminator's hinge loss", "generator's hinge loss")

    def decoder(self) -> Decoder:
        """The generator as yet untrained."""
        return convolutional(self.shape, self.latent + self.classes, self.width, self.hidden, norm=True)

    def train(self, images: Tensor, classes: Tensor, tell: Callable[[int], None]) -> Params:
        """The generator's state and its "losses" [epochs, 2] after training on images [n, *shape] in [0, 1] with classes
        [n, classes] (one-hot); `tell` hears the number of each epoch when it ends."""
        rng = Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):  # spectral normalization starts from the global generator
            torch.manual_seed(self.seed)
            critic = _discriminator(self)
        generator = initialized(unset(self.decoder), rng)
        kept = copy.deepcopy(generator)
        builder = torch.optim.Adam(generator.parameters(), self.lr, betas=(0.5, 0.999))
        judge = torch.optim.Adam(critic.parameters(), 2 * self.lr, betas=(0.5, 0.999))
        losses, steps = [], 0
        for epoch in range(self.epochs):
            total = torch.zeros(2)
            for chosen in torch.randperm(len(images), generator=rng).split(self.batch_size):
                if len(chosen) < 2:
                    continue  # BatchNorm has no variance to go by
                given = classes[chosen]
                latents = torch.randn((len(chosen), self.latent), generator=rng)
                forged = generator(latents, given).sigmoid()
                shown = torch.cat([images[chosen], forged.detach()])
                praise, scorn = critic(_labeled(shown, given.repeat(2, 1))).chunk(2)
                doubt = F.relu(1 - praise).mean() + F.relu(1 + scorn).mean()
                _step(judge, doubt)
                failure = -critic(_labeled(forged, given)).mean()
                _step(builder, failure)
                steps += 1
                _follow(kept, generator, min(self.decay, steps / (steps + 10)))
                total += len(chosen) * torch.stack([doubt.detach(), failure.detach()])
            losses.append(total / len(images))
            tell(epoch + 1)
        return {**kept.state_dict(), "losses": torch.stack(losses)}


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    weights = optimizer.param_groups[0]["params"]
    for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = slope
    optimizer.step()


@torch.no_grad()
def _follow(kept: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the weights and statistics of `kept` a little towards those of `current`."""
    for old, new in zip(kept.state_dict().values(), current.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def _labeled(images: Tensor, classes: Tensor) -> Tensor:
    """`images` in [-1, 1], with a constant plane for each class."""
    planes = classes[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([2 * images - 1, planes], dim=1)


def _discriminator(plan: GANPlan) -> nn.Module:
    channels, height, width = plan.shape
    features = 2 * plan.width * quarter(height) * quarter(width)
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels + plan.classes, plan.width, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(plan.width, 2 * plan.width, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        spectral_norm(nn.Linear(features, 1)),
    )
