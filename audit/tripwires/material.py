"""The models that a client received, each with images of the client's, from a spec or from a folder of recordings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seethrough.common.errors import InputError
from seethrough.defenses import Batch

from ..case import attackable, broadcast_model, built_model, divided, public_batch
from ..checks.user_model import check_built
from ..data.parts.synthetic import Synthetic
from ..models import bare
from ..recordings.digest import digest_of
from ..recordings.names import is_counter
from ..recordings.read import Recording, put_received, recordings_in
from ..recordings.settings import agreed_facts, filled_in
from ..recordings.starter import known_model
from ..specification.error_messages import SpecError, stopped
from ..specification.file import load_spec, spec_from
from ..specification.schema import AuditSpec, Setting
from ..untrusted import UntrustedFileError, parse_yaml

TRIED = 8  # images that an architecture is tried on


@dataclass(frozen=True, eq=False)
class Received:
    """A model that clients received, in their mode."""

    name: str  # the setting's, and whose it is
    digest: str  # SHA-256 of its weights
    model: nn.Module
    inputs: Tensor  # images to check it on [n, channels, height, width]
    classes: int
    images: str  # whose these are, in words


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recording, and the SHA-256 of the weights that the client received, as the model holds them."""

    recording: Recording
    digest: str


@dataclass(frozen=True)
class Sent:
    """How many models went out in a round."""

    clients: int
    models: int  # unequal ones among them


def spec_of(source: Path, model: str | None, data: str | None) -> AuditSpec:
    """The spec in the file `source`, or one for the recordings in the folder, with what `model` and `data` say in YAML.

    Raises: InputError.
    """
    if not source.is_dir():
        if model is not None or data is not None:
            raise InputError(f"{source}: found a file, and --model or --data; allowed: these with a folder only.")
        return filled_in(load_spec(source))
    facts, first = agreed_facts(str(source)), recordings_in(str(source))[0][-1]
    known = known_model(first) if model is None else _inline(model, "--model")
    if not known:
        raise InputError(
            f"{source}: found weights that fit no model of ours as it comes; allowed: with --model, as `model` of a spec: "
            "--model '{convnet: {width: 8}}', or your own as --model package.module:function."
        )
    setting: dict[str, Any] = {"name": str(source), "recording": str(source), "model": known}
    if data is not None:
        setting["data"] = _inline(data, "--data")
    if facts.examples is None:
        setting["batch_size"] = 1  # which decides nothing here
    described: Mapping[str, Any] = {
        "name": "tripwires",
        "trials": 1,
        "settings": [setting],
        "threats": [{"name": "server"}],
        "defenses": ["none"],
        "attacks": ["label_counts"],
        "metrics": ["label_accuracy"],
    }
    return filled_in(spec_from(described, str(source)))


def _inline(text: str, option: str) -> Any:
    return parse_yaml(text, option).data if text.lstrip().startswith("{") else text


def recorded(spec: AuditSpec, position: int) -> tuple[Recorded, ...]:
    """The recordings of a setting, each with the SHA-256 of its model; none where it has none. Raises: InputError."""
    setting = spec.settings[position]
    every = [each for rounds in recordings_in(setting.recording) for each in rounds] if setting.recording else []
    with _located(spec, position):
        return tuple(Recorded(each, _digest(_loaded(setting, spec.seed, each))) for each in every)


def sent_to_clients(every: tuple[Recorded, ...]) -> Sent | None:
    """The round with the most unequal models, of those that several clients were recorded in; None where there is none."""
    by_round: dict[int, list[str]] = {}
    for each in every:
        by_round.setdefault(each.recording.facts.round, []).append(each.digest)
    found = [Sent(len(digests), len(set(digests))) for digests in by_round.values() if len(digests) > 1]
    return max(found, key=lambda sent: (sent.models, sent.clients), default=None)


def received(spec: AuditSpec, position: int, every: tuple[Recorded, ...]) -> Iterator[Received]:
    """Every unequal model of a setting: those that were recorded, or else the one that it broadcasts. Raises: InputError."""
    setting = spec.settings[position]
    with _located(spec, position):
        if not setting.recording:
            yield _as_broadcast(setting, spec.seed)
        for each in {each.digest: each for each in reversed(every)}.values():
            yield _as_recorded(setting, spec.seed, each)


@contextmanager
def _located(spec: AuditSpec, position: int) -> Iterator[None]:
    """Within, what is wrong with a model is answered with its place in the spec."""
    try:
        yield
    except ValueError as error:
        raise SpecError((f"{spec.source}, settings[{position}].model: {stopped(str(error))}",)) from error


def _as_broadcast(setting: Setting, seed: int) -> Received:
    images, _ = divided(setting, seed)
    inputs = images.batch(attackable(setting, seed)).inputs
    _check(setting, seed, inputs)
    model = broadcast_model(setting, seed, 0)
    said = f"{len(inputs)} images that clients draw from"
    return Received(setting.name, _digest(model), model, inputs, images.classes, said)


def _as_recorded(setting: Setting, seed: int, found: Recorded) -> Received:
    public, own = public_batch(setting, seed).inputs, found.recording.truth
    drawn = "random" if isinstance(setting.data, Synthetic) else "public"
    said, inputs = f"{len(public)} {drawn} images", public
    if own is not None:
        if own.inputs.shape[1:] != public.shape[1:]:
            shapes = f"found a truth of images {list(own.inputs.shape[1:])}; allowed: {list(public.shape[1:])}"
            raise UntrustedFileError(f"{found.recording.folder}: {shapes}, as data has.")
        said, inputs = f"{len(own)} images of the client's and {said}", torch.cat([own.inputs, public])
    _check(setting, seed, inputs)
    facts = found.recording.facts
    name = f"{setting.name}: {facts.client}, round {facts.round}"
    model = _loaded(setting, seed, found.recording)
    return Received(name, found.digest, model, inputs, setting.data.load().classes, said)


def _loaded(setting: Setting, seed: int, recording: Recording) -> nn.Module:
    model = built_model(setting, seed, 0)
    put_received(model, recording)
    return model.train(setting.mode == "train")


def _digest(model: nn.Module) -> str:
    """SHA-256 of the weights as the model holds them, whatever names and types they came in; counters of batches left out."""
    return digest_of({name: part for name, part in bare(model).state_dict().items() if not is_counter(name)})


def _check(setting: Setting, seed: int, inputs: Tensor) -> None:
    """Raises: ValueError, if the architecture makes no logits of the images, or cannot be differentiated."""
    classes, tried = setting.data.load().classes, inputs[:TRIED]
    built, again = (built_model(setting, seed, 0).train(setting.mode == "train") for _ in range(2))
    check_built(built, again, Batch(tried, torch.arange(len(tried)) % classes), classes)
