"""A guarantee in words: what is private, for whom, against which neighbors, by whose noise, by which accountant."""

import dataclasses
from functools import cache
from typing import Literal

from seethrough.common.rounding import upward

from .._base import Guarantee
from .._mechanism import GaussianMechanism
from .accounting import Accountant, gaussian_epsilon, reliable_accountant

ROUNDS = (10, 100)  # further rounds of the same participant that the statement gives an epsilon for
GENERATOR = (
    "The claim is for idealized arithmetic: the noise is floating-point, from PyTorch's Mersenne Twister, which is not "
    "cryptographically secure (Opacus' secure mode needs torchcsprng, which current releases of PyTorch cannot load)."
)


@cache
def gaussian_guarantee(
    mechanism: GaussianMechanism,
    delta: float,
    accountant: Accountant,
    unit: Literal["example", "client"],
    adjacency: str,
    sampling: str,
    noise: str,
) -> Guarantee:
    """The guarantee of one observed round, for neighbors that add or remove one unit.

    `adjacency` says how; `sampling` says how often and by whose draw a unit takes part; `noise` who adds it to what.
    """
    # Replacing is counted without sampling: the draws are the same for both neighbors, so mixing over them adds nothing.
    replaced = mechanism.unsampled().replacing()
    used = reliable_accountant(accountant, replaced, delta)
    epsilon = gaussian_epsilon(mechanism, delta, used)
    steps = "1 noised step" if mechanism.steps == 1 else f"{mechanism.steps} noised steps"
    later = ", ".join(f"{upward(_epsilon(mechanism.over(rounds), delta))} over {rounds}" for rounds in ROUNDS)
    composition = (
        f"{steps} in one observed round; rounds of the same participant add up: with the same noise, epsilon is {later}"
    )
    statement = (
        f"For one {unit}, the update of one observed round is ({upward(epsilon)}, {delta:g})-differentially private if "
        f"neighbors {adjacency}, and ({upward(gaussian_epsilon(replaced, delta, used))}, {delta:g})-differentially "
        f"private if they replace one. Sampling: {sampling}. Composition: {composition}. Accounted by Opacus "
        f"({used.upper()}); epsilon is {_both(mechanism, delta)}. Noise: {noise}. {GENERATOR}"
    )
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        adjacency=adjacency,
        sampling=sampling,
        accountant=f"Opacus, {used.upper()}",
        statement=statement,
        composition=composition,
        noise=noise,
        mechanism=mechanism,
    )


def client_guarantee(noise_multiplier: float, delta: float, accountant: Accountant) -> Guarantee:
    """The guarantee of a client whose whole update is clipped, and gets noise of `noise_multiplier` times that norm."""
    return gaussian_guarantee(
        mechanism=GaussianMechanism(noise_multiplier),
        delta=delta,
        accountant=accountant,
        unit="client",
        adjacency="add or remove one client in its place, whose update then counts as zero",
        sampling="none: the participant is known, and no amplification by sampling is counted",
        noise=(
            "each client adds its own, to its whole clipped update, before anything is sent; so the claim holds against "
            "the server"
        ),
    )


def composed(guarantee: Guarantee, rounds: int, times: int) -> Guarantee:
    """What `guarantee`, of one round, says of a training of `rounds` rounds, in at most `times` of which a unit takes part.

    Noise is drawn anew in each round, and a round that the unit is not in only works on what the others told.
    """
    mechanism, delta = guarantee.mechanism, guarantee.delta
    if mechanism is None:
        epsilon, delta, accountant = guarantee.epsilon * times, delta * times, "adding up epsilon and delta"
    else:
        mechanism = mechanism.over(times)
        epsilon, accountant = _epsilon(mechanism, delta), "Opacus, RDP"
    composition = f"all of {rounds} rounds, in at most {times} of which one {guarantee.unit} takes part"
    statement = (
        f"For one {guarantee.unit}, the updates of a whole training are together ({upward(epsilon)}, {delta:g})-"
        f"differentially private if neighbors {guarantee.adjacency}. Composition: {composition}. Sampling in each of "
        f"these: {guarantee.sampling}. Accounted by {accountant}. Noise: {guarantee.noise}. {GENERATOR}"
    )
    return dataclasses.replace(
        guarantee,
        epsilon=epsilon,
        delta=delta,
        accountant=accountant,
        statement=statement,
        composition=composition,
        mechanism=mechanism,
    )


def _epsilon(mechanism: GaussianMechanism, delta: float) -> float:
    return gaussian_epsilon(mechanism, delta, "rdp")


def _both(mechanism: GaussianMechanism, delta: float) -> str:
    by_rdp = f"{upward(_epsilon(mechanism, delta))} by RDP"
    if reliable_accountant("prv", mechanism, delta) == "rdp":
        return f"{by_rdp}, and PRV is not to be trusted at numbers like these"
    return f"{by_rdp} and {upward(gaussian_epsilon(mechanism, delta, 'prv'))} by PRV"
