"""Replay, distances and the two attacks that rest on them, against slow or independent versions."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import vmap

from seethrough.attacks import Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.layerwise_cosine import LayerwiseCosine
from seethrough.attacks.parts.distances import (
    cosine,
    error_variances,
    layerwise_cosine,
    layerwise_l2,
    relative_l1,
    squared_l2,
    standardized_l1,
    standardized_l2,
)
from seethrough.attacks.parts.image_priors import l2_norm, total_variation
from seethrough.attacks.parts.simulated_client import observed_gradient, simulated_client, softmax_of
from seethrough.audit.randomness import drawing_from
from seethrough.defenses import NotApplicableError, Params
from seethrough.recipes import Recipe

SPACE = Space((1, 6, 6), 3)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def conv_net(act: type[nn.Module] = nn.Sigmoid, batchnorm: bool = False, seed: int = 0) -> nn.Module:
    with drawing_from(seeded(seed)):
        norm = [nn.BatchNorm2d(6)] if batchnorm else []
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            *norm,
            act(),
            nn.Conv2d(6, 6, 3, padding=1),
            act(),
            nn.Flatten(),
            nn.Linear(216, 3),
        )


def a_batch(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    rng = seeded(seed)
    images = F.interpolate(torch.rand((count, 1, 3, 3), generator=rng), (6, 6), mode="bilinear")
    return images, torch.arange(count) % 3


def a_view(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> View:
    bare = a_bare_view(model, recipe=recipe)
    step = {name: part.detach() for name, part in simulated_client(bare)(images, labels).items()}
    return dataclasses.replace(bare, update=step, count=len(labels))


def psnr(guess: Tensor | None, truth: Tensor) -> float:
    assert guess is not None
    return -10 * math.log10(float((guess - truth).square().mean()))


def two_updates() -> tuple[Params, Params]:
    return an_update(5), an_update(6)


def an_update(seed: int) -> Params:
    rng = seeded(seed)
    shapes = {"a.weight": (3, 2), "a.bias": (3,), "b": (1,)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def a_bare_view(model: nn.Module, recipe: Recipe | None = None) -> View:
    """A view to replay clients in: what the model's parameters are stands for an update, of which only the names are read."""
    return View(model, dict(model.named_parameters()), SPACE, recipe=recipe)


class TestReplay:
    @pytest.mark.parametrize("batchnorm", [False, True])
    def test_replayed_steps_are_those_of_a_real_sgd_loop(self, batchnorm: bool):
        model = conv_net(batchnorm=batchnorm).train().double()
        images, labels = a_batch(6)
        recipe = Recipe(steps=5, batch_size=2, lr=0.3)
        replayed = simulated_client(a_bare_view(model, recipe=recipe))(images.double(), labels)
        local = copy.deepcopy(model)
        sgd = torch.optim.SGD(local.parameters(), lr=0.3)
        for start in (0, 2, 4, 0, 2):
            sgd.zero_grad()
            F.cross_entropy(local(images[start : start + 2].double()), labels[start : start + 2]).backward()
            sgd.step()
        for (name, after), before in zip(local.named_parameters(), model.parameters(), strict=True):
            assert torch.allclose(replayed[name], after - before, rtol=0, atol=1e-6), name

    @pytest.mark.parametrize("train", [False, True])
    def test_replay_with_batchnorm_has_the_real_gradient_and_leaves_the_buffers_alone(self, train: bool):
        model = conv_net(batchnorm=True).train(train)
        model(
            torch.rand((4, 1, 6, 6), generator=seeded())
        )  # in train mode: running statistics that are not the initial ones
        buffers = [buffer.clone() for buffer in model.buffers()]
        images, labels = a_batch(4)
        step = simulated_client(a_bare_view(model, recipe=Recipe(lr=0.5)))(images, labels)
        softmax = softmax_of(a_bare_view(model), images)
        assert all(torch.equal(old, new) for old, new in zip(buffers, model.buffers(), strict=True))
        assert torch.allclose(softmax, copy.deepcopy(model)(images).softmax(1), atol=1e-6)
        slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))
        for name, slope in zip(step, slopes, strict=True):
            assert torch.allclose(step[name], -0.5 * slope, atol=1e-6), name

    def test_replay_takes_soft_labels(self):
        model = conv_net()
        images, labels = a_batch(3)
        client = simulated_client(a_bare_view(model, recipe=Recipe()))
        hard, soft = client(images, labels), client(images, F.one_hot(labels, 3).float())
        assert all(torch.allclose(hard[name], soft[name], atol=1e-7) for name in hard)

    def test_replay_under_vmap_is_replay_one_by_one(self):
        model = conv_net(batchnorm=True).train()
        candidates, labels = torch.rand((3, 2, 1, 6, 6), generator=seeded()), torch.tensor([0, 2])
        client = simulated_client(a_bare_view(model, recipe=Recipe(steps=2, batch_size=1)))
        together = vmap(lambda images: client(images, labels))(candidates)
        for i, images in enumerate(candidates):
            for name, step in client(images, labels).items():
                assert torch.allclose(together[name][i], step, atol=1e-6), name

    def test_the_observed_gradient_is_the_mean_over_local_steps(self):
        view = View(conv_net(), {"w": torch.tensor([-6.0])}, SPACE, recipe=Recipe(steps=3, lr=0.5))
        assert observed_gradient(view)["w"].item() == pytest.approx(4.0)
        assert observed_gradient(dataclasses.replace(view, recipe=None))["w"].item() == pytest.approx(6.0)


