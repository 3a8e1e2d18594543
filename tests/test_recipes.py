"""Recipes: what a client does, against plain PyTorch loops, and what an attacker replays, against the client."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import vmap

from seethrough.attacks import Space, View
from seethrough.attacks.parts.simulated_client import observed_gradient, simulated_client, update_scale
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import stream
from seethrough.common.section import Section
from seethrough.contracts.entries import seeded
from seethrough.defenses import Batch, MeanGradient, NotApplicableError
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.federation.client import _step, local_update
from seethrough.recipes import Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from seethrough.recipes.losses.custom import Custom
from seethrough.recipes.trainable import trained

SPACE = Space((1, 8, 8), 4)


class Spec(Section):
    local: Recipe


def written(**fields: Any) -> Recipe:
    """A recipe as a spec writes it."""
    return Spec.model_validate_json(json.dumps({"local": fields})).local


OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "sgd": ("sgd", lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": ({"sgd": {"momentum": 0.9}}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "dampened, decayed": (
        {"sgd": {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}},
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
    ),
    "nesterov": (
        {"sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}},
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    ),
    "adam": ({"adam": {"weight_decay": 0.01}}, lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01)),
    "adamw": ("adamw", lambda p: torch.optim.AdamW(p, lr=0.05)),
}
LOSSES: dict[str, tuple[Any, Any]] = {
    "cross-entropy": ("cross_entropy", F.cross_entropy),
    "smoothed": ({"cross_entropy": {"label_smoothing": 0.1}}, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)),
    "weighted": (
        {"cross_entropy": {"class_weights": (1.0, 2.0, 0.5, 3.0), "label_smoothing": 0.2}},
        lambda z, y: F.cross_entropy(z, y, torch.tensor([1.0, 2.0, 0.5, 3.0]).to(z), label_smoothing=0.2),
    ),
    "focal": ({"focal": {"gamma": 2.0}}, lambda z, y: _focal(z, y)),
    "bce": ("bce", lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 4).to(z))),
    "mse": ("mse", lambda z, y: F.mse_loss(z, F.one_hot(y, 4).to(z))),
    "the user's own": (
        "tests.test_recipes:hinge",
        lambda z, y: F.multi_margin_loss(z, y, p=2),
    ),
}
SCHEDULES: dict[str, tuple[Any, Any]] = {
    "constant": ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    "step": ({"step": {"every": 1, "gamma": 0.5}}, lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5)),
    "cosine": ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 3)),
}
EVERY = list(itertools.product(OPTIMIZERS, LOSSES, SCHEDULES))


def _focal(logits: Tensor, labels: Tensor) -> Tensor:
    logs = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return -((1 - logs.exp()) ** 2 * logs).mean()


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss of the user's own: the multi-class hinge loss, squared."""
    target = labels if labels.is_floating_point() else F.one_hot(labels, logits.shape[1]).to(logits)
    margins = (1 - (logits * target).sum(dim=1, keepdim=True) + logits).clamp(min=0).square() * (1 - target)
    return (margins.sum(dim=1) / logits.shape[1]).mean()


def setup(double: bool = False, count: int = 7) -> tuple[nn.Module, Batch]:
    torch.manual_seed(0)
    model = ConvNet(width=4).build(SPACE)
    inputs, labels = torch.rand((count, 1, 8, 8), generator=seeded(1)), torch.arange(count) % 4
    return (model.double(), Batch(inputs.double(), labels)) if double else (model, Batch(inputs, labels))


def by_hand(model: nn.Module, batch: Batch, optimizer: Any, loss: Any, schedule: Any, epochs: int = 3) -> nn.Module:
    """A training loop as it is found in any tutorial: batches of 3, the last one smaller."""
    steps = optimizer(model.parameters())
    rates = schedule(steps)
    for _ in range(epochs):
        for start in range(0, len(batch), 3):
            steps.zero_grad()
            loss(model(batch.inputs[start : start + 3]), batch.labels[start : start + 3]).backward()
            steps.step()
        rates.step()
    return model


