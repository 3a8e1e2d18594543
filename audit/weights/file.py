"""Weights from a safetensors file."""

from pydantic import Field
from torch import Generator, nn

from audit.foreign import check_tensors, read_safetensors, sha256_of
from audit.models import bare
from audit.weights._base import Public, Weights
from defenses._base import entry


@entry
class File(Weights):
    """The tensors of a safetensors file, named as in the network's own state_dict (without its input normalization);
    counters of batches seen may be missing."""

    path: str = Field(min_length=1)

    def facts(self) -> str:
        return sha256_of(self.path)

    def put_into(self, model: nn.Module, public: Public, rng: Generator) -> None:
        net = bare(model)
        counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
        expected = {name: value for name, value in net.state_dict().items() if name not in counters}
        found = {name: value for name, value in read_safetensors(self.path).items() if name not in counters}
        check_tensors(found, expected, self.path)
        net.load_state_dict({**counters, **found})
