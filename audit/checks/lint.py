"""Misconfigured audits: what a spec says in good faith that protects or proves less than it seems to, one sentence each."""

import math
from collections.abc import Iterator

import torch
from scipy import special

from seethrough.attacks.gradinversion import GradInversion
from seethrough.common.rounding import upward
from seethrough.defenses import Batch, Chain, Defense, Guarantee, MeanGradient, NotApplicableError, parts_of
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.guarantees.accounting import gaussian_epsilon
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.federation.client import DivergedError, local_update

from ..batches import draw_batches
from ..case import attackable, broadcast_model, claimed, divided, public_batch
from ..randomness import stream
from ..specification.defenses import defense_label
from ..specification.schema import AuditSpec, Setting
from ..threat import ThreatModel
from ..turns import without_clients
from ..weights.random import Random

LEAST_NOISE, MOST_NOISE = 0.1, 100.0  # multiples of a clipping norm between which noise is of its order
LARGE_EPSILON = 50.0
NOTICEABLE = 1.05  # ratio of the normalizers of two neighbors
OFTEN_ABORTED = 0.05  # share of attacked rounds
COLORS = 3
PHOTOGRAPH = 96  # pixels a side from which on an image is searched as one
FOR_SMALL_IMAGES = "lr: 0.2, falloff: 0.3, color: 0.008, batchnorm: 0.0"  # docs/studies/resnet20.md
FOR_PHOTOGRAPHS = (
    "lr: 0.1, distance: cosine, falloff: 0.3, color: 0.03, tv: 0.3, batchnorm: 0.0"  # docs/studies/photographs.md
)
OFTEN_AGAIN = 0.8  # share of the attacked images that are different ones, below which it is said


def lint(spec: AuditSpec) -> tuple[str, ...]:
    """Every finding once, in the order of the spec. Models are built, so the spec must have passed its checks."""
    found: dict[str, None] = {}
    for setting in spec.settings:
        found |= dict.fromkeys(
            [*_of_copies(setting, spec.seed), *_of_repeats(setting, spec), *_of_searches(setting, spec)]
        )
        for defense in spec.defenses:
            sentences = [*_of_dropouts(defense, setting), *_of_mixture(defense, setting), *_of_lists(defense)]
            for _, own in defense.kinds():
                sentences += _of_kind(own, setting, spec)
            found |= dict.fromkeys(f"{defense_label(defense)}: {sentence}." for sentence in sentences)
    return tuple(found)


def _of_kind(defense: Defense, setting: Setting, spec: AuditSpec) -> Iterator[str]:
    """What is said of the clients of whom each does the same."""
    guarantee = claimed(defense, setting, range(setting.rounds))
    yield from _of_range(defense, setting, spec.seed)
    yield from _of_defense(defense, guarantee)
    yield from _of_sampling(defense, setting)
    yield from _of_claim(guarantee, setting)
    for threat in spec.threats:
        yield from _of_statistics(defense, setting, threat, spec.seed)


def _of_lists(defense: Defense) -> Iterator[str]:
    """What index lists beside a sum give away."""
    if any(isinstance(part, SecureAggregation) and part.index_lists for part in parts_of(defense)):
        yield (
            "tells in the clear which coordinates each client sends, so what one client alone sends is read in the sum; "
            "sum more clients, or leave index_lists out"
        )


def _of_mixture(defense: Defense, setting: Setting) -> Iterator[str]:
    """Where clients differ: which of them are missing, and whose claim does not hold for all."""
    if reason := without_clients(defense, setting):
        yield f"{reason}, at {setting.name}"
    claims = [own.guarantee(setting.local, setting.batch_size) is not None for _, own in defense.kinds()]
    if any(claims) and not all(claims):
        shown = (
            "the epsilon is that of the first kind, which is attacked, and says nothing of the others"
            if claims[0]
            else "no epsilon is shown, as the first kind, which is attacked, claims none"
        )
        yield f"protects some clients by differential privacy and others not at all: {shown}"


def _of_copies(setting: Setting, seed: int) -> Iterator[str]:
    _, parts = divided(setting, seed)
    if parts.outside() and not parts.dropped:
        yield f"{setting.name}: {parts.said()}; splits: {{copies: drop}} takes them out."


