"""The grid of an audit: every place with its key, checked before anything is computed."""

import copy
import hashlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import torch

from seethrough.attacks import Attack
from seethrough.common.processes import without_main
from seethrough.common.spelling import facts_of, label_of
from seethrough.defenses import Chain, Defense, NotApplicableError
from seethrough.reports.row import EXPLAINED, Described, Manifest, Place

from .case import (
    Case,
    attackable,
    broadcast_model,
    built_model,
    content_of,
    divided,
    draw_batches,
    key_of,
    probe_batch,
    public_batch,
    received,
    why_unsearchable,
)
from .checks.lint import lint
from .checks.power import powerless
from .checks.user_model import check, check_built
from .models.parts.fingerprint import forward
from .recorded_trial import DECOYS
from .recordings.format import TRUTH
from .recordings.plausible import implausible
from .recordings.read import recordings_in
from .recordings.settings import filled_in, has_truth, knows_recipe
from .specification.error_messages import SpecError, stopped
from .specification.kinds import origins
from .specification.schema import AuditSpec, Setting, defense_label
from .untrusted import UntrustedFileError
from .utility import Training, dealt, key_of_training

LIBRARIES = (
    "torch",
    "torchvision",
    "opacus",
    "lpips",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "numpy",
    "pydantic",
    "seethrough",
)
CHANGED = "it is another one each time that its code is imported, or was edited since; then start Python anew"
TRAINING = "federated training"  # what stands in the place of an attack
PACKAGES = ("common", "recipes", "defenses", "attacks", "audit")


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
        _check(spec, setting, f"{spec.source}, settings[{position}]")
    for position, attack in enumerate(spec.attacks):
        _check_attack(spec, attack, f"{spec.source}, attacks[{position}]")
    _check_elsewhere(spec)
    code = code_revision()
    environment = f"{code} {_versions(device, threads)}"
    grid = [(place, case) for place, case in _grid(spec, environment)]
    trainings = list(_trainings(spec, environment))
    cases: dict[str, Case | Training] = {place.key: case for place, case in grid}
    cases |= {place.key: training for place, training in trainings}
    planned = tuple(place for place, _ in grid), tuple(place for place, _ in trainings)
    return Plan(_manifest(spec, *planned, device, threads), cases, environment)


