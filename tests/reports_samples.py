"""Small audits for the tests of the reports: no model, no attack, rows only."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from seethrough.audit.cells.store import Store
from seethrough.reports import Cell, Claim, Described, Guess, Manifest, Pictures, Place, Recovery, Score, Utility
from seethrough.reports.row import ClassCount, EarlierPlan, LabelCounts, Sight


def score(value: float | None, floor: float | None = 0.0, **changes: object) -> Score:
    """A measured score, higher being better for the attacker; one guesser gets `floor`, and so does, give or take 0.2, the
    reconstruction held against other batches. A perfect attack has 1, or 0 where lower is better."""
    fields = {"metric": "ssim", "better": "higher", "status": "ok", "value": value, "n": 4, "low": -1.0, "high": 1.0}
    about = () if floor is None else tuple(floor + 0.2 * step / 9 for step in range(-9, 10))
    fields |= {"guesses": () if floor is None else (Guess("a guesser", floor),), "swapped": about}
    perfect = 0.0 if changes.get("better") == "lower" else 1.0
    return Score(**(fields | {"perfect": perfect, "perfect_swapped": about} | changes))  # type: ignore[arg-type]


def place(trial: int = 0, attack: str = "attack", defense: str = "none", **changes: str) -> Place:
    """A place with a key of its own."""
    fields = {"setting": "setting", "threat": "threat"} | changes
    return Place(
        key="/".join((*fields.values(), defense, attack, str(trial))),
        **fields,
        defense=defense,
        attack=attack,
        trial=trial,
    )


def described(names: Sequence[str]) -> tuple[Described, ...]:
    """Parts of those names, with one fact each."""
    return tuple(Described(name, (f"about {name}",)) for name in dict.fromkeys(names))


def manifest(places: Sequence[Place], metrics: Sequence[str] = ("ssim",)) -> Manifest:
    """A manifest that plans `places`."""
    return Manifest(
        name="an audit",
        seed=0,
        trials=1 + max((each.trial for each in places), default=0),
        spec="name: an audit",
        settings=described([each.setting for each in places]),
        threats=described([each.threat for each in places]),
        defenses=described([each.defense for each in places]),
        attacks=described([each.attack for each in places]),
        metrics=described(metrics),
        versions=(("python", "3"),),
        hashes=(("data", "00"),),
        places=tuple(places),
    )


def measured(at: Place, *scores: Score, **changes: object) -> Cell:
    """The cell of a place, measured."""
    return Cell(**({"key": at.key, "status": "ok", "scores": scores} | changes))  # type: ignore[arg-type]


def utility(accuracy: float, **changes: object) -> Utility:
    """What a training came to."""
    fields = {"accuracy": accuracy, "floor": 0.1, "tested": 360, "rounds": 20, "clients": 8, "sent": 4000}
    return Utility(**(fields | {"seconds": 0.5, "server_lr": 1.0, "server_optimizer": "sgd"} | changes))  # type: ignore[arg-type]


def png(color: int = 0) -> str:
    """A picture of 2 x 2 as base64."""
    file = io.BytesIO()
    Image.new("L", (2, 2), color).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def with_text(text: Callable[[], str], picture: str) -> tuple[Manifest, list[Cell]]:
    """An audit with one cell of each kind; every string of every type in it is made by `text`."""
    setting, threat, defense, attack, metric, other = (text() for _ in range(6))
    places = tuple(Place(text(), setting, threat, defense, attack, trial) for trial in range(7))
    guesses = (Guess(text(), 0.2), Guess(text(), 0.1))
    good = Score(metric, "higher", "ok", text(), 0.9, 0.95, 0.1, guesses, (0.1, 0.2), 1.0, (0.1, 0.3), n=4)
    absent = Score(other, "lower", "unavailable", text())
    pictures = Pictures((picture,), (picture,), (picture,))

    def claim() -> Claim:
        return Claim(1.5, 1e-5, *(text() for _ in range(4)))

    counts = LabelCounts("cohort", text(), (ClassCount(0, text(), 3, 2, 1), ClassCount(7, text(), 1, 2, 2)))
    bounded = Recovery(20.0, 1, 4, 4, 3, 700, 0.01, 0.1, text())
    unbounded = Recovery(20.0, 1, 4, 4, 3, 700, 0.01)
    cells = [
        *(
            Cell(
                at.key,
                "ok",
                text(),
                (good, absent),
                claim(),
                pictures,
                1.0,
                7,
                text(),
                recovery=bounded,
                label_counts=counts,
            )
            for at in places[:3]
        ),
        Cell(places[6].key, "ok", scores=(good, absent), unclaimed=text(), recovery=unbounded, code=text()),
        Cell(places[3].key, "failed", f"Traceback\n{text()}", code=text()),
        Cell(places[4].key, "n/a", text(), code=text()),
    ]
    trainings = tuple(Place(text(), setting, "", defense, "training", repeat) for repeat in range(5))
    cells += [
        *(
            Cell(at.key, "ok", utility=utility(0.8), claim=Claim(1.5, 1e-5, text()), code=text())
            for at in trainings[:2]
        ),
        Cell(trainings[2].key, "ok", utility=utility(0.7), unclaimed=text()),
        Cell(trainings[3].key, "n/a", text()),
    ]
    settings, threats, defenses, attacks = [
        (Described(name, (text(), text())),) for name in (setting, threat, defense, attack)
    ]
    metrics = (Described(metric, (text(),)), Described(other, (text(),)))
    pairs = ((text(), text()), (text(), text()))
    name, spec = text(), text()
    return Manifest(
        *(name, 0, 7, spec, settings, threats, defenses, attacks, metrics, pairs, pairs, places, (text(),), trainings),
        limits=(text(),),
        sights=(Sight(threat, (text(), text()), (text(),)),),
        sums=((defense, 4),),
        earlier=(EarlierPlan(text(), 7, None, text(), 7, 5, 1, 2, False),),
    ), cells


def kept(folder: Path, audit: tuple[Manifest, list[Cell]]) -> Path:
    """The audit in a folder, as a run leaves it; a file's name holds no slash."""
    store, (planned, cells) = Store(folder), audit
    places = tuple(replace(each, key=each.key.replace("/", "-")) for each in planned.places)
    with store.lock():
        store.write_manifest(replace(planned, places=places))
        for cell in cells:
            store.write(replace(cell, key=cell.key.replace("/", "-")))
    return folder
