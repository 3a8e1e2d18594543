"""What a user asks for: settings x threats x defenses x attacks x trials, validated before anything is computed."""

from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from seethrough.attacks import Attack
from seethrough.common.entry import entry
from seethrough.common.section import ON_ONE_LINE, Name, Section
from seethrough.common.spelling import ReadAs, entry_type, label_of
from seethrough.recipes import AnyRecipe, Recipe

from ..data import Data, Images
from ..metrics import Metric
from ..models import Model
from ..precision import Precision, dtype_of
from ..threat import ThreatModel
from ..weights import Weights
from ..weights.random import Random
from .clients import Partition, Population
from .defenses import AnyDefense, defense_label
from .kinds import entries_of


def _custom_by_colon(value: Any) -> Any:
    return {"custom": value} if isinstance(value, str) and ":" in value else value


AnyData = Annotated[Data, ReadAs(entry_type(entries_of("data").entries))]
OWN_MODEL = ", or your own as package.module:function"
AnyModel = Annotated[
    Model,
    ReadAs(
        Annotated[
            entry_type(entries_of("models").entries, OWN_MODEL),
            BeforeValidator(_custom_by_colon),
        ]
    ),
]
AnyWeights = Annotated[Weights, ReadAs(entry_type(entries_of("weights").entries))]
AnyAttack = Annotated[Attack, ReadAs(entry_type(entries_of("attacks").entries))]
AnyMetric = Annotated[Metric, ReadAs(entry_type(entries_of("metrics").entries))]


class Splits(Section):
    """Shares of the data that are the clients' own and public; the rest is held out. Copies of private images, exact or near,
    are dropped from the other two: who holds the victim's image needs no attack, and a network that saw it is no stranger."""

    private: float = Field(default=0.4, gt=0, lt=1)
    public: float = Field(default=0.4, gt=0, lt=1)
    public_at_most: int = Field(default=10_000, ge=1)  # images of the public share that are used
    copies: Literal["drop", "keep"] = "drop"
    attacked: Literal["all", "tuning", "reporting"] = (
        "all"  # private images; settings chosen on one half, judged on the other
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> "Splits":
        if self.private + self.public > 1:
            raise PydanticCustomError("shares", "private + public of at most 1")
        return self


@entry
class Unstated(Data):
    """No data in the spec: a recording tells what is needed."""


class Setting(Section):
    """One federated setting: whose data, which model in which state, how clients train.

    With a `recording`, a folder of updates that were recorded elsewhere, nobody is played: weights, examples and
    recipe are those that were recorded, and `data`, which may be left out, are public images of the same kind.
    """

    name: Name
    recording: str = ""
    data: AnyData = Unstated()
    splits: Splits = Splits()
    partition: Partition | None = None
    model: AnyModel
    weights: AnyWeights = Random()
    fix_batchnorm: bool = False  # put GroupNorm in the place of BatchNorm, as Opacus' ModuleValidator.fix does
    mode: Literal["eval", "train"] = "eval"
    batch_size: int = Field(default=0, ge=1, le=4096)
    labels: Literal["random", "unique"] = "random"
    holds: int = Field(
        default=0, ge=0, le=100_000
    )  # examples of a client, the next batch of which it trains on each time
    rounds: int = Field(default=1, ge=1, le=100)  # that clients take part in, with the same batch if they hold no more
    population: Population | None = None  # of whom some take part in a round; None: the same clients in every round
    server_lr: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    server_optimizer: Literal["sgd", "adam"] = "sgd"
    local: AnyRecipe = Recipe()
    precision: Precision = "float32"  # in which clients train and attacks search; tf32 wants CUDA

    _clients: int = PrivateAttr(0)
    _knows_recipe: bool = PrivateAttr(True)

    def images(self) -> Images:
        """The data, whose batches are of the setting's precision."""
        return _images(self.data, dtype_of(self.precision))

    @property
    def held(self) -> int:
        """How many examples a client holds."""
        return self.holds or self.batch_size

    @property
    def fresh(self) -> bool:
        """Whether a client trains on other examples from round to round."""
        return self.held > self.batch_size

    @property
    def clients(self) -> int:
        """How many clients were recorded; 0 where clients are played."""
        return self._clients

    @property
    def knows_recipe(self) -> bool:
        """Whether it is known that clients train by `local`; recordings may not tell."""
        return self._knows_recipe

    def recorded_by(self, clients: int, knows_recipe: bool, **known: Any) -> "Setting":
        """The same with what the recordings of so many clients tell."""
        found = self.model_copy(update=known)
        found._clients, found._knows_recipe = clients, knows_recipe
        return found

    @model_validator(mode="after")
    def _data_or_recording(self) -> "Setting":
        if not self.recording and (isinstance(self.data, Unstated) or not self.batch_size):
            raise PydanticCustomError("no_clients", "data and batch_size, or a recording")
        if self.recording and "weights" in self.model_fields_set:
            raise PydanticCustomError("recorded", "a recording without weights, which it holds itself")
        return self

    @model_validator(mode="after")
    def _holds_whole_batches(self) -> "Setting":
        if self.held % (self.batch_size or 1):
            raise PydanticCustomError("holds", "holds in whole batches of {size}", {"size": self.batch_size})
        if self.fresh and self.labels == "unique":
            raise PydanticCustomError("holds", "labels: random for clients who hold more than a batch")
        return self

    @model_validator(mode="after")
    def _batches_are_left(self) -> "Setting":
        try:
            self.local.order(self.batch_size or 1)
        except ValueError as error:
            raise PydanticCustomError("batches", "{why}", {"why": str(error)}) from error
        return self


@cache
def _images(data: Data, dtype: torch.dtype) -> Images:
    return replace(data.load(), dtype=dtype)


class Utility(Section):
    """How every defense's cost is measured: by a federated training of its own, from the broadcast weights on.

    In each round every one of `clients` trains on the next batch of its share, and the server moves the weights along the mean
    step: by `server_lr` times that step (`sgd`), or by what Adam makes of it at that rate (`adam`). Of several rates the one
    is taken that does best on half of the held-out images.
    """

    rounds: int = Field(default=20, ge=1, le=100_000)
    clients: int = Field(default=8, ge=1, le=1000)
    repeats: int = Field(default=3, ge=1, le=1000)
    server_lr: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)] = (1.0,)
    server_optimizer: Literal["sgd", "adam"] = "sgd"


