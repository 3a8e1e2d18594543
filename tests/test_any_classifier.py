"""Classifiers of every make: convolutions as classifiers, attention, dropout, recurrent layers, adapters, tied weights."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.attacks import Attack, Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.engine.side_by_side import side_by_side
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.attacks.label_sign import LabelSign
from seethrough.attacks.labels.bias_slopes import output_error
from seethrough.attacks.labels.classifier_gradient import observed_classifier
from seethrough.attacks.labels.played import play
from seethrough.attacks.labels.rules import by_counts, by_minimum, by_sign
from seethrough.attacks.layerwise_cosine import LayerwiseCosine
from seethrough.attacks.parts.played_model import played_model
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model, public_batch
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.models._base import Normalized
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.defenses import Batch, Defense, NoDefense, NotApplicableError
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe
from seethrough.reports.row import Score

SHAPE, CLASSES = (1, 8, 8), 10
SEARCHES = [InvertingGradients(steps=3, restarts=2), GradInversion(steps=3), DLG(steps=2), LayerwiseCosine(steps=2)]
DP = DPSGD(noise_multiplier=0.5, max_grad_norm=1.0)


def squeezed(shape, classes):
    """As SqueezeNet ends: a 1x1 convolution, a ReLU, and only then the mean over places."""
    body = nn.Conv2d(shape[0], 16, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(inplace=True)
    head = nn.Dropout(0.5), nn.Conv2d(32, classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, *head)


def pooled_after(shape, classes):
    body = nn.Conv2d(shape[0], 16, 3, 2, 1), nn.ReLU(inplace=True)
    return nn.Sequential(*body, nn.Conv2d(16, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def pooled_before(shape, classes):
    body = nn.Conv2d(shape[0], 16, 3, 2, 1), nn.ReLU(inplace=True)
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))


class ViT(nn.Module):
    def __init__(self, shape: tuple[int, int, int], classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 32, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 32))
        self.places = nn.Parameter(0.1 * torch.randn(1, 1 + shape[1] * shape[2] // 16, 32))
        self.body = nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True, norm_first=True)
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, classes))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(patches), -1, -1), patches], dim=1) + self.places
        return self.head(self.body(tokens)[:, 0])


def vit(shape, classes):
    return ViT(shape, classes)


def vit_with_dropout(shape, classes):
    return ViT(shape, classes, dropout=0.2)


def torchvision_vit(shape, classes):
    from torchvision.models import VisionTransformer

    net = VisionTransformer(shape[1], 4, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=64, num_classes=classes)
    nn.init.normal_(net.heads.head.weight, std=0.1)
    return nn.Sequential(nn.Conv2d(shape[0], 3, 1), net)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.rows = kind(shape[0] * shape[2], 16, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.rows(images.transpose(1, 2).flatten(2))[0][:, -1])


def lstm(shape, classes):
    return Recurrent(nn.LSTM, shape, classes)


def gru(shape, classes):
    return Recurrent(nn.GRU, shape, classes)


class Branching(nn.Module):
    """A linear model that looks at numbers on its way."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(shape), classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) if bool(images.detach().mean() > -1) else images.flatten(1)


def branching(shape, classes):
    return Branching(shape, classes)


class Dropped(nn.Module):
    """Dropout by a function, that no module tells of, or by a layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int, function: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(math.prod(shape), 64), nn.Linear(64, classes)
        self.layer, self.function = nn.Dropout(0.0 if function else 0.5), function

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images.flatten(1)).relu()
        return self.head(F.dropout(features, 0.5, self.training) if self.function else self.layer(features))


def dropout_layer(shape, classes):
    return Dropped(shape, classes, function=False)


def dropout_function(shape, classes):
    return Dropped(shape, classes, function=True)


def stochastic_depth(shape, classes):
    from torchvision.ops import StochasticDepth

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes), StochasticDepth(0.3, "row"))


def instance_norm(shape, classes):
    norm = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    body = nn.Conv2d(shape[0], 8, 3, 2, 1), norm, nn.ReLU(inplace=True), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(8 * (shape[1] // 2) * (shape[2] // 2), classes))


class Tied(nn.Module):
    """The classifier's weight is that of a hidden layer too."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.first, self.hidden = nn.Linear(math.prod(shape), classes), nn.Linear(classes, classes)
        self.head = nn.Linear(classes, classes)
        self.head.weight = self.hidden.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(self.first(images.flatten(1)).relu()).relu())


def tied(shape, classes):
    return Tied(shape, classes)


def shared_layer(shape, classes):
    again = nn.Linear(32, 32)
    body = nn.Flatten(), nn.Linear(math.prod(shape), 32), again, nn.ReLU(), again
    return nn.Sequential(*body, nn.Linear(32, classes))


