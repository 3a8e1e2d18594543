"""A recorder for Flower: a client mod that writes down what a client received and what it sent, as audits attack it.

    from seethrough.flower import Recorder
    app = ClientApp(mods=[Recorder("/absolute/folder", recipe={"epochs": 1, "batch_size": 32, "lr": 0.01})])

Written for the message API of Flower 1.42 (`pip install 'seethrough[flower]'`). The recorder comes first in
`ClientApp(mods=...)`: it then sees the reply as the server will, after every other mod (clipping, noise) has changed it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch  # noqa: F401 - Flower looks for it among the modules that are loaded

from .audit.recordings.write import record
from .common.errors import InputError

log = logging.getLogger(__name__)

Recipe = Mapping[str, Any]
"""How the client trains, as `local` of a spec describes it."""


class Recorder:
    """The mod: for each train message a folder `client-<id>/round-<number>` in `folder`, which `seethrough run` can attack.

    `recipe`, or what it returns for (message, context), is how the client trains. `shape` (channels, height, width)
    and `classes` are those of its data. `truth`, for scores, is called as `recipe` is, and returns the client's
    images [n, channels, height, width] in [0, 1] and labels [n]; no attack sees them. `folder` may be named by the
    run's configuration, under `folder_key`, and is absolute: a relative one would lie where Flower's processes were
    started. A message with several ArrayRecords needs `arrays_key`, the name of the one that holds the weights.

    Raises (when called): InputError, for a folder that is not absolute. What else keeps an update from being
    recorded is logged, and the client's reply goes out as it is.
    """

    def __init__(
        self,
        folder: str | Path = "",
        *,
        recipe: Recipe | Callable[[Any, Any], Recipe | None] | None = None,
        shape: Sequence[int] | None = None,
        classes: int | None = None,
        truth: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        folder_key: str = "record-dir",
        arrays_key: str | None = None,
        examples_key: str = "num-examples",
        round_key: str = "server-round",
    ) -> None:
        self.folder, self.recipe, self.truth = folder, recipe, truth
        self.shape, self.classes = shape, classes
        self.folder_key, self.arrays_key = folder_key, arrays_key
        self.examples_key, self.round_key = examples_key, round_key

    def __call__(self, message: Any, context: Any, call_next: Callable[[Any, Any], Any]) -> Any:
        """The reply that `call_next` makes of a flwr.app.Message, recorded on its way out."""
        folder = self.folder or context.run_config.get(self.folder_key)
        if not folder or message.metadata.message_type.split(".")[0] != "train":  # it may be "train.<action>"
            return call_next(message, context)
        if not Path(folder).is_absolute():
            allowed = "an absolute one, since Flower's processes are started elsewhere"
            raise InputError(f"the folder of the recorder: found {str(folder)!r:.80}; allowed: {allowed}.")
        before = self._arrays(message.content)  # read first: the client may use its records up
        number = _value(message.content.config_records, self.round_key)
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        client = str(context.node_config.get("partition-id", context.node_id))
        try:
            self._record(Path(folder), client, number, before, reply, message, context)
        except (InputError, OSError) as error:
            log.warning("client %s, round %s: not recorded: %s", client, number, error)
        return reply

    def _record(
        self, folder: Path, client: str, number: Any, before: Any, reply: Any, message: Any, context: Any
    ) -> None:
        after, examples = self._arrays(reply.content), _value(reply.content.metric_records, self.examples_key)
        if not before or not after:
            raise InputError("found no ArrayRecord, or several; allowed: one each way, or its name as arrays_key")
        record(
            folder / f"client-{client}" / f"round-{int(number or 0)}",
            before,
            after,
            examples=None if examples is None else int(examples),
            recipe=self.recipe(message, context) if callable(self.recipe) else self.recipe,
            client=client,
            round=int(number or 0),
            shape=self.shape,
            classes=self.classes,
            truth=None if self.truth is None else self.truth(message, context),
            framework="flower",
            version=_version(),
        )

    def _arrays(self, content: Any) -> dict[str, Any] | None:
        """The tensors of the only ArrayRecord, whatever it is called, or of the one that is asked for."""
        records = content.array_records
        if self.arrays_key is not None:
            chosen = records.get(self.arrays_key)
        else:
            chosen = next(iter(records.values())) if len(records) == 1 else None
        return dict(chosen.to_torch_state_dict()) if chosen else None


def _value(records: Mapping[str, Mapping[str, Any]], key: str) -> Any:
    """The first value of that name in any of the records; None where there is none."""
    return next((each[key] for each in records.values() if key in each), None)


def _version() -> str:
    try:
        return version("flwr")
    except PackageNotFoundError:
        return "unknown"
