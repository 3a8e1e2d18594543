"""What a policy can say."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seethrough.common.section import Section

Glob = Annotated[str, Field(min_length=1)]
PATTERNS = ("settings", "threats", "defenses", "attacks", "metrics")
Severity = Literal["low", "medium", "high"]


class Rule(Section):
    """One thing that must hold for all cells that it is about, which shell patterns choose by their names.

    The controls (`none` and `random_update`) are among the defenses only where a pattern is their very name.
    """

    name: str = Field(min_length=1)
    settings: Glob = "*"
    threats: Glob = "*"
    defenses: Glob = "*"
    attacks: Glob = "*"
    metrics: Glob = "*"
    require: Literal["no_leak", "leak", "measured", "plan_kept"] | None = None
    """`no_leak`: each of the defenses held, by the report's own verdict. `leak`: something leaks, as a positive control must.
    `measured`: no cell failed or is missing, and no number is not finite. `plan_kept`: after results had been seen, no trials
    were added and no results left out; it is about the whole run."""
    leak_at_most: float | None = Field(default=None, allow_inf_nan=False)
    """In units of the metric, over the best blind guesser: met where the interval's upper end is no higher, violated where
    its lower end is."""
    severity: Severity = "high"

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Rule":
        if (self.require is None) == (self.leak_at_most is None):
            raise ValueError("require or leak_at_most, one of them")
        chosen = [key for key in PATTERNS if key in self.model_fields_set]
        if self.require == "plan_kept" and chosen:
            raise ValueError(f"plan_kept, which is about the whole run, without {' and '.join(chosen)}")
        return self


class Policy(Section):
    """Rules that a run is held against."""

    name: str = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
