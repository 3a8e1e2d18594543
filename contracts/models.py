"""What every architecture owes, whoever wrote it."""

import copy

import pytest
import torch

from seethrough.attacks import Space
from seethrough.audit.models import Model

from .entries import built

SPACE = Space((3, 32, 32), 7)


@pytest.fixture
def model(model_name: str, request: pytest.FixtureRequest) -> Model:
    return built("models", model_name, request.module)


def test_a_model_makes_one_row_of_logits_for_each_image(model: Model) -> None:
    net = model.build(SPACE).eval()
    assert net(torch.rand(2, *SPACE.shape)).shape == (2, SPACE.classes)


def test_a_model_is_built_alike_from_the_same_chance(model: Model) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(model.build(SPACE).state_dict())
    first, second = states
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_can_be_copied_and_differentiated(model: Model) -> None:
    net = copy.deepcopy(model.build(SPACE)).eval()
    loss = torch.nn.functional.cross_entropy(net(torch.rand(2, *SPACE.shape)), torch.tensor([0, 6]))
    slopes = torch.autograd.grad(loss, [each for each in net.parameters() if each.requires_grad], allow_unused=True)
    assert any(slope is not None and (slope != 0).any() for slope in slopes)
