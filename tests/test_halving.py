"""Successive halving: the losing restarts are dropped, the others take their steps, and nothing is lost on the way."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seethrough.attacks import View
from seethrough.attacks.engine import search
from seethrough.attacks.engine.halving import REHEATED, Course, Round, halved
from seethrough.attacks.engine.search import cosine_schedule, descend
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.defenses.gaussian_noise import GaussianNoise

from .test_gradinversion import a_view, rng

ATTACKS = {
    "gradinversion": lambda **fields: GradInversion(seeds=4, **fields),
    "inverting_gradients": lambda **fields: InvertingGradients(restarts=4, **fields),
}


@pytest.mark.parametrize(
    ("restarts", "steps", "halvings", "expected"),
    [
        (8, 300, 3, ((8, 75), (4, 150), (2, 300), (1, 600))),
        (8, 300, 1, ((8, 150), (4, 300))),
        (5, 30, 9, ((5, 7), (3, 13), (2, 19), (1, 38))),
        (4, 600, 0, ((4, 600),)),
        (1, 600, 3, ((1, 600),)),
        (8, 1, 3, ((8, 1),)),
    ],
)
def test_each_round_has_an_equal_share_of_the_evaluations(restarts, steps, halvings, expected):
    assert halved(restarts, steps, halvings) == Course(tuple(Round(*each) for each in expected))


@given(st.integers(1, 64), st.integers(1, 400), st.integers(0, 6))
def test_the_evaluations_of_a_course_add_up_to_those_without_halving(restarts, steps, halvings):
    course, living, evaluations = halved(restarts, steps, halvings), restarts, 0
    for step in range(course.steps):
        living = course.survivors.get(step, living)
        evaluations += living
    assert restarts * steps - living < evaluations <= restarts * steps
    assert course.steps >= steps and 0 not in course.survivors
    assert list(course.survivors.values()) == sorted(course.survivors.values(), reverse=True)


def test_each_round_cools_down_and_the_next_is_heated_to_a_part_of_the_former_rate():
    factor, cold = halved(4, 150, 2).cooling(warmup=10), REHEATED
    first, second, third = (cosine_schedule(steps, 10) for steps in (50, 100, 200))
    assert [factor(0), factor(9), factor(49)] == [first(0), 1.0, first(49)]
    assert [factor(50), factor(59), factor(149)] == [cold * second(0), cold, cold * second(99)]
    assert [factor(150), factor(349)] == [cold**2 * third(0), cold**2 * third(199)]
    assert [halved(4, 150, 0).cooling()(step) for step in range(150)] == [cosine_schedule(150)(n) for n in range(150)]


def bowl(variables: tuple[Tensor, ...]) -> Tensor:
    return variables[0].square().sum(1) + variables[1].square().sum(1)


def test_those_of_the_lowest_loss_so_far_go_on_and_of_the_others_the_lowest_iterate_remains():
    handed: list[list[float]] = []

    def after(step: int, variables: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        handed.append(variables[1][:, 0].tolist())
        worse = variables[0] + 100 * (
            variables[1].round() == 2
        )  # the restart at 2 is thrown far off after its good start
        return worse if step == 1 else variables[0], variables[1]

    start = (torch.zeros(4, 1), torch.tensor([[3.0], [2.0], [4.0], [1.0]]))
    found = descend(start, bowl, steps=6, lr=1e-6, after=after, survivors={2: 2, 4: 1})
    kept = [[round(value) for value in each] for each in handed]
    assert kept == [[3, 2, 4, 1]] * 2 + [[2, 1]] * 2 + [[1]] * 2
    assert found.losses.tolist() == pytest.approx([9.0, 4.0, 16.0, 1.0], abs=1e-3)
    assert found.best()[1] == pytest.approx(1.0, abs=1e-3)


def test_a_survivor_takes_the_very_steps_that_it_takes_alone():
    start = (torch.tensor([[5.0], [1.0], [3.0]]), torch.tensor([[0.5], [0.2], [2.0]]))
    found = descend(start, bowl, steps=20, lr=0.1, survivors={3: 2, 9: 1})
    alone = descend(tuple(part[1:2] for part in start), bowl, steps=20, lr=0.1)
    assert torch.equal(found.variables[0][1], alone.variables[0][0])
    assert torch.equal(found.losses[1], alone.losses[0])


def test_a_dropped_restart_that_once_was_lower_than_all_that_came_later_is_returned():
    start = (torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1))

    def after(step: int, variables: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return variables[0] + 50, variables[1]

    found = descend(start, bowl, steps=4, lr=0.1, after=after, survivors={1: 1})
    assert found.best()[1] == 1.0


def test_only_those_that_live_to_the_end_have_a_last_iterate():
    start = (torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, 1))
    found = descend(start, bowl, steps=4, lr=0.1, survivors={2: 2}, keep="last")
    assert found.losses.isfinite().tolist() == [True, True, False]


def test_a_restart_without_a_number_is_dropped_first():
    def objective(variables: tuple[Tensor, ...]) -> Tensor:
        return variables[0].sum(1).sqrt()

    found = descend((torch.tensor([[-1.0], [9.0], [4.0]]),), objective, steps=4, lr=0.01, survivors={1: 2})
    assert found.losses[0] == math.inf and found.losses[1:].isfinite().all()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The restarts of every evaluation with slopes of the objective itself, which is the first that a step asks for."""
    sizes: list[int] = []
    original = search.Parts.slopes

    def slopes(self, objective, variables):
        sizes.append(len(variables[0]))
        return original(self, objective, variables)

    monkeypatch.setattr(search.Parts, "slopes", slopes)
    return sizes


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_pays_for_as_many_evaluations_as_without_halving(attack, monkeypatch):
    sizes = counted(monkeypatch)
    ATTACKS[attack](steps=15, halvings=2).reconstruct(a_view(), rng())
    sizes.pop(1)  # whether the update moves the pixels at all is asked once, after the first evaluation
    assert sizes == [4] * 5 + [2] * 10 + [1] * 20
    assert sum(sizes) == 4 * 15


