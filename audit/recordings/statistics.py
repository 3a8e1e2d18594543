"""Statistics of a client's batch, from running ones that it sent."""

from seethrough.defenses import Params
from seethrough.federation.client import batchnorm_layers

from ..specification.schema import Setting
from .read import Received


def batch_statistics_of(received: Received, setting: Setting) -> Params:
    """Mean and variance of the batch at each BatchNorm layer, by the names of its running ones; empty where these do not tell.

    After one batch in train mode the running ones are (1 - momentum) times those before and momentum times the batch's. The
    variance is torch's unbiased one.
    """
    if setting.mode != "train" or sum(len(step) for step in setting.local.order(setting.batch_size)) > 1:
        return {}
    found = {}
    for name, layer in batchnorm_layers(received.model).items():
        for kind in ("running_mean", "running_var"):
            before, after = getattr(layer, kind), received.buffers.get(f"{name}.{kind}")
            if before is None or after is None or not layer.momentum:
                return {}
            found[f"{name}.{kind}"] = (after - (1 - layer.momentum) * before) / layer.momentum
    return found
