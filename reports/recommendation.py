"""How grave it is what came through a defense, and what to do about it; both by rules that the page states."""

from collections.abc import Sequence
from typing import Literal

from .findings.defense_verdicts import NO_DEFENSE, Fate
from .findings.grid import FAULTS, Finding
from .findings.text import listed, rounded_up
from .findings.utility import Trained
from .row import EXPLAINED

Severity = Literal["critical", "high", "medium", "low", "none", "unknown"]

LABELS = ("label_accuracy", "cohort_labels", "label_histogram")
IN_COMMON = ("mean_image", "cohort_distance")
IMAGES = ("identifiability", "psnr", "psnr_shrunk", "ssim", "lpips")
PICKED_OUT = "identifiability"
MANY = 0.5  # of the images, from which on it is critical that they can be picked out

RULE: dict[Severity, str] = {
    "critical": f"at least {MANY:.0%} of the images can be picked out among others by what was recovered, or a guarantee is "
    "refuted",
    "high": "single images leak, by any metric of them or of your own",
    "medium": "labels leak, or what the images of a client have in common",
    "low": "the update said something of its own batch, but nothing that helps a guesser",
    "none": "the defense held",
    "unknown": "neither was shown",
}


def severity_of(fate: Fate, findings: Sequence[Finding]) -> Severity:
    """The severity of what came through a defense, by what leaks."""
    if fate == "held":
        return "none"
    if fate == "told apart":
        open_ones = [each for each in findings if each.standing == "inconclusive" or kind_of(each) == EXPLAINED]
        return "unknown" if open_ones else "low"
    leaking = [finding for finding in findings if finding.standing == "leaks"]
    if not leaking:
        return "unknown"
    picked_out = [each.value.mean for each in leaking if kind_of(each) == PICKED_OUT and each.value is not None]
    if max(picked_out, default=0.0) >= MANY:
        return "critical"
    return "medium" if {kind_of(each) for each in leaking} <= {*LABELS, *IN_COMMON} else "high"


def advice(
    defense: str, severity: Severity, findings: Sequence[Finding], trained: Trained | None, needed: int | None = None
) -> str:
    """One sentence on what to do; `needed` is about how many batches would decide what is undecided."""
    if defense == NO_DEFENSE and severity not in ("unknown", "none"):
        return f"Do not send updates without a defense. {_cost(trained)}".rstrip()
    leaking = {kind_of(each) for each in findings if each.standing == "leaks"}
    partly = any(state in FAULTS for each in findings for state, _ in each.states)
    said = {
        "critical": "Do not rely on it: pictures come back.",
        "high": "Do not rely on it: "
        + ("pictures leak in part." if leaking & {*IMAGES} else f"{listed(sorted(leaking))} leaked."),
        "medium": "Only where labels are no secret: these leak."
        if leaking & {*LABELS}
        else "Only where it is no secret what a client's images have in common: that leaks.",
        "low": "Not shown to be safe: try stronger attacks.",
        "none": "Held against these attacks where they were measured; some cells failed or are missing."
        if partly
        else "Held against these attacks.",
        "unknown": _undecided(findings, needed),
    }[severity]
    return f"{said} {_cost(trained)}".rstrip() if severity in ("medium", "low", "none") else said


def _undecided(findings: Sequence[Finding], needed_to_decide: int | None) -> str:
    needed = [
        finding.evidence.needs
        for finding in findings
        if finding.standing == "inconclusive" and finding.evidence is not None and finding.evidence.needs
    ]
    if needed_to_decide is not None and needed_to_decide > max(needed, default=0):
        return f"Not known: about {rounded_up(needed_to_decide)} batches, of a new run, would decide it."
    return (
        f"Not known: at least {max(needed)} batches (trials) are needed." if needed else "Not known; below it says why."
    )


def _cost(trained: Trained | None) -> str:
    """Whether anything is learned under it."""
    if trained is None or trained.accuracy is None or trained.floor is None:
        return ""
    low = trained.accuracy.least if trained.accuracy.low is None else trained.accuracy.low
    return "" if low > trained.floor else "But a model was not shown to learn under it."


def kind_of(finding: Finding) -> str:
    """The metric's name, without its parameters."""
    return finding.metric.partition("(")[0]
