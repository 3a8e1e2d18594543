"""Examples that come back in other batches: matched over passes, searched together, and left alone where that is wrong."""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from seethrough.attacks import Reconstruction, View, inverting_gradients
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.parts.recurring import Recurring, _matched, _means, recurring
from seethrough.attacks.parts.rounds import each_round
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, run_trial, view_for
from seethrough.defenses import Batch, Defense, NoDefense
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.recipes import Recipe

CPU = torch.device("cpu")
NOISY = GaussianNoise(std=0.001)
UNUSED = Reconstruction(None, None, 0.0)


def setting(**changes: Any) -> Setting:
    fields = {"name": "digits", "data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 4}}, "batch_size": 2}
    return Setting.model_validate_json(json.dumps(fields | {"holds": 4, "rounds": 6, "local": {"lr": 0.05}} | changes))


def case(defense: Defense = NOISY, steps: int = 4, held: int = 4, trial: int = 0, **changes: Any) -> Case:
    attack = InvertingGradients(steps=steps, client_holds=held)
    return Case(0, trial, setting(**changes), ThreatModel(name="s"), defense, attack, (PSNR(),))


def seen(each: Case) -> tuple[View, Batch, list[Batch]]:
    held = draw_batches(each.setting, 0, each.trial, 1, False)
    rounds = _played(each, broadcast_model(each.setting, 0, each.trial), (held.victim,), "attack")
    return view_for(each, rounds, CPU), held.victim, [played.batches[0] for played in rounds]


def told(batches: list[Batch], blur: float) -> tuple[Reconstruction, list[Reconstruction]]:
    """What an attack that is off by some noise finds in each round."""
    rng = Generator().manual_seed(0)
    found = [
        Reconstruction(each.inputs + blur * torch.randn(each.inputs.shape, generator=rng), each.labels, 0.0)
        for each in batches
    ]
    return found[-1], found[:-1]


def grouped(each: Case, held: int = 4, blur: float = 0.1) -> tuple[Recurring | None, Batch, list[Batch]]:
    view, truth, batches = seen(each)
    last, before = told(batches, blur)
    return recurring(view, held, last, lambda one: before.pop(0)), truth, batches


def test_a_pass_is_laid_over_another_one_to_one():
    found = (torch.tensor([[[[0.0]]], [[[1.0]]], [[[0.9]]]]), torch.tensor([0, 1, 1]))
    examples = (torch.tensor([[[[0.95]]], [[[0.1]]], [[[1.0]]]]), torch.tensor([1, 0, 1]))
    assert _matched(found, examples).tolist() == [1, 2, 0]
    images, labels = _means([found, examples], [torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2])], 3)
    assert images.flatten().tolist() == pytest.approx([0.925, 0.05, 1.0]) and labels.tolist() == [1, 0, 1]


def test_examples_are_found_again_in_every_round():
    again, truth, batches = grouped(case())
    assert again is not None and len(again.places) == 6
    apart = torch.cdist(again.images.flatten(1), truth.inputs.flatten(1))
    which = apart.argmin(dim=1)
    assert sorted(which.tolist()) == [0, 1, 2, 3]
    for at, batch in zip(again.places, batches, strict=True):
        assert torch.equal(truth.inputs[which[at]], batch.inputs)


def test_a_pass_that_is_not_over_is_matched_too():
    again, _, _ = grouped(case(rounds=5))
    assert again is not None and [len(at) for at in again.places] == [2] * 5


@pytest.mark.parametrize(
    ("changes", "held"),
    [({"rounds": 2}, 4), ({}, 0), ({}, 3), ({}, 100)],
    ids=["nothing has come back", "nothing supposed", "no whole batches", "more than was seen"],
)
def test_where_nothing_comes_back_each_round_is_by_itself(changes: dict[str, Any], held: int):
    assert grouped(case(**changes), held)[0] is None


def test_exact_rounds_are_taken_each_by_itself():
    each = case(NoDefense())
    view, _, _ = seen(each)
    assert recurring(view, 4, UNUSED, lambda one: UNUSED) is None
    alone = dataclasses.replace(each, attack=InvertingGradients(steps=4))
    assert run_trial(each, CPU).scores == run_trial(alone, CPU).scores


def test_the_truth_is_spoken_for_by_the_last_round_and_other_images_are_not():
    again, truth, batches = grouped(case(GaussianNoise(std=1e-4)), blur=0.05)
    assert again is not None and all(math.isfinite(each) for each in again.told)
    right = torch.cdist(again.images.flatten(1), truth.inputs.flatten(1)).argmin(dim=1)
    found = again.of_last(truth.inputs[right])
    assert found is not None and torch.equal(found[0], batches[-1].inputs)
    assert again.of_last(truth.inputs[right].flip(0)) is None
    assert again.of_last(torch.rand(truth.inputs.shape, generator=Generator().manual_seed(1))) is None


def test_other_rounds_are_asked_too():
    again, truth, _ = grouped(case(GaussianNoise(std=1e-4)), blur=0.05)
    assert again is not None
    right = torch.cdist(again.images.flatten(1), truth.inputs.flatten(1)).argmin(dim=1)
    images, others = truth.inputs[right].clone(), [each for each in range(4) if each not in again.places[-1].tolist()]
    images[others] = 1 - images[others]
    assert again.of_last(images) is None


def test_the_recipe_that_was_guessed_is_that_of_the_joint_search(monkeypatch):
    recipes = []
    monkeypatch.setattr(inverting_gradients, "recurring", lambda view, *rest: recipes.append(view.recipe))
    view, _, _ = seen(case())
    guess = Recipe(lr=0.05)
    attack = InvertingGradients(steps=2, client_holds=4, guesses=(guess,))
    attack.reconstruct(dataclasses.replace(view, recipe=None), Generator().manual_seed(0))
    assert recipes[-1] == guess and None not in recipes


def test_every_round_counts_by_what_it_tells():
    again, truth, _ = grouped(case())
    assert again is not None
    images: Tensor = truth.inputs
    by_hand = sum(
        each * float(misfit(images[at], again.labels[at]))
        for each, misfit, at in zip(again.told, again.misfits, again.places, strict=True)
    ) / sum(again.told)
    assert float(again.misfit(images)) == pytest.approx(by_hand, rel=1e-5)
    assert float(again.objective(0.5)(images)) > float(again.misfit(images))


def test_each_round_is_a_view_of_it_alone():
    view, _, _ = seen(case())
    alone = each_round(view)
    assert len(alone) == 6 and all(one.past is None for one in alone)
    assert alone[-1].update is view.update


def test_who_matches_passes_has_more_under_noise_than_who_takes_the_last_round_alone():
    """Paired over trials, in the same number of steps."""
    gains = []
    for trial in range(2):
        both = [run_trial(case(steps=25, held=held, trial=trial), CPU).scores[0].value or 0.0 for held in (4, 0)]
        gains.append(both[0] - both[1])
    assert min(gains) > 0.2, gains
