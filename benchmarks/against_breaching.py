"""seethrough's GradInversion beside two attacks of breaching: same weights, batch, labels, information, time and tuning.

    python -m venv /tmp/with_breaching && /tmp/with_breaching/bin/pip install . breaching torchvision
    /tmp/with_breaching/bin/python benchmarks/against_breaching.py invertinggradients --tune
    /tmp/with_breaching/bin/python benchmarks/against_breaching.py invertinggradients --tv 0.005 --their-tv 0.2
    /tmp/with_breaching/bin/python benchmarks/against_breaching.py seethroughgradients --batch 4 --batches 3

`invertinggradients`: CIFAR-10 photographs of ../shared/data, one at a time, through breaching's ConvNet of width 16.
`seethroughgradients`: batches of scikit-learn's digits with unique labels through a ResNet-18. Random weights, eval mode with
BatchNorm statistics left at 0 and 1, which both attacks know. breaching runs first, for `--iterations`; ours gets as many
steps as fit in the time that it took. Time is that of the processor in one thread, so that other work on the machine does not
count; seeds are the numbers of images and batches.

`--tune` plays both attacks of `invertinggradients` over grids of equal size (weight of the total variation, learning rate) on
images of the tuning half, and prints each one's best; what is reported then comes from the other half.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from types import SimpleNamespace

import breaching
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from seethrough.attacks import Space, View
from seethrough.attacks.gradinversion import GradInversion
from seethrough.audit.data import tuning_half
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.npz import Npz
from seethrough.audit.metrics import UnavailableError
from seethrough.audit.metrics.lpips import LPIPS
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.scoring import matched
from seethrough.defenses import Batch
from seethrough.recipes import Recipe
from seethrough.reports.findings.intervals import over_batches

PACE_STEPS = 50  # steps by which our own pace is measured before the run that counts; few ones mislead


GRID = tuple(
    itertools.product((1.0, 0.1, 0.01), (0.3, 1.0, 3.0))
)  # times the default weight and the default rate, for either side
DEFAULTS = {
    "breaching": (0.2, 0.1),
    "seethrough": (GradInversion.tv, GradInversion.lr),
}  # total variation, learning rate


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    if options.tune:
        tune(options)
        return
    scores: dict[str, list[tuple[float, ...]]] = {"breaching": [], "seethrough": [], "floor": []}
    cases = photographs(options) if options.attack == "invertinggradients" else digits(options)
    for number, (model, truth) in enumerate(cases):
        found, seconds = theirs(model, truth, number, options, (options.their_tv, options.their_lr))
        ours, spent = our_own(model, truth, seconds, number, options, (options.tv, options.lr))
        results = {"breaching": (found, seconds), "seethrough": (ours, spent), "floor": (flat(truth.inputs), 0.0)}
        for name, (images, took) in results.items():
            scores[name].append((*quality(truth.inputs, matched(truth.inputs, images)), took))
            print(f"{number} {name}: " + ", ".join(f"{value:.3f}" for value in scores[name][-1]), flush=True)
    print("\n| | PSNR, dB | SSIM | LPIPS (squeeze) | seconds |\n|---|---|---|---|---|")
    for name, rows in scores.items():
        print(f"| {name} | " + " | ".join(stated([row[i] for row in rows]) for i in range(4)) + " |")
    gains = [ours[0] - other[0] for ours, other in zip(scores["seethrough"], scores["breaching"], strict=True)]
    print(f"\npaired gain in PSNR: {stated(gains)} dB, n = {len(gains)}")


def tune(options: argparse.Namespace) -> None:
    """Print the mean PSNR of either side at every place of its grid, on images that are not reported."""
    cases = list(photographs(options))
    budgets: list[float] = []
    for name, (weight, rate) in DEFAULTS.items():
        for more, faster in GRID:
            chosen, found = (weight * more, rate * faster), []
            for number, (model, truth) in enumerate(cases):
                if name == "breaching":
                    images, seconds = theirs(model, truth, number, options, chosen)
                    budgets.append(seconds)
                else:
                    images, _ = our_own(model, truth, float(np.mean(budgets)), number, options, chosen)
                found.append(quality(truth.inputs, matched(truth.inputs, images))[0])
            shown = ", ".join(f"{value:.1f}" for value in found)
            print(f"{name}: tv {chosen[0]:g}, rate {chosen[1]:g}: {np.mean(found):.2f} dB ({shown})", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attack", choices=["invertinggradients", "seethroughgradients"])
    parser.add_argument("--tune", action="store_true", help="on images that are not reported")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of ours")
    parser.add_argument("--tv", type=float, default=GradInversion.tv, help="weight of the total variation in ours")
    parser.add_argument("--lr", type=float, default=GradInversion.lr, help="learning rate of ours")
    parser.add_argument("--their-tv", type=float, help="weight of the total variation in theirs")
    parser.add_argument("--their-lr", type=float, help="learning rate of theirs")
    return parser.parse_args()


def photographs(options: argparse.Namespace) -> Iterator[tuple[nn.Module, Batch]]:
    """breaching's ConvNet of width 16 with one CIFAR-10 image each, of the half that is tuned on or of the other."""
    from breaching.cases.models.model_preparation import ConvNet

    images = Npz(file="../shared/data/cifar10_train2000.npz").load()
    half = (tuning_half(images) == options.tune).nonzero().flatten()
    for number, place in enumerate(half[: options.images]):
        torch.manual_seed(number)
        yield Normalized(ConvNet(width=16, num_classes=10), 3).eval(), images.batch(place[None])


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


def theirs(
    model: Normalized, truth: Batch, seed: int, options: argparse.Namespace, chosen: tuple[float | None, float | None]
) -> tuple[Tensor, float]:
    """breaching's reconstruction and its seconds; `chosen` is its total variation's weight and its learning rate."""
    places = ("regularization.total_variation.scale", "optim.step_size")
    given = [f"{place}={value}" for place, value in zip(places, chosen, strict=True) if value is not None]
    overrides = [f"optim.max_iterations={options.iterations}", "optim.callback=100000", *given]
    config = breaching.get_attack_config(options.attack, overrides=overrides)
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
    model: Normalized, truth: Batch, budget: float, seed: int, options: argparse.Namespace, chosen: tuple[float, float]
) -> tuple[Tensor, float]:
    """Our reconstruction within `budget` seconds, and what it took."""
    names = [name for name, _ in model.named_parameters()]
    update = {name: -slope for name, slope in zip(names, gradient(model, truth), strict=True)}
    space = Space(tuple(truth.inputs.shape[1:]), 10)
    view = View(model, update, space, count=len(truth), labels=truth.labels.sort().values, recipe=Recipe(lr=1.0))

    def run(steps: int) -> tuple[Tensor, float]:
        begin = time.process_time()
        attack = GradInversion(steps=steps, seeds=options.seeds, tv=chosen[0], lr=chosen[1], batchnorm=0.0)
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
