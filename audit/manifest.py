"""What a reader must know of an audit: every part of it with its facts, versions and hashes, and what it cannot show."""

import copy
import hashlib
import platform
from collections.abc import Iterator
from functools import cache

import torch

from seethrough.common.spelling import facts_of, label_of
from seethrough.defenses import Defense, Mixture, parts_of
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.reports.row import EXPLAINED, Described, Manifest, Place

from .case import attackable, broadcast_model, divided, why_unsearchable
from .checks.lint import lint
from .checks.power import powerless
from .checks.recordings import doubts
from .explained import DECOYS
from .models.parts.fingerprint import forward
from .recordings.read import recordings_in
from .recordings.settings import has_truth
from .revision import Versions, code_revision, libraries
from .series import series_of
from .specification.defenses import defense_label
from .specification.kinds import origins
from .specification.schema import AuditSpec, Setting


def _unsearchable(spec: AuditSpec) -> Iterator[str]:
    """One sentence for each setting whose pixels no attack can search."""
    for setting in spec.settings:
        if any(attack.recovers_images for attack in spec.attacks) and (reason := why_unsearchable(setting, spec.seed)):
            yield f"{setting.name}: {reason}; only attacks on labels can be run."


def _plugins(spec: AuditSpec) -> tuple[tuple[str, str], ...]:
    """The packages that the spec's entries come from, if not from us, with their versions and the entries' code."""
    named = [(setting.data, setting.model, setting.weights) for setting in spec.settings]
    values = (*(value for values in named for value in values), *spec.defenses, *spec.attacks, *spec.metrics)
    found = sorted({(origin.package, origin.version, origin.code[:12]) for origin in origins(values)})
    return tuple((package, f"{version}, code {code}") for package, version, code in found)


