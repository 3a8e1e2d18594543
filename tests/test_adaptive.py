"""Attackers who know the defense: what they simulate is what a defended client sends, and knowing more does not hurt them."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from attacks import Space, View
from attacks._adaptive import hides_length, noise_variances, unaware
from attacks._replay import simulated_client
from attacks.dlg import DLG
from attacks.gradinversion import GradInversion
from attacks.inverting_gradients import InvertingGradients
from audit._stream import drawing_from
from audit.client import local_update, mean_gradient
from defenses import Batch, Chain, Defense, Params, Recipe
from defenses._base import weighted_mean
from defenses.clipping import Clipping
from defenses.gaussian_noise import GaussianNoise
from defenses.secure_aggregation import SecureAggregation
from defenses.top_k import TopK

SPACE = Space((1, 8, 8), 4)
RECIPE = Recipe(lr=0.1)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def a_net(seed: int = 0, batchnorm: bool = False) -> nn.Module:
    with drawing_from(seeded(seed)):
        norm = [nn.BatchNorm2d(8)] if batchnorm else []
        layers = nn.Conv2d(1, 8, 3, padding=1), *norm, nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 4))


def a_batch(count: int, seed: int = 1) -> Batch:
    images = F.interpolate(torch.rand((count, 1, 4, 4), generator=seeded(seed)), (8, 8), mode="bilinear")
    return Batch(images, torch.arange(count) % 4)


def a_view(defense: Defense, *batches: Batch, net: nn.Module | None = None, recipe: Recipe = RECIPE) -> View:
    """What the server has of the first client, or of the cohort's sum."""
    model = net or a_net()
    rngs = tuple(seeded(100 + place) for place in range(len(batches)))
    trained = tuple(local_update(model, batch, recipe, mean_gradient, seeded()) for batch in batches)
    aggregate = defense.aggregate(defense.together(trained, rngs), seeded(99))
    read = aggregate.seen[0] if aggregate.seen else aggregate.mean
    behind = 1 if aggregate.seen else len(batches)
    return View(model, read.step, SPACE, count=read.count, recipe=recipe, defense=defense, participants=behind)


def psnr(guess: Tensor | None, truth: Tensor) -> float:
    assert guess is not None
    return -10 * math.log10(float((guess - truth).square().mean()))


def apart(left: Params, right: Params) -> float:
    return max(float((left[name] - part).abs().max()) for name, part in right.items())


def test_a_clipped_client_is_simulated_exactly():
    batch = a_batch(3)
    view = a_view(Clipping(max_norm=0.01), batch)
    assert apart(simulated_client(view)(batch.inputs, batch.labels), view.update) < 1e-7
    assert apart(simulated_client(unaware(view))(batch.inputs, batch.labels), view.update) > 1e-3


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(steps=2, batch_size=1, lr=0.2)])
@pytest.mark.parametrize("train", [False, True], ids=["eval mode", "train mode"])
def test_a_cohort_is_simulated_as_the_mean_of_clients_who_train_and_clip_by_themselves(recipe: Recipe, train: bool):
    net, batches = a_net(batchnorm=True).train(train), [a_batch(2, seed) for seed in range(3)]
    defense = Chain((Clipping(max_norm=0.02), SecureAggregation(clients=3)))
    view = a_view(defense, *batches, net=net, recipe=recipe)
    inputs = torch.stack([batch.inputs for batch in batches], dim=1).flatten(0, 1)
    labels = torch.stack([batch.labels for batch in batches], dim=1).flatten(0, 1)
    alone = [local_update(net, batch, recipe, mean_gradient, seeded()) for batch in batches]
    clipped = tuple(Clipping(max_norm=0.02).release(update, seeded()) for update in alone)
    found = simulated_client(view)(inputs, labels)
    assert apart(found, weighted_mean(clipped).step) < 1e-6
    assert apart(found, view.update) < 1e-5


def test_a_length_is_known_to_be_hidden_only_where_it_was_changed():
    assert hides_length(a_view(Clipping(max_norm=0.01), a_batch(2)))
    assert not hides_length(a_view(Clipping(max_norm=100.0), a_batch(2)))
    assert not hides_length(unaware(a_view(Clipping(max_norm=0.01), a_batch(2))))
    cohort = Chain((Clipping(max_norm=0.01), SecureAggregation(clients=2)))
    assert not hides_length(a_view(cohort, a_batch(2), a_batch(2, 5)))


def test_noise_is_known_with_the_defense_and_thinned_by_the_cohort():
    noisy = GaussianNoise(std=0.2)
    alone = noise_variances(a_view(noisy, a_batch(2)))
    assert [float(part) for part in alone.values()] == pytest.approx([0.04] * 6)
    summed = noise_variances(a_view(Chain((noisy, SecureAggregation(clients=2))), a_batch(2), a_batch(2, 5)))
    assert [float(part) for part in summed.values()] == pytest.approx([0.02] * 6)
    assert noise_variances(unaware(a_view(noisy, a_batch(2)))) == {}


ATTACKS: list[Any] = [DLG(steps=20), InvertingGradients(steps=20, tv=1e-3), GradInversion(steps=20, seeds=1)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_an_attacker_who_is_not_adaptive_is_one_who_does_not_know_the_defense(attack: Any):
    view = a_view(TopK(share=0.3), a_batch(2))
    plain = dataclasses.replace(attack, adaptive=False)
    knowing, ignorant, best = (
        one.reconstruct(seen, seeded()).inputs for one, seen in ((plain, view), (attack, unaware(view)), (attack, view))
    )
    assert torch.equal(knowing, ignorant)
    assert not torch.equal(best, knowing)
