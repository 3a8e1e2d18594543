"""A variational autoencoder of images: the attacker's generative prior (Kingma, Welling, ICLR 2014), arXiv:1312.6114.

Trained to raise the evidence lower bound E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I)), with p(x|z) a product of Bernoulli
distributions of the pixels. Both terms are sums, over pixels and over latent dimensions, averaged over images only:
averaging each over its own dimensions, as is often seen, weighs the divergence hundreds of times too heavily.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from attacks._cache import cached_tensors
from defenses import Params

SCHEMA = 1  # raise it whenever the same plan would give other weights


@dataclass(frozen=True)
class Plan:
    """How the autoencoder is built and trained."""

    latent: int = 16  # dimensions of the latent space
    width: int = 16  # channels at half the images' size; twice as many at a quarter
    hidden: int = 128  # units between the smallest feature maps and the latents
    epochs: int = 30
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained generator, without its encoder."""

    decode: Callable[[Tensor], Tensor]  # latents [n, latent] -> images [n, channels, height, width] in [0, 1]
    losses: Tensor  # [epochs], the mean negative evidence lower bound of each, nats an image


def trained_vae(images: Tensor, plan: Plan) -> Trained:
    """The decoder trained on `images` (float32 [n, channels, height, width] in [0, 1]), from the cache where it is there."""
    shape = tuple(images.shape[1:])
    facts = f"vae {SCHEMA}; {plan}; {tuple(images.shape)} {_digest(images)}; torch {torch.__version__}"
    kept = cached_tensors(facts, lambda: _train(images.cpu(), plan))
    decoder = _empty(_decoder, shape, plan)
    decoder.load_state_dict({name: kept[name] for name in decoder.state_dict()})
    decoder.requires_grad_(False).to(images.device)
    return Trained(lambda latents: _cropped(decoder(latents), shape).sigmoid(), kept["losses"])


def negative_elbo(images: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean over images of -log p(x|z) + KL(q(z|x) || N(0, I)), nats; `logits` [n, ...] are the decoder's."""
    surprise = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return surprise / len(images) + divergence(mean, log_variance).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of each row [n, latent], nats (Kingma and Welling, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def _train(images: Tensor, plan: Plan) -> Params:
    rng = Generator().manual_seed(plan.seed)
    shape = tuple(images.shape[1:])
    encoder, decoder = (_initialized(_empty(part, shape, plan), rng) for part in (_encoder, _decoder))
    weights = [*encoder.parameters(), *decoder.parameters()]
    batches = -(-len(images) // plan.batch_size)
    adam = torch.optim.Adam(weights, plan.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, plan.lr, total_steps=plan.epochs * batches + 1)
    losses = []
    for _ in range(plan.epochs):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=rng).split(plan.batch_size):
            batch = images[chosen]
            mean, log_variance = encoder(batch).chunk(2, dim=1)
            latents = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=rng)
            loss = negative_elbo(batch, _cropped(decoder(latents), shape), mean, log_variance)
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = slope
            adam.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        losses.append(total / len(images))
    return {**decoder.state_dict(), "losses": torch.tensor(losses)}


def _empty(build: Callable[[tuple[int, ...], Plan], nn.Module], shape: tuple[int, ...], plan: Plan) -> nn.Module:
    """What `build` builds, its memory not yet set, without a draw from the global generator."""
    with torch.device("meta"):
        net = build(shape, plan)
    return net.to_empty(device="cpu")


def _encoder(shape: tuple[int, ...], plan: Plan) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, plan.width, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(plan.width, 2 * plan.width, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(2 * plan.width * _quarter(height) * _quarter(width), plan.hidden),
        nn.SiLU(),
        nn.Linear(plan.hidden, 2 * plan.latent),
    )


def _decoder(shape: tuple[int, ...], plan: Plan) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(
        nn.Linear(plan.latent, plan.hidden),
        nn.SiLU(),
        nn.Linear(plan.hidden, 2 * plan.width * _quarter(height) * _quarter(width)),
        nn.SiLU(),
        nn.Unflatten(1, (2 * plan.width, _quarter(height), _quarter(width))),
        nn.ConvTranspose2d(2 * plan.width, plan.width, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.ConvTranspose2d(plan.width, channels, 4, stride=2, padding=1),
    )


def _initialized(net: nn.Module, rng: Generator) -> nn.Module:
    """`net` with Glorot's uniform weights drawn from `rng` and zero biases: building it with torch's own
    initialization would draw from the global generator."""
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter, generator=rng)
        else:
            nn.init.zeros_(parameter)
    return net


def _quarter(size: int) -> int:
    return -(-size // 4)


def _cropped(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    return images[..., : shape[1], : shape[2]]


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
