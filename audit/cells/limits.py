"""What a cell may take before its worker is ended: time, memory, tries. Of the machine, so in no key and no number."""

import math
import re
from dataclasses import dataclass

from pydantic import ByteSize, TypeAdapter, ValidationError

from seethrough.common.errors import InputError

LEAST_MEMORY = 100_000_000  # bytes; torch alone takes more, so a smaller limit is a slip, such as a unit left out
UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}  # seconds


@dataclass(frozen=True)
class Limits:
    """The limits of one run, the same for all of its cells."""

    seconds: float = math.inf  # from when a worker is handed a cell; loading its data is among it
    memory: float = math.inf  # bytes of a worker that are resident in main memory
    tries: int = 1  # how often a cell may cost a worker, whatever ended it

    @property
    def too_long(self) -> str:
        """Why a cell that passed the limit of time is ended."""
        return f"ran longer than {said_duration(self.seconds)}, the limit for a cell, and was ended"

    @property
    def too_much(self) -> str:
        """Why a cell that passed the limit of memory is ended."""
        return f"needed more than {said_size(self.memory)} of memory, the limit for a worker, and was ended"

    def too_low(self, taken: int) -> str:
        """Why a run cannot go on whose workers take more, before their first cell, than they may."""
        found = f"memory_limit: found {said_size(self.memory)}"
        return f"{found}; allowed: more than the {said_size(taken)} that a worker takes before its first cell."


NO_LIMITS = Limits()


def limits_from(cell_timeout: str | float | None, memory_limit: str | int | None, tries: int) -> Limits:
    """Limits as a user writes them: `cell_timeout` in seconds or with a unit (s, m, h, d), `memory_limit` in bytes or with a
    unit (MB, GB, GiB), at least LEAST_MEMORY, None for no limit; `tries` from 1 on.

    Raises: InputError, naming the one that cannot be read.
    """
    if not isinstance(tries, int) or tries < 1:
        raise InputError(f"tries: found {tries!r:.60}; allowed: a whole number of at least 1.")
    seconds = math.inf if cell_timeout is None else _seconds(cell_timeout)
    return Limits(seconds, math.inf if memory_limit is None else _bytes(memory_limit), tries)


def said_duration(seconds: float) -> str:
    """A duration in the largest unit in which it is a whole number, as in `90 s` or `2 h`."""
    for unit in ("h", "min"):
        if seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:g} {unit}"
    return f"{seconds:g} s"


def said_size(size: float) -> str:
    """A number of bytes, as in `1.61 GB`."""
    return f"{size / 1e9:.3g} GB"


def _seconds(given: str | float) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(given).strip())
    seconds = float(found[1]) * UNITS.get(found[2], 0) if found else 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"cell_timeout: found {given!r:.60}; allowed: a time above zero, such as 90, 10m or 2h.")
    return seconds


def _bytes(given: str | int) -> int:
    try:
        size = int(TypeAdapter(ByteSize).validate_python(given))
    except ValidationError:
        size = 0
    if size < LEAST_MEMORY:
        found = f"{given!r:.60}{' (bytes)' if str(given).strip().isdigit() else ''}"
        least = f"{LEAST_MEMORY // 10**6}MB, below which no worker starts"
        raise InputError(
            f"memory_limit: found {found}; allowed: a size of at least {least}, such as 800MB, 2GB or 1.5GiB."
        )
    return size
