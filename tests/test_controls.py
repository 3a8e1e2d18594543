"""Controls of the whole path from clients to verdicts: where the update says nothing, nothing is found; where it says
all, it is.

Negative: the update is noise of its own norm, or that of another batch. Positive: it is sent as it is. Trials are drawn
once and dealt to audits of n batches, so that one pool serves every n. `make controls` runs the whole and prints rates.
"""

import dataclasses
import statistics
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from seethrough.attacks import Attack, Reconstruction, View
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.attacks.label_sign import LabelSign
from seethrough.attacks.labels.rules import known_or_recovered
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.data.digits import Digits
from seethrough.audit.metrics.identifiability import Identifiability
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.label_histogram import LabelHistogram
from seethrough.audit.metrics.mean_image import MeanImage
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.psnr_shrunk import ShrunkPSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, attack_on, run_trial
from seethrough.defenses import Defense, NoDefense
from seethrough.defenses.random_update import RandomUpdate
from seethrough.reports.findings.evidence import ALPHA, evidence_of
from seethrough.reports.findings.family import Which, family_of, trials_of
from seethrough.reports.row import Score

METRICS = (LabelAccuracy(), LabelHistogram(), PSNR(), ShrunkPSNR(), SSIM(), MeanImage(), Identifiability())
BATCHES = (2, 4, 8, 20)


@dataclasses.dataclass(frozen=True)
class Nearest(Attack):
    """A cheap attack on pixels that has a strong prior: of each label, the public image whose gradient is most like the
    first tensor of the update; noise leads it astray as it would a search."""

    needs = ("count", "public")

    def reconstruct(self, view: View, rng: torch.Generator) -> Reconstruction:
        labels = known_or_recovered(view)
        seen = torch.nn.functional.normalize(next(iter(view.update.values())).flatten(), dim=0)
        chosen = []
        for label in labels.tolist():
            pool = view.public.inputs[view.public.labels == label][:4]
            slopes = [self._slope(view, image[None], label) for image in pool]
            chosen.append(pool[int(torch.stack([(slope * seen).sum().abs() for slope in slopes]).argmax())])
        found = torch.stack(chosen)
        return Reconstruction(found, labels, 0.0, shrunk=found)

    def _slope(self, view: View, image: torch.Tensor, label: int) -> torch.Tensor:
        first = next(iter(view.model.parameters()))
        loss = torch.nn.functional.cross_entropy(view.model(image), torch.tensor([label]))
        return torch.nn.functional.normalize(torch.autograd.grad(loss, first)[0].flatten(), dim=0)


NEAREST = Nearest()


def setting(batch: int, labels: str) -> Setting:
    return Setting(name="s", data=Digits(size=8), model=ConvNet(width=4), batch_size=batch, labels=labels)


@cache
def pool(
    kind: str, batch: int, labels: str, granted: bool, trials: int, attack: Attack = NEAREST
) -> dict[str, list[Score]]:
    """Every metric's scores in `trials` trials."""
    grants = ("count", "recipe", "public") + (("labels",) if granted else ())
    defense: Defense = RandomUpdate() if kind == "noise" else NoDefense()
    found: dict[str, list[Score]] = {}
    with pytest.MonkeyPatch.context() as patched:
        if kind == "another's":
            patched.setattr("seethrough.audit.trial.attack_on", attacked_by_the_decoy)
        for trial in range(trials):
            case = Case(
                7, trial, setting(batch, labels), ThreatModel(name="t", grants=grants), defense, attack, METRICS
            )
            for one in run_trial(case, torch.device("cpu")).scores:
                if one.status == "ok":
                    found.setdefault(one.metric, []).append(one)
    return found


def attacked_by_the_decoy(case: Case, _: object, *rest: Any) -> Any:
    """The attack on the decoy's update, whoever's it should have been; what it finds is still held against the victim."""
    same_labels = "labels" in case.threat.grants
    batches = draw_batches(case.setting, case.seed, case.trial, case.defense.cohort(), same_labels)
    model = broadcast_model(case.setting, case.seed, case.trial)
    return attack_on(case, _played(case, model, (batches.decoy, *batches.others), "decoy"), *rest)


