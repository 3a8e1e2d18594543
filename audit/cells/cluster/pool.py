"""A pool whose workers are Dask's: each computes one cell at a time, in a process of its own that `host` keeps there.

Dask carries places out and answers back, and knows who is there. Which cell is computed where, and again if its worker is
lost, is the run's business: a task of Dask is bound to one worker, and is forgotten with it.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from json import dumps
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from seethrough.common.errors import InputError
from seethrough.reports.row import Place

from ..job import Answer, Job
from ..pool import Held, Report, RunError
from ..store import DamagedFileError, SchemaMismatchError
from ..worker_pool import written as left_behind
from .by_name import call
from .connection import GONE
from .order import Greeting, Order, Served, difference, read, versions_here, written

HOST = f"{__package__}.host"
LOOKS = 1.0
"""Seconds between two looks who is there."""
PATIENCE = 30.0
"""Seconds that the scheduler may take to answer, and that a worker's file may take to be seen here."""
ALLOWED = "allowed: the same code and library versions as here"


@dataclass(eq=False)
class Seat:
    """A worker of Dask, as the run knows it."""

    address: str
    asked: Future[Any] | None = None  # what it is doing: greeting, or serving
    host: Future[Any] | None = None  # what is kept on it; None before it is known to fit
    gpu: tuple[str, str] | None = None  # the machine and the device on which it computes
    held: Held | None = None


