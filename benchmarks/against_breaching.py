"""seethrough's GradInversion beside two attacks of breaching: same weights, batch, labels, information and time.

    python -m venv /tmp/with_breaching && /tmp/with_breaching/bin/pip install . breaching torchvision
    /tmp/with_breaching/bin/python benchmarks/against_breaching.py invertinggradients --images 5 --tv 0.005
    /tmp/with_breaching/bin/python benchmarks/against_breaching.py seethroughgradients --batch 4 --batches 3

`invertinggradients`: natural 32x32 images that scikit-image and scikit-learn ship, one at a time, through breaching's ConvNet
of width 16. `seethroughgradients`: batches of scikit-learn's digits with unique labels through a ResNet-18. Random weights,
eval mode with BatchNorm statistics left at 0 and 1, which both attacks know. breaching runs first, for `--iterations`; ours
gets as many steps as fit in the time that it took. Time is that of the processor
in one thread, so that other work on the machine does not count; seeds are the numbers of images and batches.
"""

import argparse
import time
from collections.abc import Iterator
from types import SimpleNamespace

import breaching
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from skimage import data as pictures
from skimage.transform import resize
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from attacks import Space, View
from attacks.gradinversion import GradInversion
from audit.data.digits import Digits
from audit.metrics import UnavailableError
from audit.metrics.lpips import LPIPS
from audit.metrics.psnr import PSNR
from audit.metrics.ssim import SSIM
from audit.scoring import matched
from defenses import Batch, Recipe
from reports._statistics import over_batches

PACE_STEPS = 50  # steps by which our own pace is measured before the run that counts; few ones mislead


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    scores: dict[str, list[tuple[float, ...]]] = {"breaching": [], "seethrough": [], "floor": []}
    cases = natural_images(options.images) if options.attack == "invertinggradients" else digits(options)
    for number, (model, truth) in enumerate(cases):
        found, seconds = theirs(options.attack, model, truth, options.iterations, number)
        ours, spent = our_own(model, truth, seconds, number, options)
        results = {"breaching": (found, seconds), "seethrough": (ours, spent), "floor": (flat(truth.inputs), 0.0)}
        for name, (images, took) in results.items():
            scores[name].append((*quality(truth.inputs, matched(truth.inputs, images)), took))
            print(f"{number} {name}: " + ", ".join(f"{value:.3f}" for value in scores[name][-1]), flush=True)
    print("\n| | PSNR, dB | SSIM | LPIPS (squeeze) | seconds |\n|---|---|---|---|---|")
    for name, rows in scores.items():
        print(f"| {name} | " + " | ".join(stated([row[i] for row in rows]) for i in range(4)) + " |")
    gains = [ours[0] - other[0] for ours, other in zip(scores["seethrough"], scores["breaching"], strict=True)]
    print(f"\npaired gain in PSNR: {stated(gains)} dB, n = {len(gains)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attack", choices=["invertinggradients", "seethroughgradients"])
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=2400)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of ours")
    parser.add_argument("--tv", type=float, default=GradInversion.tv, help="weight of the total variation in ours")
    return parser.parse_args()


def natural_images(count: int) -> Iterator[tuple[nn.Module, Batch]]:
    """breaching's ConvNet of width 16 with one natural 32x32 image each."""
    from breaching.cases.models.model_preparation import ConvNet

    china, flower = load_sample_images().images
    shown = [pictures.astronaut(), pictures.chelsea(), pictures.coffee(), china, flower, pictures.rocket()][:count]
    for number, picture in enumerate(shown):
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        small = resize(picture[top : top + side, left : left + side], (32, 32), anti_aliasing=True)
        torch.manual_seed(number)
        model = Normalized(ConvNet(width=16, num_classes=10), 3).eval()
        yield model, Batch(torch.from_numpy(small).permute(2, 0, 1)[None].float(), torch.tensor([number % 10]))


def digits(options: argparse.Namespace) -> Iterator[tuple[nn.Module, Batch]]:
    """A ResNet-18 with batches of digits, one of each class."""
    images = Digits().load()
    for number in range(options.batches):
        rng = np.random.default_rng(number)
        classes = rng.permutation(10)[: options.batch]
        rows = [rng.choice(np.flatnonzero(np.asarray(images.labels) == label)) for label in classes]
        torch.manual_seed(number)
        model = torchvision.models.resnet18(num_classes=10)
        chosen = images.batch(torch.tensor(rows))
        yield Normalized(model, 3).eval(), Batch(chosen.inputs.repeat(1, 3, 1, 1), chosen.labels)


