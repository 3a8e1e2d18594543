"""Cells as large as those of two metrics on a batch of two small images, whose content is a function of their keys."""

import base64
import hashlib
import io
import itertools
import random
import time
from dataclasses import dataclass

from PIL import Image

from seethrough.reports import Cell, Described, Guess, Manifest, Pictures, Place, Recovery, Score

NAMES = {
    "setting": [f"setting {number}" for number in range(6)],
    "threat": ["curious server"],
    "defense": [f"defense_{number}(strength=0.{number})" for number in range(10)],
    "attack": [f"attack_{number}(steps=300)" for number in range(8)],
}
METRICS = ("psnr", "label_accuracy")


def places(count: int) -> tuple[Place, ...]:
    """A grid of 480 combinations, with as many trials of each as it takes."""
    paths = list(itertools.product(*NAMES.values()))
    trials = -(-count // len(paths))
    grid = [(*path, trial) for path in paths for trial in range(trials)]
    return tuple(Place(hashlib.sha256(repr(place).encode()).hexdigest(), *place) for place in grid[:count])


def manifest_of(grid: tuple[Place, ...]) -> Manifest:
    """What plans the grid."""
    parts = [tuple(Described(name, (f"about {name}",)) for name in names) for names in (*NAMES.values(), METRICS)]
    trials = 1 + max(place.trial for place in grid)
    return Manifest("scale", 0, trials, "name: scale\n", *parts, (("python", "3"),), (("code", "0"),), grid)


def cell_of(place: Place) -> Cell:
    """The cell at a place."""
    rng = random.Random(place.key)
    scores = tuple(
        Score(
            metric=metric,
            better="higher",
            status="ok",
            note="what is sent has a cosine of 0.064 with the undefended update",
            value=rng.random(),
            worst=rng.random(),
            decoy=rng.random(),
            guesses=tuple(Guess(name, rng.random()) for name in ("the mean public image", "mid-gray", "public images")),
            swapped=tuple(rng.random() for _ in range(19)),
            perfect=60.0,
            perfect_swapped=tuple(rng.random() for _ in range(19)),
            low=0.0,
            high=60.0,
            n=2,
        )
        for metric in METRICS
    )
    return Cell(
        key=place.key,
        status="ok",
        scores=scores,
        pictures=Pictures(*(tuple(picture(rng) for _ in range(2)) for _ in range(3))),
        seconds=rng.random(),
        code="0" * 12,
        unclaimed="noise without clipping right before it: one example may move the update by any amount",
        recovery=Recovery(20.0, 0, 2, 2, 95, 719, 0.165),
    )


@dataclass(frozen=True)
class Work:
    """A made-up cell after `seconds` of sleep and so many `rounds` of hashing, which take a core."""

    seconds: float = 0.0
    rounds: int = 0

    def __call__(self, place: Place) -> Cell:
        time.sleep(self.seconds)
        digest = b""
        for _ in range(self.rounds):
            digest = hashlib.sha256(digest).digest()
        return cell_of(place)


def picture(rng: random.Random) -> str:
    """Noise of 28 x 28 pixels as base64."""
    file = io.BytesIO()
    Image.frombytes("L", (28, 28), rng.randbytes(784)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
