"""The headline of a report: what undefended updates give away, and how many defenses leak, held, or are undecided."""

from collections.abc import Mapping, Sequence

from .findings.defense_verdicts import NO_DEFENSE, Fate, defenses_of, false_alarms, fate, fates, is_blind
from .findings.grid import Block, unique
from .findings.text import counted, listed
from .plan_changes import is_changed
from .row import EXPLAINED, EarlierPlan

MOST_NAMED = 4  # defenses that the headline names
REFUTED = "A guarantee is refuted by what was recovered, so no bound here is to be trusted. "
DOUBTED = " All of this supposes that the recordings are what they say, and there is doubt of it: see below."
CHANGED = " The plan was changed after results had been seen: see below."
LOST = " What was planned before results were seen is not known: see below."


NEGATIVE_CONTROL_FAILS = "The negative control fails: something was found in noise, so nothing here is to be trusted."
POSITIVE_CONTROL_FAILS = (
    "The positive control fails: nothing was found in undefended updates either, so nothing here says that a defense "
    "held"
)


def incomplete(states: Mapping[str, int]) -> str:
    """What stands before everything where cells, of which `states` says how many are in which, failed or were not computed."""
    planned, missing, failed = sum(states.values()), states.get("missing", 0), states.get("failed", 0)
    said = [f"{missing} of {counted(planned, 'cell')} not computed yet"] if missing else []
    said += [f"{failed} of {counted(planned, 'cell')} failed"] if failed else []
    return f"{'Partial: ' if missing else ''}{listed(said)}. " if said else ""


def failed_control(blocks: Sequence[Block]) -> str:
    """One sentence, if a control of the audit fails; empty otherwise."""
    if any(false_alarms(block) for block in blocks):
        return NEGATIVE_CONTROL_FAILS
    return f"{POSITIVE_CONTROL_FAILS}." if is_blind(blocks) else ""


def headline(
    blocks: Sequence[Block], doubts: Sequence[str] = (), refuted: bool = False, earlier: Sequence[EarlierPlan] = ()
) -> str:
    """One sentence on all `blocks`, another before it where a guarantee is refuted, and one behind it where there are
    `doubts` of recordings, or the plan was changed since an `earlier` one in the light of results."""
    before, doubted = (REFUTED if refuted else ""), (DOUBTED if doubts else "")
    changed, lost = is_changed(earlier), any(each.is_lost for each in earlier)
    return before + _sentence(blocks) + doubted + (CHANGED if changed else "") + (LOST if lost else "")


def _sentence(blocks: Sequence[Block]) -> str:
    if any(false_alarms(block) for block in blocks):
        return NEGATIVE_CONTROL_FAILS
    control, found = fates(blocks, defended=False), fates(blocks, defended=True)
    opening = _without_truth(blocks, control) if is_without_truth(blocks) else _opening(blocks, control)
    if not found:
        return f"{opening or 'Nothing was planned; '}no defense was tried."
    leaking, through, held, undecided = (found.count(each) for each in ("leaks", "told apart", "held", "undecided"))
    said = [f"{leaking or 'none'} {'leaks' if leaking == 1 else 'leak'}"]
    if through:
        said.append(
            f"{through} {'lets' if through == 1 else 'let'} something through that was not shown to help a guesser"
        )
    said += [f"{held or 'none'} held against every attack tried here{_named(blocks)}"]
    said += [f"{undecided} {'is' if undecided == 1 else 'are'} undecided"] if undecided else []
    scope = counted(len(found), "defense" if len(blocks) == 1 else "defended case")
    return f"{opening}{'of' if opening else 'Of'} {scope} {listed(said)}."


def _named(blocks: Sequence[Block]) -> str:
    """Which defenses held, in brackets, where a reader can still take them in and none may have leaked elsewhere."""
    held = unique(defense for block in blocks for defense in defenses_of(block) if fate(block, defense) == "held")
    return f" ({listed(held)})" if len(blocks) == 1 and 0 < len(held) <= MOST_NAMED else ""


def _opening(blocks: Sequence[Block], control: Sequence[Fate]) -> str:
    """What the positive control says; empty without one."""
    if not control:
        return ""
    if is_blind(blocks):
        return f"{POSITIVE_CONTROL_FAILS}; "
    if "leaks" in control:
        return "Undefended updates leak private data; "
    if "told apart" in control and _has_open_ones(blocks):
        return "Undefended updates say something; so few batches cannot show whether an attack turns it into a leak; "
    if "told apart" in control:
        return "Undefended updates say something, but nothing that these attacks turn into a leak; "
    return "No leak could be shown even in undefended updates, so nothing here says that a defense held; "


def _has_open_ones(blocks: Sequence[Block]) -> bool:
    """Whether more batches might show a leak of undefended updates."""
    return any(finding.standing == "inconclusive" for block in blocks for finding in block.of(NO_DEFENSE))


def is_without_truth(blocks: Sequence[Block]) -> bool:
    """Whether nothing could be measured of recorded updates but how well images explain them."""
    findings = [finding for block in blocks for finding in block.findings]
    recorded = any(finding.metric == EXPLAINED for finding in findings)
    return recorded and all(finding.metric == EXPLAINED or finding.value is None for finding in findings)


def _without_truth(blocks: Sequence[Block], control: Sequence[Fate]) -> str:
    """What can be said of undefended updates whose examples are not known."""
    if all(finding.value is None for block in blocks for finding in block.findings):
        return "Nothing could be scored, since neither the truth nor public images of its kind are known; "
    found = "What" if "told apart" in control else "Nothing that"
    return (
        f"{found} was found explains the recorded updates better than public images do, and without the truth no more "
        "can be said; "
    )