def code_revision() -> str:
    """The first 12 digits of the SHA-256 of all source files that can change a number."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(str(files(f"seethrough.{package}")))
        for source in sorted(root.rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:12]


def _check(spec: AuditSpec, setting: Setting, place: str) -> None:
    try:
        images, parts = divided(setting, spec.seed)
        if setting.labels == "unique" and setting.batch_size > images.classes:
            found = f"found {setting.batch_size} with unique labels; allowed: at most {images.classes}, one a class"
            raise SpecError((f"{place}.batch_size: {stopped(str(found))}",))
        if not len(parts.public):
            raise SpecError((f"{place}.splits: found no public image of {len(images)}; allowed: at least one.",))
        if setting.recording:
            _check_recordings(spec, setting)
        else:
            draw_batches(setting, spec.seed, 0, clients=1, same_labels=False)
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
    _accuracy(setting, seed)


def _check_loss(setting: Setting, classes: int, place: str) -> None:
    """Raises: SpecError, if the loss cannot be had of logits and labels of so many classes."""
    try:
        setting.local.loss(torch.zeros(2, classes), torch.tensor([0, 1]))
    except ValueError as error:
        raise SpecError((f"{place}.local.loss: {stopped(str(error))}",)) from error


def _check_recordings(spec: AuditSpec, setting: Setting) -> None:
    """Raises: UntrustedFileError, for a recording that does not fit the model or the data."""
    space = setting.data.load().space
    for client, rounds in enumerate(recordings_in(setting.recording)):
        for number, each in enumerate(rounds):
            received(setting, spec.seed, client, number)
            if each.truth is not None and int(each.truth.labels.max()) >= space.classes:
                said = f"found the label {int(each.truth.labels.max())}; allowed: 0 to {space.classes - 1}"
                raise UntrustedFileError(f"{each.folder / TRUTH}: {said}, as there are {space.classes} classes.")
            if each.truth is not None and tuple(each.truth.inputs.shape[1:]) != space.shape:
                found, allowed = list(each.truth.inputs.shape[1:]), list(space.shape)
                raise UntrustedFileError(
                    f"{each.folder / TRUTH}: found images of shape {found}; allowed: {allowed}, as data has."
                )


def _doubts(spec: AuditSpec) -> Iterator[str]:
    """What is to be doubted of recordings, one sentence each."""
    for setting in spec.settings:
        for client, rounds in enumerate(recordings_in(setting.recording) if setting.recording else ()):
            for number, each in enumerate(rounds):
                got = received(setting, spec.seed, client, number)
                yield from got.doubts
                public = public_batch(setting, spec.seed)
                count, known = setting.batch_size, knows_recipe(setting)
                yield from implausible(
                    str(each.folder), got.model, got.step, setting.local, count, public, known, each.truth
                )


def _check_elsewhere(spec: AuditSpec) -> None:
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
    with without_main(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as another:
        for place, made in own.items():
            there = another.submit(made)
            if there.exception() or there.result() != made():
                reason = there.exception() or CHANGED
                raise SpecError(
                    (
                        f"{spec.source}, {place}: found one that another process does not make alike ({reason}); allowed: "
                        "one that its code, the seed and torch's own chance decide.",
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


def _unsearchable(spec: AuditSpec) -> Iterator[str]:
    """One sentence for each setting whose pixels no attack can search."""
    for setting in spec.settings:
        if any(attack.recovers_images for attack in spec.attacks) and (reason := why_unsearchable(setting, spec.seed)):
            yield f"{setting.name}: {reason}; only attacks on labels can be run."


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


def _plugins(spec: AuditSpec) -> tuple[tuple[str, str], ...]:
    """The packages that the spec's entries come from, if not from us, with their versions and the entries' code."""
    named = [(setting.data, setting.model, setting.weights) for setting in spec.settings]
    values = (*(value for values in named for value in values), *spec.defenses, *spec.attacks, *spec.metrics)
    found = sorted({(origin.package, origin.version, origin.code[:12]) for origin in origins(values)})
    return tuple((package, f"{version}, code {code}") for package, version, code in found)


def _versions(device: torch.device, threads: int) -> tuple[tuple[str, str], ...]:
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return (
        ("python", platform.python_version()),
        *((name, version(name)) for name in LIBRARIES),
        ("machine", f"{platform.machine()} {machine}"),
        ("device", device.type),
        ("threads in each cell", str(threads)),
    )


def _manifest(
    spec: AuditSpec,
    places: tuple[Place, ...],
    trainings: tuple[Place, ...],
    device: torch.device,
    threads: int,
) -> Manifest:
    return Manifest(
        name=spec.name,
        seed=spec.seed,
        trials=spec.trials,
        label_trials=spec.label_trials,
        spec=spec.text,
        settings=tuple(_described(setting, spec.seed) for setting in spec.settings),
        threats=tuple(Described(threat.name, threat.sentences()) for threat in spec.threats),
        defenses=tuple(Described(defense_label(defense), _defense_facts(defense)) for defense in spec.defenses),
        attacks=tuple(Described(label_of(attack), (_headline(attack), *facts_of(attack))) for attack in spec.attacks),
        metrics=(
            *((_explained(),) if any(setting.recording for setting in spec.settings) else ()),
            *(Described(label_of(metric), (_headline(metric), *facts_of(metric))) for metric in spec.metrics),
        ),
        versions=(*_versions(device, threads), *_plugins(spec)),
        hashes=(("code", code_revision()), *_hashes(spec)),
        places=places,
        trainings=trainings,
        warnings=lint(spec),
        limits=(*_unsearchable(spec), *powerless(spec)),
        doubts=tuple(dict.fromkeys(_doubts(spec))),
    )


def _explained() -> Described:
    return Described(
        EXPLAINED,
        (
            "The cosine between the recorded update and the step that the found images produce, on a random half of the "
            "coordinates that the attacker was not shown; higher is better for the attacker. It needs no truth.",
            f"Held against the steps of {DECOYS} batches of public images of the labels that were found, by the "
            "same recipe: the "
            "update's rank among them is its p-value, if public images are of the same kind as the client's.",
            "It says that the images explain the update, not that they look like the client's.",
        ),
    )


def _hashes(spec: AuditSpec) -> Iterator[tuple[str, str]]:
    yield "spec", hashlib.sha256(spec.text.encode()).hexdigest()
    for setting in spec.settings:
        yield f"data of {setting.name}", setting.data.load().fingerprint
        if setting.model.facts():
            yield f"code of the model of {setting.name}", setting.model.facts()
        if setting.local.loss.facts():
            yield f"code of the loss of {setting.name}", setting.local.loss.facts()
        if setting.weights.facts():
            yield f"weights of {setting.name}", setting.weights.facts()
    for metric in spec.metrics:
        if metric.facts():
            yield f"weights of {label_of(metric)}", metric.facts()


def _described(setting: Setting, seed: int) -> Described:
    images, parts = divided(setting, seed)
    model = broadcast_model(setting, seed, 0)
    half = setting.splits.attacked
    chosen = "" if half == "all" else f", of which the {len(attackable(setting, seed))} of the {half} half are attacked"
    size = sum(parameter.numel() for parameter in model.parameters())
    if setting.recording:
        return _recorded(setting, seed)
    repeated = f", the same in each of {setting.rounds} rounds" if setting.rounds > 1 else ""
    return Described(
        setting.name,
        (
            f"data: {label_of(setting.data)}, {len(images)} images of shape {list(images.pixels.shape[1:])}, {images.classes} "
            f"classes; {len(parts.private)} private{chosen}, {len(parts.public)} public, {len(parts.held_out)} held out"
            f"{'; whole groups only' if images.groups is not None else ''}",
            *([f"data: {images.note}"] if images.note else []),
            parts.said(),
            _partitioned(setting),
            f"model: {label_of(setting.model)}{', BatchNorm replaced by GroupNorm' if setting.fix_batchnorm else ''}, "
            f"{size:,} parameters, {setting.mode} mode",
            f"weights: {label_of(setting.weights)}; {setting.weights.members()}; {_accuracy(setting, seed)}",
            f"each client: a batch of {setting.batch_size} with {setting.labels} labels{repeated}, "
            f"{setting.local.said(setting.batch_size)}",
        ),
    )


def _recorded(setting: Setting, seed: int) -> Described:
    images, parts = divided(setting, seed)
    model, known = broadcast_model(setting, seed, 0), recordings_in(setting.recording)
    rounds, truth = sum(map(len, known)), "known" if has_truth(setting) else "not known"
    copies = ", copies of the clients' own taken out" if parts.dropped else ""
    return Described(
        setting.name,
        (
            f"recorded: {len(known)} client(s), {rounds} round(s) in all, in {setting.recording}; the truth is {truth}",
            f"public images: {label_of(setting.data)}, {len(parts.public)} of shape {list(images.pixels.shape[1:])}, "
            f"{images.classes} classes{copies}",
            f"model: {label_of(setting.model)}, {sum(part.numel() for part in model.parameters()):,} parameters, "
            f"{setting.mode} mode, at the weights that the clients received; {_accuracy(setting, seed)}",
            f"each client: {setting.batch_size} examples; "
            + (setting.local.said(setting.batch_size) if knows_recipe(setting) else "how it trained was not recorded"),
        ),
    )


def _partitioned(setting: Setting) -> str:
    if setting.partition is None:
        return "partition: none; every batch is drawn from the whole private split"
    dealt = setting.partition
    return (
        f"partition: the private split dealt to {dealt.clients} clients, each class's shares drawn from "
        f"Dirichlet({dealt.dirichlet}), anew for each trial; the batch is one client's, the decoy another's"
    )


@cache
def _accuracy(setting: Setting, seed: int) -> str:
    """How good the model of the first trial is, on images that nobody trained on."""
    images, parts = divided(setting, seed)
    if not len(parts.held_out):
        return "no held-out images to test the model on"
    batch = images.batch(parts.held_out[:1000])
    model = copy.deepcopy(broadcast_model(setting, seed, 0)).eval()
    right = int((forward(model, batch.inputs).argmax(dim=1) == batch.labels).sum())
    return f"{right} of {len(batch)} held-out images classified rightly"


def _headline(entry: object) -> str:
    return " ".join((type(entry).__doc__ or "").split("\n\n")[0].split())


def _defense_facts(defense: Defense) -> tuple[str, ...]:
    parts = defense.parts if isinstance(defense, Chain) else (defense,)
    return tuple(fact for part in parts for fact in (_headline(part), *facts_of(part)))
