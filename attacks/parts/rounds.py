"""Several rounds of the same clients on the same data: each one by itself, and what they show together.

Noise is drawn anew in each round and the data are not, so that it averages out over rounds taken together.
"""

import dataclasses
from collections.abc import Sequence

from seethrough.defenses import NotApplicableError, Params

from .._base import Seen, View


def rounds_of(view: View) -> tuple[View, ...]:
    """A view of each round of the same examples alone, the oldest first and the one at hand last."""
    return (dataclasses.replace(view, past=None),) if view.fresh else each_round(view)


def remembered(view: View) -> tuple[View, ...]:
    """A view of each earlier round alone, if these were of other examples than the one at hand, the oldest first."""
    return each_round(view)[:-1] if view.fresh else ()


def each_round(view: View) -> tuple[View, ...]:
    """A view of each round alone, whatever it was of, the oldest first and the one at hand last."""
    alone = dataclasses.replace(view, past=None)
    return (*(_as_of(alone, old) for old in view.past or ()), alone)


def _as_of(alone: View, old: Seen) -> View:
    return dataclasses.replace(
        alone,
        model=old.model,
        update=old.update,
        order=old.order,
        labels=old.labels if old.fresh else alone.labels,
        buffers=alone.buffers if old.buffers is None else old.buffers,
    )


def stack_rounds(rounds: Sequence[Params]) -> Params:
    """The tensors of all rounds, each under its name and the number of its round; of a single round, as they are."""
    if len(rounds) == 1:
        return rounds[0]
    return {f"{name}, round {number}": part for number, each in enumerate(rounds, 1) for name, part in each.items()}


def observed(view: View) -> Params:
    """The updates of all rounds together."""
    return stack_rounds([each.update for each in rounds_of(view)])


def need_update(view: View) -> None:
    """Raises: NotApplicableError, if nothing but zeros was sent, in any round: no search could tell images by it."""
    if not any(part.any() for part in observed(view).values()):
        raise NotApplicableError("the update is all zeros: nothing was sent that an attack could read")
