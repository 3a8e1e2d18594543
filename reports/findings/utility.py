"""What defenses cost, and what that buys: accuracy of trainings under each, beside what leaks through it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from seethrough.common.rounding import upward

from ..row import Cell, Claim, Manifest, Place, Utility
from .defense_verdicts import RANDOM_UPDATE
from .grid import Block, Finding, Reading, unique
from .intervals import Estimate, finite, over_batches, within
from .text import counted, last_line

NO_BOUND = "no bound"
UNTOLD = ("inconclusive", "no power")  # standings of what not even a perfect attack could have shown


@dataclass(frozen=True)
class Trained:
    """All trainings under one defense in one setting."""

    setting: str
    defense: str
    accuracy: Estimate | None  # over the repeats that have one
    floor: float | None  # mean accuracy before training
    sent: float  # bytes a client and round
    seconds: float  # a round, all its clients
    claims: tuple[Claim, ...]
    unclaimed: tuple[str, ...]  # why there is none
    states: tuple[tuple[str, int], ...]  # how many repeats have no number, and why
    reason: str  # why the gravest of them has none
    how: str  # rounds, clients, rates

    @property
    def gaps(self) -> str:
        """How many repeats have no number, in words; empty without any."""
        return ", ".join(f"{count} {state}" for state, count in self.states)

    @property
    def privacy(self) -> str:
        """The epsilon of the whole training, or that there is none."""
        if not self.claims or self.unclaimed:
            return NO_BOUND
        return f"ε {upward(max(claim.epsilon for claim in self.claims))}"

    @property
    def statements(self) -> tuple[str, ...]:
        """What is claimed of the whole training, in words, and why nothing is."""
        unbounded = (f"No bound: {reason}." for reason in self.unclaimed)
        return *unique(claim.statement for claim in self.claims), *unbounded


@dataclass(frozen=True)
class Point:
    """One defense by what it keeps and what it lets through."""

    number: int
    defense: str
    accuracy: Estimate
    leak: Estimate
    attack: str  # the one with the highest mean leak
    privacy: str
    front: bool  # on the Pareto front


@dataclass(frozen=True)
class Tradeoff:
    """Every defense of one setting under one threat model, by one metric."""

    title: str
    metric: str
    points: tuple[Point, ...]
    left_out: tuple[str, ...]  # defenses that have no point, and why


def trainings(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Trained, ...]:
    """One row for each setting and defense, in the order of the spec; none where no training was planned."""
    by_key = {cell.key: cell for cell in cells}
    groups: dict[tuple[str, str], list[Place]] = {}
    for place in manifest.trainings:
        groups.setdefault((place.setting, place.defense), []).append(place)
    return tuple(_trained(path, [by_key.get(place.key) for place in group]) for path, group in groups.items())


def training_readings(manifest: Manifest, cells: Sequence[Cell]) -> tuple[Reading, ...]:
    """What became of each planned training."""
    by_key = {cell.key: cell for cell in cells}
    return tuple(_reading(place, by_key.get(place.key)) for place in manifest.trainings)


def _reading(place: Place, cell: Cell | None) -> Reading:
    if cell is None:
        return Reading(place, "accuracy", "missing", "not computed yet")
    return Reading(
        place, "accuracy", cell.status, last_line(cell.note) if cell.status == "failed" else cell.note, None, cell
    )


def tradeoffs(blocks: Sequence[Block], trained: Sequence[Trained]) -> tuple[Tradeoff, ...]:
    """One for each block and metric in which some defense has both an accuracy and a leak."""
    found = (_tradeoff(block, metric, trained) for block in blocks for metric in block.metrics)
    return tuple(each for each in found if each.points)


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[bool, ...]:
    """Which of the points (accuracy, leak) no other one dominates: at least as accurate, leaking no more, and not equal."""
    front, least = set(), float("inf")
    for accuracy, leak in sorted(set(points), key=lambda point: (-point[0], point[1])):
        if leak < least:
            front.add((accuracy, leak))
            least = leak
    return tuple(point in front for point in points)


def _trained(path: tuple[str, str], cells: Sequence[Cell | None]) -> Trained:
    done = [cell for cell in cells if cell is not None and cell.status == "ok" and cell.utility is not None]
    measured = [cell.utility for cell in done if cell.utility is not None and finite(cell.utility.accuracy)]
    states = Counter(state for cell in cells if (state := _state(cell)) != "ok")
    notes = [last_line(cell.note) for cell in cells if cell is not None and cell.status != "ok"]
    listed = ", ".join(f"{count} {state}" for state, count in states.items())
    return Trained(
        *path,
        accuracy=within(over_batches([each.accuracy for each in measured]), 0.0, 1.0) if measured else None,
        floor=fmean(each.floor for each in measured) if measured else None,
        sent=fmean(each.sent for each in measured) if measured else 0.0,
        seconds=fmean(each.seconds for each in measured) if measured else 0.0,
        claims=unique(cell.claim for cell in done if cell.claim is not None),
        unclaimed=unique(cell.unclaimed for cell in done if cell.unclaimed),
        states=tuple(states.items()),
        reason=f"{listed}: {notes[0]}" if notes else listed,
        how=_how(measured),
    )


def _state(cell: Cell | None) -> str:
    if cell is None or cell.status != "ok":
        return "missing" if cell is None else cell.status
    return "ok" if cell.utility is not None and finite(cell.utility.accuracy) else "nan"


def _how(measured: Sequence[Utility]) -> str:
    if not measured:
        return ""
    first, rates = measured[0], unique(f"{each.server_lr:g}" for each in measured)
    server = f"{first.server_optimizer} at server_lr {' and '.join(rates)}"
    chosen = f", the best of {first.tried} on other held-out images" if first.tried > 1 else ""
    return (
        f"{counted(first.rounds, 'round')} of {counted(first.clients, 'client')}, {server}{chosen}; "
        f"{first.tested} images."
    )


def _tradeoff(block: Block, metric: str, trained: Sequence[Trained]) -> Tradeoff:
    rows = {row.defense: row for row in trained if row.setting == block.setting}
    pairs, left_out = [], []
    for defense in block.defenses:
        row, strongest = rows.get(defense), _strongest(block.of(defense, metric=metric))
        if row is None or row.accuracy is None:
            left_out.append(f"{defense}, no accuracy")
        elif defense == RANDOM_UPDATE:
            left_out.append(f"{defense}, a control and no defense")
        elif strongest is None or strongest.leak is None:
            left_out.append(f"{defense}, no leak to measure")
        elif strongest.standing in UNTOLD:
            left_out.append(f"{defense}, whose leak could not be tested: {strongest.standing}")
        else:
            pairs.append((row, row.accuracy, strongest.attack, strongest.leak))
    front = pareto_front([(accuracy.mean, leak.mean) for _, accuracy, _, leak in pairs])
    points = tuple(
        Point(number, row.defense, accuracy, leak, attack, row.privacy, best)
        for number, ((row, accuracy, attack, leak), best) in enumerate(zip(pairs, front, strict=True), start=1)
    )
    return Tradeoff(f"{metric} leaked over accuracy: {block.setting}, {block.threat}", metric, points, tuple(left_out))


def _strongest(findings: Sequence[Finding]) -> Finding | None:
    """Of those that could be tested, where there are any."""
    known = [finding for finding in findings if finding.leak is not None]
    tested = [finding for finding in known if finding.standing not in UNTOLD]
    return max(tested or known, key=lambda finding: finding.leak.mean if finding.leak else 0.0, default=None)
