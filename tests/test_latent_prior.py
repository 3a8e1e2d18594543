"""The latent prior: its generators, their cache, and what they add to an update."""

import math
import os
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from seethrough.attacks import Space, View
from seethrough.attacks.generators.cache import cached_tensors
from seethrough.attacks.generators.gan import GANPlan
from seethrough.attacks.generators.generator import epochs_for, trained
from seethrough.attacks.generators.latent_search import Match, let_go
from seethrough.attacks.generators.user_generator import own_facts, own_generator
from seethrough.attacks.generators.vae import VAEPlan, divergence, negative_elbo
from seethrough.attacks.latent_prior import LatentPrior
from seethrough.attacks.parts.distances import cosine
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.defenses import Batch
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe

SPACE = Space((1, 28, 28), 10)
QUICK = VAEPlan((1, 28, 28), latent=4, width=4, hidden=16, epochs=3)
PLANS = {
    "vae": QUICK,
    "conditional vae": VAEPlan((1, 28, 28), 10, latent=4, width=4, hidden=16, epochs=3),
    "shallow vae": VAEPlan((1, 28, 28), latent=2, shallow=True, epochs=1),
    "gan": GANPlan((1, 28, 28), latent=4, width=4, hidden=16, epochs=2),
    "conditional gan": GANPlan((1, 28, 28), 10, latent=4, width=4, hidden=16, epochs=2),
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def public(n: int = 300) -> Batch:
    return Digits().load().batch(torch.arange(500, 500 + n))


def none_of(n: int) -> torch.Tensor:
    return torch.zeros(n, 10)


def observed(batch: Batch, model: nn.Module, **facts) -> View:
    step = local_update(model, batch, Recipe(), mean_gradient, rng()).step
    return View(model, step, SPACE, count=len(batch), public=public(700), recipe=Recipe(), **facts)


def network() -> nn.Module:
    torch.manual_seed(0)
    return ConvNet(width=8).build(SPACE)


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
    losses = trained(VAEPlan((1, 28, 28), latent=8, width=8, hidden=32, epochs=12), public()).losses
    assert losses[-1, 0] < 0.8 * losses[0, 0]
    assert torch.equal(before, torch.get_rng_state())


def test_the_adversaries_learn_what_digits_have_in_common():
    images = Digits(size=8).load().batch(torch.arange(600))
    drawer = trained(GANPlan((1, 8, 8), latent=8, width=8, hidden=32, epochs=40), images)
    drawn = drawer.draw(torch.randn(200, 8, generator=rng()), none_of(200))
    gap = (drawn.mean(0) - images.inputs.mean(0)).square().mean().sqrt()
    assert gap < 0.3 * (0.5 - images.inputs.mean(0)).square().mean().sqrt()
    assert drawn.std(0).mean() > 0.5 * images.inputs.std(0).mean()
    assert torch.isfinite(drawer.losses).all() and drawer.losses.shape == (40, 2)


@pytest.mark.parametrize("name", PLANS)
def test_the_same_plan_gives_the_same_generator_and_another_seed_another(name, monkeypatch, tmp_path):
    plan, before = PLANS[name], torch.get_rng_state()
    z, classes = torch.randn(2, plan.latent, generator=rng()), torch.eye(10)[:2]
    first = trained(plan, public(130)).draw(z, classes)
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / "other"))
    assert torch.equal(first, trained(plan, public(130)).draw(z, classes))
    other = type(plan)(**{**vars(plan), "seed": 1})
    assert not torch.equal(first, trained(other, public(130)).draw(z, classes))
    assert torch.equal(before, torch.get_rng_state())


