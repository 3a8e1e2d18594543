"""What an audit's batches could show at best: said before anything is computed, since safe is a finding that needs power."""

from collections.abc import Iterator

from seethrough.common.spelling import label_of
from seethrough.reports.findings.evidence import MOST_BATCHES, evidence_of
from seethrough.reports.findings.intervals import LEAST_BATCHES

from ..judging import trial_without_model
from ..metrics import Metric
from ..recordings.settings import has_truth
from ..recordings.withheld import came_too_late
from ..scoring import score
from ..specification.defenses import defense_label
from ..specification.schema import AuditSpec, Setting
from ..turns import Visit

FIRST = (Visit(0, 0),)
MOST_TRIED = 50  # batches that perfect label attacks are simulated on


def powerless(spec: AuditSpec) -> tuple[str, ...]:
    """One sentence for each metric in each setting by which not even a perfect attack could be called a leak."""
    found: dict[str, None] = {}
    for setting in spec.settings:
        images, labels = (
            [spec.trials_of(attack, setting) for attack in spec.attacks if attack.recovers_images == kind]
            for kind in (True, False)
        )
        if setting.clients and spec.trials > setting.clients:
            found[f"{setting.name} holds {setting.clients} client(s), so no more trials are made of it."] = None
        if late := [defense_label(each) for each in spec.defenses if setting.recording and came_too_late(each)]:
            found[f"{setting.name} was recorded as it was sent, so {' and '.join(late)} cannot be tried on it."] = None
        for each in spec.defenses if setting.recording else ():
            if each.cohort() > setting.clients:
                wanted, had = f"{defense_label(each)} combines {each.cohort()} clients", f"holds {setting.clients}"
                found[f"{wanted} and {setting.name} {had}, so it cannot be tried on it."] = None
        if setting.recording and not has_truth(setting):
            found[f"{setting.name} holds no truth, so nothing is scored but how well images explain the update."] = None
            continue
        for metric in spec.metrics:
            if metric.compares != "labels" and images and min(images) < LEAST_BATCHES:
                found[_said(setting, metric, min(images), LEAST_BATCHES)] = None
            if metric.compares == "labels" and setting.recording and min(images + labels) < LEAST_BATCHES:
                found[_said(setting, metric, min(images + labels), LEAST_BATCHES)] = None
            if metric.compares == "labels" and metric.of == "client" and not setting.recording:
                fewest = min(images + labels)
                only = ", as attacks on images are tried on" if labels and fewest < max(labels) else ""
                found |= dict.fromkeys(_of_labels(spec, setting, metric, fewest, only))
    return tuple(found)


def _of_labels(spec: AuditSpec, setting: Setting, metric: Metric, batches: int, only: str) -> Iterator[str]:
    if all("labels" in threat.grants for threat in spec.threats):
        return
    simulated = [
        trial_without_model(setting, spec.seed, trial, 1, FIRST, FIRST, False)
        for trial in range(min(batches, MOST_TRIED))
    ]
    evidence = evidence_of([score(metric, trial, trial.readable, trial.readable) for trial in simulated])
    if evidence is not None and not evidence.powered:
        yield _said(setting, metric, batches, evidence.needs, only)


def _said(setting: Setting, metric: Metric, batches: int, needs: int | None, only: str = "") -> str:
    wanted = f"it needs {needs}" if needs is not None else f"nor with any number of them up to {MOST_BATCHES}"
    return (
        f"with {batches} batch{'es' * (batches > 1)}{only} at {setting.name}, not even a perfect attack could be called a "
        f"leak by {label_of(metric)}: {wanted}."
    )