class TestDistances:
    def test_distances_are_their_formulas_written_out(self):
        sent, seen = two_updates()
        a, b = ([params[name].numpy().astype(np.float64) for name in sent] for params in (sent, seen))
        square = sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True))
        inner = sum((x * y).sum() for x, y in zip(a, b, strict=True))
        lengths = [math.sqrt(sum((x**2).sum() for x in part)) for part in (a, b)]
        absolute = sum(abs(x - y).sum() for x, y in zip(a, b, strict=True))
        assert squared_l2(seen)(sent).item() == pytest.approx(square / lengths[1] ** 2, rel=1e-5)
        assert cosine(seen)(sent).item() == pytest.approx(1 - inner / (lengths[0] * lengths[1]), rel=1e-5)
        assert relative_l1(seen)(sent).item() == pytest.approx(absolute / sum(abs(y).sum() for y in b), rel=1e-5)
        layers = sum(math.sqrt(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True))
        assert layerwise_l2(seen)(sent).item() == pytest.approx(layers, rel=1e-5)

    def test_the_standardized_distance_counts_each_coordinate_in_units_of_its_tensors_variance(self):
        sent, seen = two_updates()
        variances = {"a.weight": torch.tensor(4.0), "a.bias": torch.tensor(0.5), "b": torch.tensor(2.0)}
        written_out = [
            (x - y) ** 2 / variances[name].item()
            for name in sent
            for x, y in zip(sent[name].flatten().tolist(), seen[name].flatten().tolist(), strict=True)
        ]
        assert standardized_l2(seen, variances)(sent).item() == pytest.approx(np.mean(written_out), rel=1e-5)

    def test_the_standardized_distance_is_1_where_its_variances_were_taken(self):
        sent, seen = two_updates()
        assert standardized_l2(seen, error_variances(sent, seen))(sent).item() == pytest.approx(1, rel=1e-5)

    def test_a_tensor_that_never_errs_is_not_given_infinite_weight(self):
        seen = {"dead": torch.zeros(3), "live": torch.ones(3)}
        variances = error_variances({"dead": torch.zeros(3), "live": torch.zeros(3)}, seen)
        rounding = {"dead": torch.full((3,), 1e-8), "live": torch.ones(3)}
        assert standardized_l2(seen, variances)(rounding).item() < 0.1
        nothing = {name: 0 * part for name, part in seen.items()}
        assert math.isfinite(standardized_l2(nothing, error_variances(nothing, nothing))(nothing).item())

    def test_the_layerwise_cosine_is_its_formula_written_out(self):
        sent, seen = two_updates()
        weights = {name: torch.tensor(float(1 + place)) for place, name in enumerate(seen)}
        expected = 0.0
        for name, part in seen.items():
            a, b = sent[name].double().flatten().numpy(), part.double().flatten().numpy()
            expected += float(weights[name]) * (1 - a @ b / np.sqrt((a @ a) * (b @ b)))
        assert layerwise_cosine(seen, weights)(sent).item() == pytest.approx(expected, rel=1e-5)

    def test_the_standardized_distance_with_equal_scales_is_the_relative_one(self):
        sent, seen = two_updates()
        scales = {name: torch.full_like(part, 7.0) for name, part in seen.items()}
        assert standardized_l1(seen, scales)(sent).item() == pytest.approx(relative_l1(seen)(sent).item(), rel=1e-5)
        first, *_ = seen
        scales[first] = torch.full_like(scales[first], 1e9)
        rest = [{name: part for name, part in params.items() if name != first} for params in (seen, sent)]
        assert standardized_l1(seen, scales)(sent).item() == pytest.approx(
            relative_l1(rest[0])(rest[1]).item(), rel=1e-4
        )

    @pytest.mark.parametrize("distance", [squared_l2, relative_l1, cosine])
    def test_distances_but_the_layerwise_one_ignore_a_shared_scale(self, distance):
        sent, seen = two_updates()
        scaled = [{name: 1e-3 * part for name, part in params.items()} for params in (seen, sent)]
        assert distance(scaled[0])(scaled[1]).item() == pytest.approx(distance(seen)(sent).item(), rel=1e-4)

    @pytest.mark.parametrize("distance", [squared_l2, relative_l1, cosine, layerwise_l2])
    def test_a_perfect_match_has_distance_zero_and_a_finite_slope(self, distance):
        _, seen = two_updates()
        sent = {name: part.clone().requires_grad_() for name, part in seen.items()}
        loss = distance(seen)(sent)
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert all(slope.isfinite().all() for slope in torch.autograd.grad(loss, list(sent.values())))

    def test_priors_are_their_formulas_written_out(self):
        images = torch.rand((2, 3, 4, 5), generator=seeded())
        array = images.numpy()
        down = np.mean([abs(array[..., i + 1, :] - array[..., i, :]).mean() for i in range(3)])
        across = np.mean([abs(array[..., :, j + 1] - array[..., :, j]).mean() for j in range(4)])
        assert total_variation(images).item() == pytest.approx(down + across, rel=1e-5)
        norms = [math.sqrt((image**2).sum()) for image in array]
        assert l2_norm(images).item() == pytest.approx(np.mean(norms), rel=1e-5)


