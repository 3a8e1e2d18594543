"""The user's own classifier."""

import copy

from pydantic import Field
from torch import nn

from seethrough.attacks import Space
from seethrough.common.entry import entry
from seethrough.common.user_code import UserCodeError, explained, takes, user_function
from seethrough.common.user_sources import code_of

from ._base import Model


@entry
class Custom(Model):
    """What `package.module:function` returns when called with the input's shape (channels, height, width) and the number
    of classes: a torch.nn.Module from images in [0, 1] to logits, alone or beside other things. The spec thereby runs the
    user's code."""

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

    def facts(self) -> str:
        return code_of(self.function.split(":")[0])

    def build(self, space: Space) -> nn.Module:
        function = user_function(self.function)
        takes(self.function, function, space.shape, space.classes)
        with explained(f"{self.function}({space.shape}, {space.classes})", "failed", function):
            model = function(space.shape, space.classes)
        if not isinstance(model, nn.Module):
            raise UserCodeError(f"`{self.function}` returned a {type(model).__name__}; allowed: a torch.nn.Module")
        with explained(self.function, "returned a model that cannot be copied"):
            return copy.deepcopy(
                model
            )  # a module of its own for each trial and setting, even where there is one for all
