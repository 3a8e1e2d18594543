"""Every check that is made on one model."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from .activations import alike_units, dead_share, lonely_share
from .classifier import Classifier, favored_class, outstanding_row, single_feature
from .evidence import Evidence, Seen, evidence
from .gradients import disaggregation, largest_share, owned_share, zero_share
from .probe import BATCH
from .rows import mirrored_rows, proportional_rows
from .thresholds import HONEST, threshold
from .wire import Kind, Wire

TOO_FEW = f"not checked: it takes {BATCH} images, and there are "
NO_RELU = "does not apply: no ReLU with eight units or more"
TWO_CLASSES = "does not apply: of two classes an honest model favors the rare one"
FEWEST_FEATURES = 32
FEW_FEATURES = f"does not apply: of fewer than {FEWEST_FEATURES} features an honest class may rest on one"
NO_CLASSIFIER = "does not apply: no linear layer or convolution with an output a class"


@dataclass(frozen=True)
class Check:
    """One number of a model; `measure` raises LookupError, a sentence, where there is nothing to measure."""

    name: str
    kind: Kind
    measure: Callable[[Evidence], float]
    trap: str  # what it means, where more is measured than honest models have

    def made(self, found: Evidence) -> Wire:
        """Its answer."""
        limit = threshold(self.kind, HONEST[self.name])
        try:
            measured = self.measure(found)
        except LookupError as error:
            reason = str(error.args[0])
            return Wire(self.name, self.kind, None, limit, reason, applies=reason.startswith(TOO_FEW))
        sentence = self.trap if measured > limit else "as honest models have it"
        return Wire(self.name, self.kind, measured, limit, sentence)


def checked(model: nn.Module, inputs: Tensor, classes: int) -> list[Wire]:
    """All checks of a model, in the mode that the client trains it in, on images [n, channels, height, width] in [0, 1].

    Raises: ValueError, a sentence without its period, if what it returns or its gradient is not finite, or nothing trains.
    """
    found = evidence(model, inputs, classes)
    return [check.made(found) for check in CHECKS]


def _seen(found: Evidence) -> Seen:
    if found.seen is None:
        raise LookupError(f"{TOO_FEW}{found.images}")
    return found.seen


def _layers(found: Evidence) -> list[Tensor]:
    if not _seen(found).layers:
        raise LookupError(NO_RELU)
    return _seen(found).layers


def _classifier(found: Evidence) -> Classifier:
    if found.classifier is None:
        raise LookupError(NO_CLASSIFIER)
    return found.classifier


def _favored(found: Evidence) -> float:
    if _seen(found).probe.classes < 3:
        raise LookupError(TWO_CLASSES)
    return favored_class(_seen(found).probe, _classifier(found))


def _single(found: Evidence) -> float:
    if _classifier(found).weight.shape[1] < FEWEST_FEATURES:
        raise LookupError(FEW_FEATURES)
    return single_feature(_classifier(found))


def _owned(found: Evidence) -> float:
    return owned_share(_seen(found).gradients, found.classifier.name if found.classifier else "")


CHECKS = (
    Check(
        "dead units",
        "share",
        lambda found: dead_share(_layers(found)),
        "a layer's ReLUs pass none of your images, so that your gradient is suppressed, or of few examples alone",
    ),
    Check(
        "zero gradient",
        "share",
        lambda found: zero_share(_seen(found).gradients),
        "most of your gradient is zero: in a sum over clients, what others send would stand alone",
    ),
    Check(
        "proportional rows",
        "count",
        lambda found: proportional_rows(found.model),
        "rows of one layer are proportional, as in an imprint layer that sorts your images into bins (Robbing the Fed)",
    ),
    Check(
        "units alike",
        "count",
        lambda found: alike_units(_layers(found)),
        "units of one layer measure the same, as in an imprint layer that sorts your images into bins (Robbing the Fed)",
    ),
    Check(
        "mirrored rows",
        "count",
        lambda found: mirrored_rows(found.model),
        "rows of one layer are made of two halves, one the other's shrunk mirror image (trap weights)",
    ),
    Check(
        "lonely units",
        "share",
        lambda found: lonely_share(_layers(found)),
        "many units are passed by one image of a batch alone, whose pixels their gradient is (trap weights)",
    ),
    Check(
        "rows of one example",
        "share",
        _owned,
        "many rows of a layer's gradient are those of one example of a batch",
    ),
    Check(
        "disaggregation",
        "ratio",
        lambda found: disaggregation(_seen(found).gradients),
        "one example outweighs all others of its batch in a layer's gradient",
    ),
    Check(
        "largest example",
        "share",
        lambda found: largest_share(_seen(found).gradients),
        "one example has most of the gradient's norm in its batch",
    ),
    Check(
        "favored class",
        "ratio",
        _favored,
        "the layers below the classifier learn of the examples of one class alone (fishing)",
    ),
    Check(
        "outstanding row",
        "ratio",
        lambda found: outstanding_row(_classifier(found)),
        "one class's row of the classifier stands out, as if it were to be singled out (fishing)",
    ),
    Check(
        "single feature",
        "share",
        _single,
        "a class is decided by one feature, so that a cut through it leaves single examples (fishing)",
    ),
)
