"""The verdict in words: what leaks through what, what held, and what cannot be said."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .control_statements import control_statements
from .findings.defense_verdicts import (
    NO_DEFENSE,
    RANDOM_UPDATE,
    SILENT,
    fate,
    fates,
    tone,
    tried,
    vouched_for,
)
from .findings.evidence import ALPHA
from .findings.grid import Block, Finding, Reading, Standing, kind_of, overall, unique, worst_of
from .findings.problems import Statement, problems
from .findings.text import counted, interval, listed, number
from .headline import headline, incomplete, is_without_truth
from .row import EXPLAINED, EarlierPlan
from .undecided import by_attack, why_nothing_follows

NOT_PROOF = (
    "Failure to reconstruct is not proof of safety: an attack that was not tried here, or a larger budget, may "
    "recover what these could not."
)

KINDS = {
    EXPLAINED: "how well the images explain the update",
    "label_accuracy": "labels",
    "cohort_labels": "the labels of the clients together",
    "label_histogram": "how common each class is",
    "psnr": "single images",
    "psnr_shrunk": "single images",
    "ssim": "single images",
    "lpips": "single images",
    "identifiability": "single images",
    "mean_image": "what the images have in common",
    "cohort_distance": "what kind of images they are",
}
"""What of the batch a metric measures, by the metric's name without its parameters."""

OTHERWISE: dict[Standing, str] = {
    "told apart": "something came through, not shown to help a guesser",
    "at the floor": "at the floor",
    "inconclusive": "not known with so few batches",
    "no power": "could not be tested",
    "failed": "failed",
    "missing": "not computed yet",
}
"""What is said of a kind by its gravest standing, beside one that leaks."""


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


def judge(
    readings: Sequence[Reading],
    blocks: Sequence[Block],
    doubts: Sequence[str] = (),
    refuted: bool = False,
    earlier: Sequence[EarlierPlan] = (),
    trainings: Sequence[Reading] = (),
) -> Verdict:
    """The verdict over all that was planned; `doubts` are those of recorded updates, `refuted` whether a guarantee is,
    `earlier` the plans that the folder had before, `trainings` what became of each, if any was planned."""
    planned = {reading.place: reading.cell for reading in (*readings, *trainings)}
    states = Counter("missing" if cell is None else cell.status for cell in planned.values())
    return Verdict(
        headline=incomplete(states) + headline(blocks, doubts, refuted, earlier),
        tone=tone(fates(blocks, defended=True) or fates(blocks, defended=False)),
        problems=problems(readings, trainings),
        sections=tuple(Section(block.setting, block.threat, _statements(block)) for block in blocks),
        caveats=(NOT_PROOF, *_comparisons(blocks)),
    )


def _statements(block: Block) -> tuple[Statement, ...]:
    order = ("leaks", "told apart", "undecided", "held")
    kept = [defense for defense in block.defenses if defense != RANDOM_UPDATE]
    defenses = sorted(kept, key=lambda defense: order.index(fate(block, defense)))
    say = {"leaks": _leaks, "told apart": _told_apart, "undecided": _undecided, "held": _held}
    return (*(say[fate(block, defense)](block, defense) for defense in defenses), *control_statements(block))


def _leaks(block: Block, defense: str) -> Statement:
    findings = block.of(defense)
    leaking = [finding for finding in findings if finding.standing == "leaks"]
    attacks = len({finding.attack for finding in leaking})
    most = [worst_of(finding for finding in leaking if finding.metric == metric) for metric in block.metrics]
    return Statement(
        f"{_called(defense)}: leaks",
        f"{attacks} of {counted(_number_tried(findings), 'attack')} that could be run "
        f"{'recovers' if attacks == 1 else 'recover'} more than a guesser.{_kinds(findings)} The worst number of each:",
        tuple(_gain(block, finding) for finding in most if finding is not None),
        "leaks",
    )


def _told_apart(block: Block, defense: str) -> Statement:
    findings = [finding for finding in block.of(defense) if finding.standing == "told apart"]
    most = [worst_of(finding for finding in findings if finding.metric == metric) for metric in block.metrics]
    points = tuple(_gain(block, finding) for finding in most if finding is not None)
    points += by_attack([finding for finding in block.of(defense) if finding.standing == "inconclusive"])
    if {finding.metric for finding in findings} == {EXPLAINED}:
        return Statement(
            f"{_called(defense)}: told apart",
            "the images that were found explain these updates better than public images of the same labels, so "
            "something of the clients' own came through; whether it looks like their images was not or could not be "
            "shown:",
            points,
        )
    return Statement(
        f"{_called(defense)}: told apart",
        "reconstructions are nearer to their own batch than to others, so something of the update came through, but "
        "they were not shown to be better than what a guesser gets who has no update:",
        points,
    )