def test_the_number_of_threads_does_not_change_a_generator(monkeypatch, tmp_path):
    z = torch.randn(2, 4, generator=rng())
    first = trained(QUICK, public()).draw(z, none_of(2))
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / "other"))
    torch.set_num_threads(2)
    try:
        assert torch.equal(first, trained(QUICK, public()).draw(z, none_of(2)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["conditional vae", "conditional gan"])
def test_a_conditional_generator_draws_what_it_is_told_to(name):
    two_kinds = Batch(
        torch.cat([torch.zeros(200, 1, 8, 8), torch.ones(200, 1, 8, 8)]), torch.arange(2).repeat_interleave(200)
    )
    plan = type(PLANS[name])((1, 8, 8), 2, latent=4, width=4, hidden=16, epochs=40)
    drawn = trained(plan, two_kinds).draw(torch.randn(20, 4, generator=rng()), torch.eye(2).repeat(10, 1))
    assert drawn[1::2].mean() > drawn[0::2].mean() + 0.5


@pytest.mark.parametrize("name", ["vae", "shallow vae", "gan"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 25)])
def test_it_draws_images_of_any_size_in_the_unit_interval(name, shape):
    plan = type(PLANS[name])(**{**vars(PLANS[name]), "shape": shape, "epochs": 1})
    images = Batch(torch.rand(16, *shape, generator=rng()), torch.arange(16) % 10)
    drawn = trained(plan, images).draw(torch.zeros(3, plan.latent), none_of(3))
    assert drawn.shape == (3, *shape)
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_few_images_are_shown_more_often():
    assert [epochs_for(n, 60) for n in (10, 1_000, 10_000, 1_000_000)] == [60, 60, 25, 1]


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


CHANGES = [{}, {"conditional": True}, {"generator": "gan", "epochs": 60}, {"soft": True}]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_prior_finds_a_digit_that_another_batchs_update_does_not(changes):
    data = Digits(size=8).load()
    torch.manual_seed(0)
    model = ConvNet(width=8).build(data.space)
    attack = LatentPrior(**{"latent": 8, "epochs": 40, "steps": 80, "restarts": 2} | changes)
    small = data.batch(torch.arange(500, 1200))
    found = []
    for i in range(4):
        view = replace(observed(data.batch(torch.tensor([i])), model), space=data.space, public=small)
        found.append(attack.reconstruct(view, rng(1)).inputs)
    errors = [
        [(image - data.batch(torch.tensor([i])).inputs).square().mean().item() for image in found] for i in range(4)
    ]
    own = sum(errors[i][i] for i in range(4)) / 4
    others = sum(sum(row) - row[i] for i, row in enumerate(errors)) / 12
    assert own < 0.6 * others


