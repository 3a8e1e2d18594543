"""Architectures and their weights."""

import warnings
from collections import OrderedDict

import numpy as np
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


SPACE = Space((1, 28, 28), 10)


def loaded(path) -> torch.nn.Module:
    net = LeNet().build(SPACE)
    File(path=str(path)).put_into(net, lambda: pytest.fail("no public data needed"), stream(0))
    return net


def refusal_of(path) -> str:
    with pytest.raises(UntrustedFileError) as caught:
        loaded(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: found ") and "; allowed: " in message and "\n" not in message
    return message


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "weights", "net"])
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors"])
def test_a_state_dict_by_torch_save_is_read_alone_or_in_a_checkpoint(tmp_path, key, suffix):
    source = LeNet().build(SPACE)
    optimizer = torch.optim.Adam(source.parameters())
    checkpoint = {"epoch": 3, "loss": 0.5, "optimizer": optimizer.state_dict(), "lr": [1e-3], "best": np.float64(0.9)}
    state = source.state_dict()
    torch.save(state if key is None else {**checkpoint, key: state}, tmp_path / f"w.{suffix}")
    assert same(loaded(tmp_path / f"w.{suffix}"), source)


def test_an_npz_of_named_arrays_is_read(tmp_path):
    source = LeNet().build(SPACE)
    np.savez(tmp_path / "w.npz", **{name: tensor.numpy() for name, tensor in source.state_dict().items()})
    assert same(loaded(tmp_path / "w.npz"), source)


def test_prefixes_of_wrappers_are_understood_in_a_checkpoint(tmp_path):
    source = LeNet().build(SPACE)
    named = {f"_orig_mod.module.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"model": named}, tmp_path / "w.pt")
    assert same(loaded(tmp_path / "w.pt"), source)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted_to_the_networks(tmp_path, dtype):
    source = LeNet().build(SPACE).to(dtype)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        net = loaded(tmp_path / name)
        assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
        assert same(net, source.float())


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        (torch.float32, float("nan"), "NaN or infinity in '2.weight'"),
        (torch.bfloat16, float("inf"), "NaN or infinity in '2.weight'"),
        (torch.float64, 1e300, "'2.weight' with numbers past torch.float32"),
        (torch.int64, 1, "'2.weight' as int64 [12, 12, 5, 5] where the network has float32 [12, 12, 5, 5]"),
    ],
)
def test_numbers_that_the_network_cannot_hold_are_refused(tmp_path, dtype, value, words):
    state = LeNet().build(SPACE).state_dict()
    state["2.weight"] = torch.full_like(state["2.weight"], value, dtype=dtype)
    torch.save(state, tmp_path / "w.pt")
    assert words in refusal_of(tmp_path / "w.pt")


def test_tensors_that_are_missing_or_too_many_or_of_another_shape_are_named(tmp_path):
    state = LeNet().build(SPACE).state_dict()
    state["extra"] = state.pop("0.bias")
    state["2.weight"] = torch.zeros(3, 4)
    torch.save(state, tmp_path / "w.pt")
    message = refusal_of(tmp_path / "w.pt")
    assert "no '0.bias'; an unexpected 'extra'" in message
    assert "'2.weight' as float32 [3, 4] where the network has float32 [12, 12, 5, 5]" in message


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda net: net,
            "a pickle of 'torch.nn.modules.container.Sequential'; allowed: tensors by name, as torch.save(model",
        ),
        (lambda net: {"model": net}, "a pickle of 'torch.nn.modules"),
        (lambda net: {"epoch": 1, "state": net.state_dict()}, "'epoch', which is no tensor"),
        (lambda net: {"state_dict": {}, "net": net.state_dict()}, "dicts under 'state_dict' and 'net'"),
        (lambda net: torch.zeros(3), "a single tensor"),
        (lambda net: "weights", "a pickle of one value"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_what_to_save(tmp_path, made, words):
    torch.save(made(LeNet().build(SPACE)), tmp_path / "w.pt")
    assert words in refusal_of(tmp_path / "w.pt")


def test_a_bare_pickle_of_old_is_named_as_one_with_what_to_do(tmp_path):
    torch.save(LeNet().build(SPACE).state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert "found a bare pickle, as torch.save wrote them before PyTorch 1.6; allowed: safetensors, or" in refusal_of(
        tmp_path / "w.pt"
    )


def test_a_script_of_torch_is_named_as_one(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pt")
    assert "found a TorchScript archive" in refusal_of(tmp_path / "w.pt")


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
