"""JUnit XML, as pipelines show it: a test for each defense, failed where it leaks and skipped where nothing is shown; one for
each control, skipped where it was not run; and an error for each cell that failed."""

from collections.abc import Mapping
from xml.etree import ElementTree

from seethrough.common.console import visible

from ..control_statements import NO_NEGATIVE, NO_POSITIVE
from ..defense_table import DefenseLine
from ..findings.defense_verdicts import NO_DEFENSE
from ..findings.recoveries import refutation
from ..findings.text import last_line
from ..headline import failed_control
from ..plan_changes import is_changed
from ..report import Report

CONTROLS, FAILED = "controls of the audit", "cells that failed"


def junit_xml(report: Report) -> str:
    """One suite for each setting and threat model."""
    suites = ElementTree.Element("testsuites", name=visible(report.manifest.name))
    _controls(suites, report)
    for block in report.blocks:
        mine = [
            line
            for line in report.defenses
            if (line.setting, line.threat) == (block.setting, block.threat) and line.defense != NO_DEFENSE
        ]
        leaking = sum(line.fate == "leaks" for line in mine)
        skipped = sum(line.fate not in ("leaks", "held") for line in mine)
        counts = {"tests": str(len(mine)), "failures": str(leaking), "skipped": str(skipped), "errors": "0"}
        suite = ElementTree.SubElement(suites, "testsuite", counts, name=visible(f"{block.setting}, {block.threat}"))
        for line in mine:
            _case(suite, line)
    _failed_cells(suites, report)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _controls(suites: ElementTree.Element, report: Report) -> None:
    """Whether the audit is to be believed: its controls and guarantees, and that its plan was kept."""
    failed = " ".join(filter(None, (failed_control(report.blocks), refutation(report.recoveries))))
    kept = "failure" if is_changed(report.manifest.earlier) else "skipped"  # where it is not known
    said = {"controls and guarantees": ("failure", failed), "plan kept": (kept, " ".join(report.plan_changes))}
    lacking = {each.subject: each.text for each in report.missing_controls}
    said |= {
        "negative control": ("skipped", _sentence(NO_NEGATIVE, lacking)),
        "positive control": ("skipped", _sentence(NO_POSITIVE, lacking)),
    }
    tags = [tag for tag, words in said.values() if words]
    counts = {
        "tests": str(len(said)),
        "failures": str(tags.count("failure")),
        "skipped": str(tags.count("skipped")),
        "errors": "0",
    }
    suite = ElementTree.SubElement(suites, "testsuite", counts, name=CONTROLS)
    for name, (tag, words) in said.items():
        case = ElementTree.SubElement(suite, "testcase", classname=CONTROLS, name=name)
        if words:
            ElementTree.SubElement(case, tag, message=visible(words))


def _sentence(subject: str, lacking: Mapping[str, str]) -> str:
    """What is said of a control that is lacking; empty where it is not."""
    return f"{subject}: {lacking[subject]}" if subject in lacking else ""


def _failed_cells(suites: ElementTree.Element, report: Report) -> None:
    """An error for each planned cell that failed, with its reason; no suite where none did."""
    reasons = {cell.key: last_line(cell.note) for cell in report.cells if cell.status == "failed"}
    failed = [place for place in report.manifest.planned if place.key in reasons]
    if not failed:
        return
    number = str(len(failed))
    counts = {"tests": number, "failures": "0", "skipped": "0", "errors": number}
    suite = ElementTree.SubElement(suites, "testsuite", counts, name=FAILED)
    for place in failed:
        where = visible(", ".join(filter(None, (place.setting, place.threat))))
        name = visible(f"{place.attack} through {place.defense}, trial {place.trial}")
        case = ElementTree.SubElement(suite, "testcase", classname=where, name=name)
        ElementTree.SubElement(case, "error", message=visible(reasons[place.key]) or "no reason given")


def _case(suite: ElementTree.Element, line: DefenseLine) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=suite.get("name", ""), name=visible(line.defense))
    said = visible(
        f"{line.fate}, {line.severity_words}: labels: {line.labels}; pictures: {line.pictures}. {line.advice}"
    )
    if line.fate == "leaks":
        ElementTree.SubElement(case, "failure", message=said, type=line.severity_words)
    elif line.fate != "held":
        ElementTree.SubElement(case, "skipped", message=said)
    else:
        ElementTree.SubElement(case, "system-out").text = said
