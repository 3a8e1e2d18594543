"""Defenses one after another."""

from dataclasses import dataclass

from torch import Generator

from seethrough.recipes import Recipe
from seethrough.recipes.replay import Slopes, sum_of

from .._base import (
    Aggregate,
    Defense,
    GradFn,
    Guarantee,
    MeanGradient,
    Message,
    Params,
    Update,
)


@dataclass(frozen=True)
class Chain(Defense):
    """Defenses one after another, in the order in which they act. A chain of defenses is a defense.

    Raises: ValueError, if more than one part replaces the gradient, combines updates or claims a guarantee, for any kind of
    clients where they differ, or if clients who differ are to agree on something.
    """

    parts: tuple[Defense, ...]

    def __post_init__(self) -> None:
        for stage in ("train", "aggregate", "guarantee"):
            holders = [type(part).__name__ for part in self._overriding(stage)]
            if len(holders) > 1:
                raise ValueError(f"one part of a chain may define `{stage}`, found {', '.join(holders)}")
        differing = [part for part in self.parts if len(part.kinds()) > 1]
        if len(differing) > 1:
            raise ValueError("one part of a chain may differ between clients, found several")
        if differing and self.mixes_clients():
            raise ValueError("clients of one kind to agree on something, found a chain in which they differ")
        self.kinds()

    def _overriding(self, stage: str) -> list[Defense]:
        return [part for part in self.parts if getattr(type(part), stage) is not getattr(Defense, stage)]

    def kinds(self) -> tuple[tuple[float, Defense], ...]:
        """With what the other parts do; of one kind of clients the chain itself."""
        for place, part in enumerate(self.parts):
            if len(part.kinds()) > 1:
                return tuple((share, self._with(place, own)) for share, own in part.kinds())
        return ((1.0, self),)

    def of(self, client: int) -> Defense:
        for place, part in enumerate(self.parts):
            if len(part.kinds()) > 1:
                return self._with(place, part.of(client))
        return self

    def _with(self, place: int, own: Defense) -> "Chain":
        return Chain((*self.parts[:place], *parts_of(own), *self.parts[place + 1 :]))

    def cohort(self) -> int:
        return max(part.cohort() for part in self.parts)

    def train(self, grad: MeanGradient) -> GradFn:
        training = self._overriding("train")
        return training[0].train(grad) if training else grad

    def release(self, update: Update, rng: Generator) -> Update:
        for part in self.parts:
            update = part.release(update, rng)
        return update

    def cohort_step(self, updates: tuple[Update, ...], rngs: tuple[Generator, ...]) -> tuple[Update, ...]:
        for part in self.parts:
            updates = part.cohort_step(updates, rngs)
        return updates

    def aggregate(self, updates: tuple[Update, ...], rng: Generator) -> Aggregate:
        combining = self._overriding("aggregate") or [Defense()]
        return combining[0].aggregate(updates, rng)

    def message(self, update: Update, sent: Message) -> Message:
        for part in self.parts:
            sent = part.message(update, sent)
        return sent

    def expected(self, step: Params, observed: Params) -> Params:
        for part in self.parts:
            step = part.expected(step, observed)
        return step

    def expected_gradient(self, slopes: Slopes) -> Slopes:
        for part in self.parts:
            slopes = part.expected_gradient(slopes)
        return slopes

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        found = [part.noise(observed, recipe, count) for part in self.parts]
        names = {name for variances in found for name in variances}
        return {name: sum_of(variances[name] for variances in found if name in variances) for name in names}

    def mixes_clients(self) -> bool:
        return any(part.mixes_clients() for part in self.parts)

    def guarantee(self, recipe: Recipe, count: int) -> Guarantee | None:
        """What the part that claims by itself claims, else what noise after clipping does. Nothing, if the noise is for one
        client's update and comes after clients have mixed theirs: one client then moves what all the others send.

        No other part can compute the gradient anew behind its back: one part of a chain may define `train`.
        """
        for part in self._overriding("guarantee"):
            claimed = None if self._mixed_before(part) else part.guarantee(recipe, count)
            if claimed is not None:
                return claimed
        return self._claimed_by_noise_after_clipping()

    def why_unclaimed(self) -> str:
        mixing = [part for part in self.parts if part.mixes_clients()]
        noisy = [part for part in self.parts if _claims_for_one(part) and self._mixed_before(part)]
        if noisy:
            return (
                f"{type(mixing[0]).__name__} lets clients agree on something before {type(noisy[0]).__name__} adds its "
                "noise, so one client moves what all the others send, and noise for the update of one does not cover that"
            )
        reasons = [part.why_unclaimed() for part in self._overriding("why_unclaimed")]
        return "; ".join(dict.fromkeys(reasons)) or super().why_unclaimed()

    def _mixed_before(self, part: Defense) -> bool:
        """Whether clients have mixed their updates before `part` acts; what is noised in training comes before all that."""
        if type(part).train is not Defense.train:
            return False
        return any(each.mixes_clients() for each in self.parts[: self.parts.index(part)])

    def _claimed_by_noise_after_clipping(self) -> Guarantee | None:
        longest = None
        for part in self.parts:
            if part.mixes_clients():
                return None
            if type(part).release is Defense.release:
                continue
            claimed = None if longest is None else part.guarantee_for(longest)
            if claimed is not None:
                return claimed
            longest = part.longest_step()
        return None


def parts_of(defense: Defense) -> tuple[Defense, ...]:
    """The parts of a chain; anything else is its own."""
    return defense.parts if isinstance(defense, Chain) else (defense,)


def _claims_for_one(part: Defense) -> bool:
    """Whether the part claims by itself, or would right after clipping."""
    return type(part).guarantee is not Defense.guarantee or type(part).guarantee_for is not Defense.guarantee_for