@pytest.mark.parametrize("second_stage", ["features", "pixels"])
def test_what_is_let_go_near_the_manifold_comes_closer_to_the_digit(second_stage):
    model, truth = network(), Digits().load().batch(torch.tensor([3]))
    bound = LatentPrior(latent=4, epochs=10, steps=60, restarts=2, second_stage="none")
    loose = LatentPrior(
        latent=4,
        epochs=10,
        steps=160,
        restarts=2,
        second_stage=second_stage,
        second_stage_share=0.625,
        radius=1.0,
        lr=0.3,
    )
    errors = [
        (attack.reconstruct(observed(truth, model), rng(1)).inputs - truth.inputs).square().mean().item()
        for attack in (bound, loose)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_nothing_is_let_go_farther_than_the_radius():
    model, truth = network(), Digits().load().batch(torch.tensor([3, 4]))
    view = observed(truth, model)
    client, distance = simulated_client(view), cosine(view.update)
    match = Match(lambda images, classes: distance(client(images, classes)), torch.eye(10)[truth.labels], 1)
    start = torch.rand(2, 1, 28, 28, generator=rng())
    found, lowest = let_go(start, lambda images: images, match.certain, match, 0.1, 30, 5.0)
    lengths = [part.flatten(1).norm(dim=1) for part in (found - start, start)]
    assert (lengths[0] <= 0.1001 * lengths[1]).all() and (lengths[0] > 0.05 * lengths[1]).all()
    assert lowest < match.misfit(start, match.certain)


def test_labels_are_searched_only_where_they_are_not_granted():
    model, batch = network(), Digits().load().batch(torch.tensor([1, 3]))
    attack = LatentPrior(latent=4, epochs=1, steps=5, restarts=1, soft=True)
    granted = attack.reconstruct(observed(batch, model, labels=batch.labels), rng())
    assert torch.equal(granted.labels, batch.labels)
    hard = LatentPrior(latent=4, epochs=1, steps=5, restarts=1).reconstruct(observed(batch, model), rng())
    assert not torch.equal(attack.reconstruct(observed(batch, model), rng()).inputs, hard.inputs)


def test_what_is_prepared_is_not_trained_again(monkeypatch):
    attack, told = LatentPrior(latent=4, epochs=2, steps=2, restarts=1), []
    prepared = attack.prepare(public(700), SPACE, told.append)
    assert told == ["vae: epoch 1 of 2", "vae: epoch 2 of 2"]
    assert prepared.losses.shape == (2, 1) and len(prepared.names) == 1
    assert prepared.samples.shape == (40, 1, 28, 28)
    monkeypatch.setattr(VAEPlan, "train", lambda *_: pytest.fail("trained again"))
    attack.reconstruct(observed(Digits().load().batch(torch.tensor([3])), network()), rng())


def make_own(shape, classes):
    return nn.Sequential(nn.Linear(16, shape[0] * shape[1] * shape[2]), nn.Sigmoid(), nn.Unflatten(1, shape))


OWN = "tests.test_latent_prior:make_own"


def test_the_users_own_generator_is_searched_with_the_weights_of_its_file(tmp_path):
    net, file = make_own((1, 28, 28), 10), tmp_path / "own.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    attack = LatentPrior(generator=OWN, file=str(file), steps=2, restarts=1)
    z = torch.randn(3, 16, generator=rng())
    drawer = own_generator(OWN, str(file), 16, False, SPACE, torch.device("cpu"))
    assert torch.equal(drawer.draw(z, none_of(3)), net(z))
    found = attack.reconstruct(observed(Digits().load().batch(torch.tensor([3])), network()), rng())
    assert found.inputs.shape == (1, 1, 28, 28)
    assert attack.prepare(public(), SPACE, lambda told: None).losses.numel() == 0


def test_the_content_of_the_users_file_decides(tmp_path):
    file, facts = tmp_path / "own.safetensors", []
    for seed in (0, 1):
        torch.manual_seed(seed)
        safetensors.torch.save_file(make_own((1, 28, 28), 10).state_dict(), file)
        facts.append(LatentPrior(generator=OWN, file=str(file)).facts(SPACE))
    assert facts[0] != facts[1] == own_facts(OWN, str(file), 16, False, SPACE)


def make_nothing(shape, classes):
    return None


def make_wide(shape, classes):
    return nn.Sequential(nn.Linear(16, 5))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nowhere:make", "cannot be imported"),
        ("tests.test_latent_prior:make_nothing", "returned a NoneType"),
        ("tests.test_latent_prior:make_wide", r"a shape of \[2, 5\]"),
        (OWN, "do not fit"),
    ],
)
def test_a_generator_that_cannot_be_used_is_said_in_one_sentence(function, words, tmp_path):
    safetensors.torch.save_file(make_wide((1, 28, 28), 10).state_dict(), tmp_path / "own.safetensors")
    attack = LatentPrior(generator=function, file=str(tmp_path / "own.safetensors"))
    with pytest.raises(ValueError, match=words) as caught:
        attack.prepare(public(), SPACE, lambda told: None)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_absent_or_damaged_is_said_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        LatentPrior(generator=OWN, file=str(tmp_path / "none.safetensors")).facts(SPACE)
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickled")
    with pytest.raises(ValueError, match="do not fit"):
        LatentPrior(generator=OWN, file=str(tmp_path / "bad.safetensors")).prepare(public(), SPACE, lambda told: None)