class TestDLG:
    @pytest.mark.parametrize("granted", [False, True], ids=["label unknown", "label granted"])
    def test_one_tiny_image_comes_back_above_30_db_with_its_label(self, granted: bool):
        images, labels = a_batch(1)
        view = a_view(conv_net(), images, labels + 2, Recipe(lr=0.1))
        known = dataclasses.replace(view, labels=labels + 2 if granted else None)
        claim = DLG(steps=60).reconstruct(known, seeded())
        assert psnr(claim.inputs, images) > 30
        assert claim.labels is not None and claim.labels.tolist() == [2]

    def test_several_local_steps_are_seen_through(self):
        images, labels = a_batch(1)
        view = a_view(conv_net(), images, labels, Recipe(steps=3, lr=0.5))
        assert psnr(DLG(steps=60).reconstruct(view, seeded()).inputs, images) > 30

    def test_a_label_that_starts_undecided_is_found(self):
        images, labels = a_batch(1)
        view = a_view(conv_net(seed=4), images, labels, Recipe(lr=0.1))
        claim = DLG(steps=80, confidence=0.0).reconstruct(view, seeded())
        assert claim.labels is not None and claim.labels.tolist() == labels.tolist()

    def test_restarts_never_end_higher_than_the_first_of_them(self):
        images, labels = a_batch(
            4
        )  # 144 pixels: torch draws normal numbers in blocks of 16, so the first start is the same
        view = a_view(conv_net(nn.ReLU), images, labels, Recipe(lr=0.1))
        losses = [DLG(steps=15, restarts=n, spread=0.3).reconstruct(view, seeded(2)).loss for n in (1, 3)]
        assert losses[1] <= losses[0]


