"""The latent prior: its generator, the generator's cache, and what it adds to an update."""

import math
import os

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from attacks import Space, View
from attacks._cache import cached_tensors
from attacks._vae import Plan, divergence, negative_elbo, trained_vae
from attacks.latent_prior import LatentPrior
from audit.client import local_update, mean_gradient
from audit.data.digits import Digits
from audit.models.convnet import ConvNet
from defenses import Batch, Recipe

QUICK = Plan(latent=4, width=4, hidden=16, epochs=3)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def public(n: int = 300) -> Batch:
    return Digits().load().batch(torch.arange(500, 500 + n))


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path))


def test_the_divergence_is_that_of_two_gaussians():
    mean, log_variance = torch.randn(5, 3, generator=rng()), torch.randn(5, 3, generator=rng(1))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0, 1)).sum(1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)


def test_the_bound_sums_over_pixels_and_latents_and_averages_over_images():
    pixels = torch.full((2, 1, 4, 4), 0.5)
    loss = negative_elbo(pixels, torch.zeros(2, 1, 4, 4), torch.ones(2, 3), torch.zeros(2, 3))
    assert loss.item() == pytest.approx(16 * math.log(2) + 3 * 0.5, rel=1e-6)


def test_training_lowers_the_bound_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    losses = trained_vae(public().inputs, Plan(latent=8, width=8, hidden=32, epochs=12)).losses
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_plan_gives_the_same_generator_and_another_seed_another(monkeypatch, tmp_path):
    z = torch.randn(2, 4, generator=rng())
    first = trained_vae(public().inputs, QUICK).decode(z)
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / "other"))
    assert torch.equal(first, trained_vae(public().inputs, QUICK).decode(z))
    assert not torch.equal(
        first, trained_vae(public().inputs, Plan(latent=4, width=4, hidden=16, epochs=3, seed=1)).decode(z)
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 25)])
def test_it_draws_images_of_any_size_in_the_unit_interval(shape):
    drawn = trained_vae(torch.rand(16, *shape, generator=rng()), Plan(latent=2, width=4, hidden=8, epochs=1)).decode(
        torch.zeros(3, 2)
    )
    assert drawn.shape == (3, *shape)
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_what_is_in_the_cache_is_not_made_again():
    made = cached_tensors("facts", lambda: {"x": torch.arange(3.0)})
    again = cached_tensors("facts", lambda: pytest.fail("made again"))
    assert torch.equal(made["x"], again["x"])
    assert torch.equal(cached_tensors("other facts", lambda: {"x": torch.zeros(1)})["x"], torch.zeros(1))


def test_a_damaged_file_is_moved_aside_and_made_again(tmp_path):
    cached_tensors("facts", lambda: {"x": torch.arange(3.0)})
    file = next(path for path in tmp_path.rglob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert torch.equal(cached_tensors("facts", lambda: {"x": torch.ones(2)})["x"], torch.ones(2))
    assert any("damaged" in path.name for path in tmp_path.rglob("*"))


def test_processes_that_race_for_an_artifact_all_get_it_whole():
    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            got = cached_tensors("race", lambda: {"x": torch.arange(1000.0)})
            os._exit(0 if torch.equal(got["x"], torch.arange(1000.0)) else 1)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 6


def test_the_prior_finds_a_digit_that_another_batchs_update_does_not():
    torch.manual_seed(0)
    model = ConvNet(width=8).build(Space((1, 28, 28), 10))
    data = Digits().load()
    truth, decoy = data.batch(torch.tensor([3])), data.batch(torch.tensor([4]))
    attack = LatentPrior(latent=8, epochs=40, steps=80, restarts=2)
    errors = []
    for batch in (truth, decoy):
        step = local_update(model, batch, Recipe(), mean_gradient, rng()).step
        view = View(model, step, Space((1, 28, 28), 10), count=1, public=public(700), recipe=Recipe())
        errors.append((attack.reconstruct(view, rng(1)).inputs - truth.inputs).square().mean().item())
    assert errors[0] < 0.5 * errors[1]
