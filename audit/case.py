"""One place in the grid, with everything that decides its numbers, and the material that it is made of."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Generator, Tensor, nn

from seethrough.attacks import Attack
from seethrough.common.section import Section
from seethrough.defenses import Batch, Defense, Guarantee
from seethrough.defenses.guarantees.statement import composed
from seethrough.defenses.parts.mixture import of_its_kind
from seethrough.federation.client import batchnorm_layers

from .data import Images, Split, split, tuning_half
from .metrics import Metric
from .models.parts.fingerprint import fingerprint
from .models.parts.outputs import give_logits
from .models.parts.searchable import unsearchable
from .precision import computing_in, dtype_of
from .randomness import drawing_from, stream
from .recordings.read import Received, fitted_to
from .recordings.settings import attacked as recorded_rounds
from .recordings.settings import split_of
from .specification.kinds import origins
from .specification.schema import Setting
from .threat import ThreatModel

PROBED = 8  # images
LEARNED = "the broadcast weights themselves were trained on the private images, without noise"
SCHEMA = 2  # raised whenever the same key would otherwise stand for other numbers


@dataclass(frozen=True)
class Case:
    """What decides the numbers of a cell, apart from the code and the libraries."""

    seed: int
    trial: int
    setting: Setting
    threat: ThreatModel
    defense: Defense
    attack: Attack
    metrics: tuple[Metric, ...]
    recovered_psnr: float = 20.0


def key_of(case: Case, environment: str) -> str:
    """SHA-256 of everything that decides the case's numbers; the names that the spec gives to things do not enter it."""
    setting = case.setting
    decisive = {
        "schema": SCHEMA,
        "environment": environment,
        "seed": case.seed,
        "trial": case.trial,
        "setting": written_out(setting, "name"),
        "content": content_of(setting, case.seed),
        "threat": [sorted(case.threat.grants), case.threat.batchnorm],
        "defense": repr(case.defense),
        "attack": f"{case.attack!r} {case.attack.facts(setting.data.load().space)}",
        "metrics": [_identity(metric) for metric in case.metrics],
        "recovered_psnr": case.recovered_psnr,
        "origins": origins_of(setting, case.defense, case.attack, *case.metrics),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def origins_of(setting: Setting, *others: object) -> list[str]:
    """The packages, versions and code of the entries that are not ours."""
    return [str(origin) for origin in origins((setting.data, setting.model, setting.weights, *others))]


def written_out(section: Section, without: str) -> list[str]:
    """Every field of a section of the spec but `without`, the one that decides no number."""
    return [f"{field}={getattr(section, field)!r}" for field in type(section).model_fields if field != without]


def everyone(setting: Setting, cohort: int) -> int:
    """How many clients there are, where a defense combines `cohort` of them."""
    return cohort if setting.population is None else setting.population.clients


def claimed(defense: Defense, setting: Setting, read: Sequence[int]) -> Guarantee | None:
    """The guarantee of the client under attack for all rounds of the setting together; None claims nothing.

    Of the batches that a client has sent the updates of, one after another, the server could `read` those of these numbers:
    as many rounds of the client, and of an example, which comes once in each pass over what the client holds, as many as
    these are of different passes.
    """
    guarantee = defense.of(0).guarantee(setting.local, setting.batch_size)
    if guarantee is not None and setting.rounds > 1:
        passes = {number // (setting.held // setting.batch_size) for number in read}
        times = len(read) if guarantee.unit == "client" else len(passes)
        guarantee = composed(guarantee, setting.rounds, times)
    return of_its_kind(guarantee, defense, everyone(setting, defense.cohort()))


@cache
def content_of(setting: Setting, seed: int) -> tuple[str, ...]:
    """What the setting's data, model and weights hold, by their hashes. The model's is that of the module as it is built and
    broadcast, whatever files its code stands in; of a user's own, the code too.

    Raises: ValueError, for a model that cannot be audited.
    """
    model, batch = broadcast_model(setting, seed, 0), probe_batch(setting, seed)
    known = fingerprint(model, batch), setting.model.facts()
    return setting.data.load().fingerprint, *known, setting.weights.facts(), setting.local.loss.facts()


@cache
def why_unsearchable(setting: Setting, seed: int) -> str:
    """Why no attack can search the pixels of the setting's model; empty where it can."""
    return unsearchable(broadcast_model(setting, seed, 0), probe_batch(setting, seed))


def probe_batch(setting: Setting, seed: int) -> Batch:
    """A few public images, on which a model is tried out and known again."""
    public = public_batch(setting, seed)
    return Batch(public.inputs[:PROBED], public.labels[:PROBED])


@cache
def _identity(metric: Metric) -> str:
    return f"{metric!r} {metric.facts()}"


def divided(setting: Setting, seed: int) -> tuple[Images, Split]:
    """The setting's images and their division, the same for every trial."""
    images = setting.images()
    shares = setting.splits
    if setting.recording:
        return images, _split_of(setting)
    return images, _split(images, shares.private, shares.public, shares.copies == "drop", seed)


@cache
def _split(images: Images, private: float, public: float, drop_copies: bool, seed: int) -> Split:
    return split(images, private, public, drop_copies, stream(seed, "splits"))


@cache
def _split_of(setting: Setting) -> Split:
    return split_of(setting)


@cache
def attackable(setting: Setting, seed: int) -> Tensor:
    """Which private images batches are drawn from, as indices."""
    images, parts = divided(setting, seed)
    if setting.splits.attacked == "all":
        return parts.private
    return parts.private[tuning_half(images)[parts.private] == (setting.splits.attacked == "tuning")]


@cache
def public_batch(setting: Setting, seed: int) -> Batch:
    """The public images, at most as many as the setting uses."""
    images, parts = divided(setting, seed)
    return images.batch(parts.public[: setting.splits.public_at_most])


@cache
def _private_batch(setting: Setting, seed: int) -> Batch:
    images, parts = divided(setting, seed)
    return images.batch(parts.private)


@cache
def broadcast_model(setting: Setting, seed: int, trial: int) -> nn.Module:
    """The model as it is broadcast: trained weights are the same for every trial, random ones are drawn for each.

    Raises: ValueError, if the architecture cannot take the data; UntrustedFileError, if a weights file does not fit.
    """
    if setting.recording:
        return received(setting, seed, trial, -1).model
    model = built_model(setting, seed, 0 if setting.weights.needs_training() else trial)
    source = _private_batch if setting.weights.learns_from() == "private" else public_batch
    setting.weights.put_into(model, lambda: source(setting, seed), stream(seed, "training"))
    return model.train(setting.mode == "train")


@cache
def received(setting: Setting, seed: int, client: int, number: int) -> Received:
    """The recording of a client's round, by its number from 0 or from the end, fitted to the setting's model in its mode.

    Raises: UntrustedFileError, naming what does not fit.
    """
    model = built_model(setting, seed, 0)
    found = fitted_to(model, recorded_rounds(setting, client)[number])
    model.train(setting.mode == "train")
    return found


def built_model(setting: Setting, seed: int, number: int) -> nn.Module:
    """The model with its layers' own initialization, anew at each call. Raises: ValueError, as `broadcast_model` does."""
    with computing_in("float32"), drawing_from(stream(seed, "weights", number)):  # the same draws for every precision
        space = setting.data.load().space
        model = setting.model.build(space)
        give_logits(model, space.classes)
        if setting.fix_batchnorm:
            put_groupnorm(model)
    return model.to(dtype_of(setting.precision))


def put_groupnorm(model: nn.Module) -> None:
    """Put in the place of every BatchNorm layer what Opacus' validator does: GroupNorm, which sees one example alone."""
    from opacus.validators import ModuleValidator  # slow to import, and wanted only here

    for name, layer in batchnorm_layers(model).items():
        if type(layer) in ModuleValidator.FIXERS:  # a layer of the user's own stays, and DP-SGD refuses it by name
            model.set_submodule(name, ModuleValidator.FIXERS[type(layer)](layer))


def round_streams(seed: int, trial: int, clients: Iterable[int], control: str, number: int) -> tuple[Generator, ...]:
    """For one round, a stream for each client, by its number, and one for combining their updates; another set for the
    control."""
    later = (number,) if number else ()
    senders = (stream(seed, "clients", control, trial, client, *later) for client in clients)
    return (*senders, stream(seed, "aggregation", control, trial, *later))