class Normalized(nn.Module):
    """A model of images that were shifted and scaled to about N(0, 1), as breaching's attacks suppose."""

    def __init__(self, model: nn.Module, channels: int) -> None:
        super().__init__()
        self.inner = model
        self.mean, self.std = [0.5] * channels, [0.25] * channels

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images - 0.5) / 0.25)


def gradient(model: nn.Module, truth: Batch) -> tuple[Tensor, ...]:
    return torch.autograd.grad(F.cross_entropy(model(truth.inputs), truth.labels), list(model.parameters()))


def theirs(name: str, model: Normalized, truth: Batch, iterations: int, seed: int) -> tuple[Tensor, float]:
    """breaching's reconstruction and its seconds."""
    config = breaching.get_attack_config(
        name, overrides=[f"optim.max_iterations={iterations}", "optim.callback=100000"]
    )
    loss = nn.CrossEntropyLoss()
    setup = {"device": torch.device("cpu"), "dtype": torch.float}
    torch.manual_seed(seed)
    attacker = breaching.attacks.prepare_attack(model.inner, loss, config, setup)
    buffers = list(model.inner.buffers())
    facts = SimpleNamespace(
        shape=tuple(truth.inputs.shape[1:]),
        mean=model.mean,
        std=model.std,
        classes=10,
        modality="vision",
        task="classification",
    )
    payload = {"parameters": list(model.inner.parameters()), "buffers": buffers, "metadata": facts}
    told = {"num_data_points": len(truth), "labels": truth.labels.sort().values, "local_hyperparams": None}
    order = truth.labels.argsort()
    truth = Batch(truth.inputs[order], truth.labels[order])
    shared = {"gradients": list(gradient(model, truth)), "buffers": None, "metadata": told}
    begin = time.process_time()
    found, _ = attacker.reconstruct([payload], [shared], {}, dryrun=False)
    seconds = time.process_time() - begin
    return (found["data"].detach() * 0.25 + 0.5).clamp(0, 1), seconds


def our_own(
    model: Normalized, truth: Batch, budget: float, seed: int, options: argparse.Namespace
) -> tuple[Tensor, float]:
    """Our reconstruction within `budget` seconds, and what it took."""
    names = [name for name, _ in model.named_parameters()]
    update = {name: -slope for name, slope in zip(names, gradient(model, truth), strict=True)}
    space = Space(tuple(truth.inputs.shape[1:]), 10)
    view = View(model, update, space, count=len(truth), labels=truth.labels.sort().values, recipe=Recipe(lr=1.0))

    def run(steps: int) -> tuple[Tensor, float]:
        begin = time.process_time()
        attack = GradInversion(steps=steps, seeds=options.seeds, tv=options.tv, batchnorm=0.0)
        claim = attack.reconstruct(view, torch.Generator().manual_seed(seed))
        return claim.inputs, time.process_time() - begin

    run(1)  # what only the first run pays for is not our pace
    fixed, more = run(1)[1], run(1 + PACE_STEPS)[1]
    pace = max((more - fixed) / PACE_STEPS, 1e-6)
    steps = max(1, int(0.9 * (budget - fixed) / pace))
    while (outcome := run(steps))[1] > budget and steps > 1:  # the pace was misjudged: anew, with fewer steps
        steps = max(1, int(0.9 * steps * budget / outcome[1]))
    return outcome


def flat(truth: Tensor) -> Tensor:
    """What a reconstruction must beat, though it is made from the truth: the mean image, or of one image its color."""
    mean = truth.mean(dim=0, keepdim=True) if len(truth) > 1 else truth.mean(dim=(0, 2, 3), keepdim=True)
    return mean.expand_as(truth)


def quality(truth: Tensor, found: Tensor) -> tuple[float, float, float]:
    """PSNR, SSIM and LPIPS, means over the batch; LPIPS is not a number where its weights are not to be had."""
    try:
        lpips = float(LPIPS(net="squeeze").score(truth, found).mean())
    except UnavailableError:
        lpips = float("nan")
    return float(PSNR().score(truth, found).mean()), float(SSIM().score(truth, found).mean()), lpips


def stated(values: list[float]) -> str:
    if not np.isfinite(values).all():
        return "unavailable"
    estimate = over_batches(values)
    spread = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.mean:.2f}{spread}"


if __name__ == "__main__":
    main()