def _kinds(findings: Sequence[Finding]) -> str:
    """A sentence on what of the batch leaks, and on what else was measured, by the gravest standing of each kind, as the
    table of defenses has it."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in tried(findings):
        if kind := KINDS.get(kind_of(finding)):
            by_kind.setdefault(kind, []).append(finding)
    standings = {kind: overall(found) for kind, found in by_kind.items()}
    if "leaks" not in standings.values():
        return ""
    said = [(word, [kind for kind in standings if standings[kind] == standing]) for standing, word in OTHERWISE.items()]
    rest = "".join(f"; {word}: {listed(kinds)}" for word, kinds in said if kinds)
    return f" What leaked of the batch: {listed([kind for kind in standings if standings[kind] == 'leaks'])}{rest}."


def _called(defense: str) -> str:
    """A name that cannot be read as "none of them"."""
    return "no defense" if defense == NO_DEFENSE else defense


def _gain(block: Block, finding: Finding) -> str:
    """A number with its floor; where it is not shown to leak, the gain that is not excluded either."""
    if finding.value is None:
        return finding.metric
    said = f"{finding.metric} {interval(finding.value)}{block.whose(finding)} by {finding.attack}"
    if finding.floor is None:
        chance = "" if finding.chance is None else f"by chance: {number(finding.chance, finding.value.mean)}; "
        return f"{said} ({chance}n = {finding.value.n})"
    gain = (
        "" if finding.leak is None or finding.standing == "leaks" else f"; over it {interval(finding.leak, sign=True)}"
    )
    return f"{said} ({finding.guesser}: {number(finding.floor, finding.value.mean)}{gain}; n = {finding.value.n})"


def _held(block: Block, defense: str) -> Statement:
    vouched = vouched_for(block, defense)
    attacks = unique(finding.attack for finding in vouched)
    fewest = min(finding.value.n for finding in vouched if finding.value is not None)
    power = _power(vouched)
    return Statement(
        f"{_called(defense)}: held",
        f"nothing was found by {counted(_number_tried(block.of(defense)), 'attack')} that could be run. Of these, "
        f"{listed(attacks)} {'leaks' if len(attacks) == 1 else 'leak'} without a defense and could have shown a leak "
        f"with n = {fewest}.{f' Found in four of five such audits: {power}.' if power else ''}",
        tone="held",
    )


def _power(findings: Sequence[Finding]) -> str:
    """For each metric, the smallest gain over other batches that would have been found; by the attack that finds least."""
    said = []
    for metric in unique(finding.metric for finding in findings):
        reach = [
            finding.evidence.detectable
            for finding in findings
            if finding.metric == metric and finding.evidence is not None and finding.evidence.detectable is not None
        ]
        said += [f"a gain of {number(min(reach))} {metric}"] if reach else []
    return listed(said)


def _undecided(block: Block, defense: str) -> Statement:
    findings, subject = block.of(defense), f"{_called(defense)}: undecided"
    if not tried(findings) and is_without_truth([block]):
        return Statement(subject, "nothing could be scored; the labels and pictures that were found stand below.")
    if not tried(findings):
        return Statement(subject, "no attack could be run.")
    open_ones = [finding for finding in tried(findings) if finding.standing not in SILENT]
    if not open_ones:
        return Statement(subject, why_nothing_follows(block, defense))
    return Statement(subject, "no leak was found, but not all was measured with power:", by_attack(open_ones))


def _comparisons(blocks: Sequence[Block]) -> tuple[str, ...]:
    count = sum(finding.evidence is not None for block in blocks for finding in block.findings)
    if not count:
        return ()
    return (
        f"{counted(count, 'combination')} of attack, defense and metric. Whether an update said anything is tested for "
        "all of them together: if none did, a report like this one would call any of them a leak with a probability of "
        f"at most {ALPHA:.1%}. Whether what it said helps a guesser is tested for each by itself, at {ALPHA:.1%}.",
    )


def _number_tried(findings: Sequence[Finding]) -> int:
    return len({finding.attack for finding in tried(findings)})
