"""Who the clients are, and which of them take part."""

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from seethrough.common.section import Section


class Partition(Section):
    """How the private share is dealt to clients, each holding its own: every class's shares are drawn from a symmetric
    Dirichlet distribution. A batch then comes from one client, and the decoy from another."""

    dirichlet: float = Field(gt=0, le=1e6)  # concentration: 0.1 leaves a client few classes, 100 nearly equal shares
    clients: int = Field(default=10, ge=2, le=1000)


class Population(Section):
    """Clients of whom `per_round`, drawn uniformly, take part in each round. The one under attack is one of them; what is
    attacked are the rounds up to one that it is in."""

    clients: int = Field(ge=2, le=10_000)
    per_round: int = Field(ge=1, le=1_000)

    @model_validator(mode="after")
    def _enough_to_draw(self) -> "Population":
        if self.per_round > self.clients:
            raise PydanticCustomError("population", "per_round of at most its clients")
        return self
