"""Reading recordings, and fitting them to a model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from seethrough.defenses import Batch
from seethrough.recipes import Recipe
from seethrough.recipes.trainable import trained

from ..data.npz import Npz
from ..models import bare
from ..untrusted import UntrustedFileError
from ..untrusted.files import read_whole, sha256_of
from ..untrusted.safetensors import read_safetensors
from .digest import digest_of
from .format import BEFORE, FACTS, SENT, TRUTH, Facts, facts_from
from .names import fitted, is_buffer, is_counter, nameless

MAX_FACTS_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class Recording:
    """One client's update of one round, as it lies in a folder."""

    folder: Path
    facts: Facts
    before: Mapping[str, Tensor]
    sent: Mapping[str, Tensor]
    truth: Batch | None

    def files_digest(self) -> str:
        """What decides its numbers, but for names."""
        known = [sha256_of(self.folder / FACTS), digest_of(self.before), digest_of(self.sent)]
        return " ".join(known + ([sha256_of(self.folder / TRUTH)] if self.truth is not None else []))


@dataclass(frozen=True, eq=False)
class Received:
    """A recording fitted to a model."""

    model: nn.Module  # at the weights that the client received
    step: dict[str, Tensor]  # of every parameter that trains
    buffers: dict[str, Tensor]  # as they were sent, by the names of the module around the user's network
    doubts: tuple[str, ...]  # what a reader should know of the files, one sentence each


@cache
def recordings_in(folder: str) -> tuple[tuple[Recording, ...], ...]:
    """The recordings in a folder, or in its subfolders at any depth: for each client, in the order of names, those of its
    rounds, the oldest first. Raises: UntrustedFileError, SpecError."""
    root = Path(folder)
    places = sorted(
        found.parent for found in root.rglob(FACTS) if not any(part.startswith(".") for part in found.parts)
    )
    if not places:
        raise UntrustedFileError(
            f"{folder}: found no {FACTS}; allowed: a folder that `seethrough import` or a recorder wrote."
        )
    by_client: dict[str, dict[int, Recording]] = {}
    for place in places:
        read = read_recording(place)
        rounds = by_client.setdefault(read.facts.client, {})
        if read.facts.round in rounds:
            other = rounds[read.facts.round].folder
            raise UntrustedFileError(
                f"{place / FACTS}: found client {read.facts.client}, round {read.facts.round}, as in {other}; "
                "allowed: each client's rounds once, every client under its own name (`client`, `--client`)."
            )
        rounds[read.facts.round] = read
    return tuple(tuple(rounds[number] for number in sorted(rounds)) for _, rounds in sorted(by_client.items()))


def read_recording(place: Path) -> Recording:
    """The recording in a folder. Raises: UntrustedFileError, SpecError."""
    source = place / FACTS
    try:
        described = json.loads(read_whole(source, MAX_FACTS_BYTES))
    except (ValueError, RecursionError) as error:
        raise UntrustedFileError(f"{source}: found no JSON ({error}); allowed: what a recorder writes.") from error
    facts = facts_from(described, str(source))
    before, sent = (_in_order(read_safetensors(place / name), facts) for name in (BEFORE, SENT))
    if digest_of(before) != facts.before_sha256:
        raise UntrustedFileError(
            f"{place / BEFORE}: found other weights than those that were recorded (their SHA-256 differs from "
            f"before_sha256 in {FACTS}); allowed: the weights that this update belongs to."
        )
    if facts.started_from_sha256 not in (None, facts.before_sha256):
        raise UntrustedFileError(
            f"{source}: found an update that started from other weights than those in {BEFORE} (started_from_sha256 "
            "differs from before_sha256); allowed: the weights that the client trained from."
        )
    return Recording(place, facts, before, sent, _truth(place, facts))


def _in_order(tensors: Mapping[str, Tensor], facts: Facts) -> dict[str, Tensor]:
    """The tensors in the order of the state_dict, as far as it is known: a safetensors file does not keep it."""
    if nameless(tensors):
        return {name: tensors[name] for name in sorted(tensors, key=int)}
    first = [name for name in facts.parameters if name in tensors]
    return {name: tensors[name] for name in (*first, *(name for name in tensors if name not in first))}


def _is_ordered(tensors: Mapping[str, Tensor], facts: Facts) -> bool:
    return nameless(tensors) or set(tensors) <= set(facts.parameters)


