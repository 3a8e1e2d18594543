"""A spec to start from, for recordings that there are."""

import json
from importlib.resources import files
from pathlib import Path
from string import Template

from seethrough.attacks import Space

from ..models import bare
from ..specification.kinds import entries_of
from ..untrusted import UntrustedFileError
from .names import fitted
from .read import Recording, recordings_in
from .settings import agreed_facts

FITS = "   # fits the recorded weights"
OWN = "my_package.models:build   # yours: a function of (channels, height, width) and the number of classes"
PUBLIC = "data: {folder: public_pictures}   # public images of the same kind, for decoys, guessers and priors"
SIZE = "batch_size: 8                # not recorded: how many examples are behind the update"


def starter_for(folder: str, file: Path) -> str:
    """The text of a spec that attacks the recordings in `folder`. Raises: UntrustedFileError, SpecError."""
    found, facts = recordings_in(folder), agreed_facts(folder)
    first = found[0][-1]
    model = known_model(first)
    described = facts.shape is not None and facts.classes is not None
    template = Template((files("seethrough.audit") / "recordings_starter.yaml").read_text(encoding="utf-8"))
    return template.substitute(
        clients=len(found),
        rounds=max(len(rounds) for rounds in found),
        examples=facts.examples or "an unknown number of",
        truth="with" if first.truth is not None else "without",
        file=file,
        name=json.dumps(f"Recorded updates in {Path(folder).name}", ensure_ascii=False),
        folder=json.dumps(folder, ensure_ascii=False),
        recipe="as recorded" if facts.recipe is not None else "not recorded, so attacks suppose one step",
        model=f"{model}{FITS}" if model else OWN,
        data=f"# {PUBLIC}; random smooth ones without" if described else PUBLIC,
        size="# examples: as recorded" if facts.examples else SIZE,
    )


def known_model(recording: Recording) -> str:
    """The name of a model of ours whose tensors are those that were recorded; empty if none is."""
    facts = recording.facts
    if facts.shape is None or facts.classes is None:
        return ""
    for name, cls in entries_of("models").entries.items():
        try:
            built = bare(cls().build(Space(facts.shape, facts.classes)))
            fitted(recording.before, built.state_dict(), "", whole=True, ordered=False)
        except (UntrustedFileError, TypeError, ValueError, RuntimeError):
            continue
        return name
    return ""
