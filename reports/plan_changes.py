"""What was changed of a plan after results had been seen: then a number of batches was not fixed before them."""

from collections.abc import Iterator, Sequence

from .findings.text import counted
from .row import EarlierPlan, Manifest


def plan_changes(manifest: Manifest) -> tuple[str, ...]:
    """A sentence for all trials, results and margins that were changed in the light of results, and for a history that was
    lost; none where the folder always had the same plan, or had others before anything was measured. A spec that was run anew
    by other code is the same plan."""
    return tuple(sentence for earlier in manifest.earlier for sentence in changes_by(earlier))


def is_changed(earlier: Sequence[EarlierPlan]) -> bool:
    """Whether any of these plans is known to have been changed in the light of results."""
    return any(not each.is_lost and any(changes_by(each)) for each in earlier)


def changes_by(earlier: EarlierPlan) -> Iterator[str]:
    """What was changed when the next plan took the place of that one."""
    if earlier.is_lost:
        held = f"{counted(earlier.measured, 'measured cell')}, {earlier.left_out} of which are not part of this run"
        yield (
            f"The history of the plan is lost: on {earlier.until} the folder held {held}, but no manifest that can be read. "
            "What was planned before, and whether trials were added or results left out in the light of results, nobody can "
            "tell."
        )
        return
    seen = f"{earlier.measured} of its {counted(earlier.planned, 'cell')} were measured"
    if earlier.raised:
        yield (
            f"Trials were added after results had been seen: the plan that stood until {earlier.until} had "
            f"{_trials(earlier)}, and {seen}; then {counted(earlier.raised, 'combination')} that had numbers got more trials. "
            "Tests and intervals hold for a number of batches that was fixed before: who goes on until a leak shows, or "
            "until none does, is wrong more often than they say."
        )
    if earlier.lowered:
        yield (
            f"Trials were taken away after results had been seen: the plan that stood until {earlier.until} had "
            f"{_trials(earlier)}, and {seen}; then {counted(earlier.lowered, 'combination')} that had numbers lost trials "
            "that had not been computed. Who stops where results please is wrong more often than tests and intervals say."
        )
    if earlier.margins:
        yield (
            f"Margins were changed after results had been seen: until {earlier.until} a leak was judged by others, and {seen}."
            " A margin that is chosen to fit excludes nothing."
        )
    if earlier.left_out and not earlier.same_spec:
        yield (
            f"Results were left out after they had been seen: the plan that stood until {earlier.until}, "
            f"of the audit {earlier.name!r}, had {_trials(earlier)}, and {seen}; "
            f"{earlier.left_out} of these are not part of this run. Who changes an audit until its results please is wrong "
            "more often than tests and intervals say."
        )


def _trials(earlier: EarlierPlan) -> str:
    labels = "" if earlier.label_trials is None else f" ({earlier.label_trials} of attacks on labels alone)"
    return f"{counted(earlier.trials, 'trial')}{labels}"
