"""Malicious models in many variants, from plain to subtle, with what they take of a client's batch of 32 images."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from honest_models import mlp, sources
from torch import Tensor, nn

from seethrough.audit.data import Images
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import drawing_from, stream
from seethrough.defenses import Batch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where tests are

from tests.malicious import fishing, imprint, traps
from tests.malicious.client import exact, slopes

SEEDS, BATCH, UNITS = 2, 32, 256
SHOWN = 128  # images that a client checks a model on, its batch among them


@dataclass(frozen=True, eq=False)
class Malicious:
    """A model with a client's images, and how many of a batch of these it takes exactly, of those that it is after."""

    variant: str
    model: nn.Module
    inputs: Tensor
    classes: int
    taken: int
    at_stake: int


def malicious_models() -> Iterator[Malicious]:
    """All of them, on digits and, where it is there, CIFAR-10, SEEDS each."""
    for name, images in sources().items():
        if name not in ("digits", "CIFAR-10"):
            continue
        for seed in range(SEEDS):
            rng = stream(3, name, seed)
            order = torch.randperm(len(images), generator=rng)
            mine, public = images.batch(order[:SHOWN]), images.batch(order[SHOWN : SHOWN + 1000]).inputs
            with drawing_from(rng):
                for made in (_honest, _imprints, _traps, _fishing_for_classes, _fishing_for_features):
                    yield from made(images, mine, public)


def _first(batch: Batch) -> Batch:
    return Batch(batch.inputs[:BATCH], batch.labels[:BATCH])


def _from_units(variant: str, images: Images, mine: Batch, model: nn.Module, layer: str) -> Malicious:
    found, batch = slopes(model, _first(mine)), _first(mine)
    pixels = batch.inputs[0].numel()
    taken = traps.taken(found[f"{layer}.weight"], found[f"{layer}.bias"])[:, :pixels]
    return Malicious(variant, model, mine.inputs, images.classes, exact(taken, batch.inputs), BATCH)


def _honest(images: Images, mine: Batch, public: Tensor) -> Iterator[Malicious]:
    yield _from_units("honest: a random perceptron", images, mine, mlp(images.space, (UNITS,)), "1")


def _imprints(images: Images, mine: Batch, public: Tensor) -> Iterator[Malicious]:
    for measurement in ("brightness", "projection"):
        for noise, scaled in ((0.0, False), (0.0, True), (0.01, False), (0.1, False), (1.0, False)):
            rows = f"rows differ by {noise:.0%}" if noise else "rows of unequal norms" if scaled else "equal rows"
            for bins in (16, 64, 500):
                net = ConvNet(width=8).build(images.space)
                model = imprint.imprinted(net, public, bins, measurement, noise, scaled)
                batch = _first(mine)
                taken = exact(imprint.taken(model, slopes(model, batch)), batch.inputs)
                variant = f"imprint, {measurement}, {rows}"
                yield Malicious(variant, model, mine.inputs, images.classes, taken, BATCH)

    for pairs in (8, 32, 250):
        model = imprint.paired(ConvNet(width=8).build(images.space), public, pairs, held=1 / BATCH)
        taken = exact(imprint.taken(model, slopes(model, _first(mine))), mine.inputs[:BATCH])
        yield Malicious("imprint, bins in pairs, a projection each", model, mine.inputs, images.classes, taken, BATCH)


def _traps(images: Images, mine: Batch, public: Tensor) -> Iterator[Malicious]:
    shape, pixels = images.space.shape, mine.inputs[0].numel()
    for factor in (0.8, 0.9, 0.95, 0.97, 0.99):
        for mirrored in (True, False):
            halves = "mirrored" if mirrored else "drawn apart"
            model = traps.trapped_mlp(pixels, UNITS, 10, factor, mirrored=mirrored)
            yield _from_units(f"traps, factor {factor}, {halves}", images, mine, model, "1")
        yield _from_units(
            f"traps behind convolutions, factor {factor}",
            images,
            mine,
            traps.trapped_cnn(shape, UNITS, 10, factor),
            "5",
        )
    for passing in (1 / 32, 1 / 16, 1 / 8, 1 / 4):
        model = mlp(images.space, (UNITS,))
        traps.set_quantile_traps(model[1], public.flatten(1), passing)
        yield _from_units(f"traps by biases, {passing:.1%} pass", images, mine, model, "1")


def _fishing_for_classes(images: Images, mine: Batch, public: Tensor) -> Iterator[Malicious]:
    target = int(mine.labels[0])
    others = (mine.labels != target).nonzero().flatten()[: BATCH - 1]
    chosen = torch.cat([torch.tensor([0]), others])
    batch = Batch(mine.inputs[chosen], mine.labels[chosen])
    for kept in (0.0, 0.1, 0.5):
        for lead in (3.0, 10.0, 1000.0):
            model = mlp(images.space, (UNITS, 64))
            fishing.fish_for_class(model[-1], target, lead, kept)
            yield _fished(
                f"fishing for a class, others' rows at {kept:.0%}, lead {lead:g}", images, mine, model, batch, 0
            )


def _fishing_for_features(images: Images, mine: Batch, public: Tensor) -> Iterator[Malicious]:
    alike = (mine.labels == mine.labels.mode().values).nonzero().flatten()
    batch = Batch(mine.inputs[alike], mine.labels[alike])
    for kept in (0.0, 0.1, 0.5):
        for sharpness in (1.0, 1e3, 1e5):
            model = mlp(images.space, (UNITS, 64))
            features = fishing.features_of(model, batch.inputs)
            feature = int(((features > 0).double().mean(dim=0) + features.std(dim=0) / 1e3).argmax())
            lowest = features[:, feature].sort().values
            cut = float(lowest[:2].mean())
            fishing.fish_for_feature(model[-1], int(batch.labels[0]), feature, cut, sharpness, kept)
            wanted = int(features[:, feature].argmin())
            variant = f"fishing for a feature, others' rows at {kept:.0%}, sharpness {sharpness:g}"
            yield _fished(variant, images, mine, model, batch, wanted)


def _fished(variant: str, images: Images, mine: Batch, model: nn.Module, batch: Batch, wanted: int) -> Malicious:
    found = slopes(model, batch)
    taken = traps.taken(found["1.weight"], found["1.bias"])
    return Malicious(variant, model, mine.inputs, images.classes, exact(taken, batch.inputs[wanted : wanted + 1]), 1)
