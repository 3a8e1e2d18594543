"""Numbers and foreign text as a reader is shown them."""

import math
from collections.abc import Sequence

from .intervals import Estimate

MINUS = "\N{MINUS SIGN}"  # as wide as a digit, unlike a hyphen


def last_line(text: str) -> str:
    """The last line of `text` that is not blank: of a traceback, what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def brief(text: str, length: int = 160) -> str:
    """`text` on one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def number(value: float, *others: float, sign: bool = False) -> str:
    """`value` for a reader, to as many decimals as the largest among it and `others` asks for, so that they line up."""
    if not math.isfinite(value):
        return str(value).replace("inf", "∞").replace("-", MINUS)
    largest = max(abs(each) for each in (value, *others) if math.isfinite(each))
    if largest and not 1e-4 <= largest < 1e6:
        return f"{value:{'+' if sign else ''}.2e}".replace("-", MINUS)
    rounded = round(value, _decimals(largest)) or 0.0  # -0.0 is falsy too, and a minus before zero says nothing
    return f"{rounded:{'+' if sign and rounded else ''}.{_decimals(largest)}f}".replace("-", MINUS)


def _decimals(largest: float) -> int:
    """Two for decibels, three for shares and similarities, more for what is smaller still."""
    if largest >= 2:
        return 2 if largest < 1000 else 0
    return 3 if largest == 0 or largest >= 0.01 else 2 - math.floor(math.log10(largest))


def spread(estimate: Estimate, sign: bool = False) -> str:
    """The interval of an estimate, as in `[1.02, 3.40]`; where there is none, what was seen, as in `1.90 to 3.02`; empty for
    one value."""
    bounded = estimate.low is not None and estimate.high is not None
    low, high = (estimate.low, estimate.high) if bounded else (estimate.least, estimate.most)
    if low is None or high is None or estimate.n == 1:
        return ""
    first, last = (number(end, estimate.mean, low, high, sign=sign) for end in (low, high))
    return f"[{first}, {last}]" if bounded else f"{first} to {last}"


def average(estimate: Estimate, sign: bool = False) -> str:
    """The mean of an estimate, to as many digits as its interval."""
    ends = (
        (estimate.least, estimate.most)
        if estimate.low is None or estimate.high is None
        else (estimate.low, estimate.high)
    )
    return number(estimate.mean, *ends, sign=sign)


def interval(estimate: Estimate, sign: bool = False) -> str:
    """Mean and interval of an estimate, as in `2.21 [1.02, 3.40]`; or, without one, `2.21 (1.90 to 3.02)`."""
    shown = spread(estimate, sign)
    return f"{average(estimate, sign)} {shown}" if shown.startswith("[") else _unbounded(average(estimate, sign), shown)


def _unbounded(mean: str, seen: str) -> str:
    return f"{mean} ({seen or 'no interval'})"


def percent(share: float) -> str:
    """A share in whole percents, with a decimal near nothing and everything, which it is said to be where it is."""
    if share in (0, 1) or 0.01 <= share <= 0.99:
        return f"{share:.0%}"
    if 0 < share < 0.0005 or 0.9995 <= share < 1:
        return "under 0.1%" if share < 0.5 else "over 99.9%"
    return f"{share:.1%}".replace("-", MINUS)


def percents(share: Estimate) -> str:
    """A share in percent with its interval; without one, the smallest and the largest value."""
    if share.low is None or share.high is None:
        return f"{percent(share.mean)} ({percent(share.least)} to {percent(share.most)})"
    return f"{percent(share.mean)} [{percent(share.low)}, {percent(share.high)}]"


def rounded_up(count: int) -> str:
    """An estimated `count`, to its first two digits, as in 2,400."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """`count` with its noun in the right number."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """`names` as an English list."""
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
