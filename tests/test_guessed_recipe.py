"""An attacker who does not know how clients train guesses, and takes the guess that explains most of the update."""

import dataclasses
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from seethrough.attacks import Reconstruction, Space, View
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.parts.guessed_recipe import with_likeliest_recipe
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import drawing_from
from seethrough.audit.specification.schema import AuditSpec
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch, MeanGradient
from seethrough.federation.client import local_update
from seethrough.recipes import Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from seethrough.recipes.optimizers.sgd import Sgd

SPACE = Space((1, 14, 14), 10)
GUESSES = (Recipe(lr=0.1), Recipe(lr=0.3, steps=4), Recipe(lr=0.3, steps=16))
ATTACKS: list[Any] = [InvertingGradients(steps=30, guesses=GUESSES), GradInversion(steps=30, seeds=1, guesses=GUESSES)]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def a_view(recipe: Recipe, seed: int = 0) -> tuple[View, Batch]:
    """What is seen of a client of four examples, but not how it trained."""
    images = Digits().load()
    batch = images.batch(torch.randperm(len(images), generator=seeded(seed))[:4])
    batch = Batch(F.avg_pool2d(batch.inputs, 2), batch.labels)
    with drawing_from(seeded(seed)):
        net = ConvNet(width=4).build(SPACE)
    step = local_update(net, batch, recipe, MeanGradient(CrossEntropy()), seeded()).step
    return View(net, step, SPACE, count=4, labels=batch.labels.sort().values), batch


@pytest.mark.parametrize("true", GUESSES, ids=["one step", "four steps", "sixteen steps"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: type(each).__name__)
def test_the_true_recipe_is_picked_out_of_several(attack: Any, true: Recipe):
    view, _ = a_view(true)
    play = attack.shorter(guesses=()).reconstruct
    assert with_likeliest_recipe(view, GUESSES, play, seeded()).recipe == true


def test_a_known_recipe_is_not_guessed():
    view = dataclasses.replace(a_view(GUESSES[1])[0], recipe=GUESSES[1])

    def never(view: View, rng: Generator) -> Reconstruction:
        raise AssertionError("nothing is to be played")

    assert with_likeliest_recipe(view, GUESSES, never, seeded()) is view
    unknown = a_view(GUESSES[1])[0]
    assert with_likeliest_recipe(unknown, (), never, seeded()) is unknown


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: type(each).__name__)
def test_who_guesses_right_sees_what_who_knows_sees(attack: Any):
    view, batch = a_view(GUESSES[1])
    knowing = dataclasses.replace(view, recipe=GUESSES[1])
    ignoring = dataclasses.replace(attack, guesses=())
    found = [one.reconstruct(at, seeded()).inputs for one, at in ((attack, view), (attack, knowing), (ignoring, view))]
    errors = [float((images.mean(dim=0) - batch.inputs.mean(dim=0)).square().mean()) for images in found]
    assert errors[0] < 0.7 * errors[2] and errors[0] < 1.5 * errors[1]


def test_guesses_are_written_in_a_spec():
    spec = {
        "name": "guessing",
        "trials": 1,
        "settings": [{"name": "digits", "data": "digits", "model": "convnet", "batch_size": 2}],
        "threats": [{"name": "server", "grants": ["count"]}],
        "defenses": ["none"],
        "attacks": [{"inverting_gradients": {"steps": 10, "guesses": [{"lr": 0.1}, {"lr": 0.1, "steps": 4}]}}],
        "metrics": ["psnr"],
    }
    (attack,) = AuditSpec.model_validate_json(json.dumps(spec)).attacks
    assert attack.guesses == (Recipe(lr=0.1), Recipe(lr=0.1, steps=4))


def test_an_attack_that_guesses_is_named_by_what_its_guesses_change():
    guesses = (Recipe(epochs=2, batch_size=4), Recipe(optimizer=Sgd(momentum=0.9)))
    assert label_of(InvertingGradients(guesses=guesses)) == (
        "inverting_gradients(guesses=[{batch_size: 4, epochs: 2}, {optimizer: {momentum: 0.9}}])"
    )
