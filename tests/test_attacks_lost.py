"""An attack that gets no gradient is failed with a sentence: where it ends is no evidence that nothing leaks."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from seethrough.attacks import Attack, NoGradientError, Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.engine.search import descend, quasi_newton
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.latent_prior import LatentPrior
from seethrough.attacks.layerwise_cosine import LayerwiseCosine
from seethrough.defenses import Batch, NotApplicableError
from seethrough.recipes import Recipe

SPACE = Space((1, 6, 6), 3)
ATTACKS = {
    "dlg": DLG(steps=3, restarts=2),
    "gradinversion": GradInversion(steps=3, spread_batches=2),
    "inverting_gradients": InvertingGradients(steps=3, restarts=2),
    "latent_prior": LatentPrior(epochs=1, steps=3, restarts=2),
    "layerwise_cosine": LayerwiseCosine(steps=3, restarts=2),
}


class Tokens(nn.Module):
    """Looks pixels up as if they were ids."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.words((7 * inputs).long().flatten(1)).mean(1))


class Saturated(nn.Module):
    """Ends in a softmax whose input is so large that it is one-hot to the last bit, so that no slope comes through."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return (1e6 * self.out(self.body(inputs.flatten(1)).relu())).softmax(1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view_of(model: nn.Module, labels: list[int]) -> View:
    images = torch.rand(len(labels), *SPACE.shape, generator=rng(1))
    loss = nn.functional.cross_entropy(model(images), torch.tensor(labels))
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    update = {name: -0.1 * part for (name, _), part in zip(model.named_parameters(), slopes, strict=True)}
    public = Batch(torch.rand(12, *SPACE.shape, generator=rng(2)), torch.arange(12) % 3)
    return View(
        model, update, SPACE, count=len(labels), labels=torch.tensor(labels), recipe=Recipe(lr=0.1), public=public
    )


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> Attack:
    return ATTACKS[request.param]


def test_pixels_that_a_model_takes_for_ids_fail_every_search_with_a_sentence(attack):
    torch.manual_seed(0)
    with pytest.raises(NoGradientError, match="the update does not depend on the pixels: every slope is zero"):
        attack.reconstruct(view_of(Tokens().eval(), [0, 2]), rng())


def test_a_softmax_that_saturates_fails_every_search_with_a_sentence(attack):
    torch.manual_seed(0)
    view = view_of(Saturated().eval(), [0, 1])
    assert not any(part.any() for part in view.update.values())
    with pytest.raises(NotApplicableError, match="the update is all zeros: nothing was sent"):
        attack.reconstruct(view, rng())
    sent = {name: torch.full_like(part, 0.1) for name, part in view.update.items()}  # as if noise had been added
    with pytest.raises(NoGradientError, match=r"every slope is zero|not a finite number"):
        attack.reconstruct(dataclasses.replace(view, update=sent), rng())


def test_an_update_that_holds_a_nan_fails_every_search_with_a_sentence(attack):
    torch.manual_seed(0)
    view = view_of(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Sigmoid(), nn.Linear(8, 3)).eval(), [0, 1])
    attack.reconstruct(view, rng())
    broken = {name: torch.full_like(part, torch.nan) for name, part in view.update.items()}
    with pytest.raises(NoGradientError, match="not a finite number wherever"):
        attack.reconstruct(dataclasses.replace(view, update=broken), rng())


def descent(*given, misfit=None):
    return descend(*given, steps=4, lr=0.1, misfit=misfit)


def newton(*given, misfit=None):
    return quasi_newton(*given, steps=4, misfit=misfit)


@pytest.mark.parametrize("search", [descent, newton])
def test_a_search_is_not_lost_if_one_restart_or_one_step_has_a_slope(search):
    def plateau(variables: tuple[Tensor, ...]) -> Tensor:
        return variables[0].clamp(min=1).square().sum(1)

    start = (torch.tensor([[0.5], [3.0]]),)
    assert search(start, plateau).best()[1] < 9
    with pytest.raises(NoGradientError, match="every slope is zero"):
        search((start[0][:1],), plateau).best()


@pytest.mark.parametrize("search", [descent, newton])
def test_a_search_that_its_priors_alone_lead_is_lost(search):
    def prior(variables: tuple[Tensor, ...]) -> Tensor:
        return variables[0].square().sum(1)

    start = (torch.tensor([[0.5], [3.0]]),)
    with pytest.raises(NoGradientError, match="does not depend on the pixels"):
        search(start, prior, misfit=lambda variables: 0 * variables[0].sum(1)).best()
    assert search(start, prior, misfit=lambda variables: variables[0].sum(1)).best()[1] < 0.25


@pytest.mark.parametrize("search", [descent, newton])
def test_a_loss_that_stays_the_same_to_the_last_bit_is_no_search(search):
    def constant(variables: tuple[Tensor, ...]) -> Tensor:
        return 1 + 1e-12 * variables[0].sum(1)

    with pytest.raises(NoGradientError, match="the same to the last bit"):
        search((torch.tensor([[0.5], [3.0]]),), constant).best()


def test_a_slope_that_is_not_a_number_is_none():
    with pytest.raises(NoGradientError, match="every slope is zero"):
        descent((torch.tensor([[0.0]]),), lambda variables: (0 * variables[0]).sqrt().sum(1)).best()