class Adapter(nn.Module):
    """A frozen linear layer with a low-rank part that trains."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(inside, outside).requires_grad_(False)
        self.down, self.up = nn.Linear(inside, 4, bias=False), nn.Linear(4, outside, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.frozen(inputs) + self.up(self.down(inputs))


def adapted(shape, classes):
    return nn.Sequential(nn.Flatten(), Adapter(math.prod(shape), 64), nn.ReLU(), nn.Linear(64, classes))


def adapted_with_a_frozen_head(shape, classes):
    model = adapted(shape, classes)
    model[3].requires_grad_(False)
    return model


def without_bias(shape, classes):
    body = nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU()
    return nn.Sequential(*body, nn.Linear(32, classes, bias=False))


def only_biases(shape, classes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU(), nn.Linear(32, classes))
    model[1].weight.requires_grad_(False)
    model[3].weight.requires_grad_(False)
    return model


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs


def with_a_temperature(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes), Scaled(5.0))


def log_softmax(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes), nn.LogSoftmax(1))


def squeezenet(shape, classes):
    """torchvision's SqueezeNet 1.1 with the features that it learned from ImageNet, and a new classifier."""
    from torchvision.models import squeezenet1_1

    from tests.conftest import SHARED

    model = squeezenet1_1(num_classes=classes)
    path = SHARED / "torch_home/hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
    learned = torch.load(path, weights_only=True)
    model.load_state_dict({name: part for name, part in learned.items() if name.startswith("features")}, strict=False)
    return Normalized(model, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def setting_of(name: str, batch_size: int = 2, mode: str = "eval", **others: object) -> Setting:
    fields = {"name": name, "data": {"digits": {"size": 8}}, "model": f"tests.test_any_classifier:{name}", "mode": mode}
    return Setting.model_validate_json(json.dumps({**fields, "batch_size": batch_size, **others}))


def scored(setting: Setting, attack: Attack, defense: Defense | None = None, trial: int = 0) -> Score:
    metric = PSNR() if attack.recovers_images else LabelAccuracy()
    case = Case(0, trial, setting, ThreatModel(name="t"), defense or NoDefense(), attack, (metric,))
    (score,) = run_trial(case, torch.device("cpu")).scores
    return score


def view_of(name: str, labels: list[int], recipe: Recipe = Recipe()) -> tuple[View, Batch]:  # noqa: B008
    torch.manual_seed(0)
    model = globals()[name](SHAPE, CLASSES).eval()
    batch = Batch(torch.rand(len(labels), *SHAPE, generator=torch.Generator().manual_seed(1)), torch.tensor(labels))
    step = local_update(model, batch, recipe, mean_gradient, torch.Generator()).step
    return View(model, step, Space(SHAPE, CLASSES), count=len(labels), recipe=recipe), batch


SEARCHED = [
    *(("eval", name) for name in ("squeezed", "pooled_after", "vit", "torchvision_vit", "lstm", "gru", "branching")),
    *(("eval", name) for name in ("tied", "adapted", "adapted_with_a_frozen_head", "without_bias", "only_biases")),
    *(("train", name) for name in ("squeezed", "vit_with_dropout", "dropout_layer", "dropout_function")),
    *(("train", name) for name in ("instance_norm", "stochastic_depth")),
]


@pytest.mark.parametrize("attack", SEARCHES, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize(("mode", "name"), SEARCHED)
def test_every_search_runs_on_every_classifier_and_its_number_stands_beside_a_floor(mode, name, attack):
    score = scored(setting_of(name, mode=mode), attack)
    assert score.status == "ok", score.note
    assert score.value is not None and math.isfinite(score.value)
    assert score.guesses and score.decoy is not None


@pytest.mark.parametrize("name", ["squeezed", "vit", "tied", "adapted_with_a_frozen_head", "without_bias", "branching"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_played_client_sends_what_a_client_sends(name, steps):
    view, batch = view_of(name, [3, 5], Recipe(steps=steps, lr=0.1))
    played = simulated_client(view)(batch.inputs, batch.labels)
    assert played.keys() == view.update.keys()
    assert all(torch.allclose(played[key], part, atol=1e-6) for key, part in view.update.items())


@pytest.mark.parametrize("rule", [by_sign, by_minimum, by_counts])
@pytest.mark.parametrize("name", ["pooled_after", "without_bias", "with_a_temperature", "log_softmax"])
def test_rules_read_classifiers_that_are_no_plain_linear_layer(name, rule):
    view, _ = view_of(name, [2, 4, 7])
    assert rule(view).tolist() == [2, 4, 7]


def test_a_convolution_before_pooling_is_read_as_the_linear_layer_after_it():
    view, batch = view_of("pooled_after", [2, 2, 7])
    twin = pooled_before(SHAPE, CLASSES).eval()
    with torch.no_grad():
        for parameter, own in zip(twin.parameters(), view.model.parameters(), strict=True):
            parameter.copy_(own.reshape(parameter.shape))
    step = local_update(twin, batch, Recipe(), mean_gradient, torch.Generator()).step
    found, wanted = (
        observed_classifier(each) for each in (view, View(twin, step, view.space, count=3, recipe=Recipe()))
    )
    assert (found.name, wanted.name) == ("2", "4") and found.linear and found.alone and found.exact_rows
    for kind in ("weight", "bias", "weight_slopes", "bias_slopes"):
        assert torch.allclose(getattr(found, kind), getattr(wanted, kind), atol=1e-6), kind


@pytest.mark.parametrize("name", ["pooled_after", "with_a_temperature", "log_softmax", "tied", "only_biases"])
def test_what_is_read_of_the_bias_is_softmax_minus_one_hot(name):
    view, batch = view_of(name, [6])
    with torch.no_grad():
        wanted = view.model(batch.inputs).softmax(1) - F.one_hot(batch.labels, CLASSES)
    found = output_error(view)
    assert found is not None and torch.allclose(found, wanted, atol=1e-5)


def test_outputs_that_are_cut_off_tell_signs_and_nothing_else():
    view, _ = view_of("squeezed", [1, 8])
    found = observed_classifier(view)
    assert not found.linear and found.signed_rows and output_error(view) is None
    absent = torch.ones(CLASSES, dtype=torch.bool).index_fill(0, torch.tensor([1, 8]), False)
    assert (found.bias_slopes[absent] >= 0).all() and (found.row_minima()[absent] >= 0).all()


def test_a_class_whose_outputs_are_all_cut_off_is_not_named_by_signs_but_found_among_those_that_are():
    view, batch = view_of("squeezed", [4])
    with torch.no_grad():
        view.model[5].bias[[4, 6]] = -9.0
        view.model[5].bias[[0, 1, 2, 3, 5, 7, 8, 9]] = 1.0
    step = local_update(view.model, batch, Recipe(), mean_gradient, torch.Generator()).step
    hidden = View(view.model, step, view.space, count=1, recipe=Recipe())
    for rule in (by_sign, by_minimum):
        with pytest.raises(NotApplicableError, match="leaves 0 classes pulled down by 1 example"):
            rule(hidden)
    assert int(by_counts(hidden)) in (4, 6)
    assert play(hidden).absent.nonzero().flatten().tolist() == [0, 1, 2, 3, 5, 7, 8, 9]


def test_a_hidden_layer_of_as_many_outputs_is_not_taken_for_the_classifier():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES), nn.ReLU(), nn.Linear(CLASSES, CLASSES, bias=False))
    model[3].requires_grad_(False)
    batch = Batch(torch.rand(2, *SHAPE), torch.tensor([0, 3]))
    step = local_update(model, batch, Recipe(), mean_gradient, torch.Generator()).step
    view = View(model, step, Space(SHAPE, CLASSES), count=2, recipe=Recipe())
    with pytest.raises(NotApplicableError, match="not the logits"):
        by_sign(view)


@pytest.mark.parametrize("name", ["squeezed", "adapted_with_a_frozen_head"])
@pytest.mark.parametrize("local", [{"lr": 0.1}, {"steps": 2, "batch_size": 2, "lr": 0.1}])
def test_labels_that_no_rule_reads_are_found_by_plays_better_than_by_any_guess(name, local):
    setting = setting_of(name, 4, labels="random", local=local)
    scores = [scored(setting, LabelCounts(), trial=trial) for trial in range(4)]
    guesses = [max(sum(each) / 4 for each in zip(*([guess.value for guess in s.guesses] for s in scores), strict=True))]
    assert sum(score.value or 0.0 for score in scores) / 4 > guesses[0] + 0.15


def test_a_frozen_head_is_named_by_the_rules_that_need_its_gradient():
    for attack in (LabelSign(), LabelMinimum()):
        with pytest.raises(NotApplicableError, match="classifier \\(`3`\\) does not train"):
            scored(setting_of("adapted_with_a_frozen_head"), attack)


def test_a_tied_weight_is_sent_once_and_its_labels_are_read_off_the_bias():
    """They were read off the weight too, whose gradient is that of both layers, and were all wrong."""
    view, _ = view_of("tied", [2, 2, 7])
    assert set(view.update) == {"first.weight", "first.bias", "hidden.weight", "hidden.bias", "head.bias"}
    assert by_counts(view).tolist() == [2, 2, 7] and not observed_classifier(view).exact_rows
    with pytest.raises(NotApplicableError, match="`hidden\\.weight`"):
        by_minimum(view)


@pytest.mark.parametrize("name", ["tied", "shared_layer", "vit", "squeezed", "instance_norm"])
def test_single_examples_gradients_add_up_to_the_batchs(name):
    """Of tied weights, DP-SGD sent the gradient of their first use alone."""
    view, batch = view_of(name, [1, 2, 3])
    model = view.model.train(name == "instance_norm")
    rng = torch.Generator().manual_seed(0)
    private = DPSGD(noise_multiplier=0.0, max_grad_norm=1e6).train(mean_gradient)(model, batch, rng)
    plain = mean_gradient(model, batch, rng)
    assert private.keys() == plain.keys()
    assert all(torch.allclose(private[key], part, atol=1e-5) for key, part in plain.items())


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("lstm", "eval", "recurrent layer `rows`"),
        ("gru", "eval", "recurrent layer `rows`"),
        ("branching", "eval", "torch.func"),
        ("dropout_function", "train", "random operation"),
        ("dropout_layer", "train", "dropout layer `layer`"),
    ],
)
def test_dp_sgd_says_which_models_it_cannot_take(name, mode, words):
    with pytest.raises(NotApplicableError, match="per-sample gradients") as caught:
        scored(setting_of(name, mode=mode), SEARCHES[0], DP)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["dropout_layer", "dropout_function", "vit_with_dropout", "stochastic_depth"])