@pytest.mark.parametrize("attack", ATTACKS)
def test_batches_come_back_the_same_every_time_and_for_any_number_at_once(attack, monkeypatch):
    wide = ATTACKS[attack](steps=15, halvings=2)
    first, again = (wide.reconstruct(a_view(), rng()) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs) and first.loss == again.loss
    for module in ("gradinversion", "inverting_gradients"):
        monkeypatch.setattr(f"seethrough.attacks.{module}.at_once", lambda restarts, step: 3)
    grouped = wide.reconstruct(a_view(), rng())
    assert grouped.loss == pytest.approx(first.loss, rel=1e-3)


def test_seeds_are_averaged_among_those_that_live(monkeypatch):
    averaged: list[int] = []

    def mean(scaled: Tensor, labels: Tensor, shift: int) -> Tensor:
        averaged.append(len(scaled))
        return scaled

    monkeypatch.setattr("seethrough.attacks.gradinversion.registered_mean", mean)
    attack = GradInversion(steps=15, seeds=4, halvings=2, group_start=0.0, group_every=1, langevin=0.1)
    attack.reconstruct(a_view(), rng())
    assert averaged == [4] * 5 + [2] * 10


def test_all_seeds_go_on_under_noise_that_is_known():
    noisy = replace(a_view(), defense=GaussianNoise(std=0.01))
    found, kept = (GradInversion(steps=6, seeds=2, halvings=n).reconstruct(noisy, rng()) for n in (1, 0))
    assert torch.equal(found.inputs, kept.inputs)
    unaware = GradInversion(steps=6, seeds=2, halvings=1, adaptive=False).reconstruct(noisy, rng())
    halved_too = GradInversion(steps=6, seeds=2, halvings=1).reconstruct(a_view(), rng())
    assert torch.equal(unaware.inputs, halved_too.inputs)


def test_labels_that_are_searched_too_are_dropped_with_their_pixels():
    claim = GradInversion(steps=40, seeds=4, halvings=2, joint_labels=True).reconstruct(a_view(), rng())
    assert sorted(claim.labels.tolist()) == [1, 3]


def test_the_outcome_is_no_worse_than_the_survivor(monkeypatch):
    view: View = a_view()
    losses: list[Tensor] = []
    original = search.Found.best

    def best(self):
        losses.append(self.losses)
        return original(self)

    monkeypatch.setattr(search.Found, "best", best)
    claim = InvertingGradients(steps=15, restarts=4, halvings=2).reconstruct(view, rng())
    assert len(losses[0]) == 4 and claim.loss == losses[0].min().item()