@pytest.mark.parametrize(("optimizer", "loss", "schedule"), EVERY)
def test_a_client_does_bit_for_bit_what_a_plain_loop_does(optimizer: str, loss: str, schedule: str):
    model, batch = setup()
    recipe = written(
        epochs=3,
        batch_size=3,
        lr=0.05,
        optimizer=OPTIMIZERS[optimizer][0],
        loss=LOSSES[loss][0],
        schedule=SCHEDULES[schedule][0],
    )
    rounds_otherwise = loss in ("the user's own", "focal")  # which torch has not, or writes in another way
    plain = recipe.loss if rounds_otherwise else LOSSES[loss][1]
    sent = local_update(model, batch, recipe, MeanGradient(recipe.loss), stream(0)).step
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    after = by_hand(model, batch, OPTIMIZERS[optimizer][1], plain, SCHEDULES[schedule][1])
    for name, weight in after.named_parameters():
        assert torch.equal(sent[name], weight - before[name]), name
    assert torch.allclose(
        recipe.loss(model(batch.inputs), batch.labels), LOSSES[loss][1](model(batch.inputs), batch.labels)
    )


def view_of(model: nn.Module, batch: Batch, recipe: Recipe, **facts: Any) -> tuple[View, dict[str, Tensor]]:
    update = local_update(model, batch, recipe, MeanGradient(recipe.loss), stream(0))
    return View(model, update.step, SPACE, count=len(batch), recipe=recipe, **facts), dict(update.step)


def apart(found: Any, sent: Any) -> float:
    left, right = (torch.cat([each[name].flatten() for name in sent]) for each in (found, sent))
    return float((left - right).norm() / right.norm())


RECIPES = {
    "drop": {"last_batch": "drop"},
    "wrap": {"last_batch": "wrap"},
    "clipped": {"clip_norm": 0.3},
    "clipped to more than there is": {"clip_norm": 1e3},
    "FedProx": {"proximal": 0.5},
    "accumulated": {"accumulate": 2},
    "steps over epochs": {"epochs": None, "steps": 8},
    "schedule by steps": {"schedule": "cosine", "schedule_by": "step"},
    "all of it": {"clip_norm": 0.3, "proximal": 0.5, "accumulate": 2, "last_batch": "wrap", "schedule": "cosine"},
}


def replays() -> Iterator[Any]:
    for optimizer, loss, schedule in EVERY:
        more = {"loss": LOSSES[loss][0], "schedule": SCHEDULES[schedule][0]}
        yield pytest.param(optimizer, more, id=f"{optimizer}, {loss}, {schedule}")
    for optimizer in OPTIMIZERS:
        for name, more in RECIPES.items():
            yield pytest.param(optimizer, more, id=f"{optimizer}, {name}")


@pytest.mark.parametrize(("optimizer", "more"), list(replays()))
def test_what_an_attacker_replays_is_what_the_client_sent(optimizer: str, more: dict[str, Any]):
    model, batch = setup(double=True)
    recipe = written(**{"epochs": 3, "batch_size": 3, "lr": 0.05, "optimizer": OPTIMIZERS[optimizer][0], **more})
    view, sent = view_of(model, batch, recipe)
    client = simulated_client(view)
    assert apart(client(batch.inputs, batch.labels), sent) < 1e-6
    soft = F.one_hot(batch.labels, 4).double()
    assert apart(client(batch.inputs, soft), sent) < 1e-6
    two = vmap(client)(torch.stack([batch.inputs, batch.inputs]), torch.stack([soft, soft]))
    assert apart({name: part[1] for name, part in two.items()}, sent) < 1e-6
    torch_has_no_batched_form = isinstance(recipe.loss, CrossEntropy) and recipe.loss.class_weights
    if not torch_has_no_batched_form and not isinstance(recipe.loss, Custom):
        hard = vmap(client)(torch.stack([batch.inputs, batch.inputs]), torch.stack([batch.labels, batch.labels]))
        assert apart({name: part[0] for name, part in hard.items()}, sent) < 1e-6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_replay_has_a_finite_slope_in_the_pixels_even_where_gradients_are_zero(optimizer: str):
    model, batch = setup()
    model[-1].weight.data[0] = 0  # some coordinates never see a gradient
    nn.init.constant_(model[0].bias, -100.0)  # and with dead rectifiers, whole layers
    recipe = written(steps=3, batch_size=3, lr=0.05, optimizer=OPTIMIZERS[optimizer][0], clip_norm=1.0)
    client = simulated_client(View(model, dict(model.named_parameters()), SPACE, recipe=recipe))
    images = batch.inputs.clone().requires_grad_()
    step = client(images, batch.labels)
    (slope,) = torch.autograd.grad(sum(part.square().sum() for part in step.values()), images, allow_unused=True)
    assert slope is None or slope.isfinite().all()


