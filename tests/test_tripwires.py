"""Malicious models isolate examples as published, the tripwires find them, and honest ones pass."""

import copy
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.attacks import Space
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.cnn import CNN
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.audit.recordings.write import record
from seethrough.audit.tripwires.activations import alike_units, dead_share, lonely_share, rectified
from seethrough.audit.tripwires.checks import CHECKS, checked
from seethrough.audit.tripwires.classifier import classifier_of, favored_class, outstanding_row, single_feature
from seethrough.audit.tripwires.gradients import disaggregation, gradients_of, owned_share, signal_to_noise, zero_share
from seethrough.audit.tripwires.probe import BATCH, Probe, probe
from seethrough.audit.tripwires.rows import mirrored_rows, proportional_rows
from seethrough.audit.tripwires.thresholds import HONEST, threshold
from seethrough.defenses import Batch
from tests.malicious import fishing, imprint, traps
from tests.malicious.client import exact, slopes
from tests.test_cli import typed

SPACE = Space((1, 28, 28), 10)
PIXELS = 784
MINE = slice(0, 64)  # the client's images
THEIRS = slice(200, 1200)  # what the server has of the same kind


def digits(part: slice) -> Batch:
    return Digits().load().batch(torch.arange(1797)[part])


def mlp(*hidden: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((PIXELS, *hidden), hidden, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10))


def tripped(model: nn.Module, inputs: Tensor | None = None) -> set[str]:
    return {wire.name for wire in checked(model, digits(MINE).inputs if inputs is None else inputs, 10) if wire.tripped}


def probed(model: nn.Module, inputs: Tensor | None = None) -> Probe:
    found = probe(model, digits(MINE).inputs if inputs is None else inputs, 10)
    assert found is not None
    return found


# the malicious models do what they are published for


@pytest.mark.parametrize("measurement", ["brightness", "projection"])
@pytest.mark.parametrize(("noise", "scaled"), [(0, False), (0.01, False), (0, True)])
def test_an_imprint_module_gives_most_images_of_a_batch_away_exactly(measurement, noise, scaled):
    batch = digits(slice(0, 64))
    model = imprint.imprinted(ConvNet(width=4).build(SPACE), digits(THEIRS).inputs, 400, measurement, noise, scaled)
    assert exact(imprint.taken(model, slopes(model, batch)), batch.inputs) >= 40


def test_pairs_of_bins_give_images_away_too_and_are_found():
    batch, model = digits(slice(0, 64)), imprint.paired(mlp(32), digits(THEIRS).inputs, 150, held=1 / 64)
    assert exact(imprint.taken(model, slopes(model, batch)), batch.inputs) >= 30
    assert "proportional rows" in tripped(model)


def test_traps_give_twice_as_many_images_away_as_an_honest_layer_of_the_same_width():
    batch, model = digits(slice(0, 64)), traps.trapped_mlp(PIXELS, 400, 10, factor=0.9)
    found, honest = slopes(model, batch), slopes(mlp(400), batch)
    few = exact(traps.taken(*first_layer(honest)), batch.inputs)
    assert exact(traps.taken(*first_layer(found)), batch.inputs) >= 2 * few > 0


def test_traps_behind_convolutions_that_pass_the_image_on_do_the_same():
    batch, model = digits(slice(0, 64)), traps.trapped_cnn(SPACE.shape, 400, 10, factor=0.9)
    found = slopes(model, batch)
    images = traps.taken(found["5.weight"], found["5.bias"])[:, :PIXELS]
    assert exact(images, batch.inputs) >= 20


def test_traps_by_biases_alone_do_the_same():
    batch, model = digits(slice(0, 64)), mlp(400)
    traps.set_quantile_traps(model[1], digits(THEIRS).inputs.flatten(1), passing=1 / 64)
    assert exact(traps.taken(*first_layer(slopes(model, batch))), batch.inputs) >= 40


def test_fishing_for_a_class_leaves_its_only_example_in_the_layers_below():
    every = digits(slice(0, 200))
    chosen = torch.cat([(every.labels != 3).nonzero()[:63, 0], (every.labels == 3).nonzero()[:1, 0]])
    batch, model = Batch(every.inputs[chosen], every.labels[chosen]), mlp(64)
    assert exact(traps.taken(*first_layer(slopes(model, batch))), batch.inputs[-1:]) == 0
    fishing.fish_for_class(model[-1], target=3, lead=1000)
    assert exact(traps.taken(*first_layer(slopes(model, batch))), batch.inputs[-1:]) == 1