def _of_repeats(setting: Setting, spec: AuditSpec) -> Iterator[str]:
    """Trials that attack the same images again, since there are few."""
    private = 0 if setting.recording else len(attackable(setting, spec.seed))
    drawn = spec.trials * setting.held
    if drawn <= (1 - OFTEN_AGAIN) * private or setting.recording:
        return  # so few that repetitions are rare
    try:
        batches = [draw_batches(setting, spec.seed, trial, 1, same_labels=False).victim for trial in range(spec.trials)]
    except NotApplicableError:
        return  # the cells say so
    different = len(torch.unique(torch.cat([batch.inputs.flatten(1) for batch in batches]), dim=0))
    if different < OFTEN_AGAIN * drawn:
        yield (
            f"{setting.name}: {spec.trials} trials of {setting.held} image{'s' * (setting.held > 1)} attack {different} "
            f"different ones, drawn from {private} private ones; intervals are over trials, and say little of other images."
        )


def _of_searches(setting: Setting, spec: AuditSpec) -> Iterator[str]:
    """Searches that leave out what trained networks give away."""
    searches = [attack for attack in spec.attacks if isinstance(attack, GradInversion)]
    if not searches or (isinstance(setting.weights, Random) and not setting.recording):
        return
    channels, height, width = setting.data.load().space.shape
    if channels == COLORS and all(attack.falloff is None for attack in searches):
        settings = FOR_PHOTOGRAPHS if min(height, width) >= PHOTOGRAPH else FOR_SMALL_IMAGES
        yield (
            f"{setting.name}: gradinversion searches in pixels alone; deep trained networks give more away to a search in "
            f"natural colors too: add gradinversion: {{{settings}}}."
        )
    if setting.batch_size > 1 and not any(attack.least_sure for attack in searches):
        yield (
            f"{setting.name}: gradinversion looks for all images of a batch alone; a trained network gives more of the one "
            "that it is least sure of: add gradinversion: {least_sure: true}."
        )


def _of_defense(defense: Defense, guarantee: Guarantee | None) -> Iterator[str]:
    parts = parts_of(defense)
    clips = [part for part in parts if part.longest_step() is not None or isinstance(part, DPSGD)]
    noises = [part for part in parts if _adds_noise(part)]
    if guarantee is None and clips and not noises:
        yield "clips without noise, which bounds how far a client moves the model but promises no privacy; add noise"
    if guarantee is None and noises and not clips:
        yield "adds noise without clipping, so one example may move the update by any amount; no noise is enough; clip first"
    if guarantee is None and noises and clips:
        yield "clips, but not right before the noise, so the norm that the noise needs is not the one that it gets; reorder"
    mechanism = None if guarantee is None else guarantee.mechanism
    if guarantee is not None and guarantee.unit == "client" and mechanism is not None:
        multiplier = mechanism.noise_multiplier
        if multiplier < LEAST_NOISE:
            yield f"its noise does not fit its clipping norm: only {multiplier:.3g} times as large; add noise or clip more"
        if multiplier > MOST_NOISE:
            yield f"its noise does not fit its clipping norm: it is {multiplier:.3g} times as large, and drowns every update"


def _of_range(defense: Defense, setting: Setting, seed: int) -> Iterator[str]:
    """What secure aggregation would do to the update of a client who holds the first public images."""
    for place, part in enumerate(parts_of(defense)):
        if not isinstance(part, SecureAggregation):
            continue
        public, rng = public_batch(setting, seed), stream(seed, "lint")
        batch = Batch(public.inputs[: setting.batch_size], public.labels[: setting.batch_size])
        try:
            gradient = defense.train(MeanGradient(setting.local.loss))
            update = local_update(broadcast_model(setting, seed, 0), batch, setting.local, gradient, rng)
        except (NotApplicableError, DivergedError):
            return  # the cells say so
        lost = part.loses([Chain(parts_of(defense)[:place]).release(update, rng).step])
        if lost:
            yield f"{lost} at {setting.name} (tried on public images), which protects nobody and ruins the sum"


