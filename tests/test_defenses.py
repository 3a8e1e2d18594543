"""Clipping and Gaussian noise, against their formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Generator

from seethrough.defenses import Update
from seethrough.defenses.clipping import Clipping, l2_norm
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.recipes import Recipe


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def an_update(seed: int, scale: float = 1.0) -> Update:
    rng = seeded(seed)
    step = {"weight": scale * torch.randn((5, 3), generator=rng), "bias": scale * torch.randn(5, generator=rng)}
    return Update(step, 4, {"norm.running_mean": torch.randn(2, generator=rng)})


def length(update: Update) -> float:
    """The L2 norm in plain Python."""
    return math.sqrt(sum(value**2 for part in update.step.values() for value in part.flatten().tolist()))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.floats(1e-4, 1e4))
def test_a_clipped_update_is_no_longer_than_max_norm_and_points_the_same_way(seed: int, scale: float, max_norm: float):
    update = an_update(seed, scale)
    clipped = Clipping(max_norm=max_norm).release(update, seeded(0))
    factor = min(1.0, max_norm / length(update))
    assert length(clipped) <= max_norm * (1 + 1e-6)
    for name, part in update.step.items():
        assert torch.allclose(clipped.step[name], part * factor, rtol=1e-5, atol=0.0)


def test_the_norm_is_taken_over_all_parameters_together():
    update = Update({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, 1, {})
    assert l2_norm(update.step).item() == 5.0
    clipped = Clipping(max_norm=1.0).release(update, seeded(0))
    assert torch.allclose(torch.cat([clipped.step["a"], clipped.step["b"]]), torch.tensor([0.6, 0.8]))


def test_a_short_update_is_sent_exactly():
    update = an_update(0)
    clipped = Clipping(max_norm=1e6).release(update, seeded(0))
    assert all(torch.equal(clipped.step[name], part) for name, part in update.step.items())


def test_an_update_of_zeros_stays_zero():
    clipped = Clipping(max_norm=1.0).release(Update({"a": torch.zeros(3)}, 1, {}), seeded(0))
    assert torch.equal(clipped.step["a"], torch.zeros(3))


def test_the_noise_has_the_variance_that_it_says_on_each_coordinate():
    std, draws, update = 0.3, 400, an_update(1)
    defense, rng = GaussianNoise(std=std), seeded(12)
    noise = torch.stack([flat(defense.release(update, rng)) - flat(update) for _ in range(draws)]) / std
    squares = noise.double().square().sum(dim=0)
    each = [stats.chi2.sf(value, draws) for value in squares.tolist()]
    whole = stats.chi2.sf(squares.sum().item(), noise.numel())
    shared = stats.chi2.sf((noise.double().sum(dim=1).square().sum() / noise.shape[1]).item(), draws)
    for chance in (whole, shared, *each):
        assert 1e-4 < chance < 1 - 1e-4
    assert stats.kstest(noise.flatten().tolist(), "norm").pvalue > 1e-3


def flat(update: Update) -> torch.Tensor:
    return torch.cat([part.flatten() for part in update.step.values()])


@pytest.mark.parametrize("defense", [Clipping(max_norm=0.1), GaussianNoise(std=1.0)])
def test_clipping_or_noise_alone_claims_nothing(defense: Clipping | GaussianNoise):
    assert defense.guarantee(Recipe(), 8) is None
    assert "claims nothing" in (type(defense).__doc__ or "")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_length_or_deviation_must_be_positive_and_finite(value: float):
    with pytest.raises(ValidationError, match="max_norm"):
        Clipping(max_norm=value)
    with pytest.raises(ValidationError, match="std"):
        GaussianNoise(std=value)
