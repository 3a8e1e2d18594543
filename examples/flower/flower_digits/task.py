"""The learning task, without any Flower in it: a small CNN on scikit-learn's digits, which come with that package."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SHAPE, CLASSES = (1, 8, 8), 10


class Net(nn.Module):
    """Two convolutions with pooling and two linear layers, for images in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.hidden, self.head = nn.Linear(16 * 2 * 2, 64), nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images - 0.5) / 0.5
        features = F.max_pool2d(F.relu(self.conv1(pixels)), 2)
        features = F.max_pool2d(F.relu(self.conv2(features)), 2)
        return self.head(F.relu(self.hidden(features.flatten(1))))


def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network, as a seethrough spec names it."""
    return Net()


def share_of(client: int, examples: int) -> tuple[Tensor, Tensor]:
    """So many images [n, 1, 8, 8] in [0, 1] of one client, with labels [n]; no two clients share one."""
    digits = load_digits()
    chosen = slice(client * examples, (client + 1) * examples)
    return torch.tensor(digits.images[chosen] / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target[chosen])


def test_share() -> tuple[Tensor, Tensor]:
    """Images that no client holds."""
    digits = load_digits()
    return torch.tensor(digits.images[-500:] / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target[-500:])


def write_public(path: str) -> None:
    """The digits that no client holds, as public images for an audit."""
    images, labels = test_share()
    np.savez(path, images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy())


def train(net: nn.Module, images: Tensor, labels: Tensor, recipe: dict, seed: int) -> float:
    """Train in place by the recipe, for its epochs; returns the mean loss."""
    momentum = recipe["optimizer"]["sgd"]["momentum"]
    decay = recipe["optimizer"]["sgd"]["weight_decay"]
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe["lr"], momentum=momentum, weight_decay=decay)
    chance = torch.Generator().manual_seed(seed)
    batches = DataLoader(TensorDataset(images, labels), batch_size=recipe["batch_size"], shuffle=True, generator=chance)
    total = 0.0
    for _ in range(recipe["epochs"]):
        for pictures, classes in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(pictures), classes)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(classes)
    return total / (len(labels) * recipe["epochs"])
