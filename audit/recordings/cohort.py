"""The recorded clients of a round whose updates a defense combines."""

from dataclasses import dataclass

from seethrough.defenses import NotApplicableError

from ..specification.schema import Setting
from .read import Recording, recordings_in


@dataclass(frozen=True, eq=False)
class Member:
    """One client's recording of a round, by its place among the clients and among the client's own rounds."""

    client: int
    place: int
    recording: Recording


def rounds_of(setting: Setting, client: int, wanted: int) -> tuple[tuple[Member, ...], ...]:
    """For each round in which `client` and the `wanted` - 1 clients recorded after it took part, the oldest first, all of
    them, `client` before the others.

    Raises: NotApplicableError, if there are too few clients or they did not train together.
    """
    every = recordings_in(setting.recording)
    if wanted > len(every):
        raise NotApplicableError(f"the defense combines {wanted} clients, and {len(every)} of a round were recorded")
    taking_part = [
        {each.facts.round: Member(number, place, each) for place, each in enumerate(every[number])}
        for number in ((client + after) % len(every) for after in range(wanted))
    ]
    found = []
    for number in sorted(taking_part[0]):
        members = tuple(rounds[number] for rounds in taking_part if number in rounds)
        if len(members) == wanted:
            found.append(members)
        elif number == max(taking_part[0]):
            raise NotApplicableError(
                f"the defense combines {wanted} clients, and {len(members)} of them were recorded in round {number}"
            )
    if any(len({each.recording.facts.before_sha256 for each in members}) > 1 for members in found):
        raise NotApplicableError("the defense combines clients of one round, and these started from different weights")
    return tuple(found)