def versions(device: torch.device, threads: int) -> Versions:
    """What a number depends on beside the code and the spec."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return (
        *libraries(),
        ("machine", f"{platform.machine()} {machine}"),
        ("device", device.type),
        ("threads in each cell", str(threads)),
    )


def manifest_of(
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
        settings=tuple(described(setting, spec.seed) for setting in spec.settings),
        threats=tuple(Described(threat.name, threat.sentences()) for threat in spec.threats),
        defenses=tuple(Described(defense_label(defense), _defense_facts(defense)) for defense in spec.defenses),
        attacks=tuple(Described(label_of(attack), (_headline(attack), *facts_of(attack))) for attack in spec.attacks),
        metrics=(
            *((_explained(),) if any(setting.recording for setting in spec.settings) else ()),
            *(Described(label_of(metric), (_headline(metric), *facts_of(metric))) for metric in spec.metrics),
        ),
        versions=(*versions(device, threads), *_plugins(spec)),
        hashes=(("code", code_revision()), *_hashes(spec)),
        places=places,
        trainings=trainings,
        warnings=lint(spec),
        limits=(*_unsearchable(spec), *powerless(spec)),
        doubts=tuple(dict.fromkeys(doubts(spec))),
        margins=tuple(spec.margins.items()),
        series=series_of(spec.settings),
        sights=tuple(threat.sight() for threat in spec.threats),
        sums=tuple(_sums(spec)),
        personal=tuple(each.name for each in spec.settings if each.recording or not each.data.published),
    )


def _explained() -> Described:
    return Described(
        EXPLAINED,
        (
            "The cosine between the recorded update and the step that the found images produce, on a random half of "
            "the coordinates that the attacker was not shown; higher is better for the attacker. It needs no truth.",
            f"Held against the steps of {DECOYS} batches of public images of the labels that were found, by the same "
            "recipe: the update's rank among them is its p-value, if public images are of the same kind as the "
            "client's.",
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


def described(setting: Setting, seed: int) -> Described:
    images, parts = divided(setting, seed)
    model = broadcast_model(setting, seed, 0)
    half = setting.splits.attacked
    chosen = "" if half == "all" else f", of which the {len(attackable(setting, seed))} of the {half} half are attacked"
    size = sum(parameter.numel() for parameter in model.parameters())
    if setting.recording:
        return _recorded(setting, seed)
    return Described(
        setting.name,
        (
            f"data: {label_of(setting.data)}, {len(images)} images of shape {list(images.pixels.shape[1:])}, "
            f"{images.classes} classes; {len(parts.private)} private{chosen}, {len(parts.public)} public, "
            f"{len(parts.held_out)} held out{'; whole groups only' if images.groups is not None else ''}",
            *([f"data: {images.note}"] if images.note else []),
            parts.said(),
            _partitioned(setting),
            f"model: {label_of(setting.model)}{', BatchNorm replaced by GroupNorm' if setting.fix_batchnorm else ''}, "
            f"{size:,} parameters, {setting.mode} mode{_precision(setting)}",
            f"weights: {label_of(setting.weights)}; {setting.weights.members()}; {accuracy(setting, seed)}",
            f"each client: a batch of {setting.batch_size} with {setting.labels} labels{_over_rounds(setting)}, "
            f"{setting.local.said(setting.batch_size)}",
            *_federated(setting),
        ),
    )


def _precision(setting: Setting) -> str:
    return "" if setting.precision == "float32" else f", computed in {setting.precision}"


def _over_rounds(setting: Setting) -> str:
    if setting.rounds == 1:
        return ""
    which = f"another of the {setting.held} examples that it holds" if setting.fresh else "the same"
    return f", {which} in each of {setting.rounds} rounds"


def _federated(setting: Setting) -> Iterator[str]:
    """Who takes part, and what the server makes of it."""
    if setting.population is not None:
        up_to = f"attacked is what was sent up to a round that the client's update arrives in, round {setting.rounds}"
        yield f"in each round: {setting.population.said()}; {up_to}"
    if setting.rounds > 1:
        rule = "along the mean step" if setting.server_optimizer == "sgd" else "by Adam on the mean step (FedAdam)"
        yield f"after each round the server moves the weights {rule}, at a rate of {setting.server_lr:g}"


def _recorded(setting: Setting, seed: int) -> Described:
    images, parts = divided(setting, seed)
    model, known = broadcast_model(setting, seed, 0), recordings_in(setting.recording)
    rounds, truth = sum(map(len, known)), "known" if has_truth(setting) else "not known"
    copies = ", copies of the clients' own taken out" if parts.dropped else ""
    return Described(
        setting.name,
        (
            f"recorded: {len(known)} client(s), {rounds} update(s) in all, in {setting.recording}; the truth is {truth}",
            f"public images: {label_of(setting.data)}, {len(parts.public)} of shape {list(images.pixels.shape[1:])}, "
            f"{images.classes} classes{copies}",
            f"model: {label_of(setting.model)}, {sum(part.numel() for part in model.parameters()):,} parameters, "
            f"{setting.mode} mode, at the weights that the clients received; {accuracy(setting, seed)}",
            f"each client: {setting.batch_size} examples; "
            + (setting.local.said(setting.batch_size) if setting.knows_recipe else "how it trained was not recorded"),
        ),
    )


def _partitioned(setting: Setting) -> str:
    if setting.partition is None:
        return "partition: none; every batch is drawn from the whole private split"
    dealt = setting.partition
    return (
        f"partition: the private split dealt to {dealt.clients} clients, {dealt.said()}, anew for each trial; the batch is "
        f"one client's, the decoy another's"
    )


@cache
def accuracy(setting: Setting, seed: int) -> str:
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


def _sums(spec: AuditSpec) -> Iterator[tuple[str, int]]:
    """The defenses under which a server reads a sum alone, and of how many clients."""
    for defense in spec.defenses:
        parts = (part for part in parts_of(defense) if isinstance(part, SecureAggregation))
        yield from ((defense_label(defense), part.clients) for part in parts)


def _defense_facts(defense: Defense) -> tuple[str, ...]:
    facts: list[str] = []
    for part in parts_of(defense):
        if isinstance(part, Mixture):
            facts.append("Clients differ, in about these shares. The one under attack does what is listed first.")
            for share, own in part.kinds():
                facts += [f"A share of {share:.0%}: {defense_label(own)}", *_defense_facts(own)]
        else:
            facts += [_headline(part), *facts_of(part)]
    return tuple(facts)
