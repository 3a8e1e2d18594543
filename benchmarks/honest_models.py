"""Honest models, of which no two are alike: architectures, data, weights from random to overfitted.

Those that thresholds are set on and those that false alarms are counted on have seeds, and for the most part architectures and
data, of their own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.attacks import Space
from seethrough.audit.data import Images
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.parts.synthetic import Synthetic
from seethrough.audit.models.cnn import CNN
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.audit.randomness import drawing_from, stream
from seethrough.audit.weights._base import set_batchnorm_statistics
from seethrough.defenses import Batch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
STATES = ("random", "random", "a few steps", "one epoch", "trained", "overfitted", "skewed")


@dataclass(frozen=True, eq=False)
class Honest:
    """An honest model with a client's images."""

    name: str
    model: nn.Module
    inputs: Tensor
    classes: int


def mlp(space: Space, hidden: tuple[int, ...], act: type[nn.Module] = nn.ReLU, drop: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    before = space.shape[0] * space.shape[1] * space.shape[2]
    for after in hidden:
        layers += [nn.Linear(before, after), act(), nn.Dropout(drop)]
        before = after
    return nn.Sequential(*layers, nn.Linear(before, space.classes))


def vgg(space: Space, width: int, norm: str) -> nn.Module:
    layers: list[nn.Module] = []
    before = space.shape[0]
    for after in (width, 2 * width, 4 * width):
        for _ in range(2):
            layers += [nn.Conv2d(before, after, 3, padding=1)]
            layers += {"batch": [nn.BatchNorm2d(after)], "group": [nn.GroupNorm(4, after)], "": []}[norm]
            layers += [nn.ReLU()]
            before = after
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * before, 64),
        nn.ReLU(),
        nn.Linear(64, space.classes),
    )


def lenet5(space: Space) -> nn.Module:
    """LeNet-5 with tanh and mean pooling."""
    return nn.Sequential(
        nn.Conv2d(space.shape[0], 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(5),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, space.classes),
    )


