"""Rows: the only thing that reports read."""

import math
from dataclasses import dataclass
from typing import Literal

EXPLAINED = "explained"
"""The metric that needs no truth: how well the images found in half of a recorded update predict the other half."""

Status = Literal["ok", "n/a", "failed", "unavailable", "nan"]
"""ok: measured. n/a: impossible combination. failed: it broke. unavailable: the metric could not be had.
nan: the measurement is not a finite number. Only `ok` rows enter a mean; the others are counted and named."""


@dataclass(frozen=True)
class Guess:
    """What a blind guesser gets who was fixed before anything was seen."""

    name: str
    value: float


@dataclass(frozen=True)
class Score:
    """One metric of one cell, beside what is got without this update."""

    metric: str
    better: Literal["higher", "lower"]  # the direction in which the attacker does better
    status: Status
    note: str = ""  # why there is no number, or what it rests on
    value: float | None = None  # mean over the examples of the batch
    worst: float | None = None  # the example that leaked most
    decoy: float | None = None  # the same attack, given the update of another batch
    guesses: tuple[Guess, ...] = ()  # guesses that look at no update
    swapped: tuple[float, ...] = ()  # the same reconstruction, with other private batches in the place of the truth
    perfect: float | None = None  # what an attacker gets who recovers all that the server can read
    perfect_swapped: tuple[float, ...] = ()  # that attacker's reconstruction, as in `swapped`
    low: float = -math.inf  # what a value can be
    high: float = math.inf
    share: bool = False  # whether a value is a share of examples
    n: int = 0  # examples scored
    permuted: bool = False  # whether `swapped` are the truths of the trials after this one, around to the one before it


@dataclass(frozen=True)
class Pictures:
    """Pictures of one cell as base64-encoded PNG, matched one to one with the originals."""

    original: tuple[str, ...]
    found: tuple[str, ...]
    decoy: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """The privacy guarantee that the cell's defense claims, in numbers and in words."""

    epsilon: float
    delta: float
    statement: str
    unit: str = ""  # what one unit of data is, "example" or "client"
    adjacency: str = ""  # which pairs of data sets count as neighbors
    noise: str = ""  # who adds it to what, and so against whom the claim holds


@dataclass(frozen=True)
class Recovery:
    """How many images of one batch came back, beside what a blind guesser gets and what the claim allows."""

    threshold: float  # PSNR in dB from which on an image counts as recovered
    recovered: int  # images of the batch
    images: int
    guesses: int  # images that the attack returned; as many were granted to the blind guesser
    blind: int  # targets that the best blind set of guesses recovered
    targets: int  # private images that it was tried on
    kappa: float  # upper confidence limit of the blind guesser's rate
    bound: float | None = None  # gamma(kappa), the highest rate that the claim allows; None where nothing is claimed
    method: str = ""  # how the bound was computed

    def __post_init__(self) -> None:
        """Raises: ValueError, for shares of nothing or over all."""
        sound = 0 <= self.recovered <= self.images and 0 <= self.blind <= self.targets and 0 <= self.kappa <= 1
        if not (sound and self.images and self.targets and (self.bound is None or 0 <= self.bound <= 1)):
            raise ValueError(f"a recovery is a share of images, and so are its bounds; found {self!r:.300}")


@dataclass(frozen=True)
class FoundLabels:
    """The labels that an attack found in an update whose truth is not known."""

    client: str  # whose update it is
    counts: tuple[tuple[str, int], ...]  # class and number of examples, in the order of the classes


@dataclass(frozen=True)
class ClassCount:
    """How often one class is in the truth of a trial, in what an attack found, and in what a blind guesser says."""

    number: int  # from 0, as in the data
    name: str
    true: int
    found: int
    guessed: int


@dataclass(frozen=True)
class LabelCounts:
    """The labels of one trial by class: whose they are is known to the auditor alone, so they are personal as pictures are."""

    of: Literal["client", "cohort"]  # the attacked client, or all in the sum that the server reads
    guesser: str  # who guesses in the public proportions
    classes: tuple[ClassCount, ...]  # those that are in one of them, in the order of the classes


@dataclass(frozen=True)
class Utility:
    """What one federated training under a defense came to, and what it cost."""

    accuracy: float  # share of the held-out images that are classified rightly at the end
    floor: float  # the same before the first round
    tested: int  # held-out images that both are shares of
    rounds: int
    clients: int  # that take part in each round
    sent: int  # bytes that one client uploads in one round
    seconds: float  # for one round, all its clients one after another
    server_lr: float  # of the server's steps
    server_optimizer: str  # what makes them of the mean of the clients' steps
    tried: int = 1  # rates of the server among which that one did best on other held-out images


