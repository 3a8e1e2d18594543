"""Architectures and their weights."""

from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from seethrough.attacks import Space
from seethrough.audit.data.npz import Npz
from seethrough.audit.models import bare
from seethrough.audit.models.cnn import CNN
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.custom import Custom
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.audit.models.torchvision import Torchvision
from seethrough.audit.randomness import stream
from seethrough.audit.untrusted import UntrustedFileError
from seethrough.audit.weights.file import File


def build(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1] * shape[2], classes))


@pytest.mark.parametrize("size", [28, 30, 33])
@pytest.mark.parametrize("model", [LeNet(), ConvNet(), CNN(), ResNet20()])
def test_our_own_models_take_any_size_and_one_channel(model, size):
    assert model.build(Space((1, size, size), 4)).eval()(torch.rand(1, 1, size, size)).shape == (1, 4)


def test_normalization_is_inside_the_model():
    net = ResNet20(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).build(Space((3, 8, 8), 2)).eval()
    images = torch.rand(2, 3, 8, 8)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    assert torch.allclose(net(images), bare(net)((images - mean) / std), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ResNet20(mean=(0.5,), std=(0.5,)), "3 values"),
        (ResNet20(mean=(0.5, 0.5, 0.5)), "or neither"),
        (Torchvision(classifier="resnet1"), "no classifier"),
        (Custom(function="nowhere:build"), "cannot be imported"),
        (Custom(function="tests.test_models:Space"), "torch.nn.Module"),
    ],
)
def test_a_model_that_cannot_be_built_says_why(model, words):
    with pytest.raises(ValueError, match=words):
        model.build(Space((3, 32, 32), 10))


def test_weights_from_a_file_are_those_in_the_file(tmp_path):
    source = LeNet().build(Space((1, 28, 28), 10))
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    target = LeNet().build(Space((1, 28, 28), 10))
    File(path=str(tmp_path / "w.safetensors")).put_into(target, lambda: pytest.fail("no public data needed"), stream(0))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_before_every_name_is_understood(tmp_path, prefix):
    source, target = (LeNet().build(Space((1, 28, 28), 10)) for _ in range(2))
    named = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
    safetensors.torch.save_file(named, tmp_path / "w.safetensors")
    File(path=str(tmp_path / "w.safetensors")).put_into(target, lambda: pytest.fail("no public data needed"), stream(0))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_a_network_whose_own_names_begin_so_keeps_them(tmp_path):
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(OrderedDict(module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))))

    source, target = build(), build()
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    File(path=str(tmp_path / "w.safetensors")).put_into(target, lambda: pytest.fail("no public data needed"), stream(0))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_is_named_as_one_with_what_to_do(tmp_path, old_format):
    net = LeNet().build(Space((1, 28, 28), 10))
    torch.save(net.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(
        UntrustedFileError, match=r"w.pt: found a pickle, as torch.save writes them; allowed: safetensors"
    ):
        File(path=str(tmp_path / "w.pt")).put_into(net, lambda: None, stream(0))


def test_weights_of_another_shape_are_refused_by_file_and_tensor(tmp_path):
    safetensors.torch.save_file(LeNet(width=5).build(Space((1, 28, 28), 10)).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UntrustedFileError) as caught:
        File(path=str(tmp_path / "w.safetensors")).put_into(
            LeNet().build(Space((1, 28, 28), 10)), lambda: None, stream(0)
        )
    assert "w.safetensors" in str(caught.value) and "0.weight" in str(caught.value)


def test_the_published_resnet20_loads_and_classifies_the_images_that_it_was_trained_on(shared_data):
    images = Npz(file=str(shared_data / "cifar10_train2000.npz")).load()
    net = ResNet20().build(images.space)
    File(path=str(shared_data / "resnet20_cifar10.safetensors")).put_into(net, lambda: None, stream(0))
    batch = images.batch(torch.arange(500))
    with torch.no_grad():
        accuracy = (net.eval()(batch.inputs).argmax(dim=1) == batch.labels).float().mean()
    assert accuracy > 0.99