def test_a_shuffled_client_is_replayed_exactly_only_if_its_order_is_known():
    model, batch = setup(double=True)
    recipe = Recipe(epochs=2, batch_size=3, lr=0.05, shuffle=True)
    view, sent = view_of(model, batch, recipe)
    order = recipe.order(len(batch), stream(0))
    known = View(model, sent, SPACE, count=7, recipe=recipe, order=order)
    assert apart(simulated_client(known)(batch.inputs, batch.labels), sent) < 1e-6
    assert apart(simulated_client(view)(batch.inputs, batch.labels), sent) > 1e-3


def test_the_order_of_one_epoch_is_the_attackers_own_to_choose():
    model, batch = setup(double=True)
    recipe = Recipe(epochs=1, batch_size=3, lr=0.05, shuffle=True)
    view, sent = view_of(model, batch, recipe)
    places = torch.cat([part for step in recipe.order(7, stream(0)) for part in step])
    assert not torch.equal(places, torch.arange(7))
    assert apart(simulated_client(view)(batch.inputs[places], batch.labels[places]), sent) < 1e-6


@pytest.mark.parametrize(
    ("recipe", "count", "sizes"),
    [
        (Recipe(), 5, [[5]]),
        (Recipe(steps=3), 5, [[5], [5], [5]]),
        (Recipe(epochs=1, batch_size=2), 5, [[2], [2], [1]]),
        (Recipe(epochs=2, batch_size=2, last_batch="drop"), 5, [[2], [2]] * 2),
        (Recipe(epochs=1, batch_size=2, last_batch="wrap"), 5, [[2]] * 3),
        (Recipe(epochs=1, batch_size=8, last_batch="wrap"), 5, [[5]]),
        (Recipe(epochs=1, batch_size=2, accumulate=2), 5, [[2, 2], [1]]),
        (Recipe(steps=3, batch_size=2, accumulate=2), 5, [[2, 2], [1], [2, 2]]),
        (Recipe(epochs=1, batch_size=8), 5, [[5]]),
    ],
)
def test_which_examples_each_step_takes(recipe: Recipe, count: int, sizes: list[list[int]]):
    order = recipe.order(count)
    assert [[len(part) for part in step] for step in order] == sizes
    assert recipe.taken(count) == len(sizes)
    first = torch.cat([part for step in order for part in step])[: count - count % len(order[0][0])]
    assert torch.equal(first, torch.arange(len(first)))
    seen = max(torch.bincount(torch.cat([part.unique() for step in order for part in step])).tolist())
    assert recipe.most_often(count) == seen


@pytest.mark.parametrize("last", ["smaller", "drop", "wrap"])
@pytest.mark.parametrize("more", [{"epochs": 3}, {"steps": 4}])
def test_a_shuffled_example_is_in_no_more_batches_than_is_accounted_for(last: Any, more: dict[str, int]):
    recipe = Recipe(batch_size=3, last_batch=last, shuffle=True, **more)
    most = 0
    for seed in range(200):
        drawn = [part for step in recipe.order(7, seeded(seed)) for part in step]
        assert all(len(part) == len(part.unique()) for part in drawn)
        most = max(most, int(torch.bincount(torch.cat(drawn), minlength=7).max()))
    assert most == recipe.most_often(7)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "dampened, decayed", "nesterov"])
def test_the_weights_of_gradients_add_up_to_the_step(optimizer: str):
    """On a loss that is linear in the weights every step has the same gradient, so the whole step is `length` times that."""
    made = written(epochs=2, batch_size=3, lr=0.05, optimizer=OPTIMIZERS[optimizer][0], schedule="cosine")
    layer = nn.Linear(2, 1, bias=False).double()
    start = layer.weight.detach().clone()
    slope = torch.tensor([[3.0, -2.0]], dtype=torch.float64)

    def gradient(model: nn.Module, batch: Batch, rng: Any) -> dict[str, Tensor]:
        return {"weight": slope}

    update = local_update(layer, Batch(torch.zeros(7, 2), torch.zeros(7).long()), made, gradient, stream(0))
    told = made.without_decay(update.step, {"weight": start}, 7)
    assert torch.allclose(told["weight"], -made.length(7) * slope, rtol=2e-3)
    assert sum(made.weights_of_slopes(7)) == pytest.approx(made.length(7))


