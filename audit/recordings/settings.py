"""A setting that is somebody's recordings: what the spec leaves open is filled in from them."""

import torch
from torch import Tensor

from seethrough.recipes import Recipe

from ..data import Data, Split
from ..data.parts.copies import copies
from ..data.parts.synthetic import Synthetic
from ..specification.error_messages import SpecError
from ..specification.schema import AuditSpec, Setting, Unstated
from ..untrusted import UntrustedFileError
from .as_received import AsReceived
from .format import Facts
from .read import Recording, recipe_of, recordings_in

HELD_OUT = 0.1  # of the images that come with the spec


def filled_in(spec: AuditSpec) -> AuditSpec:
    """`spec` with its recordings read. Raises: SpecError; UntrustedFileError, naming the file."""
    if not any(setting.recording for setting in spec.settings):
        return spec
    settings = tuple(
        _filled_in(spec, setting, f"{spec.source}, settings[{place}]") if setting.recording else setting
        for place, setting in enumerate(spec.settings)
    )
    return spec.model_copy(update={"settings": settings}).read_from(spec.source, spec.text)


def attacked(setting: Setting, client: int) -> tuple[Recording, ...]:
    """The recordings of the client that a trial attacks, the oldest round first."""
    return recordings_in(setting.recording)[client]


def split_of(setting: Setting) -> Split:
    """All images are public but for a tenth that is held out and those that are, exactly or nearly, in a recorded truth."""
    images = setting.data.load()
    free = torch.ones(len(images), dtype=torch.bool)
    for rounds in recordings_in(setting.recording):
        for each in rounds:
            if each.truth is not None:
                pixels = images.pixels.float() / 255 if images.pixels.dtype == torch.uint8 else images.pixels
                if pixels.shape[1:] == each.truth.inputs.shape[1:]:
                    free &= ~copies(pixels, each.truth.inputs)[1]
    places = free.nonzero().flatten()
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))]
    held_out = round(HELD_OUT * len(places))
    none: Tensor = places[:0]
    return Split(none, places[held_out:], places[:held_out], dropped=not bool(free.all()))


def _filled_in(spec: AuditSpec, setting: Setting, place: str) -> Setting:
    try:
        facts = agreed_facts(setting.recording)
    except UntrustedFileError as error:
        raise UntrustedFileError(f"{place}.recording: {error}") from error
    for what, differs in (
        ("utility", spec.utility is not None),
        ("rounds", setting.rounds > 1),
        ("partition", setting.partition is not None),
        ("holds", setting.holds > 0),
        ("population", setting.population is not None),
    ):
        if differs:
            raise SpecError((f"{place}: found a recording and {what}; allowed: {what} only where clients are played.",))
    data, count, recipe = _data(setting, facts, place), _count(setting, facts, place), _recipe(setting, facts, place)
    try:
        (recipe or Recipe()).order(count)
    except ValueError as error:
        raise SpecError((f"{setting.recording}: {error}.",)) from error
    return setting.recorded_by(
        len(recordings_in(setting.recording)),
        knows_recipe=recipe is not None,
        data=data,
        batch_size=count,
        local=recipe or Recipe(lr=1.0),
        weights=AsReceived(folder=setting.recording),
    )


def agreed_facts(folder: str) -> Facts:
    """The facts of the first recording. Raises: UntrustedFileError; SpecError, where others differ in what makes a setting."""
    every = [each.facts for rounds in recordings_in(folder) for each in rounds]
    for name in ("recipe", "examples", "shape", "classes", "sent"):
        told = {_written(getattr(facts, name)) for facts in every}
        if len(told) > 1:
            raise SpecError(
                (
                    f"{folder}: found recordings of different {name} ({' and '.join(sorted(told)):.200}); "
                    "allowed: recordings that agree in it, the others in a setting of their own.",
                )
            )
    return every[0]


def _written(fact: object) -> str:
    return str(fact.written() if isinstance(fact, Recipe) else fact)


def _data(setting: Setting, facts: Facts, place: str) -> Data:
    if not isinstance(setting.data, Unstated):
        try:
            space = setting.data.load().space
        except UntrustedFileError as error:
            raise UntrustedFileError(f"{place}.data: {error}") from error
        for found, recorded, known, hint in (
            (f"images of shape {list(space.shape)}", facts.shape, space.shape, "a folder of pictures takes `size`"),
            (f"{space.classes} classes", facts.classes, space.classes, "if it is wrong, record or import it again"),
        ):
            if recorded not in (None, known):
                wanted = list(recorded) if isinstance(recorded, tuple) else recorded
                said = f"found {found}; allowed: {wanted}, as {setting.recording} says ({hint})"
                raise SpecError((f"{place}.data: {said}.",))
        return setting.data
    if facts.shape is None or facts.classes is None:
        raise SpecError(
            (
                f"{place}.data: found nothing, and no shape and classes in {setting.recording}; allowed: public "
                "images of the same kind, or a recording with shape and classes.",
            )
        )
    return Synthetic(shape=facts.shape, classes=facts.classes)


def _count(setting: Setting, facts: Facts, place: str) -> int:
    if setting.batch_size and facts.examples not in (None, setting.batch_size):
        found, recorded = setting.batch_size, f"{facts.examples}, as in {setting.recording}, or nothing"
        raise SpecError((f"{place}.batch_size: found {found}; allowed: {recorded}.",))
    if count := setting.batch_size or facts.examples:
        return count
    raise SpecError(
        (
            f"{place}.batch_size: found nothing, and no examples in {setting.recording}; allowed: the number of "
            "examples behind the update, or a good guess at it.",
        )
    )


def _recipe(setting: Setting, facts: Facts, place: str) -> Recipe | None:
    """How the clients trained, as recorded or else as the spec says; None where neither tells."""
    recorded = recipe_of(facts)
    if "local" not in setting.model_fields_set:
        return recorded
    if recorded not in (None, setting.local):
        raise SpecError(
            (f"{place}.local: found another recipe than in {setting.recording}; allowed: that one, or nothing.",)
        )
    return setting.local


def has_truth(setting: Setting) -> bool:
    """Whether the examples of every recorded client are known."""
    return all(rounds[-1].truth is not None for rounds in recordings_in(setting.recording))
