"""Defenses as a spec writes them: one by its name, a list of them as a chain, or clients who differ."""

from typing import Annotated, Any, Union

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from seethrough.common.section import Section
from seethrough.common.spelling import ReadAs, entry_type, label_of
from seethrough.defenses import Chain, Defense, Mixture, parts_of

from .kinds import entries_of

MIXED = "mixed"


def _chained(parts: tuple[Defense, ...]) -> Chain:
    try:
        return Chain(parts)
    except ValueError as error:
        raise PydanticCustomError("chain", "{why}", {"why": str(error)}) from error


def _mixed(kinds: "tuple[Kind, ...]") -> Mixture:
    try:
        return Mixture(tuple(each.share for each in kinds), tuple(each.defense for each in kinds))
    except ValueError as error:
        raise PydanticCustomError("mixture", "{why}", {"why": str(error)}) from error


def _or_chain(one: Any) -> Any:
    chain = Annotated[tuple[one, ...], Field(min_length=1), AfterValidator(_chained)]
    return Annotated[
        Union[Annotated[one, Tag("one")], Annotated[chain, Tag("chain")]],  # noqa: UP007
        Discriminator(lambda value: "chain" if isinstance(value, tuple | list) else "one"),
    ]


ALSO = f"; or `{MIXED}: [{{share: ..., defense: ...}}, ...]`, for clients who differ"
OneDefense: Any = entry_type(entries_of("defenses").entries, ALSO)


class Kind(Section):
    """A share of the clients, and what these do."""

    share: float = Field(gt=0, lt=1)
    defense: Annotated[Defense, ReadAs(_or_chain(OneDefense))]


MixedDefense = Annotated[
    tuple[Kind, ...], Field(min_length=2), AfterValidator(_mixed), BeforeValidator(lambda value: value[MIXED])
]
OneOrMixed = Annotated[
    Union[Annotated[OneDefense, Tag("one")], Annotated[MixedDefense, Tag(MIXED)]],  # noqa: UP007
    Discriminator(lambda value: MIXED if isinstance(value, dict) and list(value) == [MIXED] else "one"),
]
AnyDefense = Annotated[Defense, ReadAs(_or_chain(OneOrMixed))]


def defense_label(defense: Defense) -> str:
    """A defense as a table names it; a chain's parts are joined by ` + `, and clients who differ have their shares."""
    return " + ".join(_label(part) for part in parts_of(defense))


def _label(part: Defense) -> str:
    if isinstance(part, Mixture):
        return f"{MIXED}({', '.join(f'{100 * share:g}% {defense_label(own)}' for share, own in part.kinds())})"
    return label_of(part)