def test_fishing_for_a_feature_leaves_one_example_of_a_batch_of_one_class():
    every = digits(slice(0, 300))
    batch = Batch(every.inputs[every.labels == 3][:16], every.labels[every.labels == 3][:16])
    model = mlp(64)
    features = fishing.features_of(model, batch.inputs)
    feature = int((features > 0).all(dim=0).nonzero()[0])
    lowest = features[:, feature].sort().values
    fishing.fish_for_feature(model[-1], 3, feature, float(lowest[:2].mean()), sharpness=1e5)
    found = traps.taken(*first_layer(slopes(model, batch)))
    assert exact(found, batch.inputs[features[:, feature] == lowest[0]]) == 1


def first_layer(found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return found["1.weight"], found["1.bias"]


# the tripwires find them


@pytest.mark.parametrize("bins", [16, 400])
@pytest.mark.parametrize("measurement", ["brightness", "projection"])
@pytest.mark.parametrize("noise", [0, 0.3])
def test_imprint_modules_are_found(bins, measurement, noise):
    model = imprint.imprinted(
        ConvNet(width=4).build(SPACE), digits(THEIRS).inputs, bins, measurement, noise, scaled=True
    )
    assert "proportional rows" in tripped(model)


@pytest.mark.parametrize("measurement", ["brightness", "projection"])
def test_bins_are_found_by_what_units_do_even_where_no_rows_are_proportional(measurement):
    model = imprint.imprinted(mlp(32), digits(THEIRS).inputs, 400, measurement, noise=0.05)
    with torch.no_grad():
        model.spread.weight.add_(torch.randn_like(model.spread.weight), alpha=1e-3)
    assert "units alike" in tripped(model)


@pytest.mark.parametrize("factor", [0.8, 0.9, 0.99])
def test_traps_are_found(factor):
    assert "mirrored rows" in tripped(traps.trapped_mlp(PIXELS, 400, 10, factor))
    assert "mirrored rows" in tripped(traps.trapped_cnn(SPACE.shape, 100, 10, factor))


def test_traps_by_biases_alone_are_found():
    model = mlp(400)
    traps.set_quantile_traps(model[1], digits(THEIRS).inputs.flatten(1), passing=1 / 64)
    assert {"lonely units", "rows of one example"} <= tripped(model)


def test_fishing_is_found():
    for_class, for_feature = mlp(256, 64), mlp(256, 64)
    fishing.fish_for_class(for_class[-1], target=3, lead=1000)
    fishing.fish_for_feature(for_feature[-1], target=3, feature=5, cut=0.1, sharpness=1e5)
    assert {"favored class", "outstanding row"} <= tripped(for_class)
    assert {"outstanding row", "single feature"} <= tripped(for_feature)


def test_gradient_suppression_is_found():
    model = mlp(64)
    with torch.no_grad():
        model[1].bias.fill_(-1e3)
    assert {"dead units", "zero gradient"} <= tripped(model)


@pytest.mark.parametrize("architecture", [CNN(width=8), ConvNet(width=8, batchnorm=True), LeNet(), ResNet20()])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_honest_models_pass(architecture, mode):
    torch.manual_seed(1)
    assert not tripped(architecture.build(SPACE).train(mode == "train"))


# what is measured is what it says


def test_norms_of_examples_are_those_of_their_own_gradients_and_add_up_to_the_batchs():
    found = probed(mlp(32, 16))
    first, batch = gradients_of(found)[0], found.batches()[0]
    for number in (0, BATCH - 1):
        own = slopes(found.model, Batch(batch.inputs[number : number + 1], batch.labels[number : number + 1]))
        assert first.whole[number].item() == pytest.approx(
            sum(float(each.square().sum()) for each in own.values()), 1e-4
        )
        assert first.rows["1.weight"][number].numpy() == pytest.approx(
            own["1.weight"].square().sum(dim=1).numpy(), 1e-3
        )
    whole = slopes(found.model, batch)
    zero = sum(int((each == 0).sum()) for each in whole.values()) / sum(each.numel() for each in whole.values())
    assert first.zero == pytest.approx(zero, abs=1e-3)
    assert zero_share([first, first]) == pytest.approx(first.zero)


def test_a_signal_to_noise_ratio_is_of_the_largest_against_all_others():
    squares = torch.tensor([[9.0, 4.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    assert signal_to_noise(squares).tolist() == [1.5, float("inf"), 0.0]


def test_units_are_counted_as_they_are_passed():
    layer = torch.full((2 * BATCH, 10), 1.0)
    layer[:, 0] = -1  # dead
    layer[1:BATCH, 1] = layer[BATCH + 1 :, 1] = -1  # one image of each batch
    layer[:BATCH, 2] = layer[BATCH + 1 :, 2] = 0  # one of the second
    assert dead_share([layer]) == 0.1
    assert lonely_share([layer]) == pytest.approx((1 / 8 + 2 / 9) / 2)
    assert alike_units([layer]) == 0


def test_units_alike_may_be_of_either_sign_and_scale():
    torch.manual_seed(0)
    layer = torch.randn(64, 12)
    layer[:, 3], layer[:, 4], layer[:, 6] = 2 * layer[:, 0] + 0.1, -layer[:, 0], layer[:, 5]
    assert alike_units([layer]) == 5


def test_rectifiers_are_seen_as_functions_and_as_modules_in_place_or_not():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
            self.six = nn.ReLU6(inplace=True)

        def forward(self, images):
            maps = F.relu(self.conv(images), inplace=True).amax(dim=(2, 3))
            return self.linear(self.six(maps - 1).clamp(min=0.1).relu() + maps.clamp_min(0))

    layers = rectified(probed(Net()))
    assert [tuple(each.shape) for each in layers] == [(64, 8)] * 4
    assert torch.allclose(layers[1] + 1, layers[0].clamp(min=0), atol=1e-6)


def test_proportional_rows_are_counted_with_either_sign_and_without_zeros():
    model = nn.Linear(20, 6)
    assert proportional_rows(model) == 0
    with torch.no_grad():
        model.weight[1], model.weight[2], model.weight[3:5] = 3 * model.weight[0], -model.weight[0], 0
    assert proportional_rows(model) == 3
    assert proportional_rows(nn.Linear(2, 100)) == 0


def test_mirrored_rows_are_counted_and_random_ones_are_not():
    model = nn.Linear(400, 20)
    assert mirrored_rows(model) == 0
    traps.set_traps(model, factor=0.9)
    assert mirrored_rows(model) == 20
    traps.set_traps(model, factor=0.9, mirrored=False)
    assert mirrored_rows(model) == 0


def test_the_classifier_is_the_last_layer_with_an_output_a_class():
    assert classifier_of(mlp(10, 10), 10).name == "5.weight"
    assert classifier_of(nn.Sequential(nn.Conv2d(1, 10, 1), nn.Flatten()), 10).name == "0.weight"
    assert classifier_of(mlp(16), 3) is None


def test_a_favored_class_is_one_whose_examples_alone_move_the_features():
    model = mlp(16)
    found, classifier = probed(model), classifier_of(model, 10)
    norms = torch.zeros(10)
    for label in range(10):
        for image in found.inputs:
            features = model[:-1](image[None]).detach().requires_grad_()
            F.cross_entropy(model[-1](features), torch.tensor([label])).backward()
            norms[label] += features.grad.norm()
    first, second = norms.topk(2).values.tolist()
    assert favored_class(found, classifier) == pytest.approx(first / second, 1e-3)
    with torch.no_grad():
        model[-1].weight.copy_(torch.eye(10, 16) * torch.tensor([4.0] + [1.0] * 9)[:, None])
    assert outstanding_row(classifier_of(model, 10)) == 4
    assert single_feature(classifier_of(model, 10)) == 1


def test_rows_of_one_example_leave_the_classifier_out():
    found = gradients_of(probed(mlp(16)))
    assert owned_share(found, "3.weight") == owned_share([copy.copy(each) for each in found], "3.weight")
    assert disaggregation(found) > 0


def test_labels_do_not_matter_to_a_model_that_fits_them():
    torch.manual_seed(0)
    batch, model = digits(MINE), mlp(64)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(batch.inputs), batch.labels).backward()
        optimizer.step()
    found = probed(model, batch.inputs)
    fitted = Probe(found.model, found.inputs, batch.labels, 10)
    assert disaggregation(gradients_of(fitted)) > 2 * disaggregation(gradients_of(found))
    assert not tripped(model)


def test_thresholds_are_twice_the_ratio_or_the_odds_of_the_largest_honest_one():
    assert (
        threshold("ratio", 0.5) == 1
        and threshold("ratio", 1.5) == threshold("count", 1.5) == 3
        and threshold("count", 0) == 2
    )
    assert threshold("share", 0.2) == pytest.approx(1 / 3) and threshold("share", 1) == 1
    assert set(HONEST) == {check.name for check in CHECKS}


def test_the_page_has_the_thresholds_in_use():
    page = (Path(__file__).parents[1] / "docs" / "tripwires.md").read_text()
    told = dict(re.findall(r"^\| ([a-z ]+) \| [\d.]+(?: %)? \| ([\d.]+(?: %)?) \|$", page, flags=re.MULTILINE))
    known = {check.name: (check.kind, threshold(check.kind, HONEST[check.name])) for check in CHECKS}
    assert told == {
        name: f"{limit:.1%}".replace("%", " %") if kind == "share" else f"{limit:.3g}"
        for name, (kind, limit) in known.items()
    }


def test_what_cannot_be_measured_says_why():
    few = {wire.name: wire for wire in checked(mlp(16), digits(slice(0, 8)).inputs, 10)}
    assert few["lonely units"].unchecked and few["lonely units"].sentence.endswith("there are 8")
    assert few["proportional rows"].measured == 0
    smooth = {wire.name: wire for wire in checked(LeNet().build(SPACE), digits(MINE).inputs, 10)}
    assert not smooth["dead units"].applies and not smooth["dead units"].tripped
    broken = mlp(16)
    with pytest.raises(ValueError, match="none of its parameters trains"):
        checked(copy.deepcopy(broken).requires_grad_(False), digits(MINE).inputs, 10)
    nn.init.constant_(broken[-1].bias, float("nan"))
    with pytest.raises(ValueError, match="numbers that are not finite"):
        checked(broken, digits(MINE).inputs, 10)

    class Root(nn.Linear):
        def forward(self, images):
            return (0 * super().forward(images.flatten(1))).sqrt()

    with pytest.raises(ValueError, match="its gradient is not finite"):
        checked(Root(PIXELS, 10), digits(MINE).inputs, 10)


# as a command


def recorded(place: Path, model: nn.Module, **facts: object) -> Path:
    """A recording of a client that moved every weight of `model` a little."""
    moved = {name: value + 0.01 for name, value in model.state_dict().items()}
    known = {"examples": 8, "recipe": {"lr": 0.1}, "shape": SPACE.shape, "classes": 10}
    return record(place, model.state_dict(), moved, **{**known, **facts})


def convnet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return ConvNet().build(SPACE)


def answered(source: str, *options: str, cwd: Path) -> subprocess.CompletedProcess:
    return typed("tripwires", str(cwd / source), *options, cwd=cwd)


def test_an_honest_model_of_several_clients_passes(tmp_path):
    recorded(tmp_path / "rec/a", convnet(), client="a", truth=(digits(MINE).inputs[:8], digits(MINE).labels[:8]))
    recorded(tmp_path / "rec/b", convnet(), client="b")
    said = answered("rec", "--data", "digits", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "all 2 clients of a round were sent the same model" in said.stdout
    assert "8 images of the client's and" in said.stdout and said.stdout.count("weights of SHA-256") == 1
    assert "No trap found by 13 checks; this is no proof that there is none." in said.stdout


def test_different_models_in_one_round_are_a_trap_and_each_is_checked(tmp_path):
    recorded(tmp_path / "rec/a", convnet(), client="a")
    recorded(tmp_path / "rec/b", convnet(1), client="b")
    said = answered("rec", cwd=tmp_path)
    assert said.returncode == 3, said.stdout + said.stderr
    assert "2 clients of a round were sent 2 different models" in said.stdout
    assert said.stdout.count("SHA-256") == 2 and "random images" in said.stdout
    assert "Tripped: same model for all. Do not train on it before you know why." in said.stdout


def test_the_same_model_is_known_by_other_names_and_in_another_type(tmp_path):
    recorded(tmp_path / "rec/a", convnet(), client="a")
    moved = [value.double() + 0.01 for value in convnet().state_dict().values()]
    known = {"examples": 8, "recipe": {"lr": 0.1}, "shape": SPACE.shape, "classes": 10}
    record(tmp_path / "rec/b", [part - 0.01 for part in moved], moved, client="b", **known)
    said = answered("rec", "--model", "convnet", cwd=tmp_path)
    assert said.returncode == 0 and "were sent the same model" in said.stdout, said.stdout + said.stderr


def test_another_model_in_another_round_is_none(tmp_path):
    recorded(tmp_path / "rec/1", convnet(), round=1)
    recorded(tmp_path / "rec/2", convnet(1), round=2)
    said = answered("rec", "--model", "convnet", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "one client alone: compare the SHA-256" in said.stdout


def test_a_spec_with_a_recording_is_checked_on_its_data_and_a_trap_is_named(tmp_path):
    model = convnet()
    fishing.fish_for_class(model[-1], target=3, lead=1000)
    recorded(tmp_path / "rec", model)
    assert typed("new", "--recording", str(tmp_path / "rec"), "spec.yaml", cwd=tmp_path).returncode == 0
    said = answered("spec.yaml", cwd=tmp_path)
    assert said.returncode == 3, said.stdout + said.stderr
    assert said.stdout.splitlines()[-1].startswith("Tripped: favored class, outstanding row")


def test_a_model_whose_gradient_is_suppressed_is_checked_though_its_update_is_zero(tmp_path):
    model = convnet()
    with torch.no_grad():
        for layer in (model[0], model[2], model[4]):
            layer.bias.fill_(-1e3)
    record(tmp_path / "rec", model.state_dict(), model.state_dict(), examples=8, shape=SPACE.shape, classes=10)
    said = answered("rec", cwd=tmp_path)
    assert said.returncode == 3 and "dead units" in said.stdout.splitlines()[-1], said.stdout + said.stderr


def test_a_model_that_was_not_recorded_is_checked_from_its_weights_file(tmp_path):
    torch.save(convnet().state_dict(), tmp_path / "received.pt")
    (tmp_path / "spec.yaml").write_text("""
name: received
trials: 1
settings: [{name: mine, data: digits, model: convnet, weights: {file: received.pt}, batch_size: 8}]
threats: [{name: server}]
defenses: [none]
attacks: [label_counts]
metrics: [label_accuracy]
""")
    said = answered("spec.yaml", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "checked on 719 images that clients draw from" in said.stdout


def test_what_could_not_be_checked_is_neither_yes_nor_no(tmp_path):
    recorded(tmp_path / "rec", convnet(), shape=None, classes=None)
    few = digits(MINE)
    pixels = (255 * few.inputs[:20, 0]).round().to(torch.uint8).numpy()
    np.savez(tmp_path / "few.npz", images=pixels, labels=few.labels[:20].numpy())
    said = answered("rec", "--model", "convnet", "--data", "{npz: few.npz}", cwd=tmp_path)
    assert said.returncode == 4, said.stdout + said.stderr
    assert "; not checked: dead units" in said.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "nowhere"),
        (("rec",), "allowed: with --model"),
        (("rec", "--model", "lenet"), "before.safetensors: found"),
        (("rec", "--model", "no_such"), "no_such"),
        (("rec", "--model", "{convnet: {width: 4}}", "--data", "{npz: none.npz}"), "none.npz"),
        (("spec.yaml", "--model", "lenet"), "allowed: these with a folder only"),
        (("empty",), "found no recording.json"),
        (("rec", "--model", "{convnet: {width: 4}}", "--data", "{digits: {size: 8}}"), "allowed: [1, 28, 28]"),
        (("infinite", "--model", "{convnet: {width: 4}}"), "it returns numbers that are not finite"),
    ],
)
def test_bad_input_is_answered_with_one_sentence(arguments, words, tmp_path):
    torch.manual_seed(0)
    recorded(tmp_path / "rec", ConvNet(width=4).build(SPACE))
    huge = ConvNet(width=4).build(SPACE)
    huge.load_state_dict({name: value * 1e30 for name, value in huge.state_dict().items()})
    recorded(tmp_path / "infinite", huge)
    (tmp_path / "spec.yaml").touch()
    (tmp_path / "empty").mkdir()
    said = answered(*arguments, cwd=tmp_path)
    assert said.returncode == 2 and words in said.stderr, said.stdout + said.stderr
    assert len(said.stderr.strip().splitlines()) == 1 and "Traceback" not in said.stderr
