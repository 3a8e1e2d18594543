"""GradInversion: every term by itself, registration, and a batch brought back."""

import dataclasses

import pytest
import torch
from torch import nn

from seethrough.attacks import Space, View
from seethrough.attacks.engine.search import cosine_schedule, descend
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.labels.bias_slopes import output_error
from seethrough.attacks.parts.batchnorm import batch_statistics, statistics_distance
from seethrough.attacks.parts.coordinate_spread import spreads
from seethrough.attacks.parts.distances import relative_l1
from seethrough.attacks.parts.image_priors import l2_norm, photograph_like, total_variation
from seethrough.attacks.parts.registration import assignment, registered, registered_mean
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.defenses import Batch, Update
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.top_k import TopK
from seethrough.federation.client import batch_statistics as clients_statistics
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe

LABELS = torch.tensor([1, 3])
OFF = {"gradient": 0.0, "tv": 0.0, "l2": 0.0, "batchnorm": 0.0, "group": 0.0}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 12, 12, generator=rng(seed))


def tensors(seed: int) -> dict[str, torch.Tensor]:
    return {"a": torch.randn(3, 4, generator=rng(seed)), "b": torch.randn(5, generator=rng(seed + 1))}


def statistics(seed: int) -> dict[str, torch.Tensor]:
    values = torch.rand(4, 3, generator=rng(seed))
    names = ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var")
    return dict(zip(names, values, strict=True))


TERMS = {
    "gradient": lambda x, c: relative_l1(tensors(5))(tensors(0)),
    "tv": lambda x, c: total_variation(x),
    "l2": lambda x, c: l2_norm(x),
    "batchnorm": lambda x, c: statistics_distance(statistics(0), statistics(1), 10.0),
    "group": lambda x, c: l2_norm(x - c),
}


@pytest.mark.parametrize("term", TERMS)
def test_each_keyword_weighs_its_own_term_and_no_other(term):
    x, consensus = images(), images(seed=3)
    attack = GradInversion(**{**OFF, term: 0.5})
    distance = relative_l1(tensors(5))(tensors(0))
    loss = attack.objective(x, distance, (statistics(0), statistics(1)), consensus)
    assert loss.item() == pytest.approx(0.5 * TERMS[term](x, consensus).item(), rel=1e-6)


def a_view(granted: bool = False, seed: int = 0) -> View:
    torch.manual_seed(0)
    model = ConvNet(width=4).build(Space((1, 12, 12), 5)).eval()
    inputs, labels = images(2, seed), LABELS
    names = dict(model.named_parameters())
    slopes = torch.autograd.grad(nn.functional.cross_entropy(model(inputs), labels), list(names.values()))
    update = {name: -0.1 * slope for name, slope in zip(names, slopes, strict=True)}
    public = Batch(images(40, 7), torch.arange(40) % 5)
    return View(
        model,
        update,
        Space((1, 12, 12), 5),
        count=2,
        recipe=Recipe(lr=0.1),
        labels=labels if granted else None,
        public=public,
    )


@pytest.mark.parametrize("distance", ["standardized_l1", "relative_l1", "layerwise_l2", "cosine"])
def test_every_distance_comes_nearer_to_the_images_than_the_start(distance):
    first, last = (GradInversion(steps=n, seeds=1, distance=distance).reconstruct(a_view(), rng()) for n in (1, 80))
    truth = images(2)
    assert (last.inputs - truth).square().mean() < 0.7 * (first.inputs - truth).square().mean()


def test_seeds_in_small_groups_find_what_they_find_together():
    claims = [GradInversion(steps=12, seeds=4, at_once=n).reconstruct(a_view(), rng()) for n in (None, 3, 1)]
    assert claims[0].loss == pytest.approx(claims[1].loss, rel=1e-4) == pytest.approx(claims[2].loss, rel=1e-4)


def test_labels_that_are_searched_with_the_pixels_end_where_the_gradient_says():
    claim = GradInversion(steps=60, seeds=1, joint_labels=True).reconstruct(a_view(), rng())
    assert sorted(claim.labels.tolist()) == [1, 3]
    granted = GradInversion(steps=2, joint_labels=True).reconstruct(a_view(granted=True), rng())
    assert granted.labels.tolist() == [1, 3]