def allconv(space: Space, width: int) -> nn.Module:
    """A convolutional network without a linear layer."""
    return nn.Sequential(
        nn.Conv2d(space.shape[0], width, 5, stride=2, padding=2),
        nn.LeakyReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU6(),
        nn.Conv2d(2 * width, space.classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Transformer(nn.Module):
    """A small vision transformer on patches of a fourth of the side."""

    def __init__(self, space: Space, width: int, act: str) -> None:
        super().__init__()
        channels, height, _ = space.shape
        self.patch = nn.Conv2d(channels, width, height // 4, stride=height // 4)
        self.place = nn.Parameter(0.02 * torch.randn(1, 16, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, activation=act, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, space.classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(images).flatten(2).mT + self.place).mean(dim=1))


class Mobile(nn.Module):
    """Inverted bottlenecks with depthwise convolutions, BatchNorm and ReLU6."""

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(space.shape[0], width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()
        )
        self.blocks = nn.ModuleList(self._block(width) for _ in range(3))
        self.head = nn.Linear(width, space.classes)

    def _block(self, width: int) -> nn.Module:
        wide = 4 * width
        return nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for block in self.blocks:
            features = features + block(features)
        return self.head(features.mean(dim=(2, 3)))


FIRST = {
    "convnet 8": lambda s: ConvNet(width=8).build(s),
    "convnet 16": lambda s: ConvNet(width=16).build(s),
    "convnet 8, BatchNorm": lambda s: ConvNet(width=8, batchnorm=True).build(s),
    "lenet": lambda s: LeNet().build(s),
    "cnn 8": lambda s: CNN(width=8, hidden=64).build(s),
    "cnn 16": lambda s: CNN(width=16, hidden=128).build(s),
    "mlp 128": lambda s: mlp(s, (128,)),
    "mlp 512": lambda s: mlp(s, (512,)),
    "mlp 256-128-64": lambda s: mlp(s, (256, 128, 64)),
    "vgg 8": lambda s: vgg(s, 8, ""),
    "vgg 8, BatchNorm": lambda s: vgg(s, 8, "batch"),
}
SECOND = {
    "convnet 12": lambda s: ConvNet(width=12).build(s),
    "convnet 24, BatchNorm": lambda s: ConvNet(width=24, batchnorm=True).build(s),
    "lenet 20": lambda s: LeNet(width=20).build(s),
    "cnn 24": lambda s: CNN(width=24, hidden=256).build(s),
    "resnet20": lambda s: ResNet20().build(s),
    "mlp 1000": lambda s: mlp(s, (1000,)),
    "mlp 300-300, dropout": lambda s: mlp(s, (300, 300), drop=0.3),
    "mlp 200 x 5": lambda s: mlp(s, (200,) * 5),
    "mlp 256-256, GELU": lambda s: mlp(s, (256, 256), nn.GELU),
    "mlp 200-100, tanh": lambda s: mlp(s, (200, 100), nn.Tanh),
    "vgg 16, GroupNorm": lambda s: vgg(s, 16, "group"),
    "vgg 12": lambda s: vgg(s, 12, ""),
    "no linear layer": lambda s: allconv(s, 16),
    "transformer, GELU": lambda s: Transformer(s, 32, "gelu"),
    "transformer, ReLU": lambda s: Transformer(s, 48, "relu"),
    "mobile": lambda s: Mobile(s, 12),
}


THIRD = {
    "convnet 20": lambda s: ConvNet(width=20).build(s),
    "convnet 10, BatchNorm": lambda s: ConvNet(width=10, batchnorm=True).build(s),
    "lenet 16": lambda s: LeNet(width=16).build(s),
    "lenet 5": lambda s: lenet5(s),
    "cnn 32": lambda s: CNN(width=32, hidden=200).build(s),
    "cnn 12, hidden 32": lambda s: CNN(width=12, hidden=32).build(s),
    "resnet20": lambda s: ResNet20().build(s),
    "mlp 700": lambda s: mlp(s, (700,)),
    "mlp 64-64-64": lambda s: mlp(s, (64, 64, 64)),
    "mlp 500-200, dropout": lambda s: mlp(s, (500, 200), drop=0.2),
    "mlp 400-100, LeakyReLU": lambda s: mlp(s, (400, 100), nn.LeakyReLU),
    "mlp 300, SiLU": lambda s: mlp(s, (300,), nn.SiLU),
    "vgg 12, BatchNorm": lambda s: vgg(s, 12, "batch"),
    "vgg 8, GroupNorm": lambda s: vgg(s, 8, "group"),
    "no linear layer 24": lambda s: allconv(s, 24),
    "transformer 40, ReLU": lambda s: Transformer(s, 40, "relu"),
    "mobile 16": lambda s: Mobile(s, 16),
}


@dataclass(frozen=True)
class Group:
    """Honest models by a seed of their own, of each family in turn."""

    seed: int
    families: Mapping[str, Callable[[Space], nn.Module]]
    datasets: tuple[str, ...]
    count: int


CALIBRATION = (
    Group(1, FIRST, ("digits", "digits 0 and 1", "CIFAR-10"), 220),
    Group(2, SECOND, ("digits", "synthetic", "CIFAR-10", "PneumoniaMNIST"), 200),
)
EVALUATION = (Group(4, THIRD, ("digits", "digits 0 to 4", "synthetic", "CIFAR-10", "PneumoniaMNIST"), 200),)


@cache
def sources() -> dict[str, Images]:
    """The images by name; those in ../shared/data, where they are there."""
    digits = Digits().load()
    found = {"digits": digits}
    for name, classes in (("digits 0 and 1", 2), ("digits 0 to 4", 5)):
        few = digits.labels < classes
        found[name] = Images(digits.pixels[few], digits.labels[few], classes)
    found["synthetic"] = Synthetic(shape=(3, 32, 32), classes=10, count=600).load()
    for name, file in (("CIFAR-10", "cifar10_train2000.npz"), ("PneumoniaMNIST", "pneumoniamnist.npz")):
        if (SHARED / file).exists():
            found[name] = _npz(SHARED / file)
    return found


def _npz(file: Path) -> Images:
    import numpy as np

    with np.load(file) as arrays:
        if "train_images" not in arrays:
            return Npz(file=str(file)).load()
        pixels, labels = arrays["train_images"][:2000, None], arrays["train_labels"][:2000, 0]
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels).long(), 2)


def honest_models(groups: tuple[Group, ...]) -> Iterator[Honest]:
    """Those of each group, each by a stream of its own."""
    for group in groups:
        names, datasets = list(group.families), [name for name in group.datasets if name in sources()]
        for number in range(group.count):
            name, dataset = names[number % len(names)], datasets[number // len(names) % len(datasets)]
            rng = stream(group.seed, "honest", number)
            yield _honest(name, group.families[name], dataset, sources()[dataset], rng)


def _honest(
    name: str, build: Callable[[Space], nn.Module], dataset: str, images: Images, rng: torch.Generator
) -> Honest:
    state = STATES[int(torch.randint(len(STATES), (), generator=rng))]
    mode = "train" if torch.rand((), generator=rng) < 0.5 else "eval"
    pool = (32, 64, 128, 256)[int(torch.randint(4, (), generator=rng))]
    order = torch.randperm(len(images), generator=rng)
    mine, training = images.batch(order[:pool]), images.batch(order[: 600 if state != "overfitted" else 64])
    with drawing_from(rng):
        model = build(images.space)
        brought_to(model, state, training, rng)
    model.train(mode == "train")
    return Honest(f"{name}; {dataset}; {state}; {mode}; {pool}", model, mine.inputs, images.classes)


def brought_to(model: nn.Module, state: str, training: Batch, rng: torch.Generator) -> None:
    """The model after some training, in place."""
    if state == "random":
        if torch.rand((), generator=rng) < 0.5:
            set_batchnorm_statistics(model, training)
        return
    if state == "skewed":  # nine of ten examples are of the class of the first
        often = (training.labels == training.labels[0]).nonzero().flatten()
        others = (training.labels != training.labels[0]).nonzero().flatten()[: max(4, len(often) // 9)]
        chosen = torch.cat([often, others])
        training = Batch(training.inputs[chosen], training.labels[chosen])
    adam = bool(torch.rand((), generator=rng) < 0.5)
    rate = 1e-3 if adam else (0.01, 0.02)[int(torch.randint(2, (), generator=rng))]
    optimizer = (
        torch.optim.Adam(model.parameters(), rate) if adam else torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    )
    steps = {"a few steps": 4, "one epoch": 19, "trained": 100, "overfitted": 150, "skewed": 40}[state]
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(training), (32,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(model(training.inputs[chosen]), training.labels[chosen]).backward()
        optimizer.step()
