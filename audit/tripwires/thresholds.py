"""From where on a measured number is more than honest models have.

Set on 420 honest models of 27 architectures (`benchmarks/tripwires.py --calibrate` measures them anew): the largest value
that any of them had, then twice that ratio or count, or for a share twice its odds, share / (1 - share). False alarms are
counted on other models, of which no threshold knows (docs/tripwires.md).
"""

from .wire import Kind

HONEST = {  # the largest value of any of the 420
    "dead units": 0.93,
    "zero gradient": 0.923,
    "proportional rows": 0,
    "units alike": 52,
    "mirrored rows": 0,
    "lonely units": 0.2019,
    "rows of one example": 0.2867,
    "disaggregation": 1.487,
    "largest example": 0.3077,
    "favored class": 1.196,
    "outstanding row": 3.909,
    "single feature": 0.2675,
}


def threshold(kind: Kind, honest: float) -> float:
    """Twice the ratio or count `honest` (two, where none was counted), or the share of twice its odds."""
    if kind == "share":
        return 2 * honest / (1 + honest)
    return 2 * max(honest, 1) if kind == "count" else 2 * honest
