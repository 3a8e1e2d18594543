"""torchvision's classifiers by name."""

from pydantic import Field
from torch import nn

from seethrough.attacks import Space
from seethrough.common.entry import entry

from ._base import Model, normalized


@entry
class Torchvision(Model):
    """A classifier of torchvision.models, such as resnet18, for three-channel images, without pretrained weights."""

    classifier: str = Field(min_length=1)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def build(self, space: Space) -> nn.Module:
        import torchvision  # slow to import, and wanted only here

        known = torchvision.models.list_models(module=torchvision.models)
        if self.classifier not in known:
            raise ValueError(f"torchvision has no classifier `{self.classifier}`; allowed: {', '.join(known)}")
        if space.shape[0] != 3:
            raise ValueError(f"torchvision's classifiers take 3 channels, found {space.shape[0]}")
        net = torchvision.models.get_model(self.classifier, weights=None, num_classes=space.classes)
        return normalized(net, space, self.mean, self.std)
