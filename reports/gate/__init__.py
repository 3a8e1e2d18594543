"""What a run's numbers must fulfill for somebody to go on: a policy, and how it is judged."""

from .judgment import Judged, Outcome, Violation, judge_policy
from .policy import Policy, Rule
from .words import lacking_controls, told

__all__ = ["Judged", "Outcome", "Policy", "Rule", "Violation", "judge_policy", "lacking_controls", "told"]
