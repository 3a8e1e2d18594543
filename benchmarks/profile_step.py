"""Where the time of one iteration goes: from a forward to all that Inverting Gradients does, on one thread of a CPU.

    python benchmarks/profile_step.py

Each row holds all of the row before and one thing more; all take turns, and what is printed are medians of their differences
within a turn, in milliseconds and in forwards.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import networks
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from seethrough.attacks import Space, View
from seethrough.attacks.engine.search import descend
from seethrough.attacks.engine.side_by_side import side_by_side
from seethrough.attacks.parts.distances import cosine
from seethrough.attacks.parts.image_priors import total_variation
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.common.memory import keep_freed_memory
from seethrough.recipes import Recipe

TURNS, STEPS = 15, 10


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    for name, model, batch in (
        ("ConvNet-16, 32x32, batch 1", networks.convnet(), 1),
        ("ResNet-18, 32x32, batch 8", torchvision.models.resnet18(num_classes=10), 8),
    ):
        print(f"\n{name}\n\n| | ms | forwards |\n|---|---|---|")
        torch.manual_seed(0)
        stages = dict(_stages(model.eval(), batch))
        turns = [{what: stage() / (STEPS - 1) for what, stage in stages.items()} for _ in range(TURNS + 1)][1:]
        before, forward = dict.fromkeys(range(TURNS), 0.0), statistics.median(turn["forward"] for turn in turns)
        for what in stages:
            took = statistics.median(turn[what] - before[place] for place, turn in enumerate(turns))
            print(f"| {what} | {1000 * took:.2f} | {took / forward:.2f} |")
            before = {place: turn[what] for place, turn in enumerate(turns)}
        print(
            f"| together | {1000 * statistics.median(before.values()):.2f} | "
            f"{statistics.median(before.values()) / forward:.2f} |"
        )


def _stages(model: nn.Module, batch: int) -> Iterator[tuple[str, Callable[[], float]]]:
    images, labels = torch.rand(batch, 3, 32, 32), torch.arange(batch) % 10
    slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))
    update = {name: -slope for (name, _), slope in zip(model.named_parameters(), slopes, strict=True)}
    view = View(model, update, Space((3, 32, 32), 10), count=batch, labels=labels, recipe=Recipe(lr=1.0))
    client, distance = simulated_client(view), cosine({name: part + 0.1 for name, part in update.items()})
    start = torch.rand(images.shape)

    def forward() -> None:
        with torch.no_grad():
            model(start)

    def leaf() -> Tensor:
        return start.clone().requires_grad_()

    def misfit(images: Tensor) -> Tensor:
        return distance(client(images, labels))

    def loss(images: Tensor) -> Tensor:
        return misfit(images) + 0.01 * total_variation(images)

    def back(objective: Callable[[Tensor], Tensor]) -> None:
        pixels = leaf()
        torch.autograd.grad(objective(pixels), pixels)

    yield "forward", _repeated(forward)
    yield "its backward, by parameters", _repeated(lambda: client(leaf(), labels))
    yield "distance", _repeated(lambda: misfit(leaf()))
    yield "double backward, by pixels", _repeated(lambda: back(misfit))
    yield "total variation", _repeated(lambda: back(loss))
    yield "optimizer, lowest iterate and the rest", lambda: _search(start, loss, STEPS) - _search(start, loss, 1)


def _search(start: Tensor, loss: Callable[[Tensor], Tensor], more: int) -> float:
    begin = time.perf_counter()
    descend((start[None],), side_by_side(loss), steps=1 + more, lr=0.1, slope=torch.sign)
    return time.perf_counter() - begin


def _repeated(stage: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        begin = time.perf_counter()
        for _ in range(STEPS - 1):
            stage()
        return time.perf_counter() - begin

    return seconds


if __name__ == "__main__":
    main()
