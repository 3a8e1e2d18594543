"""Who the clients are, and which of them take part."""

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from seethrough.common.section import Section

from ..data.parts.partition import Rule, Sizes, by_size, dirichlet, pathological, shards

RULES = ("dirichlet", "pathological", "shards", "sizes")


class Partition(Section):
    """How the private share is dealt to clients, each holding its own, by one of four rules, with the names of flwr-datasets.
    A batch then comes from one client, and the decoy from another."""

    dirichlet: float | None = Field(
        default=None, gt=0, le=1e6
    )  # concentration: 0.1 leaves few classes, 100 equal shares
    pathological: int | None = Field(default=None, ge=1, le=1000)  # classes of each client
    shards: int | None = Field(default=None, ge=1, le=1000)  # of each client, of the examples sorted by class
    sizes: Sizes | None = None  # of clients of one mix of classes
    clients: int = Field(default=10, ge=2, le=1000)

    @model_validator(mode="after")
    def _one_rule(self) -> "Partition":
        if sum(getattr(self, name) is not None for name in RULES) != 1:
            raise PydanticCustomError("rule", "one of {rules}", {"rules": ", ".join(RULES)})
        return self

    @property
    def rule(self) -> Rule:
        """What deals examples to clients."""
        if self.dirichlet is not None:
            return dirichlet(self.dirichlet)
        if self.pathological is not None:
            return pathological(self.pathological)
        return shards(self.shards) if self.shards is not None else by_size(self.sizes or "iid")

    def said(self) -> str:
        """The rule in words."""
        if self.dirichlet is not None:
            return f"each class's shares drawn from Dirichlet({self.dirichlet})"
        if self.pathological is not None:
            return f"{self.pathological} class(es) to each (pathological)"
        if self.shards is not None:
            return f"{self.shards} shard(s) of the examples sorted by class to each"
        return "of one mix of classes" + ("" if self.sizes == "iid" else f", their sizes {self.sizes} in their number")


class Population(Section):
    """Clients of whom `per_round`, drawn uniformly, take part in each round, and of these some drop out before they send
    anything. The one under attack is one of them; what is attacked are the rounds up to one that its update arrives in."""

    clients: int = Field(ge=2, le=10_000)
    per_round: int = Field(ge=1, le=1_000)
    dropouts: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # a client's probability, or from 1 on their number

    @model_validator(mode="after")
    def _enough_to_draw(self) -> "Population":
        if self.per_round > self.clients:
            raise PydanticCustomError("population", "per_round of at most its clients")
        if self.dropouts >= 1 and (self.dropouts % 1 or self.dropouts >= self.per_round):
            raise PydanticCustomError(
                "dropouts",
                "dropouts below 1, the probability that a client drops out, or a whole number of them below per_round",
            )
        return self

    def said(self) -> str:
        """Who takes part, in words."""
        drawn = f"{self.per_round} of {self.clients} clients, drawn anew"
        if self.dropouts >= 1:
            return f"{drawn}, {self.dropouts:g} of whom drop out before they send anything"
        return f"{drawn}, each of whom drops out with probability {self.dropouts:g}" if self.dropouts else drawn