def test_the_attacker_plays_the_mean_of_what_chance_does(name):
    model = globals()[name](SHAPE, CLASSES).train()
    images = torch.rand(2, *SHAPE)
    played, again = (played_model(model)(images) for _ in range(2))
    assert torch.equal(played, again)
    assert torch.allclose(played, played_model(model.eval())(images), atol=1e-6)


@pytest.mark.parametrize("name", ["dropout_layer", "vit_with_dropout"])
def test_what_dropout_draws_does_not_depend_on_what_else_the_process_has_drawn(name):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(scored(setting_of(name, mode="train"), InvertingGradients(steps=2)).value)
    assert found[0] == found[1]


def test_restarts_of_a_model_without_a_batched_form_are_what_they_are_alone():
    view, batch = view_of("branching", [1, 2])
    calls = []

    def loss(images: Tensor) -> Tensor:
        calls.append(len(images))
        return torch.stack(
            [part.square().sum() for part in simulated_client(view)(images, batch.labels).values()]
        ).sum()

    together = side_by_side(loss)
    starts = torch.rand(3, 2, *SHAPE)
    for _ in range(2):
        assert torch.allclose(together((starts,)), torch.stack([loss(images) for images in starts]))
    assert calls == [2] * (1 + 3 + 3 + 3 + 3)  # tried once as a batch, and never again


