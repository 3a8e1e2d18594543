"""Attackers who know the defense: what they simulate is what a defended client sends, and knowing more does not hurt them."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seethrough.attacks import Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.label_sign import LabelSign
from seethrough.attacks.labels.bias_slopes import sign_pulls
from seethrough.attacks.labels.classifier_gradient import observed_classifier
from seethrough.attacks.parts.adaptive import hides_length, noise_variances, unaware
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import drawing_from
from seethrough.audit.scoring import claimed_by
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch, Chain, Defense, NoDefense, Params
from seethrough.defenses._base import weighted_mean
from seethrough.defenses.adaptive_clipping import AdaptiveClipping
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.laplace_noise import LaplaceNoise
from seethrough.defenses.partial_sharing import PartialSharing
from seethrough.defenses.quantization import Quantization
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.sign import Sign
from seethrough.defenses.soteria import Soteria
from seethrough.defenses.top_k import TopK
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe

SPACE, DIGITS = Space((1, 8, 8), 4), Space((1, 14, 14), 10)
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
    gradient = defense.train(mean_gradient)
    trained = tuple(local_update(model, batch, recipe, gradient, seeded()) for batch in batches)
    aggregate = defense.aggregate(defense.cohort_step(trained, rngs), seeded(99))
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


@pytest.mark.parametrize("clipping", ["flat", "per_layer"])
@pytest.mark.parametrize("recipe", [RECIPE, Recipe(steps=3, batch_size=2, lr=0.2)])
def test_a_client_who_clips_each_example_is_simulated_exactly(recipe: Recipe, clipping: Any):
    batch, defense = a_batch(4), DPSGD(noise_multiplier=0.0, max_grad_norm=0.5, clipping=clipping)
    view = a_view(defense, batch, recipe=recipe)
    assert apart(simulated_client(view)(batch.inputs, batch.labels), view.update) < 1e-6
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


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(steps=3, batch_size=2, lr=0.2)])
def test_the_noise_of_dp_sgd_is_known_with_recipe_and_count(recipe: Recipe):
    noisy, silent = (DPSGD(noise_multiplier=sigma, max_grad_norm=0.5) for sigma in (2.0, 0.0))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    view, plain = (a_view(one, a_batch(4), net=net, recipe=recipe) for one in (noisy, silent))
    told = noise_variances(view)
    drift = torch.cat([(view.update[name] - part).flatten() for name, part in plain.update.items()])
    assert drift.square().mean() == pytest.approx(float(told["1.weight"]), rel=0.3)
    assert noise_variances(plain) == {} and noise_variances(dataclasses.replace(view, recipe=None)) == {}


ATTACKS: list[Any] = [DLG(steps=20), InvertingGradients(steps=20), GradInversion(steps=20, seeds=1)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_an_attacker_who_is_not_adaptive_is_one_who_does_not_know_the_defense(attack: Any):
    view = a_view(TopK(share=0.3), a_batch(2))
    plain = dataclasses.replace(attack, adaptive=False)
    knowing, ignorant, best = (
        one.reconstruct(seen, seeded()).inputs for one, seen in ((plain, view), (attack, unaware(view)), (attack, view))
    )
    assert torch.equal(knowing, ignorant)
    assert not torch.equal(best, knowing)


DEFENSES: list[Defense] = [
    NoDefense(),
    Clipping(max_norm=0.05),
    Clipping(max_norm=0.05, per_layer=True),
    AdaptiveClipping(clients=2),
    TopK(share=0.1),
    Quantization(bits=4),
    Quantization(bits=4, rounding="nearest"),
    Sign(),
    GaussianNoise(std=0.003),
    LaplaceNoise(scale=0.002),
    PartialSharing(share=0.5),
    PartialSharing(withheld="first"),
    Soteria(pruned=0.8),
    DPSGD(noise_multiplier=0.003, max_grad_norm=0.5),
    Chain((Clipping(max_norm=0.05), SecureAggregation(clients=2, clipping_range=0.5))),
]


SEARCHES: list[Any] = [DLG(steps=40), InvertingGradients(steps=100), GradInversion(steps=100, seeds=1)]


def digits(count: int, seed: int, pooled: int = 2) -> Batch:
    """Digits of 28 / pooled pixels, of different classes if there are no more than 10."""
    images = Digits().load()
    order = torch.randperm(len(images), generator=seeded(seed))
    first = {int(images.labels[place]): int(place) for place in order} if count <= 10 else {}
    chosen = torch.tensor(list(first.values())[:count] if first else order[:count].tolist())
    batch = images.batch(chosen)
    return Batch(F.avg_pool2d(batch.inputs, pooled), batch.labels)


def gained(attack: Any, defense: Defense, trials: int) -> float:
    """By how many dB, on average, the attacker who knows the defense does better; labels are granted to both."""
    gains = []
    for trial in range(trials):
        with drawing_from(seeded(trial)):
            net = ConvNet(width=4).build(DIGITS)
        batches = [digits(2, 10 * trial + place) for place in range(defense.cohort())]
        view = dataclasses.replace(a_view(defense, *batches, net=net), space=DIGITS, public=digits(200, 999))
        behind = batches if view.participants != 1 else batches[:1]
        truth = Batch(torch.cat([batch.inputs for batch in behind]), torch.cat([batch.labels for batch in behind]))
        granted = dataclasses.replace(view, labels=truth.labels.sort().values)
        aware, plain = (
            psnr(claimed_by(one.reconstruct(granted, seeded(trial))).matched_with(truth).inputs, truth.inputs)
            for one in (attack, dataclasses.replace(attack, adaptive=False))
        )
        gains.append(aware - plain)
    return sum(gains) / trials


def named(value: Any) -> str:
    parts = value.parts if isinstance(value, Chain) else (value,)
    return " + ".join(label_of(part) for part in parts) if isinstance(value, Defense) else str(value)


@pytest.mark.parametrize(
    ("attack", "defense", "decibels"),
    [
        (DLG(steps=30), Clipping(max_norm=0.05), 2.0),
        (GradInversion(steps=60, seeds=1), Clipping(max_norm=0.05), 0.5),
        (InvertingGradients(steps=60), TopK(share=0.1), 0.5),
        (InvertingGradients(steps=60), Quantization(bits=4), -0.5),
        (InvertingGradients(steps=60), PartialSharing(share=0.5), 2.0),
        (InvertingGradients(steps=60), Sign(), 2.0),
        (InvertingGradients(steps=60), GaussianNoise(std=0.003), 1.0),
        (GradInversion(steps=60, seeds=1), DPSGD(noise_multiplier=0.0, max_grad_norm=0.5), 2.0),
    ],
    ids=lambda value: named(value) if isinstance(value, Defense) else type(value).__name__,
)
def test_knowing_the_defense_makes_an_attacker_no_weaker(attack: Any, defense: Defense, decibels: float):
    assert gained(attack, defense, trials=2) > decibels


@pytest.mark.slow
@pytest.mark.parametrize("defense", DEFENSES, ids=named)
@pytest.mark.parametrize("attack", SEARCHES, ids=lambda one: type(one).__name__)
def test_knowing_the_defense_makes_no_attacker_weaker_by_more_than_noise(attack: Any, defense: Defense):
    assert gained(attack, defense, trials=6) > -1.0


@pytest.mark.parametrize("rule", [LabelCounts(), LabelSign()], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("defense", [GaussianNoise(std=0.03), PartialSharing(share=0.1)], ids=named)
def test_labels_outlive_noise_and_gaps_where_the_attacker_reckons_with_them(rule: Any, defense: Defense):
    space, right = Space((1, 28, 28), 10), {True: 0, False: 0}
    for trial in range(8):
        with drawing_from(seeded(trial)):
            net = ConvNet().build(space)
        batch = digits(2, trial, pooled=1)
        view = dataclasses.replace(a_view(defense, batch, net=net), space=space, public=digits(100, 999, pooled=1))
        for aware in right:
            found = dataclasses.replace(rule, adaptive=aware).reconstruct(view, seeded()).labels.tolist()
            right[aware] += len(set(found) & set(batch.labels.tolist()))
    assert right[True] >= right[False] + 3, right


def test_a_bias_that_was_not_sent_is_read_off_the_weights():
    features = torch.rand((50, 6), generator=seeded(2)) + 1
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    with drawing_from(seeded(3)), torch.no_grad():
        net[1].weight.normal_()
    batch = Batch(features[:3].reshape(3, 1, 1, 6), torch.tensor([0, 0, 2]))
    step = {name: -part for name, part in mean_gradient(net, batch, seeded()).items()}
    gap = {**step, "1.bias": step["1.bias"].index_fill(0, torch.tensor([2]), 0.0)}
    public = Batch(features.reshape(50, 1, 1, 6), torch.arange(50) % 4)
    view = View(net, gap, Space((1, 1, 6), 4), count=3, defense=PartialSharing(share=0.9), public=public)
    read, plain = (sign_pulls(each, observed_classifier(each)) for each in (view, unaware(view)))
    assert torch.allclose(read[[0, 1, 3]], -step["1.bias"][[0, 1, 3]], rtol=1e-4)
    assert read[2] == pytest.approx(-float(step["1.bias"][2]), rel=0.1) and plain[2] == 0
