"""The user's own classifier."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable

from pydantic import Field
from torch import nn

from attacks import Space
from audit.models._base import Model
from defenses._base import entry


@entry
class Custom(Model):
    """What `package.module:function` returns when called with the input's shape (channels, height, width) and the number
    of classes: a torch.nn.Module from images in [0, 1] to logits. The spec thereby runs the user's code."""

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

    def facts(self) -> str:
        self._function()
        source = inspect.getsource(sys.modules[self.function.split(":")[0]])
        return hashlib.sha256(source.encode()).hexdigest()

    def build(self, space: Space) -> nn.Module:
        model = self._function()(space.shape, space.classes)
        if not isinstance(model, nn.Module):
            raise ValueError(f"`{self.function}` returned a {type(model).__name__}; allowed: a torch.nn.Module")
        return model

    def _function(self) -> Callable[[tuple[int, int, int], int], object]:
        module, name = self.function.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"`{self.function}` cannot be imported ({error}); allowed: package.module:function"
            ) from error
