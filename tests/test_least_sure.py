"""A batch taken for the image that the model is least sure of."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seethrough.attacks import Space, View
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.labels.least_sure import among_others, least_sure
from seethrough.audit.models.convnet import ConvNet
from seethrough.defenses import Batch, NotApplicableError
from seethrough.recipes import Recipe

from .test_gradinversion import images, rng

SPACE = Space((1, 12, 12), 5)


def batch_view(**granted) -> tuple[torch.Tensor, View]:
    """A batch of three of which the model is sure but for the second, and what was seen of it."""
    torch.manual_seed(0)
    model, inputs, labels = ConvNet(width=4).build(SPACE).eval(), images(3), torch.tensor([4, 1, 3])
    solver = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        solver.zero_grad()
        nn.functional.cross_entropy(model(inputs[[0, 2]]), labels[[0, 2]]).backward()
        solver.step()
    names = dict(model.named_parameters())
    slopes = torch.autograd.grad(nn.functional.cross_entropy(model(inputs), labels), list(names.values()))
    update = {name: -0.1 * slope.detach() for name, slope in zip(names, slopes, strict=True)}
    public = Batch(images(40, 7), torch.arange(40) % 5)
    return inputs, View(model, update, SPACE, count=3, recipe=Recipe(lr=0.1), public=public, **granted)


def test_the_image_that_the_model_is_least_sure_of_is_found_and_the_mean_is_claimed_for_the_others():
    inputs, view = batch_view(labels=torch.tensor([1, 3, 4]))
    claim = GradInversion(steps=150, tv=0.0, least_sure=True).reconstruct(view, rng())
    assert claim.labels.tolist() == [1, 3, 4]
    errors = (claim.inputs[0] - inputs).square().mean(dim=(1, 2, 3))
    mean = view.public.inputs.mean(dim=0)
    assert errors[1] < 0.2 * (mean - inputs[1]).square().mean() and errors.argmin() == 1
    assert torch.equal(claim.inputs[1], mean) and torch.equal(claim.inputs[2], mean)


def test_labels_that_are_not_granted_are_recovered_and_hold_the_class_of_what_was_found():
    _, view = batch_view()
    claim = GradInversion(steps=5, least_sure=True).reconstruct(view, rng())
    assert len(claim.labels) == 3 and 1 in claim.labels.tolist()


def test_a_class_that_is_not_among_the_labels_takes_the_place_of_the_first():
    _, view = batch_view(labels=torch.tensor([0, 2, 4]))
    found = GradInversion(steps=2).reconstruct(least_sure(view), rng())
    claim = among_others(found, replace(view, public=None))
    assert claim.labels.tolist() == [1, 2, 4] and view.labels.tolist() == [0, 2, 4]
    assert torch.equal(claim.inputs[1], torch.full((1, 12, 12), 0.5))


def test_a_single_image_is_searched_as_without_it():
    _, view = batch_view()
    single = least_sure(view)
    first, second = (GradInversion(steps=3, least_sure=on).reconstruct(single, rng()) for on in (True, False))
    assert torch.equal(first.inputs, second.inputs)


def test_an_update_that_does_not_tell_the_error_is_refused_with_a_sentence():
    _, view = batch_view()
    with pytest.raises(NotApplicableError, match="least sure of where its update is one gradient"):
        GradInversion(steps=3, least_sure=True).reconstruct(replace(view, recipe=Recipe(steps=3, lr=0.1)), rng())
