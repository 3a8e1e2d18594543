"""What a recording is: a folder with these files.

- `recording.json`: what is known of the update, as `Facts` below; what is not known is left out.
- `before.safetensors`: the weights that the client received, named as in the model's state_dict, buffers too.
- `sent.safetensors`: what it sent back, under the same names: its weights, the step (its weights less those before), or the
  gradient of its loss, as `sent` says.
- `truth.npz`, if the client's examples are known: arrays `images` and `labels` as `data: {npz: ...}` reads them. No
attack sees it.
"""

import json
from typing import Literal

from pydantic import Field, ValidationError

from seethrough.common.section import Section
from seethrough.recipes import AnyRecipe

from ..specification.error_messages import SpecError, sentences
from ..untrusted import Document

FACTS, BEFORE, SENT, TRUTH = "recording.json", "before.safetensors", "sent.safetensors", "truth.npz"

Kind = Literal["weights", "step", "gradients"]
SHA256 = "^[0-9a-f]{64}$"


class Framework(Section):
    """What trained the model."""

    name: str = Field(min_length=1, max_length=100)
    version: str = Field(default="", max_length=100)


class Facts(Section):
    """The content of `recording.json`."""

    version: Literal[1] = 1  # of this format
    sent: Kind = "weights"
    client: str = Field(default="client", min_length=1, max_length=200)
    round: int = Field(default=1, ge=0)
    examples: int | None = Field(default=None, ge=1, le=4096)  # behind the update
    recipe: AnyRecipe | None = None  # how the client trained, as `local` of a spec
    shape: tuple[int, int, int] | None = None  # channels, height, width of one input
    classes: int | None = Field(default=None, ge=2)
    parameters: tuple[str, ...] = ()  # names of all tensors, in the order of the model's state_dict; empty: not known
    buffers_sent: bool = False  # whether statistics such as BatchNorm's are among what was sent
    framework: Framework | None = None
    before_sha256: str = Field(pattern=SHA256)  # of the weights that the client received, as `digest_of` takes it
    started_from_sha256: str | None = Field(default=None, pattern=SHA256)  # of those that it says it started from

    def text(self) -> str:
        """As the file holds it."""
        plain = self.model_dump(mode="json", exclude={"recipe"}, exclude_none=True)
        if self.recipe is not None:
            plain["recipe"] = self.recipe.written()
        return json.dumps(plain, indent=2) + "\n"


def facts_from(described: object, source: str) -> Facts:
    """What plain Python describes; `source` names where it was read. Raises: SpecError, a sentence for each mistake."""
    try:
        return Facts.model_validate_json(json.dumps(described))
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise SpecError(
                (f"{source}: {error}; allowed: text, numbers, booleans, lists and mappings of these.",)
            ) from None
        raise SpecError(tuple(sentences(source, Document(described, "", {}), error))) from None