def put_received(model: nn.Module, recording: Recording) -> dict[str, Tensor]:
    """Set the weights and buffers of `model` to those that the client received, and return these by the model's names.

    Raises: UntrustedFileError, naming what does not fit.
    """
    net = bare(model)
    state, source = dict(net.state_dict()), str(recording.folder / BEFORE)
    before = fitted(recording.before, state, source, True, _is_ordered(recording.before, recording.facts))
    net.load_state_dict(
        {name: before[name].to(value.dtype) if name in before else value for name, value in state.items()}
    )
    return before


def fitted_to(model: nn.Module, recording: Recording) -> Received:
    """The update as one of the parameters of `model`, whose weights it sets to those that the client received.

    Raises: UntrustedFileError, naming what does not fit.
    """
    net, facts = bare(model), recording.facts
    before = put_received(model, recording)
    source = str(recording.folder / SENT)
    wanted = trained(net)
    if all(is_buffer(name) for name in recording.sent):
        raise UntrustedFileError(
            f"{source}: found only buffers ({', '.join(list(recording.sent)[:3])}), no parameter; allowed: the "
            "parameters that the client trained."
        )
    sent = fitted(recording.sent, net.state_dict(), source, False, _is_ordered(recording.sent, facts))
    missing = [name for name in wanted if name not in sent]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UntrustedFileError(
            f"{source}: found no `{missing[0]}`{more}; allowed: every parameter that trains in the model (freeze "
            "those that the client did not train, by requires_grad_(False))."
        )
    dtype = next(iter(wanted.values())).dtype
    doubts = tuple(_doubts(recording, sent, dtype))
    prefix = _prefix(model, net)
    step = {f"{prefix}{name}": _step(facts, before[name], sent[name]).to(wanted[name].dtype) for name in wanted}
    if not any(part.any() for part in step.values()):
        raise UntrustedFileError(
            f"{source}: found an update of zeros, which tells nothing; allowed: weights that training moved."
        )
    frozen = [name for name in sent if name not in wanted and not is_buffer(name) and facts.sent == "weights"]
    moved = [name for name in frozen if not torch.equal(sent[name], before[name])]
    if moved:
        raise UntrustedFileError(
            f"{source}: found `{moved[0]}` changed, which does not train in the model (requires_grad is False); "
            "allowed: a model in which all trains that the client trained."
        )
    buffers = {
        f"{prefix}{name}": part.to(dtype) for name, part in sent.items() if is_buffer(name) and not is_counter(name)
    }
    return Received(model, step, buffers, doubts)


def recipe_of(facts: Facts) -> Recipe | None:
    """How the client trained; what sent its gradient took one step of rate 1."""
    return Recipe(lr=1.0) if facts.sent == "gradients" else facts.recipe


def _step(facts: Facts, before: Tensor, sent: Tensor) -> Tensor:
    if facts.sent == "gradients":
        return -sent.double()
    return sent.double() - before.double() if facts.sent == "weights" else sent.double()


def _prefix(model: nn.Module, net: nn.Module) -> str:
    """What the names of the user's network begin with in the module around it."""
    return next((f"{name}." if name else "" for name, module in model.named_modules() if module is net), "")


def _doubts(recording: Recording, sent: Mapping[str, Tensor], attacked: torch.dtype) -> list[str]:
    where, found = str(recording.folder), []
    kinds = {str(part.dtype).removeprefix("torch.") for part in sent.values() if part.is_floating_point()}
    for kind in sorted(kinds & {"float16", "bfloat16"}):
        found.append(
            f"{where}: what was sent is {kind}, so small changes are rounded away, and a loss scale, if there was "
            "one, is not known: what is not found may yet be in the update that the client computed."
        )
    if "float64" in kinds and attacked != torch.float64:
        found.append(f"{where}: what was sent is float64, and is attacked as float32; `precision: float64` keeps it.")
    averaged = [
        name for name, part in {**recording.before, **sent}.items() if is_counter(name) and part.is_floating_point()
    ]
    if averaged:
        found.append(
            f"{where}: `{averaged[0]}` counts batches and is no whole number's type, as if buffers had been averaged "
            "over clients: the statistics are then nobody's own."
        )
    return found


def _truth(place: Path, facts: Facts) -> Batch | None:
    path = place / TRUTH
    if not path.exists():
        return None
    images = Npz(file=str(path)).load()
    if facts.examples not in (None, len(images)):
        raise UntrustedFileError(
            f"{path}: found {len(images)} examples where {FACTS} says {facts.examples}; allowed: the examples behind "
            "the update."
        )
    return images.batch(torch.arange(len(images)))
