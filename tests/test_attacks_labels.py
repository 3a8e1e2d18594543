"""Label recovery: every rule against a case worked out by hand, and on networks whose batch is known."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from attacks import NotGrantedError, Space, View
from attacks._counts import count_classes, rounded
from attacks._labels import by_counts, by_minimum, by_sign, known_or_recovered
from attacks.label_counts import LabelCounts
from attacks.label_minimum import LabelMinimum
from attacks.label_sign import LabelSign
from audit._stream import drawing_from
from audit.client import local_update, mean_gradient
from audit.data.digits import Digits
from audit.models.convnet import ConvNet
from audit.models.lenet import LeNet
from defenses import Batch, NotApplicableError, Recipe

SPACE = Space((3, 16, 16), 10)
MODELS = {"lenet": LeNet(), "convnet": ConvNet(), "convnet with batchnorm": ConvNet(batchnorm=True)}


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def linear_view(features: Tensor, labels: list[int], weight: Tensor, bias: Tensor | None, lr: float = 1.0) -> View:
    """The view of one step of a linear classifier, its gradient written out: (softmax - one-hot) times features."""
    logits = features @ weight.T + (0 if bias is None else bias)
    errors = (logits.softmax(1) - F.one_hot(torch.tensor(labels), len(weight))) / len(labels)
    layer = nn.Linear(features.shape[1], len(weight), bias=bias is not None)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    update = {"1.weight": -lr * errors.T @ features}
    if bias is not None:
        update["1.bias"] = -lr * errors.sum(0)
    space = Space((1, 1, features.shape[1]), len(weight))
    return View(nn.Sequential(nn.Flatten(), layer), update, space, count=len(labels), recipe=Recipe(lr=lr))


def network_view(kind: str, seed: int, labels: Tensor, recipe: Recipe = Recipe(), train: bool = False) -> View:  # noqa: B008
    """The view of an update of random images, smooth ones of many contrasts, by a random network."""
    with drawing_from(seeded(seed)):
        model = MODELS[kind].build(SPACE).train(train)
    update = local_update(model, Batch(smooth(len(labels), seed), labels), recipe, mean_gradient, seeded(seed))
    return View(model, update.step, SPACE, count=len(labels), recipe=recipe)


def smooth(count: int, seed: int) -> Tensor:
    """Random images [count, *SPACE.shape] in [0, 1] whose neighboring pixels are alike."""
    small = torch.rand((count, 3, 4, 4), generator=seeded(seed))
    return F.interpolate(small, SPACE.shape[1:], mode="bilinear", align_corners=False)


def accuracy(found: Tensor, labels: Tensor) -> float:
    counts = [torch.bincount(part, minlength=SPACE.classes) for part in (found, labels)]
    return int(torch.minimum(*counts).sum()) / len(labels)


def test_one_label_is_the_only_class_of_negative_sign():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    update = {"1.weight": torch.zeros(3, 2), "1.bias": -0.5 * torch.tensor([0.2, -0.9, 0.7])}
    view = View(model, update, Space((1, 1, 2), 3), count=1, recipe=Recipe(lr=0.5))
    assert by_sign(view).tolist() == [1]
    claim = LabelSign().reconstruct(view, seeded())
    assert claim.loss == pytest.approx(-0.9)


def test_the_sum_rule_takes_the_most_negative_classes_sorted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 4, bias=False))
    update = {"1.weight": -torch.tensor([[1.0, -3.0], [2.0, 2.0], [0.0, -1.0], [-4.0, 0.5]])}
    view = View(model, update, Space((1, 1, 2), 4), count=2)
    assert by_sign(view).tolist() == [0, 3]


def test_the_minimum_rule_takes_the_classes_whose_rows_reach_lowest():
    slopes = torch.tensor([[5.0, -3.0], [-1.0, -1.0], [0.0, 0.1], [-2.0, 9.0]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 4, bias=False))
    view = View(model, {"1.weight": -0.1 * slopes}, Space((1, 1, 2), 4), count=2, recipe=Recipe(lr=0.1))
    assert by_minimum(view).tolist() == [0, 3]
    assert LabelMinimum().reconstruct(view, seeded()).loss == pytest.approx(-5.0)


def test_the_sum_rule_and_the_minimum_rule_differ_where_a_class_is_pulled_up_elsewhere():
    slopes = torch.tensor([[9.0, -3.0], [-1.0, -1.0], [0.5, 0.5]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False))
    view = View(model, {"1.weight": -slopes}, Space((1, 1, 2), 3), count=1)
    assert by_sign(view).tolist() == [1]
    assert by_minimum(view).tolist() == [0]


def test_counting_solves_the_identity_where_the_softmax_is_uniform():
    view = linear_view(torch.ones((6, 2)), [0, 3, 3, 3, 1, 1], torch.zeros((5, 2)), torch.zeros(5), lr=0.25)
    counted = count_classes(view)
    assert counted.counts.tolist() == [1, 2, 0, 3, 0]
    assert counted.misfit == pytest.approx(0, abs=1e-5)
    assert by_counts(view).tolist() == [0, 1, 1, 3, 3, 3]


def test_counting_finds_the_scale_of_a_clipped_update_from_the_absent_classes():
    view = linear_view(torch.ones((6, 2)), [0, 3, 3, 3, 1, 1], torch.zeros((5, 2)), torch.zeros(5))
    clipped = dataclasses.replace(view, update={name: 0.01 * step for name, step in view.update.items()})
    assert by_counts(clipped).tolist() == [0, 1, 1, 3, 3, 3]
    unknown = dataclasses.replace(clipped, recipe=None)
    assert by_counts(unknown).tolist() == [0, 1, 1, 3, 3, 3]


def test_counting_reads_the_row_sums_of_a_classifier_without_bias():
    view = linear_view(torch.full((6, 2), 0.7), [0, 3, 3, 3, 1, 1], torch.zeros((5, 2)), None)
    assert by_counts(view).tolist() == [0, 1, 1, 3, 3, 3]


def test_counting_takes_the_softmax_of_each_class_from_public_data():
    weight = torch.tensor([[4.0, 0.0], [0.0, 4.0], [2.0, 2.0]])
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    labels = [0, 0, 1, 2, 2, 2, 2]
    view = linear_view(features[labels], labels, weight, torch.tensor([0.5, 0.0, -1.0]))
    public = Batch(features[[2, 0, 1]].reshape(3, 1, 1, 2), torch.tensor([2, 0, 1]))
    counted = count_classes(dataclasses.replace(view, public=public))
    assert counted.counts.tolist() == [2, 1, 4]
    assert counted.misfit == pytest.approx(0, abs=1e-5)


def test_public_data_without_some_class_does_not_stop_counting():
    view = network_view("convnet", 0, torch.tensor([1, 1, 4, 7]))
    public = Batch(smooth(40, 1), torch.arange(40) % 3)
    assert by_counts(dataclasses.replace(view, public=public)).tolist() == [1, 1, 4, 7]


@settings(deadline=None)
@given(
    shares=st.lists(st.floats(0, 100), min_size=1, max_size=12).filter(lambda shares: sum(shares) > 0.01),
    total=st.integers(1, 200),
)
def test_rounding_keeps_the_sum_and_moves_no_share_by_one(shares: list[float], total: int):
    exact = torch.tensor(shares, dtype=torch.float64)
    whole = rounded(exact, total)
    assert int(whole.sum()) == total
    assert ((whole - exact * total / exact.sum()).abs() < 1 + 1e-9).all()


def test_rounding_gives_what_is_left_to_the_largest_remainders():
    assert rounded(torch.tensor([0.6, 1.7, 2.7]), 5).tolist() == [0, 2, 3]
    assert rounded(torch.tensor([1.0, 1.0, 1.0]), 4).tolist() == [2, 1, 1]


@pytest.mark.parametrize(("likeness", "displaced"), [((1e-6, 0.0), False), ((0.2, 0.15), False), ((0.5, 0.1), True)])
def test_only_counts_that_play_clearly_better_displace_those_of_least_misfit(monkeypatch, likeness, displaced):
    view = network_view("convnet with batchnorm", 4, torch.arange(16) % 10, train=True)
    granted = dataclasses.replace(view, public=Batch(smooth(100, 99), torch.arange(100) % 10))
    monkeypatch.setattr("attacks._counts._unlikeness", lambda *facts: 1.0)
    least = count_classes(granted).counts
    monkeypatch.setattr(
        "attacks._counts._unlikeness", lambda view, public, counts, pulls: likeness[counts.ne(least).any()]
    )
    assert bool(count_classes(granted).counts.ne(least).any()) == displaced


def test_public_images_played_through_the_training_count_the_classes_of_several_steps_of_hidden_length():
    digits, recipe, found = Digits().load(), Recipe(steps=4, batch_size=8, lr=0.1), []
    space = Space((1, 28, 28), 10)
    for seed in range(4):
        common, rare = torch.randperm(10, generator=seeded(seed))[:2].tolist()
        rows = [torch.nonzero(digits.labels[:900] == label).flatten()[:n] for label, n in ((common, 28), (rare, 4))]
        batch = digits.batch(torch.cat(rows)[torch.randperm(32, generator=seeded(seed))])
        with drawing_from(seeded(seed)):
            model = ConvNet(width=8).build(space).eval()
        step = local_update(model, batch, recipe, mean_gradient, seeded(seed)).step
        length = torch.sqrt(sum(part.square().sum() for part in step.values()))
        clipped = {name: 0.05 * part / length for name, part in step.items()}
        view = View(model, clipped, space, count=32, recipe=recipe, public=digits.batch(torch.arange(900, 1797)))
        found.append(accuracy(by_counts(view), batch.labels))
    assert sum(found) / len(found) > 0.85


@pytest.mark.parametrize("kind", ["lenet", "convnet"])
def test_the_minimum_rule_names_every_unique_label_of_a_batch_of_8(kind: str):
    for seed in range(20):
        labels = torch.randperm(10, generator=seeded(seed))[:8].sort().values
        assert by_minimum(network_view(kind, seed, labels)).tolist() == labels.tolist(), seed


@pytest.mark.parametrize("kind", ["lenet", "convnet"])
def test_the_sign_rule_names_the_label_of_one_example(kind: str):
    for seed in range(10):
        label = torch.randint(10, (1,), generator=seeded(seed))
        assert by_sign(network_view(kind, seed, label)).tolist() == label.tolist(), seed


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("public", [False, True], ids=["public data withheld", "public data granted"])
def test_counting_is_nearly_right_on_repeated_labels_of_untrained_networks(kind: str, public: bool):
    found = []
    for seed in range(6):
        labels = torch.randint(10, (16,), generator=seeded(seed)).sort().values
        view = network_view(kind, seed, labels, train=True)
        known = Batch(smooth(100, 99), torch.arange(100) % 10) if public else None
        found.append(accuracy(by_counts(dataclasses.replace(view, public=known)), labels))
    assert sum(found) / len(found) >= 0.97


def test_counting_beats_the_rules_that_name_a_class_once_where_labels_repeat():
    labels = torch.tensor([2, 2, 2, 2, 5, 5, 9, 9])
    view = network_view("convnet", 0, labels)
    assert accuracy(by_counts(view), labels) == 1
    assert accuracy(by_minimum(view), labels) <= 0.5


def test_counting_survives_several_local_steps_over_slices_of_the_batch():
    labels = torch.tensor([2, 2, 2, 2, 5, 5, 9, 9])
    view = network_view("convnet", 0, labels, Recipe(steps=4, batch_size=2, lr=0.05))
    assert by_counts(view).tolist() == labels.tolist()
    assert by_counts(dataclasses.replace(view, recipe=None)).tolist() == labels.tolist()


@given(seed=st.integers(0, 2**31), size=st.floats(1e-6, 1e6), count=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_counting_claims_the_right_number_of_labels_whatever_the_update(seed: int, size: float, count: int):
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 5))
    draw = seeded(seed)
    update = {name: size * torch.randn(part.shape, generator=draw) for name, part in model.named_parameters()}
    found = by_counts(View(model, update, Space((1, 1, 2), 5), count=count, recipe=Recipe()))
    assert len(found) == count
    assert found.tolist() == sorted(found.tolist())


def test_an_update_of_zeros_still_yields_a_claim():
    view = linear_view(torch.ones((4, 2)), [0, 1, 2, 3], torch.zeros((5, 2)), torch.zeros(5))
    nothing = dataclasses.replace(view, update={name: 0 * step for name, step in view.update.items()})
    assert len(by_counts(nothing)) == 4


def test_granted_labels_are_taken_as_they_are():
    labels = torch.tensor([0, 0, 1])
    view = network_view("lenet", 0, torch.tensor([4, 5, 6]))
    assert known_or_recovered(dataclasses.replace(view, labels=labels)) is labels
    assert known_or_recovered(view).tolist() == [4, 5, 6]


@pytest.mark.parametrize("rule", [by_sign, by_minimum])
def test_rules_that_name_a_class_once_refuse_more_examples_than_classes(rule):
    view = network_view("lenet", 0, torch.arange(11) % 10)
    with pytest.raises(NotApplicableError, match="11 examples have 10 classes"):
        rule(view)


@pytest.mark.parametrize("rule", [by_sign, by_minimum, by_counts])
def test_rules_need_the_batch_size_and_a_linear_classifier(rule):
    view = network_view("lenet", 0, torch.tensor([1, 2]))
    with pytest.raises(NotGrantedError, match="`count`"):
        rule(dataclasses.replace(view, count=None))
    with pytest.raises(NotApplicableError, match="no linear layer of 7 outputs"):
        rule(dataclasses.replace(view, space=Space(SPACE.shape, 7)))


def test_the_last_of_several_layers_of_that_size_is_the_classifier():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3))
    update = {name: torch.zeros_like(part) for name, part in model.named_parameters()}
    update["1.bias"], update["3.bias"] = torch.tensor([9.0, 0, 0]), torch.tensor([0, 0, 9.0])
    assert by_sign(View(model, update, Space((1, 1, 2), 3), count=1)).tolist() == [2]


def test_counted_labels_come_with_what_they_leave_unexplained():
    view = linear_view(torch.ones((4, 2)), [0, 1, 1, 2], torch.zeros((5, 2)), torch.zeros(5))
    claim = LabelCounts().reconstruct(view, seeded())
    assert claim.inputs is None
    assert claim.labels.tolist() == [0, 1, 1, 2]
    assert claim.loss == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("sureness", [10.0, 100.0])
def test_counts_name_the_label_of_an_example_that_the_model_is_sure_of(sureness):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    inputs, labels = torch.rand(40, 1, 3, 4), torch.arange(40) % 5
    with torch.no_grad():
        model[1].weight *= sureness
    public = Batch(inputs[8:], labels[8:])
    for place in range(8):
        own, likeliest = inputs[place : place + 1], model(inputs[place : place + 1]).argmax(1)
        slopes = torch.autograd.grad(nn.functional.cross_entropy(model(own), likeliest), list(model.parameters()))
        update = {name: -slope for (name, _), slope in zip(model.named_parameters(), slopes, strict=True)}
        if not any(part.any() for part in update.values()):
            continue
        view = View(model, update, Space((1, 3, 4), 5), count=1, recipe=Recipe(lr=1.0), public=public)
        assert by_counts(view).tolist() == likeliest.tolist()
