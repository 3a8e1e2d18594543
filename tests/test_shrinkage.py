"""The shrinking attacker: how far pictures are drawn toward the public mean is told by a play on public images alone."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from seethrough.attacks import Attack, NoGradientError, Reconstruction, Seen, Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.latent_prior import LatentPrior
from seethrough.attacks.layerwise_cosine import LayerwiseCosine
from seethrough.attacks.parts.batchnorm import batch_statistics
from seethrough.attacks.parts.shrinkage import _drawn, _share_kept, _staged, simulated_steps, with_shrunk
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.defenses import Batch, Defense, NoDefense, Update
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.top_k import TopK
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe

SPACE = Space((1, 28, 28), 10)
RECIPE = Recipe(lr=0.1)
ATTACKS = {
    "dlg": DLG(steps=4, restarts=2),
    "gradinversion": GradInversion(steps=4, spread_batches=2),
    "inverting_gradients": InvertingGradients(steps=4, restarts=2),
    "latent_prior": LatentPrior(epochs=1, steps=4, restarts=2),
    "layerwise_cosine": LayerwiseCosine(steps=4, restarts=2),
}


def shrunken(attack: Attack, view: View) -> Reconstruction:
    draws = rng()
    return attack.shrunk(attack.reconstruct(view, draws), view, draws)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def public() -> Batch:
    return Digits().load().batch(torch.arange(300, 700))


def two_digits(defense: Defense = NoDefense(), seed: int = 0) -> tuple[Batch, View]:  # noqa: B008
    torch.manual_seed(seed)
    model = ConvNet().build(SPACE).eval()
    batch = Digits().load().batch(torch.tensor([10, 7]))
    sent = defense.release(local_update(model, batch, RECIPE, mean_gradient, rng()), rng(1)).step
    return batch, View(model, sent, SPACE, count=2, recipe=RECIPE, defense=defense, public=public(), participants=1)


def decibels(images: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((images - truth).square().mean()))


@pytest.mark.parametrize("attack", [InvertingGradients(steps=80), GradInversion(steps=60)], ids=["signs", "group"])
def test_pictures_that_an_undefended_update_gives_away_stay_as_they_are(attack):
    batch, view = two_digits()
    found = shrunken(attack, view)
    likeliest, shrunk = decibels(found.inputs, batch.inputs), decibels(found.shrunk, batch.inputs)
    assert likeliest > 20 and shrunk > likeliest - 0.1


@pytest.mark.parametrize("attack", [InvertingGradients(steps=30), DLG(steps=20)], ids=["signs", "dlg"])
def test_under_noise_that_hides_everything_what_is_left_is_the_mean_image(attack):
    batch, view = two_digits(GaussianNoise(std=1.0))
    view = dataclasses.replace(view, labels=batch.labels)
    found, mean = shrunken(attack, view), view.public.inputs.mean(0).expand_as(batch.inputs)
    floor = decibels(mean, batch.inputs)
    assert decibels(found.inputs, batch.inputs) < floor - 2
    assert decibels(found.shrunk, batch.inputs) > floor - 0.3


def test_in_between_it_beats_both_the_likeliest_pictures_and_the_mean_image():
    batch, view = two_digits(GaussianNoise(std=0.002))
    found, mean = shrunken(InvertingGradients(steps=80), view), view.public.inputs.mean(0)
    shrunk = decibels(found.shrunk, batch.inputs)
    assert shrunk > decibels(found.inputs, batch.inputs) + 0.3
    assert shrunk > decibels(mean.expand_as(batch.inputs), batch.inputs) + 0.3


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_pixel_attack_shrinks_along_the_line_to_the_mean_and_leaves_its_pictures_alone(attack):
    _, view = two_digits()
    found, mean = shrunken(attack, view), view.public.inputs.mean(0)
    assert torch.equal(found.inputs, attack.reconstruct(view, rng()).inputs)
    assert found.shrunk.shape == found.inputs.shape and found.shrunk.min() >= 0 and found.shrunk.max() <= 1
    away, left = found.inputs - mean, found.shrunk - mean
    weight = (away * left).sum() / away.square().sum()
    assert 0 <= weight <= 1.0001 and torch.allclose(left, weight * away, atol=1e-5)
    assert torch.equal(found.shrunk, shrunken(attack, view).shrunk)
    if not isinstance(attack, LatentPrior):
        assert shrunken(attack, dataclasses.replace(view, public=None)).shrunk is None


def test_the_weight_is_the_one_of_least_squared_error():
    truth, mean = torch.rand(3, 1, 6, 6, generator=rng()), torch.rand(1, 6, 6, generator=rng(1))
    images = (truth + 0.4 * torch.randn(truth.shape, generator=rng(2)))[[2, 0, 1]]
    kept = _share_kept(images, truth, mean)
    tried = torch.linspace(0, 1, 1001)
    errors = [(mean + w * (images[[1, 2, 0]] - mean) - truth).square().sum() for w in tried]
    assert kept == pytest.approx(float(tried[torch.stack(errors).argmin()]), abs=1e-3)


def test_a_play_has_as_much_noise_as_the_pictures_leave_unexplained_of_each_tensor():
    batch, view = two_digits()
    noisy = {name: part + 0.01 * torch.randn(part.shape, generator=rng(3)) for name, part in view.update.items()}
    view = dataclasses.replace(view, update=noisy, defense=None)  # an attacker who was not told
    truth = _drawn(view.public, batch.labels, rng(4))
    staged = _staged(view, truth, batch, rng(5))
    expected = simulated_client(view)(truth, batch.labels)
    name = max(noisy, key=lambda each: noisy[each].numel())
    assert (staged.update[name] - expected[name]).std().item() == pytest.approx(0.01, rel=0.05)


def test_a_play_sends_its_own_largest_coordinates_under_top_k():
    batch, view = two_digits(TopK(share=0.02))
    truth = _drawn(view.public, batch.labels, rng(4))
    staged = _staged(view, truth, batch, rng(5))
    raw = simulated_client(dataclasses.replace(view, defense=None))(truth, batch.labels)
    sent = TopK(share=0.02).release(Update(raw, 2, {}), rng()).step
    assert all(torch.equal(staged.update[name] != 0, part != 0) for name, part in sent.items())
    assert any(((staged.update[name] != 0) != (part != 0)).any() for name, part in view.update.items())


def test_a_play_covers_every_round_and_has_the_statistics_of_its_own_batch():
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=True).build(SPACE).eval()
    batch = Digits().load().batch(torch.tensor([10, 7]))
    update = local_update(model, batch, RECIPE, mean_gradient, rng())
    view = View(model, update.step, SPACE, count=2, recipe=RECIPE, buffers=update.buffers, public=public())
    view = dataclasses.replace(view, past=(Seen(model, update.step),))
    truth = _drawn(view.public, batch.labels, rng(4))
    staged = _staged(view, truth, batch, rng(5))
    measured = batch_statistics(model)(truth)
    assert all(torch.allclose(staged.buffers[name], part) for name, part in measured.items())
    expected = simulated_client(dataclasses.replace(view, past=None))(truth, batch.labels)
    for step in (staged.update, staged.past[0].update):
        assert all(torch.allclose(step[name], part, atol=1e-4) for name, part in expected.items())
    running = {name: part for name, part in model.named_buffers() if name in update.buffers}
    assert _staged(dataclasses.replace(view, buffers=running), truth, batch, rng()).buffers is running


def test_where_a_play_finds_nothing_nothing_is_trusted():
    def lost(view: View, rng: torch.Generator) -> Reconstruction:
        raise NoGradientError("nothing to go by")

    batch, view = two_digits()
    found = with_shrunk(Reconstruction(batch.inputs, batch.labels, 0.0), view, lost, rng())
    assert torch.allclose(found.shrunk, view.public.inputs.mean(0).expand_as(batch.inputs))
    labels_only = Reconstruction(None, batch.labels, 0.0)
    assert with_shrunk(labels_only, view, lost, rng()) is labels_only


def test_labels_that_no_public_image_has_are_played_with_any():
    drawn = _drawn(
        Batch(torch.rand(5, 1, 2, 2, generator=rng()), torch.zeros(5, dtype=torch.long)), torch.tensor([3, 0]), rng()
    )
    assert drawn.shape == (2, 1, 2, 2)


def test_a_play_is_as_long_as_a_short_attack_and_a_quarter_of_a_long_one():
    assert [simulated_steps(steps) for steps in (1, 60, 100, 300, 4800)] == [1, 60, 100, 100, 1200]


class Odd(nn.Module):
    """A model without a linear classifier, so that labels have to be granted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 10, 28)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs).sigmoid().flatten(1)


def test_granted_labels_are_granted_to_the_play():
    torch.manual_seed(0)
    model, batch = Odd().eval(), Digits().load().batch(torch.tensor([10, 7]))
    update = local_update(model, batch, RECIPE, mean_gradient, rng())
    view = View(model, update.step, SPACE, count=2, labels=batch.labels, recipe=RECIPE, public=public())
    assert shrunken(InvertingGradients(steps=5), view).shrunk is not None