@dataclass(frozen=True)
class Place:
    """One place in the grid: one attack on one batch, under one defense, seen through one threat model."""

    key: str  # hash of all that decides the numbers of its cell; the names below do not enter it
    setting: str
    threat: str
    defense: str
    attack: str
    trial: int


@dataclass(frozen=True)
class Cell:
    """What was measured at the place of the same key."""

    key: str
    status: Literal["ok", "n/a", "failed"]
    note: str = ""  # the reason of an n/a cell, the traceback of a failed one
    scores: tuple[Score, ...] = ()
    claim: Claim | None = None
    pictures: Pictures | None = None
    seconds: float = 0.0
    seed: int = 0
    code: str = ""  # revision of the code that computed it
    unclaimed: str = ""  # why there is no claim
    recovery: Recovery | None = None  # None where the attack recovers no images
    utility: Utility | None = None  # of a cell that is no attack but a training
    labels: FoundLabels | None = None  # None where they are scored, or none were found
    label_counts: LabelCounts | None = None  # None where the truth is not known, labels are granted, or none were found


@dataclass(frozen=True)
class Described:
    """A named part of the audit, with what a reader must know of it."""

    name: str
    facts: tuple[str, ...]  # one sentence or "parameter = value" each


@dataclass(frozen=True)
class Sight:
    """What the server of a threat model may use beside the model and what it reads, in a word or two each."""

    threat: str
    granted: tuple[str, ...]
    withheld: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """Settings that differ in one number alone, in its order: what is measured can be drawn over it."""

    axis: str  # the number's name in the spec, such as `rounds`
    settings: tuple[tuple[str, float], ...]  # the setting's name and its number


@dataclass(frozen=True)
class EarlierPlan:
    """What a run's folder held planned before, and how far that was when another plan took its place."""

    name: str  # of the audit
    trials: int
    label_trials: int | None
    until: str  # when the next plan took its place, in UTC, as in 2026-11-29T18:30:00Z
    planned: int  # cells; 0 where the manifest was gone, and all but `measured` and `left_out` is unknown
    measured: int  # of them, by then
    raised: int  # combinations with numbers by then that the next plan gave more trials
    left_out: int  # measured cells that the next plan does not have
    same_spec: bool  # whether the next plan is of the same spec, data and weights, by other code or libraries
    lowered: int = 0  # combinations with numbers by then of which the next plan leaves out cells that were not measured
    margins: bool = False  # whether the next plan has other margins
    plan: str = ""  # SHA-256 of its cells' keys

    @property
    def is_lost(self) -> bool:
        """Whether the folder's manifest was gone, so that no more is known than which cells lay there."""
        return not self.planned


@dataclass(frozen=True)
class Manifest:
    """What was planned, with what, and where it can be repeated."""

    name: str
    seed: int
    trials: int
    spec: str  # the spec's text as it was read
    settings: tuple[Described, ...]
    threats: tuple[Described, ...]
    defenses: tuple[Described, ...]
    attacks: tuple[Described, ...]
    metrics: tuple[Described, ...]
    versions: tuple[tuple[str, str], ...]  # library or machine fact, its version or value
    hashes: tuple[tuple[str, str], ...]  # artifact, its SHA-256
    places: tuple[Place, ...]  # the whole grid, in the order of the spec, whether computed yet or not
    warnings: tuple[str, ...] = ()  # what is wrong with the way that privacy is configured, one sentence each
    trainings: tuple[Place, ...] = ()  # one for each setting, defense and repeat; no threat model, no attack
    label_trials: int | None = None  # of attacks on labels alone; None: as many
    limits: tuple[str, ...] = ()  # what so few batches cannot show, one sentence each
    doubts: tuple[str, ...] = ()  # what is to be doubted of recorded updates, one sentence each
    personal: tuple[str, ...] = ()  # settings whose images may show real people
    margins: tuple[
        tuple[str, float], ...
    ] = ()  # by metric, the leak that must be excluded before a defense is said to hold
    redacted: str = ""  # what was taken out of the run for good, in words
    series: tuple[Series, ...] = ()
    sights: tuple[Sight, ...] = ()  # one for each threat model
    sums: tuple[tuple[str, int], ...] = ()  # defenses by secure aggregation, and how many clients are in a sum
    earlier: tuple[EarlierPlan, ...] = ()  # of the same folder, where results had been seen, the first one first

    @property
    def planned(self) -> tuple[Place, ...]:
        """All places, trainings last."""
        return self.places + self.trainings

    @property
    def keys(self) -> frozenset[str]:
        """Those of all planned cells."""
        return frozenset(place.key for place in self.planned)