def _of_dropouts(defense: Defense, setting: Setting) -> Iterator[str]:
    """How many of the rounds that are attacked secure aggregation would abort."""
    population = setting.population
    for part in parts_of(defense):
        if population is None or not isinstance(part, SecureAggregation) or part.clients != population.per_round:
            continue
        others, wanted = part.clients - 1, part.threshold() - 1  # beside the one under attack, who stays
        if population.dropouts >= 1 or wanted == 0:
            aborted = float(others - population.dropouts < wanted)
        else:
            aborted = float(special.bdtr(wanted - 1, others, 1 - population.dropouts))
        if aborted > OFTEN_ABORTED:
            yield (
                f"so many clients drop out at {setting.name} that {aborted:.0%} of the attacked rounds leave fewer than its "
                f"threshold of {part.threshold()} and are aborted, so that as many trials show nothing; lower "
                "reconstruction_threshold, or draw more clients a round"
            )


def _of_claim(guarantee: Guarantee | None, setting: Setting) -> Iterator[str]:
    if guarantee is None:
        return
    if guarantee.epsilon > LARGE_EPSILON:
        yield f"claims an epsilon of {upward(guarantee.epsilon)} at {setting.name}, which promises next to nothing; add noise"
    if guarantee.unit == "example" and guarantee.delta * setting.batch_size >= 1:
        yield (
            f"claims a delta of {guarantee.delta:g} for {setting.batch_size} examples at {setting.name}, so it may give one "
            "of them away entirely; choose a delta far below 1 over their number"
        )


def _of_sampling(defense: Defense, setting: Setting) -> Iterator[str]:
    for part in parts_of(defense):
        if isinstance(part, DPSGD) and part.sample_rate < 1:
            yield from _of_shuffling(part, setting) if part.sampling == "fixed" else _of_rounding(part, setting)


def _of_shuffling(part: DPSGD, setting: Setting) -> Iterator[str]:
    """Batches that are taken in turn, as after a shuffle, are no Poisson samples (Chua et al., ICML 2024)."""
    real = part.guarantee(setting.local, setting.batch_size)
    if real is not None:
        told = GaussianMechanism(part.noise_multiplier, setting.local.taken(setting.batch_size), part.sample_rate)
        hoped = gaussian_epsilon(told, part.delta, "rdp")
        yield (
            f"gives a sample_rate of {part.sample_rate:g}, but its batches are fixed, not Poisson samples; an accountant "
            f"that is told so would claim an epsilon of {upward(hoped)} at {setting.name}, where it is "
            f"{upward(real.epsilon)}; set sampling: poisson, or leave the rate out"
        )


def _of_rounding(part: DPSGD, setting: Setting) -> Iterator[str]:
    size = setting.local.batch_size or setting.batch_size
    if size < setting.batch_size:
        yield (
            f"draws Poisson samples within fixed slices of {size} at {setting.name}, so its sample_rate counts within a "
            "slice only; leave local.batch_size out to sample from the whole batch"
        )
    rounded, fewer = math.floor(part.sample_rate * size), math.floor(part.sample_rate * (size - 1))
    if fewer == 0 or rounded / fewer >= NOTICEABLE:
        yield (
            f"expects {part.sample_rate * size:g} of {size} examples a step at {setting.name}; Opacus' own training loop "
            f"would divide by {rounded}, and by {fewer} for a neighbor with one example less, which its accountant does not "
            "count (issues 571 and 819); here the divisor is neither rounded nor taken from the data, so mind only the "
            "deployment"
        )


def _of_statistics(defense: Defense, setting: Setting, threat: ThreatModel, seed: int) -> Iterator[str]:
    noisy = any(_adds_noise(part) for part in parts_of(defense))
    if noisy and threat.shows_batch_statistics(broadcast_model(setting, seed, 0), setting.rounds):
        yield (
            f"adds noise to the gradients, while {threat.name} has BatchNorm statistics of the batch sent in the clear "
            f"beside them at {setting.name}, so together they promise nothing; keep the statistics, or set fix_batchnorm: true"
        )


def _parts(defense: Defense) -> tuple[Defense, ...]:
    return defense.parts if isinstance(defense, Chain) else (defense,)


def _adds_noise(part: Defense) -> bool:
    """Whether the part claims by itself, or would after clipping."""
    claims = type(part).guarantee is not Defense.guarantee or type(part).guarantee_for is not Defense.guarantee_for
    return claims and not (isinstance(part, DPSGD) and part.noise_multiplier == 0)
