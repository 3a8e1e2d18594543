"""Whether recordings fit the model and the data, and what is to be doubted of them."""

from collections.abc import Iterator

from ..case import public_batch, received
from ..recordings.format import TRUTH
from ..recordings.plausible import implausible
from ..recordings.read import recordings_in
from ..recordings.settings import agreed_facts
from ..specification.schema import AuditSpec, Setting
from ..untrusted import UntrustedFileError


def check_recordings(setting: Setting, seed: int) -> None:
    """Raises: UntrustedFileError, for a recording that does not fit the model or the data."""
    space = setting.data.load().space
    for client, rounds in enumerate(recordings_in(setting.recording)):
        for number, each in enumerate(rounds):
            received(setting, seed, client, number)
            if each.truth is not None and int(each.truth.labels.max()) >= space.classes:
                said = f"found the label {int(each.truth.labels.max())}; allowed: 0 to {space.classes - 1}"
                raise UntrustedFileError(f"{each.folder / TRUTH}: {said}, as there are {space.classes} classes.")
            if each.truth is not None and tuple(each.truth.inputs.shape[1:]) != space.shape:
                found, allowed = list(each.truth.inputs.shape[1:]), list(space.shape)
                raise UntrustedFileError(
                    f"{each.folder / TRUTH}: found images of shape {found}; allowed: {allowed}, as data has."
                )


def doubts(spec: AuditSpec) -> Iterator[str]:
    """What is to be doubted of recordings, one sentence each."""
    for setting in spec.settings:
        if setting.recording and agreed_facts(setting.recording).examples is None:
            yield (
                f"{setting.name}: the recordings do not say how many examples are behind an update, and the spec says "
                f"{setting.batch_size}: if that is a guess, counts of labels are guesses, too."
            )
        for client, rounds in enumerate(recordings_in(setting.recording) if setting.recording else ()):
            for number, each in enumerate(rounds):
                got = received(setting, spec.seed, client, number)
                yield from got.doubts
                public = public_batch(setting, spec.seed)
                count, known = setting.batch_size, setting.knows_recipe
                yield from implausible(
                    str(each.folder), got.model, got.step, setting.local, count, public, known, each.truth
                )