def test_weight_decay_is_taken_out_of_the_observed_gradient():
    model, batch = setup()
    plain = observed_gradient(view_of(model, batch, Recipe())[0])
    for optimizer in ({"sgd": {"weight_decay": 0.1}}, {"sgd": {"weight_decay": 0.1, "momentum": 0.9}}):
        view, _ = view_of(model, batch, written(optimizer=optimizer))
        assert apart(observed_gradient(view), plain) < 1e-4
        assert update_scale(view) == pytest.approx(0.1)


@pytest.mark.parametrize("last", ["smaller", "wrap"])
def test_the_noise_of_dp_sgd_under_momentum_is_what_is_measured(last: Any):
    defense = DPSGD(noise_multiplier=1.0, max_grad_norm=1e-3)
    recipe = written(
        epochs=2, batch_size=2, last_batch=last, lr=0.1, optimizer={"sgd": {"momentum": 0.9}}, accumulate=2
    )
    layer, batch = (
        nn.Sequential(nn.Flatten(), nn.Linear(4000, 2)),
        Batch(torch.zeros(5, 1, 1, 4000), torch.zeros(5).long()),
    )
    step = local_update(layer, batch, recipe, defense.train(MeanGradient(recipe.loss)), stream(0)).step["1.weight"]
    told = defense.noise({"1.weight": step}, recipe, 5)["1.weight"]
    assert float(step.var()) == pytest.approx(float(told), rel=0.05)


@pytest.mark.parametrize("loss", ["smoothed", "focal", "bce", "mse"])
def test_examples_are_clipped_by_the_gradients_of_the_clients_own_loss(loss: str):
    model, batch = setup()
    recipe = written(loss=LOSSES[loss][0])
    defense = DPSGD(noise_multiplier=0.0, max_grad_norm=1e9)
    private = defense.train(MeanGradient(recipe.loss))(model, batch, seeded())
    assert apart(private, MeanGradient(recipe.loss)(model, batch, seeded())) < 1e-5


def test_class_weights_have_no_per_sample_gradients():
    model, batch = setup()
    weighted = CrossEntropy(class_weights=(1.0, 2.0, 0.5, 3.0))
    with pytest.raises(NotApplicableError, match="class_weights"):
        DPSGD(noise_multiplier=0.0, max_grad_norm=1.0).train(MeanGradient(weighted))(model, batch, seeded())


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 2, "epochs": 2},
        {"optimizer": {"sgd": {"nesterov": True}}},
        {"optimizer": {"sgd": {"momentum": 1.5}}},
        {"optimizer": "rmsprop"},
        {"loss": "hinge"},
        {"last_batch": "keep"},
        {"schedule": {"step": {"every": 0}}},
    ],
)
def test_a_recipe_that_cannot_be(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        written(**wrong)


def test_a_batch_that_is_dropped_leaves_one():
    with pytest.raises(ValueError, match="leaves no batch of 8 out of 5 examples"):
        Recipe(batch_size=8, last_batch="drop").order(5)


ELSEWHERE = torch.device(
    "meta"
)  # a device that every machine has: work on tensors of two devices fails there as on a GPU


@pytest.mark.parametrize(("optimizer", "more"), [(name, {}) for name in OPTIMIZERS] + [("adamw", RECIPES["all of it"])])
@pytest.mark.parametrize("loss", LOSSES)
def test_local_training_needs_no_other_device_than_its_own(optimizer: str, loss: str, more: dict[str, Any]):
    recipe = written(
        **{"epochs": 3, "batch_size": 3, "optimizer": OPTIMIZERS[optimizer][0], "loss": LOSSES[loss][0]} | more
    )
    model, batch = setup()
    there = Batch(batch.inputs.to(ELSEWHERE), batch.labels.to(ELSEWHERE))
    step = _step(model.to(ELSEWHERE), there, recipe, MeanGradient(recipe.loss), stream(0), None)
    assert {part.device for part in step.values()} == {ELSEWHERE} and set(step) == set(trained(model))
