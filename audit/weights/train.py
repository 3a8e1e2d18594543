"""Weights that seethrough trains itself, on the public split only."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from attacks._cache import cached_tensors
from attacks._user_code import explained
from audit._fingerprint import fingerprint
from audit._stream import drawing_from
from audit.weights._base import Public, Weights
from defenses import Batch
from defenses._base import entry

TRIED = 8  # images by which the model is known again

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}


@entry
class Train(Weights):
    """Weights after `epochs` epochs on the public split, by Adam or by SGD with momentum 0.9, with a cosine schedule.
    Trained once for a seed, and kept in the cache by the content of all that decides them."""

    epochs: int = Field(default=5, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "sgd"] = "adam"

    def needs_training(self) -> bool:
        return True

    def put_into(self, model: nn.Module, public: Public, rng: Generator) -> None:
        batch = public()
        state = cached_tensors(self._identity(model, batch, rng), lambda: self._trained(model, batch, rng))
        model.load_state_dict(dict(state))

    def _identity(self, model: nn.Module, public: Batch, rng: Generator) -> str:
        start = fingerprint(model, Batch(public.inputs[:TRIED], public.labels[:TRIED]))
        data = f"{_digest(public.inputs)} {_digest(public.labels)}"
        return f"weights 2; {self}; {start}; {data}; {rng.initial_seed()}; {torch.__version__}"

    def _trained(self, model: nn.Module, public: Batch, rng: Generator) -> dict[str, Tensor]:
        was_training = model.training
        model.train()
        with drawing_from(rng):  # what dropout draws
            self._descend(model, public, rng)
        model.train(was_training)
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def _descend(self, model: nn.Module, public: Batch, rng: Generator) -> None:
        optimizer = OPTIMIZERS[self.optimizer](model.parameters(), self.lr)
        batches = -(-len(public) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * batches)
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(public), generator=rng).split(self.batch_size):
                if len(chosen) < 2:
                    continue
                with explained(type(model).__name__, "cannot be trained on public images", type(model).forward):
                    loss = F.cross_entropy(model(public.inputs[chosen]), public.labels[chosen])
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
                schedule.step()


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
