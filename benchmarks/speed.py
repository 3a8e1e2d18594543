"""Seconds an iteration: ours beside a forward, a step of training and, where it is installed, breaching; and memory.

    python benchmarks/speed.py                          # on the CPU, one thread, in about ten minutes
    python benchmarks/speed.py --only convnet --rounds 9
    python benchmarks/speed.py --device cuda
    /tmp/with_breaching/bin/python benchmarks/speed.py   # with the peer (benchmarks/against_breaching.py says how)

All candidates of a case take turns, a few iterations each, `--rounds` times over, so that other work on the machine slows all
of them down; ratios are made within a round, and what is printed are medians over rounds. An iteration of ours is one of
Inverting Gradients or of GradInversion (by the cosine, without BatchNorm statistics) on one thread: the difference between a
long run and a short one, so that labels and whatever else is done once do not count. "Forwards" is how many forward passes
without a gradient take as long. No attack that matches gradients can do with less than 7 (one forward, and two backward
passes through both it and its gradient).

Memory is the peak above what the process held before, with all seeds at once: of a training step (forward and backward of the
same batch), and of iterations of ours. The allocator is set as in the workers of an audit, for the peer too.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import networks
import torch
import torch.nn.functional as F
import torchvision
import typer
from torch import Tensor, nn

from seethrough.attacks import Space, View
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.common.memory import give_back_memory, keep_freed_memory
from seethrough.recipes import Recipe

try:
    import breaching
except ImportError:
    breaching = None

Seconds = Callable[[], float]  # for one iteration


@dataclass(frozen=True)
class Case:
    """A network and the size of its batches."""

    name: str
    build: Callable[[], nn.Module]
    side: int
    batch: int
    classes: int = 10
    steps: int = 6  # iterations that a turn takes


CASES = {
    "convnet": Case("ConvNet-16, 32x32, batch 1", networks.convnet, 32, 1, steps=40),
    "resnet20": Case("ResNet-20, 32x32, batch 1", lambda: ResNet20().build(Space((3, 32, 32), 10)), 32, 1, steps=10),
    "resnet18": Case("ResNet-18, 32x32, batch 8", lambda: torchvision.models.resnet18(num_classes=10), 32, 8, steps=3),
    "mobilenet": Case("MobileNetV2, 224x224, batch 1", torchvision.models.mobilenet_v2, 224, 1, 1000, steps=3),
    "resnet50": Case("ResNet-50, 224x224, batch 8", torchvision.models.resnet50, 224, 8, 1000, steps=2),
}
LARGE = ("resnet50",)  # left out on a CPU, unless asked for


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Which cases: {', '.join(CASES)}.")] = None,
    rounds: int = 5,
    device: str = "cpu",
) -> None:
    """Print one row for each case and candidate."""
    torch.set_num_threads(1)
    keep_freed_memory()
    chosen = only or [name for name in CASES if device != "cpu" or name not in LARGE]
    print("| case | what | ms an iteration | forwards | of the peer's | peak memory, MB | of a training step's |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        for row in _rows(CASES[name], rounds, torch.device(device)):
            print(f"| {' | '.join(row)} |", flush=True)


def _rows(case: Case, rounds: int, device: torch.device) -> Iterator[tuple[str, ...]]:
    torch.manual_seed(0)
    model = case.build().eval().to(device)
    images = torch.rand(case.batch, 3, case.side, case.side, device=device)
    labels = (torch.arange(case.batch) % case.classes).to(device)
    candidates = _candidates(case, model, images, labels)
    turns: list[dict[str, float]] = []
    for _ in range(rounds + 1):  # the first one warms up
        turns.append({name: seconds() for name, seconds in candidates.items()})
    memory = {name: _peak(seconds, device) for name, seconds in candidates.items()}
    for name in candidates:
        ratios = [
            [turn[name] / turn[other] for turn in turns[1:]] for other in ("forward", "peer") if other in candidates
        ]
        forwards, *peer = [f"{statistics.median(each):.2f}" for each in ratios]
        took = statistics.median(turn[name] for turn in turns[1:])
        share = memory[name] / max(memory["training step"], 1)
        used = (f"{memory[name] / 2**20:.0f}", f"{share:.1f}")
        yield (case.name, name, f"{1000 * took:.1f}", forwards, *(peer or ["-"]), *used)


def _candidates(case: Case, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Seconds]:
    parameters = dict(model.named_parameters())

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def training() -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))

    update = {name: -slope for name, slope in zip(parameters, training(), strict=True)}
    space = Space(tuple(images.shape[1:]), case.classes)  # type: ignore[arg-type]
    view = View(model, update, space, count=case.batch, labels=labels, recipe=Recipe(lr=1.0))

    def ours(seeds: int) -> Callable[[int], None]:
        return lambda steps: _run(GradInversion(steps=steps, seeds=seeds, batchnorm=0.0, distance="cosine"), view)

    found = {
        "forward": _each(forward, case.steps),
        "training step": _each(training, case.steps),
        "Inverting Gradients": _by_difference(lambda steps: _run(InvertingGradients(steps=steps), view), case.steps),
        "GradInversion, 1 seed": _by_difference(ours(1), case.steps),
        "GradInversion, 2 seeds": _by_difference(ours(2), case.steps),
    }
    if breaching is not None:
        found["peer"] = _by_difference(_peer(case, model, update, labels, images.device), case.steps)
    return found


def _run(attack: GradInversion | InvertingGradients, view: View) -> None:
    attack.reconstruct(view, torch.Generator().manual_seed(0))
    _wait(view.labels.device if view.labels is not None else torch.device("cpu"))


def _peer(
    case: Case, model: nn.Module, update: dict[str, Tensor], labels: Tensor, device: torch.device
) -> Callable[[int], None]:
    """breaching's `invertinggradients` with its defaults, for so many iterations."""
    facts = SimpleNamespace(
        shape=(3, case.side, case.side),
        mean=[0.0] * 3,
        std=[1.0] * 3,
        classes=case.classes,
        modality="vision",
        task="classification",
    )
    payload = {"parameters": list(model.parameters()), "buffers": list(model.buffers()), "metadata": facts}
    told = {"num_data_points": case.batch, "labels": labels, "local_hyperparams": None}
    shared = {"gradients": [-step for step in update.values()], "buffers": None, "metadata": told}

    def run(steps: int) -> None:
        overrides = [f"optim.max_iterations={steps}", "optim.callback=100000"]
        config = breaching.get_attack_config("invertinggradients", overrides=overrides)
        setup = {"device": device, "dtype": torch.float}
        attacker = breaching.attacks.prepare_attack(model, nn.CrossEntropyLoss(), config, setup)
        attacker.reconstruct([payload], [shared], {}, dryrun=False)
        _wait(device)

    return run


def _each(function: Callable[[], object], steps: int) -> Seconds:
    def seconds() -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            function()
        return (time.perf_counter() - begin) / steps

    return seconds


def _by_difference(run: Callable[[int], None], steps: int) -> Seconds:
    def seconds() -> float:
        begin = time.perf_counter()
        run(1)
        short = time.perf_counter() - begin
        run(1 + steps)
        return (time.perf_counter() - begin - 2 * short) / steps

    return seconds


def _peak(function: Callable[[], object], device: torch.device) -> int:
    """The most bytes that are held at once while `function` runs, beyond those held before. On a CPU, what Linux counts."""
    gc.collect()
    give_back_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident("VmRSS")
    function()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    typer.run(main)
