"""Which label rule: the mean label accuracy of each, by regime, beside a guess in public proportions.

    python benchmarks/label_rules.py [--trials 40] [--seed 30000] [--networks "convnet trained,lenet random"]

"above the guess" and "above the best" are the mean differences, batch by batch, of the counts to a guess and to whichever
other column has the highest mean. Intervals are Student's t at 95 % over batches; `n/a`: the rule names a class once, and the
batch has more examples than classes. The rules' constants were chosen on other seeds. The network `resnet20 trained` needs
the data in `../shared/data`.
"""

import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
import typer
from scipy import stats
from torch import Tensor

from seethrough.attacks import View
from seethrough.attacks.labels.prior import proportions
from seethrough.attacks.labels.rules import by_counts, by_minimum, by_sign
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import broadcast_model, public_batch, round_streams
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import Fact, ThreatModel, view_of
from seethrough.defenses import Defense, NoDefense, NotApplicableError
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.partial_sharing import PartialSharing
from seethrough.defenses.top_k import TopK
from seethrough.federation.rounds import Turn, simulate_rounds
from seethrough.federation.server import Server

RULES: dict[str, Callable[[View], Tensor]] = {"counts": by_counts, "minimum": by_minimum, "sign": by_sign}
BATCHES = ((1, "random"), (4, "unique"), (8, "unique"), (8, "random"), (32, "random"))
DEFENSES: dict[str, Defense] = {
    "none": NoDefense(),
    "clipping .05": Clipping(max_norm=0.05),
    "noise .003": GaussianNoise(std=0.003),
    "top-k 5 %": TopK(share=0.05),
    "half shared": PartialSharing(share=0.5),
    "DP-SGD z = 1": DPSGD(noise_multiplier=1.0, max_grad_norm=1.0),
}
KNOWN: dict[str, tuple[Fact, ...]] = {
    "all": ("count", "recipe", "defense", "public", "participants"),
    "no public data": ("count", "recipe", "defense", "participants"),
    "no recipe": ("count", "defense", "public", "participants"),
    "count alone": ("count",),
}
CIFAR = {
    "data": {"npz": {"file": "../shared/data/cifar10_train2000.npz"}},
    "model": {"resnet20": {}},
    "weights": {"file": {"path": "../shared/data/resnet20_cifar10.safetensors"}},
}


def a_setting(model: str, trained: bool, count: int, labels: str, steps: int) -> Setting:
    """One step or several of digits; weights random or trained on the public digits; `resnet20` has its own."""
    fields: dict[str, Any] = {"name": "s", "batch_size": count, "labels": labels, "local": {"steps": steps}}
    digits: dict[str, Any] = {"data": {"digits": {}}, "model": {model: {}}} | (
        {"weights": {"train": {}}} if trained else {}
    )
    return Setting.model_validate_json(json.dumps(fields | (CIFAR if model == "resnet20" else digits)))


def views(setting: Setting, defense: Defense, known: str, seed: int, trials: int) -> Iterator[tuple[View, Tensor]]:
    """What a server sees of each batch, and the batch's labels."""
    threat = ThreatModel(name="server", grants=KNOWN[known])
    space, public = setting.data.load().space, public_batch(setting, seed)
    for trial in range(trials):
        batch = draw_batches(setting, seed, trial, 1, same_labels=False).victim
        model, streams = broadcast_model(setting, seed, trial), round_streams(seed, trial, range(1), "attack", 0)
        simulated = simulate_rounds(Server(model), [Turn((0,), (batch,), streams)], setting.local, defense)
        yield view_of(threat, simulated, setting.local, defense, space, public), batch.labels


def guess(view: View, public: Tensor) -> Tensor:
    """The labels that most probably are right of a batch drawn in public proportions."""
    shares, total = proportions(public, view.space.classes), view.count or 1
    above = 1 - stats.binom.cdf(range(total), total, shares.numpy()[:, None])
    return (torch.from_numpy(above).flatten().argsort(descending=True, stable=True)[:total] // total).sort().values


def in_words(values: list[float | None]) -> str:
    """The mean over batches with its interval."""
    known = [value for value in values if value is not None]
    if not known:
        return "n/a"
    half = float(stats.t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / len(known) ** 0.5
    return f"{statistics.fmean(known):.3f} ± {half:.3f}"


def row(setting: Setting, defense: Defense, known: str, seed: int, trials: int) -> list[list[float | None]]:
    """The accuracies of each rule, and of a guess, in every batch."""
    found: list[list[float | None]] = [[] for _ in range(len(RULES) + 1)]
    metric, public = LabelAccuracy(), public_batch(setting, seed).labels
    for view, labels in views(setting, defense, known, seed, trials):
        for rule, column in zip((*RULES.values(), lambda view: guess(view, public)), found, strict=True):
            try:
                column.append(float(metric.score(labels, rule(view)).mean()))
            except NotApplicableError:
                column.append(None)
    return found


def compared(found: list[list[float | None]]) -> list[str]:
    """The first column's differences to the last one, and to the best of the others."""
    known = [[value for value in column if value is not None] for column in found]
    best = max((column for column in known[1:] if column), key=statistics.fmean)
    return [
        in_words([mine - theirs for mine, theirs in zip(known[0], other, strict=True)]) for other in (known[-1], best)
    ]


def conditions(network: str) -> list[tuple[int, str, str]]:
    """Local steps, defense, and what is known."""
    if network == "resnet20 trained":
        return [(1, "none", "all")]
    return [
        *((1, defense, "all") for defense in DEFENSES),
        *((4, defense, "all") for defense in ("none", "clipping .05", "noise .003")),
        *((1, defense, known) for known in list(KNOWN)[1:] for defense in ("none", "noise .003")),
    ]


def main(
    trials: int = 40, seed: int = 30_000, networks: str = "convnet random,convnet trained,lenet random,lenet trained"
) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    head = ("network", "batch", "steps", "defense", "known", *RULES, "guess", "above the guess", "above the best")
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}", flush=True)
    for network in networks.split(","):
        for count, labels in BATCHES if network != "resnet20 trained" else BATCHES[2:]:
            for steps, defense, known in conditions(network):
                model, weights = network.split()
                setting = a_setting(model, weights == "trained", count, labels, steps)
                found = row(setting, DEFENSES[defense], known, seed, trials)
                cells = [*(in_words(values) for values in found), *compared(found)]
                print(
                    f"| {network} | {count} {labels} | {steps} | {defense} | {known} | {' | '.join(cells)} |",
                    flush=True,
                )


if __name__ == "__main__":
    typer.run(main)
