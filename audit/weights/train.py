"""Weights that seethrough trains itself."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from seethrough.attacks.generators.cache import cached_tensors
from seethrough.common.entry import entry
from seethrough.common.user_code import explained
from seethrough.defenses import Batch

from ..models.parts.fingerprint import fingerprint
from ..randomness import drawing_from
from ._base import Source, Weights

TRIED = 8  # images by which the model is known again

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}


@entry
class Train(Weights):
    """Weights after `epochs` epochs on the public or the private split, by Adam or by SGD with momentum 0.9, with a cosine
    schedule. Trained once for a seed, and kept in the cache by the content of all that decides them.

    On the private split, the attacked images are members of the training set, as in later rounds; no privacy is claimed then.
    """

    epochs: int = Field(default=5, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "sgd"] = "adam"
    on: Literal["public", "private"] = "public"

    def needs_training(self) -> bool:
        return True

    def learns_from(self) -> Literal["public", "private"]:
        return self.on

    def members(self) -> str:
        return f"the attacked images are {'members' if self.on == 'private' else 'no members'} of its training set"

    def put_into(self, model: nn.Module, images: Source, rng: Generator) -> None:
        batch = images()
        state = cached_tensors(self._identity(model, batch, rng), lambda: self._trained(model, batch, rng))
        model.load_state_dict(dict(state))

    def _identity(self, model: nn.Module, batch: Batch, rng: Generator) -> str:
        start = fingerprint(model, Batch(batch.inputs[:TRIED], batch.labels[:TRIED]))
        data = f"{_digest(batch.inputs)} {_digest(batch.labels)}"
        return f"weights 2; {self}; {start}; {data}; {rng.initial_seed()}; {torch.__version__}"

    def _trained(self, model: nn.Module, batch: Batch, rng: Generator) -> dict[str, Tensor]:
        was_training = model.training
        model.train()
        with drawing_from(rng):  # what dropout draws
            self._descend(model, batch, rng)
        model.train(was_training)
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def _descend(self, model: nn.Module, batch: Batch, rng: Generator) -> None:
        optimizer = OPTIMIZERS[self.optimizer](model.parameters(), self.lr)
        batches = -(-len(batch) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * batches)
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(batch), generator=rng).split(self.batch_size):
                if len(chosen) < 2:
                    continue
                with explained(type(model).__name__, "cannot be trained on its images", type(model).forward):
                    loss = F.cross_entropy(model(batch.inputs[chosen]), batch.labels[chosen])
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
                schedule.step()


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
