"""What a run tells a worker of a cluster, and what that says of itself: text on the way, checked where it arrives."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from seethrough.reports.row import Cell, Place

from ...revision import Versions, differing, libraries
from ..codec import from_plain, to_plain
from ..job import Answer
from ..limits import Limits
from .by_name import named

Record = TypeVar("Record")


@dataclass(frozen=True)
class Order:
    """One run, as each of its workers is told of it."""

    computation: str  # `package.module:name` of the dataclass that computes cells
    described: str  # its fields, as JSON
    code: str
    versions: Versions  # of libraries, machine and device
    threads: int
    seed: int
    directory: str  # of the run, absolute
    mark: str  # the name of a file there, by which a worker knows the folder for the same
    folder: str  # in which the run was started
    seconds: float  # the limits of a cell
    memory: float

    @property
    def gpu(self) -> bool:
        """Whether it takes one."""
        return ("device", "cuda") in self.versions

    @property
    def limits(self) -> Limits:
        """What a cell may take on a worker; how often it is tried is the run's business."""
        return Limits(self.seconds, self.memory)

    def computes(self) -> Callable[[Place], Cell]:
        """The computation. Raises: ImportError, AttributeError or TypeError, where there is no such one here."""
        made: Callable[[Place], Cell] = named(self.computation)(**json.loads(self.described))
        return made


@dataclass(frozen=True)
class Greeting:
    """What a worker says of itself."""

    host: str
    gpu: str  # the first one that it sees, on which it computes; empty on a CPU
    code: str
    versions: Versions
    changed: bool  # whether code or libraries were changed after it had imported them


@dataclass(frozen=True)
class Served:
    """What became of a place on a worker: an answer, or else how the process ended that computed it."""

    answer: Answer | None
    ending: str = ""
    limited: bool = False
    blamed: bool = True
    lost: bool = False


def described(compute: object) -> tuple[str, str]:
    """A computation as `Order` names it. Raises: TypeError, if it is no dataclass of literals that is made anew alike."""
    kind, text = type(compute), json.dumps(asdict(compute))  # type: ignore[call-overload]
    if kind(**json.loads(text)) != compute:
        raise TypeError(f"{compute!r:.80} cannot be sent as text")
    return f"{kind.__module__}:{kind.__qualname__}", text


def written(record: Any) -> str:
    """A record as text."""
    return json.dumps(to_plain(record, type(record), type(record).__name__), allow_nan=False)


def read(text: str, kind: type[Record]) -> Record:
    """The record that was written. Raises: ValueError or TypeError, if it is none of that kind."""
    found: Record = from_plain(json.loads(text), kind, kind.__name__)
    return found


def versions_here() -> Versions:
    """Python and the libraries, Dask included. Machine and device are looked at by the process that computes."""
    return *libraries(), ("distributed", version("distributed"))


def difference(greeting: Greeting, order: Order, here: Versions) -> str:
    """How a worker differs from this process, in words; empty where it does in nothing that decides numbers."""
    if greeting.changed:
        return "code or libraries that were changed since it started"
    code = "seethrough's code"
    return differing(((code, greeting.code), *greeting.versions), ((code, order.code), *here))