class TestInvertingGradients:
    def test_images_come_back_better_than_from_a_decoy(self):
        model = conv_net(nn.ReLU)
        (images, labels), (others, _) = a_batch(2), a_batch(2, seed=9)
        attack = InvertingGradients(steps=200, tv=1e-3)
        found, decoy = (
            attack.reconstruct(a_view(model, secret, labels, Recipe(lr=0.1)), seeded()).inputs
            for secret in (images, others)
        )
        assert psnr(found, images) > psnr(decoy, images) + 3

    def test_neither_clipping_nor_an_unknown_learning_rate_changes_anything(self):
        images, labels = a_batch(2)
        view = dataclasses.replace(a_view(conv_net(nn.ReLU), images, labels, Recipe(lr=0.5)), labels=labels)
        clipped = {name: step / 64 for name, step in view.update.items()}
        attack = InvertingGradients(steps=30)
        plain = attack.reconstruct(view, seeded()).inputs
        for other in (dataclasses.replace(view, update=clipped), dataclasses.replace(view, recipe=None)):
            assert (attack.reconstruct(other, seeded()).inputs - plain).abs().mean() < 0.01

    def test_total_variation_makes_smoother_images(self):
        images, labels = a_batch(2)
        view = a_view(conv_net(nn.ReLU), images, labels, Recipe(lr=0.1))
        rough, smooth = (InvertingGradients(steps=60, tv=tv).reconstruct(view, seeded()).inputs for tv in (0.0, 1.0))
        assert total_variation(smooth) < 0.5 * total_variation(rough)

    def test_the_loss_is_that_of_the_images_it_comes_with(self):
        images, labels = a_batch(2)
        view = a_view(conv_net(nn.ReLU), images, labels, Recipe(lr=0.1))
        claim = InvertingGradients(steps=20, restarts=3, tv=0.1).reconstruct(view, seeded())
        distance = cosine(view.update)(simulated_client(view)(claim.inputs, claim.labels))
        assert claim.loss == pytest.approx(float(distance + 0.1 * total_variation(claim.inputs)), abs=1e-5)


class TestLayerwiseCosine:
    def test_images_come_back_better_than_from_a_decoy_and_labels_with_them(self):
        model = conv_net()
        (images, labels), (others, _) = a_batch(1), a_batch(1, seed=9)
        attack = LayerwiseCosine(steps=250, tv=1e-6)
        found, decoy = (
            attack.reconstruct(a_view(model, secret, labels, Recipe(lr=0.1)), seeded()) for secret in (images, others)
        )
        assert psnr(found.inputs, images) > psnr(decoy.inputs, images) + 3
        assert found.labels.tolist() == labels.tolist()

    def test_a_layer_without_weight_does_not_count(self):
        images, labels = a_batch(1)
        view = a_view(conv_net(), images, labels, Recipe(lr=0.1))
        first, *others = view.update
        garbled = {**view.update, first: torch.randn(view.update[first].shape, generator=seeded(5))}
        attack = LayerwiseCosine(steps=10, layer_weights=(0.0,) + (1.0,) * len(others))
        claims = [attack.reconstruct(one, seeded()) for one in (view, dataclasses.replace(view, update=garbled))]
        assert claims[0].loss == pytest.approx(claims[1].loss)

    def test_weights_that_do_not_fit_the_model_are_refused_in_one_sentence(self):
        images, labels = a_batch(1)
        with pytest.raises(NotApplicableError, match="`layer_weights` holds 2 numbers, but the model has"):
            LayerwiseCosine(layer_weights=(1.0, 1.0)).reconstruct(
                a_view(conv_net(), images, labels, Recipe(lr=0.1)), seeded()
            )
