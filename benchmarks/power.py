"""The smallest leak that an audit of so many batches finds in four of five cases.

    python benchmarks/power.py [--trials 120]

A leak of size q: in a share q of the batches the update is sent as it is, in the others noise of its norm is sent.
Trials of both kinds are simulated once in the default audit's setting, and dealt to 400 audits for every n and q. Printed
is the smallest q on a grid at which at least 80 % of the audits call a leak, by each metric; and at which the update is
said to tell something.
"""

import json

import numpy as np
import torch
import typer

from seethrough.attacks import Attack
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.audit.case import Case
from seethrough.audit.metrics import Metric
from seethrough.audit.metrics.identifiability import Identifiability
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.defenses import Defense, NoDefense
from seethrough.defenses.random_update import RandomUpdate
from seethrough.reports.findings.evidence import evidence_of
from seethrough.reports.row import Score

SETTING = {"name": "default", "data": {"digits": {}}, "model": {"convnet": {}}, "batch_size": 2, "labels": "unique"}
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
AUDITS = 400


def pool(attack: Attack, defense: Defense, metrics: tuple[Metric, ...], trials: int) -> dict[str, list[Score]]:
    """Every metric's scores in so many trials, of a seed that no audit here uses."""
    setting = Setting.model_validate_json(json.dumps(SETTING))
    threat = ThreatModel(name="server", grants=("count", "recipe", "defense", "public", "participants"))
    found: dict[str, list[Score]] = {}
    for trial in range(trials):
        case = Case(20_000, trial, setting, threat, defense, attack, metrics)
        for one in run_trial(case, torch.device("cpu")).scores:
            found.setdefault(one.metric, []).append(one)
    return found


def rates(open_ones: list[Score], noisy: list[Score], n: int, share: float) -> tuple[float, float]:
    """The shares of audits that call a leak, and in which the update is said to tell something."""
    rng, said = np.random.default_rng(0), []
    for _ in range(AUDITS):
        chosen = rng.choice(len(open_ones), n, replace=n > len(open_ones))
        evidence = evidence_of([(open_ones if rng.random() < share else noisy)[place] for place in chosen])
        said.append(
            (evidence is not None and evidence.tells and evidence.helps, evidence is not None and evidence.tells)
        )
    leaks, tells = zip(*said, strict=True)
    return float(np.mean(leaks)), float(np.mean(tells))


def smallest(open_ones: list[Score], noisy: list[Score], n: int) -> tuple[str, str]:
    """The smallest shares of leaking batches that are found in 80 % of the audits."""
    found = [rates(open_ones, noisy, n, share) for share in SHARES]
    return tuple(  # type: ignore[return-value]
        next((f"{share:g}" for share, each in zip(SHARES, found, strict=True) if each[kind] >= 0.8), "none")
        for kind in (0, 1)
    )


def main(trials: int = 120, pixel_trials: int = 40) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    print("| metric | batches | called a leak from | said to tell from |\n| --- | --- | --- | --- |")
    for attack, metrics, count, sizes in (
        (LabelCounts(), (LabelAccuracy(),), trials, (6, 8, 20, 40, 50)),
        (InvertingGradients(steps=100), (PSNR(), SSIM(), Identifiability()), pixel_trials, (6, 8, 10, 20)),
    ):
        open_ones, noisy = (pool(attack, defense, metrics, count) for defense in (NoDefense(), RandomUpdate()))
        for metric in open_ones:
            for n in sizes:
                print(f"| {metric} | {n} | {' | '.join(smallest(open_ones[metric], noisy[metric], n))} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
