"""How a run tells how far it is: a live bar in a terminal, a line kept up to date in a notebook, plain lines elsewhere."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from seethrough.common.console import say, visible
from seethrough.reports.findings.text import brief
from seethrough.reports.row import Place

from .runner import Event, Finished, Noticed, Started


def described(place: Place) -> str:
    """A place in a line of text."""
    return f"{place.attack} against {place.defense}, trial {place.trial}"


def alarming(event: Event) -> str:
    """What is said beside the progress, whatever form that has: of a cell that failed, is slow or lost its worker."""
    if isinstance(event, Noticed):
        return f"{described(event.place)}: {event.words}"
    if isinstance(event, Finished) and event.status == "failed":
        return f"failed: {described(event.place)}: {brief(event.reason)}"
    return ""


class Estimate:
    """The time left, by the mean seconds of the cells of each attack so far."""

    def __init__(self, places: tuple[Place, ...], workers: int) -> None:
        self.workers, self.finished = workers, 0
        self._waiting = Counter(place.attack for place in places)
        self._known: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, event: Finished) -> None:
        attack = event.place.attack
        self.finished += 1
        self._waiting[attack] -= 1
        self._known[attack] += 1
        self._seconds[attack] += event.seconds

    def left(self) -> str:
        """Minutes and seconds, or nothing while no cell has finished."""
        if not self.finished:
            return ""
        overall = sum(self._seconds.values()) / self.finished
        means = {attack: self._seconds[attack] / known for attack, known in self._known.items()}
        expected = sum(count * means.get(attack, overall) for attack, count in self._waiting.items())
        minutes, seconds = divmod(round(expected / self.workers), 60)
        return f"about {minutes} min {seconds:02d} s left"


@contextmanager
def watching(console: Console, places: tuple[Place, ...], done: int, workers: int) -> Iterator[Callable[[Event], None]]:
    """A function that shows each event of a run; `done` cells were finished before it."""
    watch = _inline if console.is_jupyter else _live if console.is_terminal else _lines
    with watch(console, places, done, Estimate(places, workers)) as show:
        yield show


@contextmanager
def _live(
    console: Console, places: tuple[Place, ...], done: int, estimate: Estimate
) -> Iterator[Callable[[Event], None]]:
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting workers", total=done + len(places), completed=done, left="")

        def show(event: Event) -> None:
            if isinstance(event, Started):
                progress.update(task, description=visible(described(event.place)))
            elif isinstance(event, Finished):
                estimate.add(event)
                progress.update(task, advance=1, left=estimate.left())
            if said := alarming(event):
                say(progress.console, said)

        yield show


@contextmanager
def _lines(
    console: Console, places: tuple[Place, ...], done: int, estimate: Estimate
) -> Iterator[Callable[[Event], None]]:
    total, last = done + len(places), [time.monotonic()]

    def show(event: Event) -> None:
        if said := alarming(event):
            say(console, said)
        if not isinstance(event, Finished):
            return
        estimate.add(event)
        count = done + estimate.finished
        if count == total or time.monotonic() - last[0] >= 5:
            last[0] = time.monotonic()
            last_cell = f"{event.status}: {described(event.place)}, {event.seconds:.1f} s"
            text = f"{count} of {total} cells, {estimate.left()}; {last_cell}"
            say(console, text)

    yield show


@contextmanager
def _inline(
    console: Console, places: tuple[Place, ...], done: int, estimate: Estimate
) -> Iterator[Callable[[Event], None]]:
    from IPython.display import Pretty, display  # there is one where there is a notebook

    total = done + len(places)
    line = None if console.quiet else display(Pretty(f"{done} of {total} cells"), display_id=True)

    def show(event: Event) -> None:
        if said := alarming(event):
            say(console, said)
        if not isinstance(event, Finished):
            return
        estimate.add(event)
        if line is not None:
            line.update(Pretty(f"{done + estimate.finished} of {total} cells, {estimate.left()}"))

    yield show
