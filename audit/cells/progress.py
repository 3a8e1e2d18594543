"""How a run tells how far it is: a live bar in a terminal, a line kept up to date in a notebook, plain lines elsewhere."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from seethrough.common.console import say, visible
from seethrough.reports.row import Place

from .runner import Event, Finished, Started


def described(place: Place) -> str:
    """A place in a line of text."""
    return f"{place.attack} against {place.defense}, trial {place.trial}"


@dataclass
class Estimate:
    """The time left, by the mean seconds of the cells of each attack so far."""

    places: tuple[Place, ...]
    workers: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    finished: set[str] = field(default_factory=set)

    def add(self, event: Finished) -> None:
        self.seconds[event.place.attack].append(event.seconds)
        self.finished.add(event.place.key)

    def left(self) -> str:
        """Minutes and seconds, or nothing while no cell has finished."""
        known = [value for values in self.seconds.values() for value in values]
        if not known:
            return ""
        overall = sum(known) / len(known)
        expected = 0.0
        for place in self.places:
            if place.key not in self.finished:
                values = self.seconds.get(place.attack)
                expected += sum(values) / len(values) if values else overall
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
                return
            estimate.add(event)
            progress.update(task, advance=1, left=estimate.left())
            if event.status == "failed":
                say(progress.console, f"failed: {described(event.place)}")

        yield show


@contextmanager
def _lines(
    console: Console, places: tuple[Place, ...], done: int, estimate: Estimate
) -> Iterator[Callable[[Event], None]]:
    total, last = done + len(places), [time.monotonic()]

    def show(event: Event) -> None:
        if isinstance(event, Started):
            return
        estimate.add(event)
        count = done + len(estimate.finished)
        pressing = event.status == "failed" or count == total or time.monotonic() - last[0] >= 5
        if pressing:
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
        if isinstance(event, Started):
            return
        estimate.add(event)
        if event.status == "failed":
            say(console, f"failed: {described(event.place)}")
        if line is not None:
            line.update(Pretty(f"{done + len(estimate.finished)} of {total} cells, {estimate.left()}"))

    yield show
