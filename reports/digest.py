"""report.json: all that an audit comes to, for programs.

Its parts are the report's own: whoever changes one changes the schema, which `docs/report.schema.json` keeps, and must raise
`VERSION` unless a field was only added.
"""

import hashlib
import json
import math
from collections import Counter
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .defense_table import DefenseLine
from .findings.claims import Promise
from .findings.grid import Finding
from .findings.problems import Statement
from .findings.recoveries import Recovered, refutation
from .findings.utility import Trained
from .headline import failed_control
from .report import Report
from .row import EarlierPlan

VERSION = 1
Id = Annotated[str, Field(pattern="^[0-9a-f]{12}$")]


class Digest(BaseModel):
    """All that an audit comes to. Numbers that are not finite are the texts `Infinity`, `-Infinity` and `NaN`."""

    model_config = ConfigDict(  # building it takes a tenth of a second, which only its schema and readers need
        extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    schema_version: Literal[1]
    name: str
    headline: str
    choice: str = ""
    """Which defense lets least through, with its numbers; empty where that is no question, or a control failed."""
    tone: Literal["leaks", "held", "undecided"]
    failed_control: str
    """One sentence, if a control of the audit failed, so that nothing else here is to be believed; empty otherwise."""
    refuted_guarantee: str
    """One sentence, if more images came back than a guarantee allows; empty otherwise."""
    seed: int
    trials: int
    label_trials: int | None
    """Of attacks on labels alone; null: as many as `trials`."""
    cells: dict[Literal["ok", "failed", "n/a", "missing"], int]
    """How many cells were planned, trainings too, by what became of them."""
    defenses: dict[Id, DefenseLine]
    """The first table: by setting, threat model and defense."""
    findings: dict[Id, Finding]
    """Every number: by setting, threat model, defense, attack and metric, whose id is the same in every run."""
    promises: tuple[Promise, ...]
    recoveries: tuple[Recovered, ...]
    trainings: tuple[Trained, ...]
    costs_unknown: tuple[str, ...] = ()
    """One sentence for each setting of which it is not known what a defense costs."""
    missing_controls: tuple[Statement, ...] = ()
    """The controls that were not run, or of which nothing was measured."""
    problems: tuple[Statement, ...]
    """What has no number, and why."""
    warnings: tuple[str, ...]
    limits: tuple[str, ...]
    doubts: tuple[str, ...]
    plan_changes: tuple[str, ...]
    """What of the plan was changed after results had been seen, one sentence each."""
    earlier_plans: tuple[EarlierPlan, ...]
    """Plans that the run's folder had before, where some of their cells were measured."""
    margins: dict[str, float]
    """By metric, the leak that must be excluded before a defense is said to hold."""
    redacted: str
    """What was taken out of the run for good; empty where nothing was."""
    caveats: tuple[str, ...]
    spec: str
    versions: dict[str, str]
    hashes: dict[str, str]
    code: tuple[str, ...]
    """Revisions of the code that computed the cells."""


def report_json(report: Report) -> str:
    """The digest as JSON in ASCII, so that no name can hide or break anything; equal reports give equal text."""
    return json.dumps(_plain(dict(digest_of(report))), indent=1, allow_nan=False) + "\n"


def digest_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return Digest.model_json_schema(mode="serialization")


def digest_of(report: Report) -> Digest:
    """The digest of a report."""
    manifest, verdict = report.manifest, report.verdict
    status = {cell.key: cell.status for cell in report.cells}
    found = [finding for block in report.blocks for finding in block.findings]
    return Digest.model_construct(  # of parts that were made here: nothing to validate, and they may be ten thousand
        schema_version=VERSION,
        name=manifest.name,
        headline=verdict.headline,
        choice=report.choice,
        tone=verdict.tone,
        failed_control=failed_control(report.blocks),
        refuted_guarantee=refutation(report.recoveries),
        seed=manifest.seed,
        trials=manifest.trials,
        label_trials=manifest.label_trials,
        cells=dict(Counter(status.get(place.key, "missing") for place in manifest.places + manifest.trainings)),
        defenses={id_of(each.setting, each.threat, each.defense): each for each in report.defenses},
        findings={id_of(each.setting, each.threat, each.defense, each.attack, each.metric): each for each in found},
        promises=report.promises,
        recoveries=report.recoveries,
        trainings=report.trained,
        costs_unknown=report.costs,
        missing_controls=report.missing_controls,
        problems=verdict.problems,
        warnings=manifest.warnings,
        limits=manifest.limits,
        doubts=manifest.doubts,
        plan_changes=report.plan_changes,
        earlier_plans=manifest.earlier,
        margins=dict(manifest.margins),
        redacted=manifest.redacted,
        caveats=verdict.caveats,
        spec=manifest.spec,
        versions=dict(manifest.versions),
        hashes=dict(manifest.hashes),
        code=tuple(sorted({cell.code for cell in report.cells if cell.code})),
    )


def _plain(value: Any) -> Any:
    """What JSON has for a part of the digest: text for numbers that it has not."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    kind: Any = type(value)
    names = _names(kind)
    return value if names is None else {name: _plain(getattr(value, name)) for name in names}


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for another type."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def id_of(*names: str) -> str:
    """Twelve hex digits, the same for the same names."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
