"""The cells of a spec that is given as its text, for a process that shares nothing else with the one that planned them."""

from dataclasses import dataclass
from functools import cache

from seethrough.common.spelling import label_of
from seethrough.reports.row import Cell, Place

from ..case import Case
from ..plan import TRAINING
from ..recordings.settings import filled_in
from ..specification.defenses import defense_label
from ..specification.file import spec_of_text
from ..specification.schema import AuditSpec
from ..utility import Training
from .compute import ChangedError, Computation


@dataclass(frozen=True)
class PlannedComputation:
    """A function from a place of the spec to its cell, made of text alone. That the place's key is what the spec, the data,
    the model and the code here decide is checked for every cell."""

    spec: str  # YAML
    source: str  # the file that it was read from, or what stands in its place
    device: str
    code: str
    environment: str  # as it enters the keys

    def __call__(self, place: Place) -> Cell:
        """As `Computation`. Raises: ChangedError, for a place that the spec does not have."""
        case = case_at(_read(self.spec, self.source), place)
        return Computation({place.key: case}, self.device, self.code, self.environment)(place)


def case_at(spec: AuditSpec, place: Place) -> Case | Training:
    """What is computed at a place of the spec, whose recordings are read. Raises: ChangedError, if it has no such place."""
    settings = {setting.name: setting for setting in spec.settings}
    threats = {threat.name: threat for threat in spec.threats}
    defenses = {defense_label(defense): defense for defense in spec.defenses}
    attacks = {label_of(attack): attack for attack in spec.attacks}
    try:
        setting, defense = settings[place.setting], defenses[place.defense]
        if place.attack == TRAINING and spec.utility is not None:
            return Training(spec.seed, place.trial, setting, defense, spec.utility)
        threat, attack = threats[place.threat], attacks[place.attack]
    except KeyError as error:
        raise ChangedError(f"the spec has no {error}; run the audit again") from error
    return Case(spec.seed, place.trial, setting, threat, defense, attack, spec.metrics, spec.recovered_psnr)


@cache
def _read(text: str, source: str) -> AuditSpec:
    return filled_in(spec_of_text(text, source))