def _distinct(values: tuple[Any, ...], label: Any) -> tuple[Any, ...]:
    labels = [label(value) for value in values]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise PydanticCustomError("twice", "each only once ({twice} stands twice)", {"twice": ", ".join(twice)})
    return values


def _distinct_names(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return _distinct(values, lambda value: value.name)


class AuditSpec(Section):
    """An audit, as a YAML file describes it."""

    name: Annotated[str, Field(min_length=1, max_length=200), ON_ONE_LINE]
    seed: int = Field(default=0, ge=0, lt=2**63)
    trials: int = Field(ge=1, le=10_000)
    label_trials: int | None = Field(
        default=None, ge=1, le=10_000
    )  # of attacks on labels alone, which are quick; None: as many
    recovered_psnr: float = Field(default=20.0, gt=0, le=60)  # dB from which on an image counts as recovered
    settings: Annotated[tuple[Setting, ...], Field(min_length=1), AfterValidator(_distinct_names)]
    threats: Annotated[tuple[ThreatModel, ...], Field(min_length=1), AfterValidator(_distinct_names)]
    defenses: Annotated[
        tuple[AnyDefense, ...], Field(min_length=1), AfterValidator(lambda values: _distinct(values, defense_label))
    ]
    attacks: Annotated[
        tuple[AnyAttack, ...], Field(min_length=1), AfterValidator(lambda values: _distinct(values, label_of))
    ]
    metrics: Annotated[
        tuple[AnyMetric, ...], Field(min_length=1), AfterValidator(lambda values: _distinct(values, label_of))
    ]
    utility: Utility | None = None  # None measures no utility
    margins: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """By metric, the leak that must be excluded before a defense is said to have held."""

    _source: str = PrivateAttr("the spec")
    _text: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The file that the spec was read from, or what stands in its place."""
        return self._source

    @property
    def text(self) -> str:
        """The spec as it was written."""
        return self._text

    def read_from(self, source: str, text: str) -> "AuditSpec":
        """The same, knowing where it was read and how it was written."""
        self._source, self._text = source, text
        return self

    def trials_of(self, attack: Attack, setting: Setting) -> int:
        """How many batches the attack is tried on: of recordings, those that there are."""
        wanted = self.trials if attack.recovers_images or self.label_trials is None else self.label_trials
        return min(wanted, setting.clients) if setting.clients else wanted

    @field_validator("margins")
    @classmethod
    def _of_known_metrics(cls, margins: dict[str, float], known: ValidationInfo) -> dict[str, float]:
        metrics = [label_of(metric) for metric in known.data.get("metrics", ())]
        names = [*metrics, *(metric.partition("(")[0] for metric in metrics)]
        unknown = [name for name in margins if metrics and name not in names]
        if unknown:
            raise PydanticCustomError(
                "margins", "the names of metrics of this audit: {known}", {"known": ", ".join(dict.fromkeys(names))}
            )
        return margins

    @field_validator("utility")
    @classmethod
    def _cohorts_fit(cls, utility: Utility | None, known: ValidationInfo) -> Utility | None:
        for defense in known.data.get("defenses", ()) if utility else ():
            if utility and utility.clients % defense.cohort():
                raise PydanticCustomError(
                    "cohorts",
                    "utility.clients in whole cohorts of {cohort}, as {defense} needs them",
                    {"cohort": defense.cohort(), "defense": defense_label(defense)},
                )
        return utility
