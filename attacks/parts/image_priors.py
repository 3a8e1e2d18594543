"""What natural images have in common: penalties on images [n, channels, height, width], and a draw of random ones."""

import torch
from torch import Generator, Tensor


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighboring pixels, vertical plus horizontal (anisotropic, Rudin et al. 1992)."""
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return vertical + horizontal


def rounded_variation(images: Tensor, corner: float = 0.01) -> Tensor:
    """`total_variation` with |d| as sqrt(d^2 + corner^2) - corner, whose slope does not jump: fit for L-BFGS."""
    vertical, horizontal = images[..., 1:, :] - images[..., :-1, :], images[..., :, 1:] - images[..., :, :-1]
    means = [(difference.square() + corner**2).sqrt().mean() - corner for difference in (vertical, horizontal)]
    return means[0] + means[1]


def summed_variation(images: Tensor) -> Tensor:
    """The sum over all images of the absolute differences of neighboring pixels, vertical and horizontal."""
    vertical, horizontal = images[..., 1:, :] - images[..., :-1, :], images[..., :, 1:] - images[..., :, :-1]
    return vertical.abs().sum() + horizontal.abs().sum()


def l2_norm(images: Tensor) -> Tensor:
    """The L2 norm of each image, averaged over the batch."""
    return torch.linalg.vector_norm(images.flatten(1), dim=1).mean()


def l2_norm_of_all(images: Tensor) -> Tensor:
    """The L2 norm of all images taken as one vector."""
    return torch.linalg.vector_norm(images.flatten())


def photograph_like(count: int, shape: tuple[int, int, int], rng: Generator) -> Tensor:
    """Random images [count, *shape] in [0, 1] on the CPU, with what is common to photographs: amplitudes that fall with the
    frequency (Field, JOSA A 1987), channels that vary mostly together, and a brightness of their own."""
    channels, height, width = shape
    together = torch.randn((count, 1, height, width), generator=rng)
    apart = torch.randn((count, *shape), generator=rng)
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    falling = (1 / frequency).masked_fill(frequency == 0, 0.0)
    images = torch.fft.irfft2(torch.fft.rfft2(together + COLORED * apart) * falling, s=(height, width))
    images = CONTRAST * images / images.std(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(images.dtype).tiny)
    brightness = torch.randn((count, 1, 1, 1), generator=rng) + COLORED * torch.randn(
        (count, channels, 1, 1), generator=rng
    )
    return (0.5 + BRIGHTNESS * brightness + images).clamp(0, 1)


COLORED = 0.3  # how far channels vary apart, relative to how far they vary together
CONTRAST, BRIGHTNESS = 0.22, 0.15  # standard deviations of pixels within an image, and of images' means
