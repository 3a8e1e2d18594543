"""Images as coefficients: what is searched in them is the same images, in steps as long as natural images vary."""

import pytest
import torch
from scipy.fft import dctn

from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.parts.natural_basis import natural_basis

from .test_gradinversion import a_view, rng
from .test_gradinversion import images as drawn


def public(channels: int = 3, height: int = 6, width: int = 5) -> torch.Tensor:
    """Gray images in different light, a little colored."""
    gray = torch.randn((40, 1, height, width), generator=rng())
    return 0.4 + gray + 0.1 * torch.randn((40, channels, height, width), generator=rng(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("falloff", [None, 0.0, 0.5])
def test_coefficients_hold_all_of_an_image(channels, falloff):
    basis, images = natural_basis(public(channels), falloff), torch.rand((2, 4, channels, 6, 5), generator=rng(2))
    assert torch.allclose(basis.images(basis.coefficients(images)), images, atol=1e-5)


def test_without_a_falloff_they_are_the_pixels_themselves():
    images = torch.rand((2, 3, 6, 5), generator=rng(2))
    basis = natural_basis(public(), None)
    assert basis.images(images) is images and basis.coefficients(images) is images


def test_coefficients_of_gray_images_are_those_of_scipys_cosines():
    image = torch.rand((1, 6, 5), generator=rng(2))
    basis = natural_basis(public(1), 0.0)
    found = (basis.coefficients(image) * basis.colors[0, 0]).double()
    assert torch.allclose(found[0], torch.from_numpy(dctn(image[0].double().numpy(), norm="ortho")), atol=1e-5)


def test_the_longest_steps_are_in_brightness_and_in_the_large():
    basis = natural_basis(public(), 0.5)
    assert basis.lengths is not None
    assert (basis.colors[0].abs() - 3**-0.5).abs().max() < 0.01
    assert basis.lengths.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    assert basis.lengths[0, 0, 0] == basis.lengths.max()
    assert basis.lengths[0, 0, 0] / basis.lengths[0, 3, 4] == pytest.approx(6**0.5, rel=1e-5)
    assert 10 < basis.lengths[0, 0, 0] / basis.lengths[1, 0, 0] < 25


def test_colors_of_public_images_are_one_deviation_away_on_average():
    images = public()
    basis = natural_basis(images, None)
    assert basis.unlikely(images).item() == pytest.approx(1.0, rel=1e-4)
    loud = 0.4 + torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1).expand(3, 6, 5)
    assert basis.unlikely(loud) > 30


def test_public_images_of_one_color_leave_every_direction_to_be_searched():
    basis = natural_basis(torch.full((4, 3, 6, 5), 0.25), 0.3)
    images = torch.rand((3, 6, 5), generator=rng(2))
    assert torch.allclose(basis.images(basis.coefficients(images)), images, atol=1e-5)
    assert basis.unlikely(images).isfinite()


def test_a_search_in_coefficients_keeps_to_the_range_of_pixels_and_comes_nearer():
    first, last = (
        GradInversion(steps=n, seeds=2, falloff=0.3, color=0.01, group_every=5).reconstruct(a_view(), rng())
        for n in (1, 80)
    )
    truth = drawn(2)
    assert last.inputs.min() >= 0 and last.inputs.max() <= 1
    assert (last.inputs - truth).square().mean() < 0.7 * (first.inputs - truth).square().mean()