def test_spreads_are_the_deviations_of_the_steps_of_public_batches():
    view = a_view()
    client = simulated_client(view)
    found = spreads(client, view, LABELS, 6, rng(3))
    chosen, again = [], rng(3)
    for _ in range(6):
        chosen.append(view.public.inputs[torch.randint(40, (2,), generator=again)])
    name = next(iter(view.update))
    slow = torch.stack([client(batch, LABELS)[name] for batch in chosen]).detach().std(dim=0)
    assert torch.allclose(found[name], slow + 1e-3 * slow.mean(), rtol=1e-4)
    assert all(
        part.min() > 0 for part in spreads(client, dataclasses.replace(view, public=None), LABELS, 3, rng()).values()
    )


def test_the_statistics_penalty_is_the_sum_of_the_norms_with_the_first_layer_multiplied():
    measured, known = statistics(0), statistics(1)
    norms = [(measured[name] - known[name]).norm().item() for name in measured]
    expected = 10 * (norms[0] + norms[1]) + norms[2] + norms[3]
    assert statistics_distance(measured, known, 10.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_the_penalty_is_zero_for_the_very_batch_whose_statistics_are_known(mode):
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=True).build(Space((1, 12, 12), 5)).train(mode)
    batch = images(4)
    measured = batch_statistics(model)(batch)
    known = clients_statistics(model, batch)
    assert statistics_distance(measured, known).item() < 1e-5
    assert statistics_distance(batch_statistics(model)(images(4, seed=1)), known).item() > 1e-2


