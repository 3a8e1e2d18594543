"""How grave it is what came through a defense, and what to do about it; both by rules that the page states."""

from collections.abc import Sequence
from typing import Literal

from .findings.defense_verdicts import NO_DEFENSE, Fate, tried
from .findings.grid import FAULTS, Finding, Standing, State, kind_of, overall, unique
from .findings.text import counted, listed, rounded_up
from .row import EXPLAINED

Severity = Literal["critical", "high", "medium", "low", "none", "unknown"]

LABELS = ("label_accuracy", "cohort_labels", "label_histogram")
IN_COMMON = ("mean_image", "cohort_distance")
IMAGES = ("identifiability", "psnr", "psnr_shrunk", "ssim", "lpips")
PICKED_OUT = "identifiability"
DECIDED = ("leaks", "told apart", "at the floor")  # standings that say something of a metric
MANY = 0.5  # of the images, from which on it is critical that they can be picked out

RULE: dict[Severity, str] = {
    "critical": f"at least {MANY:.0%} of the images can be picked out among others by what was recovered, or a guarantee is "
    "refuted",
    "high": "single images leak, by any metric of them or of your own",
    "medium": "labels leak, or what the images of a client have in common",
    "low": "the update said something of its own batch, but nothing that was shown to help a guesser",
    "none": "the defense held",
    "unknown": "neither was shown",
}


def severity_of(fate: Fate, findings: Sequence[Finding]) -> Severity:
    """The severity of what came through a defense, by what leaks; of what was not measured it knows nothing
    (`is_least_severity`)."""
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


def is_least_severity(severity: Severity, findings: Sequence[Finding]) -> bool:
    """Whether it may be graver than that, for what was not measured, or not with batches enough: images, labels
    where they would be graver, and whether images can be picked out where they leak."""
    if severity in ("critical", "unknown"):
        return False
    if severity == "high":
        return not any(each.standing in DECIDED for each in findings if kind_of(each) == PICKED_OUT)
    return bool(not_known(severity, findings))


def not_known(severity: Severity, findings: Sequence[Finding]) -> str:
    """Half a sentence on what is not known and would be graver; empty where all is. Labels that were granted are known."""
    said = [open_pictures(findings)]
    labels = [each for each in tried(findings) if kind_of(each) in LABELS]
    if severity in ("none", "low") and labels and not any(each.standing in DECIDED for each in labels):
        untested = {each.standing for each in labels} == {"no power"}
        said.append("labels could not be tested" if untested else "whether labels leak is not known")
    return listed([each for each in said if each])


def open_pictures(findings: Sequence[Finding]) -> str:
    """Half a sentence on why it is not known whether images leak; empty where it is."""
    of_images = [
        each
        for each in tried(findings)
        if kind_of(each) not in (*LABELS, *IN_COMMON, EXPLAINED)
        and (
            each.value is not None or all(state in FAULTS for state, _ in each.states)
        )  # else its attack has no images
    ]
    known = {each.attack for each in of_images if each.standing in DECIDED}
    broken = [each for each in of_images if each.attack not in known and each.standing in FAULTS]
    if known:
        attacks = len(unique(each.attack for each in broken))
        return f"pictures were not measured by {counted(attacks, 'attack')}" if attacks else ""
    said: dict[Standing | None, str] = {
        None: "pictures were not measured",
        "failed": "pictures were not measured, since cells failed",
        "missing": "pictures were not measured yet",
        "inconclusive": "of pictures nothing is known with so few batches",
        "no power": "of pictures nothing could be tested",
    }
    return said.get(overall(of_images), "pictures were not measured")


def advice(
    defense: str, severity: Severity, findings: Sequence[Finding], cost: str = "", needed: int | None = None
) -> str:
    """One sentence on what to do, and `cost`, one on what is learned under it; `needed` is about how many batches would
    decide what is undecided."""
    if defense == NO_DEFENSE and severity not in ("unknown", "none"):
        return f"Do not send updates without a defense. {cost}".rstrip()
    leaking = {kind_of(each) for each in findings if each.standing == "leaks"}
    partly, unseen = (
        any(state in FAULTS for each in findings for state, _ in each.states),
        not_known(severity, findings),
    )
    shared = "labels leak" if leaking & {*LABELS} else "what a client's images have in common leaks"
    lost = "Only where labels are no secret: these leak."
    if not leaking & {*LABELS}:
        lost = "Only where it is no secret what a client's images have in common: that leaks."
    held = "Held against these attacks."
    if unseen:
        held = f"Held against these attacks by what was measured; {unseen}."
    elif partly:
        held = "Held against these attacks where they were measured; some cells failed or are missing."
    said = {
        "critical": "Do not rely on it: pictures come back.",
        "high": "Do not rely on it: "
        + ("pictures leak in part." if leaking & {*IMAGES} else f"{listed(sorted(leaking))} leaked."),
        "medium": f"Do not rely on it: {shared}, and {unseen}." if unseen else lost,
        "low": f"Not shown to be safe: try stronger attacks{f'; {unseen}' if unseen else ''}.",
        "none": held,
        "unknown": _undecided(findings, needed),
    }[severity]
    return f"{said} {cost}".rstrip() if severity in ("medium", "low", "none") else said


def _undecided(findings: Sequence[Finding], needed_to_decide: int | None) -> str:
    """What would decide it: cells that failed or are missing, where more batches were planned than were measured, and more
    batches where they were not."""
    needed = [
        (finding.evidence.needs, finding.planned)
        for finding in findings
        if finding.standing == "inconclusive" and finding.evidence is not None and finding.evidence.needs
    ]
    said = []
    if failed := cells_in(findings, "failed"):
        said.append(f"{failed[0]} of {counted(failed[1], 'cell')} failed; --retry-failed computes them again")
    if missing := cells_in(findings, "missing"):
        said.append(f"{missing[0]} of {counted(missing[1], 'cell')} not computed yet; the same command goes on")
    most = max((needs for needs, _ in needed), default=0)
    if needed_to_decide is not None and needed_to_decide > most and not said:
        return f"Not known: about {rounded_up(needed_to_decide)} batches, of a new run, would decide it."
    if beyond := [needs for needs, planned in needed if needs > planned]:
        said.append(f"at least {max(beyond)} batches (trials) are needed")
    return f"Not known: {'. Also: '.join(said)}." if said else "Not known; below it says why."


def cells_in(findings: Sequence[Finding], state: State) -> tuple[int, int] | None:
    """How many cells behind these findings are in that state, and of how many planned; None where none is."""
    found = {
        attack: [each for each in findings if each.attack == attack] for attack in unique(f.attack for f in findings)
    }
    counts = [max(dict(each.states).get(state, 0) for each in mine) for mine in found.values()]
    return (sum(counts), sum(mine[0].planned for mine in found.values())) if sum(counts) else None
