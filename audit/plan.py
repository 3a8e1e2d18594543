"""The grid of an audit: every place with its key, checked before anything is computed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import torch

from seethrough.attacks import Attack
from seethrough.common.processes import afresh, starting
from seethrough.common.spelling import label_of
from seethrough.defenses import NotApplicableError
from seethrough.reports.row import Manifest, Place

from .batches import draw_batches
from .case import Case, broadcast_model, built_model, content_of, divided, everyone, key_of, probe_batch
from .checks.recordings import check_recordings
from .checks.user_model import check, check_built
from .manifest import accuracy, manifest_of, versions
from .recordings.settings import filled_in
from .revision import code_revision
from .specification.defenses import defense_label
from .specification.error_messages import SpecError, stopped
from .specification.schema import AuditSpec, Setting
from .untrusted import UntrustedFileError
from .utility import Training, dealt, key_of_training

CHANGED = "it is another one each time that its code is imported, or was edited since; then start Python anew"
TRAINING = "federated training"  # what stands in the place of an attack


@dataclass(frozen=True)
class Plan:
    """Every place of the grid and every training in the order of the spec, and what is to be computed there."""

    manifest: Manifest
    cases: dict[str, Case | Training]  # by key
    environment: str  # code, libraries, device and threads, as they enter the keys


def make_plan(spec: AuditSpec, device: torch.device, threads: int) -> Plan:
    """The plan of `spec`. Data are read, models built and trained here, so that every mistake shows before the first cell.

    Raises: SpecError, naming each setting that cannot be run and why.
    """
    spec = filled_in(spec)
    for position, setting in enumerate(spec.settings):
        place = f"{spec.source}, settings[{position}]"
        if setting.precision == "tf32" and device.type != "cuda":
            raise SpecError((f"{place}.precision: found tf32 on a {device.type}; allowed there: float32, float64.",))
        _check(spec, setting, place)
    for position, attack in enumerate(spec.attacks):
        _check_attack(spec, attack, f"{spec.source}, attacks[{position}]")
    _check_elsewhere(spec, device)
    code = code_revision()
    environment = f"{code} {versions(device, threads)}"
    grid = [(place, case) for place, case in _grid(spec, environment)]
    trainings = list(_trainings(spec, environment))
    cases: dict[str, Case | Training] = {place.key: case for place, case in grid}
    cases |= {place.key: training for place, training in trainings}
    planned = tuple(place for place, _ in grid), tuple(place for place, _ in trainings)
    return Plan(manifest_of(spec, *planned, device, threads), cases, environment)


def _check(spec: AuditSpec, setting: Setting, place: str) -> None:
    try:
        images, parts = divided(setting, spec.seed)
        if images.classes < 2:
            raise SpecError((f"{place}.data: found one class of images; allowed: two or more, as a classifier needs.",))
        if setting.labels == "unique" and setting.batch_size > images.classes:
            found = f"found {setting.batch_size} with unique labels; allowed: at most {images.classes}, one a class"
            raise SpecError((f"{place}.batch_size: {stopped(str(found))}",))
        if not len(parts.public):
            raise SpecError((f"{place}.splits: found no public image of {len(images)}; allowed: at least one.",))
        if setting.recording:
            check_recordings(setting, spec.seed)
        else:
            draw_batches(setting, spec.seed, 0, clients=everyone(setting, 1), same_labels=False)
        _check_loss(setting, images.classes, place)
        _check_model(setting, spec.seed, images.classes)
        _check_utility(spec, setting, place)
    except NotApplicableError as error:
        raise SpecError((f"{place}.batch_size: {stopped(str(error))}",)) from error
    except ValueError as error:
        raise SpecError((f"{place}.model: {stopped(str(error))}",)) from error
    except UntrustedFileError as error:
        raise SpecError((f"{place}: {stopped(str(error))}",)) from error


def _check_model(setting: Setting, seed: int, classes: int) -> None:
    """Raises: ValueError. First as it is built, since training it may take long; then as it is broadcast."""
    batch, train = probe_batch(setting, seed), setting.mode == "train"
    built, again = (built_model(setting, seed, 0).train(train) for _ in range(2))
    check_built(built, again, batch, classes)
    check(broadcast_model(setting, seed, 0), batch, classes, setting.local.batch_size or setting.batch_size)
    accuracy(setting, seed)


def _check_loss(setting: Setting, classes: int, place: str) -> None:
    """Raises: SpecError, if the loss cannot be had of logits and labels of so many classes."""
    try:
        setting.local.loss(torch.zeros(2, classes), torch.tensor([0, 1]))
    except ValueError as error:
        raise SpecError((f"{place}.local.loss: {stopped(str(error))}",)) from error


def _check_elsewhere(spec: AuditSpec, device: torch.device) -> None:
    """Workers import the user's code anew: what it makes must be the same there. Raises: SpecError."""
    own: dict[str, Callable[[], object]] = {}
    for position, setting in enumerate(spec.settings):
        if setting.model.facts() or setting.local.loss.facts():
            own[f"settings[{position}].model"] = partial(content_of, setting, spec.seed)
        for number, attack in enumerate(spec.attacks):
            if attack.facts(setting.data.load().space):
                own[f"attacks[{number}]"] = partial(attack.facts, setting.data.load().space)
    if not own:
        return
    context = get_context(afresh(gpu=device.type == "cuda"))
    with starting(threads=1), ProcessPoolExecutor(1, mp_context=context) as another:
        for place, made in own.items():
            there = another.submit(made)
            if there.exception() or there.result() != made():
                reason = there.exception() or CHANGED
                raise SpecError(
                    (
                        f"{spec.source}, {place}: found one that another process does not make alike ({reason}); "
                        "allowed: one that its code, the seed and torch's own chance decide.",
                    )
                )


def _check_utility(spec: AuditSpec, setting: Setting, place: str) -> None:
    if spec.utility is None:
        return
    try:
        dealt(setting, spec.seed, 0, spec.utility.clients)
    except NotApplicableError as error:
        raise SpecError((f"{place}, for utility.clients: {stopped(str(error))}",)) from error


def _check_attack(spec: AuditSpec, attack: Attack, place: str) -> None:
    try:
        for setting in spec.settings:
            attack.facts(setting.data.load().space)
    except ValueError as error:
        raise SpecError((f"{place}: {stopped(str(error))}",)) from error


def _grid(spec: AuditSpec, environment: str) -> Iterator[tuple[Place, Case]]:
    for setting in spec.settings:
        for threat in spec.threats:
            for defense in spec.defenses:
                for attack in spec.attacks:
                    for trial in range(spec.trials_of(attack, setting)):
                        case = Case(
                            spec.seed, trial, setting, threat, defense, attack, spec.metrics, spec.recovered_psnr
                        )
                        key = key_of(case, environment)
                        names = (setting.name, threat.name, defense_label(defense), label_of(attack))
                        yield Place(key, *names, trial), case


def _trainings(spec: AuditSpec, environment: str) -> Iterator[tuple[Place, Training]]:
    if spec.utility is None:
        return
    for setting in spec.settings:
        for defense in spec.defenses:
            for repeat in range(spec.utility.repeats):
                training = Training(spec.seed, repeat, setting, defense, spec.utility)
                key = key_of_training(training, environment)
                yield Place(key, setting.name, "", defense_label(defense), TRAINING, repeat), training
