"""How well DLG recovers one natural 32x32 image from one gradient of an untrained LeNet, its label unknown.

    python benchmarks/dlg.py [--images 10] [--seed 0] [--threads 1]

Images come from ../shared/data/cifar10_train2000.npz, or, where that is absent, are squares cut from the photographs
that scikit-image ships. Beside each PSNR (data range 1) stand two floors: the mean of all the other images, and the decoy,
which is the same attack on the gradient of another image.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import typer
from skimage import data, transform
from torch import Tensor, nn

from seethrough.attacks import Space, View
from seethrough.attacks.dlg import DLG
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.randomness import drawing_from, stream
from seethrough.defenses import Batch
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe

CIFAR10 = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10_train2000.npz"
SPACE = Space((3, 32, 32), 10)
RECIPE = Recipe(steps=1, lr=0.1)


@dataclass(frozen=True)
class Trial:
    """One image, attacked."""

    psnr: float  # dB
    mean: float  # PSNR of the mean of all the other images
    decoy: float  # PSNR of what the attack makes of another image's gradient
    seconds: float
    right: bool  # whether the label was recovered


def natural_images() -> Batch:
    """CIFAR-10's first 2,000 training images, or squares of photographs with an arbitrary label each."""
    if CIFAR10.is_file():
        with np.load(CIFAR10, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels))
    photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    squares = [
        transform.resize(square, SPACE.shape[1:]) for photograph in photographs for square in _squares(photograph)
    ]
    inputs = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float()
    return Batch(inputs, torch.arange(len(inputs)) % SPACE.classes)


def _squares(photograph: np.ndarray) -> list[np.ndarray]:
    side = min(photograph.shape[:2]) * 2 // 3
    bottom, right = photograph.shape[0] - side, photograph.shape[1] - side
    return [photograph[top : top + side, left : left + side] for top in (0, bottom) for left in (0, right)]


def psnr(guess: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio at data range 1, in dB."""
    return -10 * float((guess - truth).square().mean().log10())


def recovered(net: nn.Module, secret: Batch, seed: int, trial: int) -> Batch:
    """What DLG, at its defaults, makes of the update of `secret`, knowing recipe and batch size."""
    update = local_update(net, secret, RECIPE, mean_gradient, stream(seed, trial, "client"))
    view = View(net, update.step, SPACE, count=len(secret), recipe=RECIPE)
    found = DLG().reconstruct(view, stream(seed, trial, "attacker"))
    return Batch(cast(Tensor, found.inputs), cast(Tensor, found.labels))


def measured(images: Batch, chosen: int, other: int, seed: int, trial: int) -> Trial:
    """The attack on image `chosen`, and its decoy on image `other`, with a network of the trial's own."""
    with drawing_from(stream(seed, trial, "model")):
        net = LeNet().build(SPACE)
    secret, decoy = (Batch(images.inputs[i : i + 1], images.labels[i : i + 1]) for i in (chosen, other))
    began = time.perf_counter()
    found = recovered(net, secret, seed, trial)
    seconds = time.perf_counter() - began
    mean = torch.cat([images.inputs[:chosen], images.inputs[chosen + 1 :]]).mean(0, keepdim=True)
    return Trial(
        psnr=psnr(found.inputs, secret.inputs),
        mean=psnr(mean, secret.inputs),
        decoy=psnr(recovered(net, decoy, seed, trial).inputs, secret.inputs),
        seconds=seconds,
        right=torch.equal(found.labels, secret.labels),
    )


def main(images: int = 10, seed: int = 0, threads: int = 1) -> None:
    """Attack `images` images, one after another, and print a line for each."""
    torch.set_num_threads(threads)
    known = natural_images()
    order = torch.randperm(len(known), generator=stream(seed, "images")).tolist()
    print(f"{DLG()}, untrained LeNet with sigmoids, seed {seed}, {threads} thread(s)")
    print(f"{'image':>6} {'PSNR':>7} {'mean':>7} {'decoy':>7} {'seconds':>8}  label")
    trials = []
    for trial in range(images):
        chosen, other = order[trial % len(order)], order[(trial + 1) % len(order)]
        trials.append(measured(known, chosen, other, seed, trial))
        found = trials[-1]
        figures = _line(str(chosen), found.psnr, found.mean, found.decoy, found.seconds)
        print(figures, "right" if found.right else "wrong", flush=True)
    means = [
        float(np.mean([getattr(trial, name) for trial in trials])) for name in ("psnr", "mean", "decoy", "seconds")
    ]
    print(_line("mean", *means), f"{sum(trial.right for trial in trials)} of {images} right")


def _line(name: str, psnr: float, mean: float, decoy: float, seconds: float) -> str:
    return f"{name:>6} {psnr:7.2f} {mean:7.2f} {decoy:7.2f} {seconds:8.1f} "


if __name__ == "__main__":
    typer.run(main)