def test_a_mistake_in_an_objective_is_not_hidden_by_trying_it_again():
    def wrong(images: Tensor) -> Tensor:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        side_by_side(wrong)((torch.rand(2, 3),))


def in_bytes(shape, classes):
    """A network for pixels in [0, 255], that has its normalization as a layer of its own."""
    body = nn.BatchNorm2d(shape[0]), nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU()
    return nn.Sequential(Scaled(255.0), *body, nn.Linear(32, classes))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_channels_and_no_square_are_audited_by_a_model_of_another_range(tmp_path, channels):
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (400, 12, 8, channels), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(400) % 4)
    setting = setting_of("in_bytes", data={"npz": {"file": str(tmp_path / "images.npz")}})
    case = Case(0, 0, setting, ThreatModel(name="t"), NoDefense(), GradInversion(steps=3), (PSNR(), SSIM()))
    outcome = run_trial(case, torch.device("cpu"))
    assert [score.status for score in outcome.scores] == ["ok", "ok"]
    assert outcome.pictures is not None and len(outcome.pictures.found) == 2
    assert scored(setting, LabelCounts()).value == 1.0


def test_real_squeezenet_gives_labels_away_beyond_any_guess(shared_data):
    """At 32 pixels one place is left before its pooling, so that a ReLU hides every second class: signs do not name them."""
    if not (shared_data.parent / "torch_home").is_dir():
        pytest.skip("needs ../shared/torch_home")
    setting = setting_of("squeezenet", 1, data={"npz": {"file": str(shared_data / "cifar10_train2000.npz")}})
    model, public, right = broadcast_model(setting, 0, 0), public_batch(setting, 0), 0
    for trial in range(3):
        batch = draw_batches(setting, 0, trial, clients=1, same_labels=False).victim
        step = local_update(model, batch, setting.local, mean_gradient, torch.Generator()).step
        facts = {"count": 1, "recipe": setting.local, "public": public, "defense": NoDefense()}
        right += by_counts(View(model, step, setting.data.load().space, **facts)).tolist() == batch.labels.tolist()
    assert right >= 2, "of three images of ten classes"