class DaskPool:
    """A pool of up to `size` workers that `client` knows of, or that join while the run goes on."""

    def __init__(self, client: Client, job: Job, order: Order, size: float, tell: Callable[[str], None]) -> None:
        self._client, self._job, self._order, self._size, self._tell = client, job, order, size, tell
        self._here = versions_here()
        self._seats: dict[int, Seat] = {}
        self._numbers = count()
        self._refused: set[str] = set()  # their addresses
        self._answers: SimpleQueue[tuple[int, Future[Any]]] = SimpleQueue()
        self._looked = -math.inf
        self._is_told_to_wait = self._has_met = False

    def busy(self) -> bool:
        """Whether any worker holds a place."""
        return bool(self.held())

    def held(self) -> list[Held]:
        """What the workers are computing."""
        return [seat.held for seat in self._seats.values() if seat.held is not None]

    def fill(self, waiting: int) -> None:
        """Nothing: who joins the cluster is seen by `reports`."""

    def reports(self, patience: float) -> list[Report]:
        """As of any pool. Raises: InputError, where no worker runs the same code; RunError, without a scheduler."""
        end = time.perf_counter() + patience
        while True:
            if found := self._look():
                return found
            until = min(end, self._looked + LOOKS) - time.perf_counter()
            with suppress(Empty):
                found = self._hear(*self._answers.get(timeout=max(0.0, until)))
            if found or time.perf_counter() >= end:
                return found

    def hand(self, number: int, place: Place, fresh: bool) -> bool:
        """Whether the worker could be handed the place: one that has left cannot."""
        seat = self._seats.get(number)
        if seat is None:
            return False
        seat.held = Held(place, time.perf_counter())
        self._ask(number, seat, f"{HOST}:serve", seat.host, dumps(asdict(place)), fresh)
        return True

    def dismiss(self, patience: float) -> None:
        """Let go of what is kept on the workers: their processes end, at once or in a moment."""
        for number in list(self._seats):
            self._leave(number)

    def _leave(self, number: int) -> Seat:
        """A seat that is left: Dask forgets what was asked of its worker and what is kept there."""
        seat = self._seats.pop(number)
        for future in (seat.asked, seat.host):
            if future is not None and self._client.status == "running":
                future.release()
        return seat

    def _look(self) -> list[Report]:
        """Who has joined or left since the last look, which was not just now."""
        if time.perf_counter() < self._looked + LOOKS:
            return []
        present = self.present()
        self._looked = time.perf_counter()
        left = [number for number, seat in self._seats.items() if seat.address not in present]
        reports = [self._lost(number) for number in left]
        known = {seat.address for seat in self._seats.values()} | self._refused
        for address in present:
            if address not in known and len(self._seats) < self._size:
                self._greet(address)
        self._tell_of_nobody()
        return [report for report in reports if report.held is not None]

    def present(self) -> list[str]:
        """The addresses of the workers. Raises: RunError."""
        if self._client.status != "running":
            raise RunError(GONE)
        try:
            found: dict[str, int] = self._client.nthreads(callback_timeout=PATIENCE)
        except (OSError, TimeoutError) as error:
            raise RunError(GONE) from error
        return list(found)

    def _greet(self, address: str) -> None:
        number = next(self._numbers)
        self._seats[number] = seat = Seat(address)
        self._ask(number, seat, f"{HOST}:greet", written(self._order))

    def _ask(self, number: int, seat: Seat, *what: Any) -> None:
        """Have the worker do something. Raises: RunError."""
        if self._client.status != "running":
            raise RunError(GONE)
        seat.asked = self._client.submit(call, *what, workers=[seat.address], pure=False, retries=0)
        seat.asked.add_done_callback(lambda future: self._answers.put((number, future)))

    def _hear(self, number: int, future: Future[Any]) -> list[Report]:
        """What follows from an answer."""
        seat = self._seats.get(number)
        if seat is None or seat.asked is not future:
            return []
        if self._client.status != "running":
            raise RunError(GONE)
        if future.status in ("cancelled", "lost"):
            return self._unheard(number)
        if future.status == "error":
            return self._broken(number, seat, future.exception(timeout=PATIENCE))
        try:
            found = future.result(timeout=PATIENCE)
        except (OSError, TimeoutError):  # it left with its answer
            return self._unheard(number)
        if seat.host is None:
            self._meet(number, seat, read(found, Greeting))
            return []
        served, data = read(found[0], Served), found[1]
        if seat.held is None and served.answer is not None and served.answer.problem:
            self._refuse(number, served.answer.problem)
            return []
        return [self._served(number, seat, served, data)]

    def _unheard(self, number: int) -> list[Report]:
        return [lost for lost in (self._lost(number),) if lost.held is not None]

    def _broken(self, number: int, seat: Seat, error: BaseException) -> list[Report]:
        """An exception where there should be an answer. Raises: RunError, if it is not that the worker does not fit."""
        why = " ".join(str(error).split()) or type(error).__name__
        if type(error).__name__ == "KilledWorker":
            return self._unheard(number)
        if seat.host is not None:
            raise RunError(f"the Dask worker {seat.address} broke: {type(error).__name__}: {why:.300}")
        self._refuse(number, f"found that it cannot take part ({type(error).__name__}: {why:.300}); {ALLOWED}.")
        return []

    def _meet(self, number: int, seat: Seat, greeting: Greeting) -> None:
        """Have a worker get ready, if it fits."""
        differing = difference(greeting, self._order, self._here)
        if differing:
            self._refuse(number, f"found {differing}; {ALLOWED}.", greeting.host)
            return
        gpu = (greeting.host, greeting.gpu) if greeting.gpu else None
        twin = next((each.address for each in self._seats.values() if gpu and each.gpu == gpu), None)
        if twin is not None:
            sentence = f"found GPU {greeting.gpu}, on which {twin} computes; allowed: one worker a device."
            self._refuse(number, sentence, greeting.host)
            return
        seat.gpu = gpu
        order = written(self._order)
        seat.host = self._client.submit(call, f"{HOST}:Host", order, workers=[seat.address], pure=False, retries=0)
        self._make_ready(number, seat)

    def _make_ready(self, number: int, seat: Seat) -> None:
        """Have a worker say when a process of it waits for a place."""
        self._ask(number, seat, f"{HOST}:serve", seat.host, "", False)

    def _refuse(self, number: int, why: str, host: str = "") -> None:
        """Leave a worker out, by name. Raises: InputError, if there never was another."""
        address = self._leave(number).address
        self._refused.add(address)
        sentence = f"the Dask worker {address}{f' on {host}' * bool(host)}: {why.rstrip('.')}."
        if not self._seats and not self._has_met:
            raise InputError(f"--engine: {sentence}")
        self._tell(f"{sentence} It is left out.")

    def _served(self, number: int, seat: Seat, served: Served, data: bytes) -> Report:
        """The report of a worker that is ready, or has answered, once its cell is in the run's folder."""
        answer, held, seat.held = served.answer, seat.held, None
        if held is not None and answer is not None and not answer.problem:
            answer = self._received(seat, held.place.key, answer, data)
        self._has_met = True
        if answer is None:
            self._make_ready(number, seat)  # its process has ended, the worker has not
        return Report(number, held, answer, served.ending, served.limited, served.blamed, served.lost)

    def _received(self, seat: Seat, key: str, answer: Answer, data: bytes) -> Answer:
        """The answer, and what stands in the way of its cell being here."""
        try:
            if data:  # the run's folder is not there
                self._job.store.write_sealed(key, data, f"what {seat.address} sent")
            elif not self._is_seen(key):
                return Answer(problem=f"the cell {key} cannot be seen here, which {seat.address} wrote")
        except (OSError, DamagedFileError, SchemaMismatchError) as error:
            return Answer(problem=f"the cell {key} cannot be kept: {error}")
        return answer

    def _is_seen(self, key: str) -> bool:
        """Whether the file is here: network file systems show what others write some seconds later."""
        path, end = self._job.store.path(key), time.perf_counter() + PATIENCE
        while not path.is_file() and time.perf_counter() < end:
            time.sleep(0.1)
        return path.is_file()

    def _lost(self, number: int) -> Report:
        """The report of a worker that left with what it held, unless its cell is written."""
        seat = self._leave(number)
        answer = None if seat.held is None else left_behind(self._job, seat.held.place.key)
        return Report(number, seat.held, answer, f"its Dask worker {seat.address} left the cluster", lost=True)

    def _tell_of_nobody(self) -> None:
        if not self._seats and not self._is_told_to_wait:
            self._tell("no Dask worker is there yet; the run goes on when one joins.")
        self._is_told_to_wait = not self._seats