def alarms(scores: list[Score], n: int, shuffles: int, says: Callable) -> list[bool]:
    """What audits of `n` batches say, dealt from a pool in several orders."""
    rng, said = np.random.default_rng(n), []
    for _ in range(shuffles):
        order = rng.permutation(len(scores))
        for start in range(0, len(order) - n + 1, n):
            said.append(says(evidence_of([scores[place] for place in order[start : start + n]])))
    return said


def leaks(evidence) -> bool:
    return evidence.tells and evidence.helps


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("granted", [False, True])
def test_noise_in_the_place_of_an_update_is_called_a_leak_no_more_often_than_the_page_says(n: int, granted: bool):
    told = [
        said
        for scores in pool("noise", 2, "random", granted, 60).values()
        for said in alarms(scores, n, 1, lambda evidence: evidence.tells)
    ]
    wrong = sum(told)
    assert stats.binomtest(wrong, len(told), 2 * ALPHA, alternative="greater").pvalue > 1e-3, (wrong, len(told))


def test_an_undefended_update_is_called_a_leak_by_enough_batches():
    found = pool("positive", 1, "random", False, 8, InvertingGradients(steps=80, tv=1e-3))
    assert all(leaks(evidence_of(found[metric])) for metric in ("label_accuracy", "psnr", "identifiability")), found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "another's", "positive"])
def test_all_controls(kind: str, capsys: pytest.CaptureFixture):
    """`make controls`: 200 trials of each of 14 settings, every metric, audits of 2, 4, 8 and 20 batches."""
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for batch, labels in ((1, "random"), (2, "random"), (2, "unique"), (8, "random"), (8, "unique"), (32, "random")):
        for granted in (False, True):
            for metric, scores in pool(kind, batch, labels, granted, 200).items():
                for n in BATCHES:
                    told, leaked = zip(*alarms(scores, n, 5, lambda found: (found.tells, leaks(found))), strict=True)
                    for name in (metric, "all metrics"):
                        rates.setdefault((name, n), []).append((statistics.fmean(told), statistics.fmean(leaked)))
    with capsys.disabled():
        print(f"\n{kind}: share of audits in which the update is said to tell, and that call it a leak")
        for (metric, n), pairs in sorted(rates.items()):
            told, leaked = (limits(list(column)) for column in zip(*pairs, strict=True))
            print(
                f"{metric:16} n = {n:2}: {told[0]:.4f} (at most {told[1]:.4f}), {leaked[0]:.4f} (at most {leaked[1]:.4f})"
            )
    if kind != "positive":
        for (metric, n), pairs in rates.items():
            told, leaked = (limits(list(column)) for column in zip(*pairs, strict=True))
            assert told[0] - 3 * (told[1] - told[0]) / 1.96 <= ALPHA and leaked[1] <= 0.04, (metric, n)


def limits(rates: list[float]) -> tuple[float, float]:
    """The mean over settings, and its upper limit at 97.5 %."""
    mean = statistics.fmean(rates)
    return mean, mean + 1.96 * statistics.stdev(rates) / len(rates) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 12])
def test_whole_reports_of_noise_find_something_in_one_of_forty(n: int, capsys: pytest.CaptureFixture):
    """200 reports of 26 combinations: four attacks on noise, and on the update of another batch."""
    found = [
        scores
        for kind in ("noise", "another's")
        for attack in (NEAREST, LabelCounts(), LabelSign(), LabelMinimum())
        for scores in pool(kind, 2, "unique", False, 200, attack).values()
    ]
    rng, wrong, alone = np.random.default_rng(n), [], []
    while len(wrong) < 200:
        order = rng.permutation(200)
        for start in range(0, 200 - n + 1, n):
            chosen = order[start : start + n].tolist()
            named = [Which("s", place, 19, False) for place in chosen]
            report = [list(zip(named, [scores[place] for place in chosen], strict=True)) for scores in found]
            family = family_of(map(trials_of, report))
            evidence = [evidence_of([scores[place] for place in chosen], family, named) for scores in found]
            wrong.append(any(each.tells for each in evidence))
            alone.append(any(each.alone <= ALPHA for each in evidence))
    with capsys.disabled():
        rates = [statistics.fmean(said) for said in (wrong, alone)]
        print(
            f"\n{len(found)} combinations of {n} batches: {rates[0]:.3f} of {len(wrong)} reports; by each alone {rates[1]:.3f}"
        )
    assert stats.binomtest(sum(wrong), len(wrong), 2 * ALPHA, alternative="greater").pvalue > 1e-3
