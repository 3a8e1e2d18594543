"""The verdict in words: what leaks through what, what held, and what cannot be said."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports._findings import Block, Finding, Reading, overall, unique
from reports._problems import Statement, problems
from reports._text import counted, interval, listed, number

NO_DEFENSE = "none"  # the defense that changes nothing: the positive control of the attacks
NOT_PROOF = (
    "Failure to reconstruct is not proof of safety: an attack that was not tried here, or a larger budget, "
    "may recover what these could not."
)


KINDS = {
    "label_accuracy": "labels",
    "label_histogram": "how common each class is",
    "psnr": "single images",
    "ssim": "single images",
    "lpips": "single images",
    "identifiability": "single images",
    "mean_image": "what the images have in common",
    "cohort_distance": "what kind of images they are",
}
"""What of the batch a metric measures, by the metric's name without its parameters."""


@dataclass(frozen=True)
class Section:
    """What is said of one setting under one threat model."""

    setting: str
    threat: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict, from its one sentence to what it rests on."""

    headline: str
    tone: str  # "leaks", "held" or "undecided"
    problems: tuple[Statement, ...]  # failures and missing numbers
    sections: tuple[Section, ...]
    caveats: tuple[str, ...]


def judge(readings: Sequence[Reading], blocks: Sequence[Block]) -> Verdict:
    """The verdict over all that was planned."""
    return Verdict(
        headline=_headline(blocks),
        tone=_tone(_fates(blocks, defended=True) or _fates(blocks, defended=False)),
        problems=problems(readings),
        sections=tuple(Section(block.setting, block.threat, _statements(block)) for block in blocks),
        caveats=(NOT_PROOF, *_comparisons(blocks)),
    )


def _fate(block: Block, defense: str) -> str:
    """`leaks` if any attack does, `held` if all that could be run are at the floor, else `undecided`."""
    standing = overall(_tried(block.of(defense)))
    return {"leaks": "leaks", "at the floor": "held"}.get(standing or "", "undecided")


def _fates(blocks: Sequence[Block], defended: bool) -> list[str]:
    """The fates of all defenses, or of the positive control."""
    return [
        _fate(block, defense) for block in blocks for defense in block.defenses if (defense != NO_DEFENSE) == defended
    ]


def _tone(fates: Sequence[str]) -> str:
    if "leaks" in fates:
        return "leaks"
    return "held" if set(fates) == {"held"} else "undecided"


def _tried(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.standing not in ("n/a", "unavailable"))


def _headline(blocks: Sequence[Block]) -> str:
    """One sentence: what the updates give away undefended, then how many defenses leak, held, or are undecided."""
    opening, fates = _opening(_fates(blocks, defended=False)), _fates(blocks, defended=True)
    if not fates:
        return f"{opening or 'Nothing was planned; '}no defense was tried."
    leaking, held = fates.count("leaks"), fates.count("held")
    undecided = len(fates) - leaking - held
    said = [
        f"{leaking or 'none'} {'leaks' if leaking == 1 else 'leak'}",
        f"{held or 'none'} held against every attack tried here",
    ]
    said += [f"{undecided} {'is' if undecided == 1 else 'are'} undecided"] if undecided else []
    scope = counted(len(fates), "defense" if len(blocks) == 1 else "defended case")
    return f"{opening}{'of' if opening else 'Of'} {scope} {listed(said)}."


def _opening(control: Sequence[str]) -> str:
    """What the positive control says; empty without one."""
    if not control:
        return ""
    words = {
        "leaks": "Undefended updates leak private data; ",
        "held": "No leak was found even in undefended updates; ",
        "undecided": "Too little was measured to judge undefended updates; ",
    }
    return words[_tone(control)]


def _statements(block: Block) -> tuple[Statement, ...]:
    order = ("leaks", "undecided", "held")
    defenses = sorted(block.defenses, key=lambda defense: order.index(_fate(block, defense)))
    say = {"leaks": _leaks, "undecided": _undecided, "held": _held}
    return (*(say[_fate(block, defense)](block, defense) for defense in defenses), *_power(block))


def _leaks(block: Block, defense: str) -> Statement:
    findings = block.of(defense)
    leaking = [finding for finding in findings if finding.standing == "leaks"]
    attacks = len({finding.attack for finding in leaking})
    most = [_strongest([finding for finding in leaking if finding.metric == metric]) for metric in block.metrics]
    return Statement(
        f"{_called(defense)}: leaks",
        f"{attacks} of {counted(_number_tried(findings), 'attack')} that could be run "
        f"{'recovers' if attacks == 1 else 'recover'} more than a guesser.{_kinds(findings)} The most:",
        tuple(_gain(finding) for finding in most if finding is not None),
        "leaks",
    )


def _kinds(findings: Sequence[Finding]) -> str:
    """A sentence on what of the batch leaks, and what does not though it was measured."""

    def named(chosen: Sequence[Finding]) -> tuple[str, ...]:
        return unique(kind for f in chosen if (kind := KINDS.get(f.metric.partition("(")[0])))

    leaking = named([finding for finding in findings if finding.standing == "leaks"])
    held = [kind for kind in named([f for f in findings if f.standing == "at the floor"]) if kind not in leaking]
    if not leaking:
        return ""
    return f" What leaked of the batch: {listed(leaking)}{f'; at the floor: {listed(held)}' if held else ''}."


def _called(defense: str) -> str:
    """A name that cannot be read as "none of them"."""
    return "no defense" if defense == NO_DEFENSE else defense


def _gain(finding: Finding) -> str:
    if finding.value is None or finding.floor is None:
        return finding.metric
    guess = number(finding.floor, finding.value.mean)
    return f"{finding.metric} {interval(finding.value)} by {finding.attack} (a guesser: {guess}; n = {finding.value.n})"


def _held(block: Block, defense: str) -> Statement:
    findings = _tried(block.of(defense))
    fewest = min(finding.leak.n for finding in findings if finding.leak is not None)
    room = [_largest_gain([finding for finding in findings if finding.metric == metric]) for metric in block.metrics]
    allowed = listed([gain for gain in room if gain])
    return Statement(
        f"{_called(defense)}: held",
        f"{counted(_number_tried(findings), 'attack')} that could be run, all at the floor: not to be told from "
        f"guessing with n = {fewest}.{f' The intervals still allow a gain of up to {allowed}.' if allowed else ''}",
        tone="held",
    )


def _largest_gain(findings: Sequence[Finding]) -> str:
    highs = [finding.leak.high for finding in findings if finding.leak is not None and finding.leak.high is not None]
    highest = max(highs, default=0.0)
    return f"{number(highest)} {findings[0].metric}" if highest > 0 else ""


def _undecided(block: Block, defense: str) -> Statement:
    findings = block.of(defense)
    if not _tried(findings):
        return Statement(f"{_called(defense)}: undecided", "no attack could be run.")
    open_ones = [finding for finding in _tried(findings) if finding.standing != "at the floor"]
    named = [
        f"{attack}: {listed(unique(f'{f.metric} {f.standing}' for f in open_ones if f.attack == attack))}"
        for attack in unique(finding.attack for finding in open_ones)
    ]
    return Statement(f"{_called(defense)}: undecided", "no leak was found, but not all was measured:", tuple(named))


def _power(block: Block) -> tuple[Statement, ...]:
    """What the undefended runs say of the attacks themselves."""
    if NO_DEFENSE not in block.defenses:
        text = "without an undefended run, a defense that held cannot be told from attacks that are too weak."
        return (Statement("No positive control", text),)
    tried = unique(finding.attack for finding in _tried(block.of(NO_DEFENSE)))
    weak = [attack for attack in tried if overall(block.of(NO_DEFENSE, attack)) == "at the floor"]
    if not weak:
        return ()
    text = f"{listed(weak)} recovered nothing even without a defense, so failing against one says nothing of it."
    return (Statement("Weak attacks", text),)


def _comparisons(blocks: Sequence[Block]) -> tuple[str, ...]:
    count = sum(finding.leak is not None and finding.leak.n > 1 for block in blocks for finding in block.findings)
    if not count:
        return ()
    chance = round(0.025 * count)  # one side of an interval at 95 %
    some = f"about {chance}" if chance else "fewer than one"
    return (
        f"{counted(count, 'comparison')} with the floor at 95 % each, not corrected for their number: if nothing "
        f"leaked at all, {some} of them would still be called a leak by chance.",
    )


def _strongest(findings: Sequence[Finding]) -> Finding | None:
    return max(findings, key=lambda finding: finding.leak.mean if finding.leak else 0.0, default=None)


def _number_tried(findings: Sequence[Finding]) -> int:
    return len({finding.attack for finding in _tried(findings)})
