"""The optimization loop: it returns the lowest iterate that it met, whatever comes after."""

import math

import pytest
import torch
from torch import Tensor

from seethrough.attacks.engine.search import cosine_schedule, descend, quasi_newton, shortened


def test_descent_returns_the_lowest_iterate_of_each_restart_though_later_ones_are_worse():
    def after(step: int, variables: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.tensor([[0.1], [3.0]]) if step == 2 else torch.full((2, 1), 5.0 + step),)

    start = (torch.tensor([[4.0], [2.0]]),)
    found = descend(start, lambda v: v[0].square().sum(1), steps=6, lr=0.1, after=after)
    assert found.variables[0].flatten().tolist() == pytest.approx([0.1, 2.0])
    assert found.losses.tolist() == pytest.approx([0.01, 4.0])
    best, loss = found.best()
    assert best[0].tolist() == pytest.approx([0.1])
    assert loss == pytest.approx(0.01)


def test_descent_counts_the_very_last_iterate():
    found = descend((torch.tensor([[1.0]]),), lambda v: v[0].square().sum(1), steps=1, lr=0.25)
    assert found.variables[0].item() == pytest.approx(0.75)


@pytest.mark.parametrize("search", [lambda *a: descend(*a, steps=8, lr=0.5), lambda *a: quasi_newton(*a, steps=8)])
def test_an_iterate_whose_loss_is_not_a_number_is_never_returned(search):
    def treacherous(variables: tuple[Tensor, ...]) -> Tensor:
        loss = -variables[0].sum(1)
        return torch.where(variables[0].sum(1) > 1.2, loss * math.nan, loss)

    found = search((torch.tensor([[0.5], [1.0]]),), treacherous)
    assert found.losses.isfinite().all()
    assert (found.variables[0] <= 1.2).all()


def test_a_restart_without_any_number_keeps_its_start_and_never_wins():
    found = descend((torch.tensor([[-1.0], [1.0]]),), lambda v: v[0].sum(1).sqrt(), steps=2, lr=0.01)
    assert found.losses[0] == math.inf
    assert found.variables[0][0].item() == -1.0
    assert found.best()[1] < 1.0


def test_the_quasi_newton_search_returns_the_lowest_of_all_that_it_tried():
    tried: list[float] = []

    def crooked(variables: tuple[Tensor, ...]) -> Tensor:
        loss = (variables[0] * 3).sin().sum(1) + variables[0].square().sum(1) * (1 + 5 * (len(tried) % 3 == 2))
        tried.append(loss.item())
        return loss

    found = quasi_newton((torch.tensor([[2.0, -1.0]]),), crooked, steps=10)
    assert found.losses.item() == min(tried)


def test_the_quasi_newton_search_solves_rosenbrocks_valley_from_each_start():
    def valley(variables: tuple[Tensor, ...]) -> Tensor:
        x, y = variables[0][:, 0], variables[1][:, 0]
        return (1 - x).square() + 100 * (y - x.square()).square()

    start = (torch.tensor([[-1.2], [2.0]], dtype=torch.double), torch.tensor([[1.0], [-2.0]], dtype=torch.double))
    found = quasi_newton(start, valley, steps=100)
    assert torch.cat(found.variables).allclose(torch.ones(4, 1).double(), atol=1e-6)


def test_the_start_is_not_changed_by_searching():
    start = (torch.ones((2, 3)),)
    for search in (lambda *a: descend(*a, steps=3, lr=0.1), lambda *a: quasi_newton(*a, steps=3)):
        search(start, lambda v: v[0].square().sum(1))
        assert torch.equal(start[0], torch.ones((2, 3)))
        assert not start[0].requires_grad


def test_signed_descent_keeps_its_pace_where_the_slope_fades():
    found = descend((torch.tensor([[5.0, -4.0]]),), lambda v: v[0].pow(4).sum(1), steps=3, lr=1.0, slope=torch.sign)
    assert found.variables[0].flatten().tolist() == pytest.approx([2.0, -1.0], rel=1e-4)
    found = descend((torch.tensor([[5.0, -4.0]]),), lambda v: v[0].pow(4).sum(1), steps=3, lr=1.0)
    assert found.variables[0][0, 0] > 2.1


def test_the_schedule_rises_over_the_warmup_and_falls_by_half_a_cosine():
    factor = cosine_schedule(100, warmup=10)
    assert [factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert factor(55) == pytest.approx(0.5)
    assert factor(99) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert cosine_schedule(100)(0) == 1.0


def test_restarts_in_small_groups_find_what_they_find_together():
    def objective(variables):
        return (variables[0] - 3).square().sum(1) + variables[1].square().sum(1)

    start = (torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(5, 2))
    sizes = []

    def watched(variables):
        sizes.append(len(variables[0]))
        return objective(variables)

    whole = descend(start, objective, steps=20, lr=0.1)
    grouped = descend(start, watched, steps=20, lr=0.1, at_once=2)
    assert max(sizes) == 2
    assert torch.allclose(whole.losses, grouped.losses)
    assert all(torch.allclose(*pair) for pair in zip(whole.variables, grouped.variables, strict=True))


def test_shortened_slopes_keep_their_direction_and_are_no_longer_than_asked():
    slopes = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert torch.allclose(shortened(1.0)(slopes), torch.tensor([[0.6, 0.8], [0.3, 0.4]]), atol=1e-5)
