"""How often tripwires find malicious models, and how often they raise a false alarm on honest ones.

    python benchmarks/tripwires.py               # 200 honest models, then all malicious ones; prints Markdown
    python benchmarks/tripwires.py --calibrate   # the 420 honest models that thresholds are set on

Images are scikit-learn's digits and random ones, and those in ../shared/data, where they are there.
"""

import argparse
from collections.abc import Iterator

import torch
from honest_models import CALIBRATION, EVALUATION, honest_models
from malicious_models import malicious_models
from scipy.stats import beta

from seethrough.audit.tripwires.checks import CHECKS, checked
from seethrough.audit.tripwires.evidence import evidence
from seethrough.audit.tripwires.thresholds import HONEST

HONEST_ONES = sum(group.count for group in EVALUATION)


def calibrate() -> None:
    """What honest models have, by check: the largest is what thresholds are set on."""
    found: dict[str, list[tuple[float, str]]] = {check.name: [] for check in CHECKS}
    for each in honest_models(CALIBRATION):
        seen = evidence(each.model, each.inputs, each.classes)
        for check in CHECKS:
            try:
                found[check.name].append((check.measure(seen), each.name))
            except LookupError:
                continue
    print("| tripwire | models | median | largest | of | in use |\n|---|---|---|---|---|---|")
    for name, values in found.items():
        values.sort(reverse=True)
        largest, whose = values[0]
        print(
            f"| {name} | {len(values)} | {values[len(values) // 2][0]:.3g} | {largest:.4g} | {whose} | {HONEST[name]} |"
        )


def false_alarms() -> Iterator[str]:
    """How many of the other honest models are called malicious, and which, by which check."""
    alarms = []
    for each in honest_models(EVALUATION):
        tripped = [wire for wire in checked(each.model, each.inputs, each.classes) if wire.tripped]
        if tripped:
            alarms.append(
                f"{each.name}: " + ", ".join(f"{wire.name} {wire.written(wire.measured)}" for wire in tripped)
            )
    low, high = clopper_pearson(len(alarms), HONEST_ONES)
    share = len(alarms) / HONEST_ONES
    yield f"False alarms: {len(alarms)} of {HONEST_ONES} honest models, {share:.1%} (95 %: {low:.1%} to {high:.1%})."
    yield from (f"- {alarm}" for alarm in alarms)


def clopper_pearson(hits: int, count: int) -> tuple[float, float]:
    """The exact interval of 95 % for a share."""
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0


def detections() -> Iterator[str]:
    """Malicious models by variant: what they give away, and how many are found, by which checks."""
    rows: dict[str, list[tuple[int, int, set[str]]]] = {}
    for each in malicious_models():
        tripped = {wire.name for wire in checked(each.model, each.inputs, each.classes) if wire.tripped}
        rows.setdefault(each.variant, []).append((each.taken, each.at_stake, tripped))
    yield "| server and variant | images taken | found | by |"
    yield "|---|---|---|---|"
    for variant, models in rows.items():
        taken, at_stake = (sum(model[place] for model in models) for place in (0, 1))
        names = sorted(set().union(*(model[2] for model in models)))
        found = sum(bool(model[2]) for model in models)
        yield f"| {variant} | {taken} of {at_stake} | {found} of {len(models)} | {', '.join(names) or '-'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibrate", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().calibrate:
        calibrate()
        return
    for lines in (false_alarms(), detections()):
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
