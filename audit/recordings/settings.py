"""A setting that is somebody's recordings: what the spec leaves open is filled in from them."""

import torch
from torch import Tensor

from seethrough.recipes import Recipe

from ..data import Split
from ..data.parts.copies import copies
from ..data.parts.synthetic import Synthetic
from ..specification.error_messages import SpecError
from ..specification.schema import AuditSpec, Setting, Unstated
from .as_received import AsReceived
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


def knows_recipe(setting: Setting) -> bool:
    """Whether it is known how the clients train."""
    return not setting.recording or recipe_of(attacked(setting, 0)[0]) is not None


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
    every = [each for rounds in recordings_in(setting.recording) for each in rounds]
    first = every[0].facts
    for name in ("recipe", "examples", "shape", "classes", "sent"):
        told = {str(getattr(each.facts, name)) for each in every}
        if len(told) > 1:
            raise SpecError(
                (
                    f"{setting.recording}: found recordings of different {name} ({', '.join(sorted(told))}); "
                    "allowed: recordings "
                    "that agree in it; put the others into another setting.",
                )
            )
    data, count = setting.data, setting.batch_size or first.examples
    if isinstance(data, Unstated):
        if first.shape is None or first.classes is None:
            raise SpecError(
                (
                    f"{place}.data: found nothing, and no shape and classes in {setting.recording}; allowed: "
                    "public images of the "
                    "same kind, or a recording with shape and classes.",
                )
            )
        data = Synthetic(shape=first.shape, classes=first.classes)
    if count is None:
        raise SpecError(
            (
                f"{place}.batch_size: found nothing, and no examples in {setting.recording}; allowed: the number "
                "of examples behind "
                "the update, or a good guess at it.",
            )
        )
    for what, differs in (
        ("utility", spec.utility is not None),
        ("rounds", setting.rounds > 1),
        ("partition", setting.partition is not None),
    ):
        if differs:
            raise SpecError((f"{place}: found a recording and {what}; allowed: {what} only where clients are played.",))
    recipe = recipe_of(every[0]) or Recipe(lr=1.0)
    try:
        recipe.order(count)
    except ValueError as error:
        raise SpecError((f"{setting.recording}: {error}.",)) from error
    return setting.recorded_by(
        len(recordings_in(setting.recording)),
        data=data,
        batch_size=count,
        local=recipe,
        weights=AsReceived(folder=setting.recording),
    )


def has_truth(setting: Setting) -> bool:
    """Whether the examples of every recorded client are known."""
    return all(rounds[-1].truth is not None for rounds in recordings_in(setting.recording))
