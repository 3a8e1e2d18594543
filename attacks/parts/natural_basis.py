"""How large a step a search may take in which direction of an image, by how far natural images vary there.

They vary together: most in brightness, little in color, more in the large than in detail. Steps of one size in every pixel
lead to loud colors, which trained networks hardly see. Steps in coefficients of cosines (the orthonormal DCT-II) in colors
that vary independently (the principal components of public pixels), shorter where images vary less, do not. Such bases are
known from the visualization of features (Olah, Mordvintsev, Schubert, Distill 2017, "preconditioning").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1e-3  # of the largest variance of a color: what no public pixel shows is still searched
SMALLEST = 1e-12  # variance: public images may all be of one color


@dataclass(frozen=True, eq=False)
class Basis:
    """Images [..., channels, height, width] as coefficients of the same shape, linear and one to one."""

    mean: Tensor  # [channels] of the public images
    colors: Tensor  # [channels, channels]: orthonormal rows
    deviations: Tensor  # [channels]: of public pixels along each of them, the largest first
    rows: Tensor  # [height, height]: cosines over the vertical places
    columns: Tensor  # [width, width]
    lengths: (
        Tensor | None
    )  # [channels, height, width] of a coefficient's step, of root mean square 1; None: it is a pixel

    def images(self, coefficients: Tensor) -> Tensor:
        if self.lengths is None:
            return coefficients
        waves = self.rows.T @ (coefficients * self.lengths) @ self.columns
        return torch.einsum("dc,...dhw->...chw", self.colors, waves)

    def coefficients(self, images: Tensor) -> Tensor:
        if self.lengths is None:
            return images
        waves = torch.einsum("dc,...chw->...dhw", self.colors, images)
        return (self.rows @ waves @ self.columns.T) / self.lengths

    def unlikely(self, images: Tensor) -> Tensor:
        """The mean square of pixels' colors, in standard deviations of the public ones: about 1 for natural images."""
        away = torch.einsum("dc,...chw->...dhw", self.colors, images - self.mean[:, None, None])
        return (away / self.deviations[:, None, None]).square().mean()


def natural_basis(public: Tensor, falloff: float | None) -> Basis:
    """That of public images [n, channels, height, width], with steps that fall with the frequency f as (1 + f)^-falloff, or
    are those of pixels."""
    channels, height, width = public.shape[1:]
    pixels = public.movedim(1, 0).flatten(1)
    covariance = torch.cov(pixels, correction=0).reshape(channels, channels)
    variances, directions = torch.linalg.eigh(covariance)
    deviations = variances.flip(0).clamp(min=max(LEAST * float(variances.max()), SMALLEST)).sqrt()
    rows, columns = (_cosines(size).to(public) for size in (height, width))
    lengths = None if falloff is None else _lengths(deviations, height, width, falloff)
    return Basis(pixels.mean(dim=1), directions.T.flip(0), deviations, rows, columns, lengths)


def _lengths(deviations: Tensor, height: int, width: int, falloff: float) -> Tensor:
    frequency = torch.hypot(torch.arange(height)[:, None].float(), torch.arange(width)[None].float()).to(deviations)
    lengths = deviations[:, None, None] * (1 + frequency) ** -falloff
    return lengths / lengths.square().mean().sqrt()


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II [size, size]: one cosine in each row."""
    places, frequencies = torch.arange(size).double() + 0.5, torch.arange(size).double()
    waves = torch.cos(math.pi / size * frequencies[:, None] * places) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
