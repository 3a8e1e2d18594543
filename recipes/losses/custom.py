"""The user's own loss."""

from pydantic import Field
from torch import Tensor

from seethrough.common.entry import entry
from seethrough.common.user_code import UserCodeError, explained, user_function
from seethrough.common.user_sources import code_of

from ._base import Loss


@entry
class Custom(Loss):
    """What `package.module:function` returns for logits [n, classes] and labels int64 [n]: a tensor of one number, the mean
    loss. An attack that looks for labels together with images hands it probabilities [n, classes] for them."""

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        function = user_function(self.function)
        kind = "probabilities" if labels.is_floating_point() else "labels"
        with explained(
            f"{self.function}(logits {list(logits.shape)}, {kind} {list(labels.shape)})", "failed", function
        ):
            loss = function(logits, labels)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            found = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise UserCodeError(f"`{self.function}` returned {found}; allowed: a tensor of one number, the mean loss")
        return loss

    def facts(self) -> str:
        return code_of(self.function.split(":")[0])
