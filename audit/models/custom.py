"""The user's own classifier."""

from pydantic import Field
from torch import nn

from attacks import Space
from attacks._user_code import UserCodeError, explained, user_function
from audit.models._base import Model
from defenses._base import entry


@entry
class Custom(Model):
    """What `package.module:function` returns when called with the input's shape (channels, height, width) and the number
    of classes: a torch.nn.Module from images in [0, 1] to logits. The spec thereby runs the user's code."""

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

    def build(self, space: Space) -> nn.Module:
        function = user_function(self.function)
        with explained(f"{self.function}({space.shape}, {space.classes})", "failed"):
            model = function(space.shape, space.classes)
        if not isinstance(model, nn.Module):
            raise UserCodeError(f"`{self.function}` returned a {type(model).__name__}; allowed: a torch.nn.Module")
        return model