def test_assignment_undoes_a_permutation_within_equal_labels_and_crosses_none():
    labels = torch.tensor([0, 0, 0, 1, 1])
    reference = images(5)
    shuffled = reference[torch.tensor([2, 0, 1, 4, 3])]
    order = assignment(reference, shuffled, labels)
    assert torch.equal(shuffled[order], reference)
    assert assignment(reference, reference[torch.tensor([3, 4, 0, 1, 2])], torch.arange(5)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("offset", [(0, 0), (2, -1), (-3, 3)])
def test_registration_undoes_a_shift(offset):
    digit = Digits().load().batch(torch.tensor([7])).inputs[0]
    moved = torch.roll(digit, offset, dims=(1, 2))
    back = registered(moved, digit, limit=3)
    assert (back[:, 4:-4, 4:-4] - digit[:, 4:-4, 4:-4]).abs().max() < 1e-6


def test_a_shift_beyond_the_limit_is_not_believed():
    digit = Digits().load().batch(torch.tensor([7])).inputs[0]
    moved = torch.roll(digit, (5, 0), dims=(1, 2))
    assert torch.equal(registered(moved, digit, limit=3), moved)


def test_the_mean_of_registered_seeds_is_sharper_than_the_plain_mean():
    digit = Digits().load().batch(torch.tensor([7])).inputs
    seeds = torch.stack([digit, torch.roll(digit, (2, 1), (2, 3)), torch.roll(digit, (-2, 0), (2, 3))])
    labels = torch.tensor([7])
    plain, sharp = registered_mean(seeds, labels, 0)[0], registered_mean(seeds, labels, 4)[0]
    assert torch.allclose(plain, seeds.mean(0), atol=1e-6)
    assert total_variation(sharp) > 1.1 * total_variation(plain)


def test_identical_seeds_are_their_own_mean():
    seeds = images(3).expand(4, 3, 1, 12, 12)
    assert torch.allclose(registered_mean(seeds, torch.tensor([0, 0, 1]), 3), seeds, atol=1e-6)


def test_seeds_are_drawn_to_nothing_before_they_are_first_averaged_and_then_keep_their_mean():
    attack = GradInversion(group_every=10, shift=0)
    seeds, last, labels = torch.rand(2, 1, 1, 8, 8, generator=rng()), torch.zeros(2, 1, 1, 8, 8), torch.tensor([0])
    assert torch.equal(attack._consensus(-39, seeds, last, labels), seeds)
    assert torch.allclose(attack._consensus(0, seeds, last, labels)[0], seeds.mean(0))
    assert torch.equal(attack._consensus(1, seeds, last, labels), last)
    assert torch.allclose(attack._consensus(10, seeds, last, labels)[1], seeds.mean(0))
    assert torch.equal(attack._consensus(10, seeds[:1], last[:1], labels), seeds[:1])


def test_the_learning_rate_rises_over_the_warm_up_and_falls_by_a_cosine_to_zero():
    factor = cosine_schedule(150, warmup=50)
    assert [factor(0), factor(24), factor(49)] == pytest.approx([0.02, 0.5, 1.0])
    assert [factor(50), factor(100), factor(150)] == pytest.approx([1.0, 0.5, 0.0])


def test_published_is_the_papers_table():
    paper = GradInversion.published()
    assert (paper.tv, paper.l2, paper.batchnorm, paper.gradient, paper.group) == (1e-4, 1e-6, 0.1, 1e-3, 0.01)
    assert (paper.langevin, paper.lr, paper.steps, paper.seeds, paper.warmup) == (0.2, 0.1, 20_000, 8, 50)
    assert paper.group_start * paper.steps == 5_000 and paper.group_every == 100
    assert (paper.distance, paper.label_rule, paper.signed) == ("layerwise_l2", "minimum", False)


def test_published_has_nothing_that_only_other_implementations_have():
    paper = GradInversion.published()
    assert paper.first_batchnorm == 1 and not paper.read_error and not paper.adaptive and not paper.joint_labels
    assert paper.keep == "last" and not paper.boxed
    x, consensus = images(), images(seed=3)
    loss = paper.objective(x, torch.tensor(5.0), (statistics(0), statistics(1)), consensus)
    steps = (x[..., 1:, :] - x[..., :-1, :]).abs().sum() + (x[..., 1:] - x[..., :-1]).abs().sum()
    norms = sum((statistics(0)[name] - statistics(1)[name]).norm() for name in statistics(0))
    slow = 1e-3 * 5 + 1e-4 * steps + 1e-6 * x.square().sum().sqrt() + 0.1 * norms
    assert loss.item() == pytest.approx((slow + 0.01 * (x - consensus).square().sum().sqrt()).item(), rel=1e-6)


def test_unbounded_pixels_are_cut_off_in_the_end_alone(monkeypatch):
    def watched(start, *given, after, **options):
        moved.append(after(0, start)[0])
        return descend(start, *given, after=after, **options)

    moved: list[torch.Tensor] = []
    monkeypatch.setattr("seethrough.attacks.gradinversion.descend", watched)
    for boxed in (True, False):
        found = GradInversion(steps=2, langevin=1.0, lr=2.0, warmup=0, boxed=boxed).reconstruct(a_view(), rng())
        assert found.inputs.min() >= 0 and found.inputs.max() <= 1
    assert moved[0].abs().max() == 2 and moved[1].abs().max() > 4


@pytest.mark.parametrize("keep", ["lowest", "last"])
def test_the_last_iterate_is_returned_where_it_is_asked_for_though_another_is_lower(keep):
    def after(step, variables):
        return (torch.full((1, 1), 7.0) if step == 2 else torch.full((1, 1), 1.0),)

    found = descend((torch.full((1, 1), 3.0),), lambda v: v[0].square().sum(1), steps=3, lr=0.1, after=after, keep=keep)
    assert found.best() == ((torch.tensor([1.0 if keep == "lowest" else 7.0]),), 1.0 if keep == "lowest" else 49.0)


def digits_view(model: nn.Module, batch: Batch, recipe: Recipe, **granted) -> View:
    update = local_update(model, batch, recipe, mean_gradient, rng())
    facts = {"count": len(batch), "recipe": recipe, "buffers": update.buffers or None}
    return View(model, update.step, Space((1, 28, 28), 10), **(facts | granted))


@pytest.mark.parametrize(
    ("batchnorm", "train", "recipe"),
    [
        (False, False, Recipe()),
        (False, False, Recipe(steps=2, batch_size=1)),
        (True, True, Recipe()),
        (True, False, Recipe()),
    ],
)
def test_a_batch_of_digits_comes_nearer_than_with_another_batchs_update(batchnorm, train, recipe):
    torch.manual_seed(0)
    model = ConvNet(width=8, batchnorm=batchnorm).build(Space((1, 28, 28), 10)).train(train)
    data = Digits().load()
    truth, other = data.batch(torch.tensor([0, 11])), data.batch(torch.tensor([2, 13]))
    attack = GradInversion(steps=60)
    errors = []
    for batch in (truth, other):
        found = [attack.reconstruct(digits_view(model, batch, recipe), rng(seed)).inputs for seed in (1, 2)]
        errors.append(sum((images - truth.inputs).square().mean().item() for images in found))
    assert errors[0] < 0.9 * errors[1]


def test_every_field_is_a_weight_or_a_count_that_is_checked():
    for field in dataclasses.fields(GradInversion):
        if field.type in ("int", "float", int, float):
            with pytest.raises(ValueError, match=field.name):
                GradInversion(**{field.name: -1})


def one_digit(model: nn.Module) -> tuple[Batch, View]:
    batch = Digits().load().batch(torch.tensor([7]))
    return batch, digits_view(model, batch, Recipe(lr=0.1))


def sure_of_itself() -> nn.Module:
    """A ConvNet trained on digits, the one above among them, until its softmax of that one is all but 1."""
    torch.manual_seed(0)
    model, known = ConvNet(width=8).build(Space((1, 28, 28), 10)), Digits().load().batch(torch.arange(200))
    adam = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(40):
        adam.zero_grad()
        nn.functional.cross_entropy(model(known.inputs), known.labels).backward()
        adam.step()
    return model.eval()


@pytest.mark.parametrize("defense", [None, Clipping(max_norm=1e-3)])
def test_the_error_of_a_single_example_is_its_softmax_less_its_label_up_to_a_scale(defense):
    torch.manual_seed(0)
    batch, view = one_digit(ConvNet(width=8).build(Space((1, 28, 28), 10)).eval())
    sent = {name: 1e-3 * part for name, part in view.update.items()} if defense else view.update
    view = dataclasses.replace(view, update=sent, defense=defense)
    error = view.model(batch.inputs).softmax(1) - nn.functional.one_hot(batch.labels, 10)
    assert torch.allclose(output_error(view), (1e-3 if defense else 1.0) * error, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "facts",
    [{"count": 2}, {"recipe": Recipe(steps=2)}, {"defense": TopK(share=0.1)}, {"defense": GaussianNoise(std=0.1)}],
    ids=str,
)
def test_no_error_is_read_where_the_update_does_not_tell_it(facts):
    _, view = one_digit(sure_of_itself())
    assert output_error(view) is not None
    told = dataclasses.replace(view, **facts)
    if told.defense:
        sent = told.defense.release(Update(view.update, 1, {}), rng())
        told = dataclasses.replace(told, update=sent.step)
    assert output_error(told) is None


def test_no_error_is_read_off_an_update_that_was_pruned_without_a_word():
    _, view = one_digit(sure_of_itself())
    sent = TopK(share=0.01).release(Update(view.update, 1, {}), rng()).step
    assert output_error(dataclasses.replace(view, update=sent)) is None


def test_at_the_truth_the_step_of_the_read_error_is_the_one_that_was_seen():
    batch, view = one_digit(sure_of_itself())
    step = simulated_client(view, output_error)(batch.inputs, batch.labels)
    assert relative_l1(view.update)(step) < 1e-4


def test_an_image_that_the_model_is_sure_of_is_found_by_the_error_read_and_not_without_it():
    batch, view = one_digit(sure_of_itself())
    assert view.model(batch.inputs).softmax(1).amax().item() > 0.99
    errors = [
        float((attack.reconstruct(view, rng()).inputs - batch.inputs).square().mean())
        for attack in (GradInversion(steps=80, seeds=1, read_error=read) for read in (True, False))
    ]
    assert errors[0] < 0.1 * errors[1]


def test_a_tensor_that_never_varies_has_an_infinite_spread():
    batch, view = one_digit(sure_of_itself())
    found = spreads(simulated_client(view, output_error), view, batch.labels, 3, rng())
    constant = [name for name, part in found.items() if part.isinf().any()]
    assert len(constant) == 1 and found[constant[0]].shape == (10,) and found[constant[0]].isinf().all()


def test_a_tensor_that_varies_by_rounding_alone_has_an_infinite_spread():
    _, view = one_digit(sure_of_itself())
    turn = iter(range(3))

    def client(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        nearly, far = 0.3 + next(turn) * torch.tensor([[3e-8], [3e-2]])
        return {"rounded": nearly, "varies": far, "zero": torch.zeros(2)}

    found = spreads(client, view, torch.tensor([7]), 3, rng())
    assert found["rounded"].isinf().all() and found["zero"].isinf().all()
    assert found["varies"].item() == pytest.approx(0.03, rel=2e-3)


def test_images_that_stand_in_for_photographs_are_smooth_colored_alike_and_of_unlike_brightness():
    drawn = photograph_like(200, (3, 32, 32), rng())
    assert drawn.shape == (200, 3, 32, 32) and drawn.min() >= 0 and drawn.max() <= 1
    assert total_variation(drawn) < 0.5 * total_variation(torch.rand(200, 3, 32, 32, generator=rng()))
    assert 0.8 < torch.corrcoef(drawn.transpose(0, 1).flatten(1))[0, 1] < 0.99
    assert 0.1 < drawn.mean(dim=(1, 2, 3)).std() < 0.2
