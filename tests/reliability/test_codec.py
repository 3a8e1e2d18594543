"""Records as JSON values and back: each kind of field, and the sentence that names what does not fit."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from seethrough.audit.cells.codec import LARGEST, from_plain, to_plain


@dataclass(frozen=True)
class Inner:
    size: int
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    done: bool
    kind: Literal["a", "b"]
    maybe: Inner | None
    many: tuple[Inner, ...]
    pair: tuple[str, float]


WHOLE = Outer("n", True, "a", Inner(3, 0.5), (Inner(1, 1.0), Inner(2, -2.0)), ("left", 4.0))
PLAIN = {
    "name": "n",
    "done": True,
    "kind": "a",
    "maybe": {"size": 3, "share": 0.5},
    "many": [{"size": 1, "share": 1.0}, {"size": 2, "share": -2.0}],
    "pair": ["left", 4.0],
}


def test_a_record_is_plain_by_its_fields_and_comes_back():
    assert to_plain(WHOLE, Outer, "it") == PLAIN
    assert from_plain(PLAIN, Outer, "it") == WHOLE
    assert to_plain(replace(WHOLE, maybe=None, many=()), Outer, "it") == {**PLAIN, "maybe": None, "many": []}
    assert from_plain({**PLAIN, "maybe": None, "many": []}, Outer, "it") == replace(WHOLE, maybe=None, many=())


@pytest.mark.parametrize(
    ("value", "plain"),
    [(0.0, 0.0), (-0.0, -0.0), (5e-324, 5e-324), (3, 3.0), (2**53, 2.0**53), (-(2**53), -(2.0**53)),
     (math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")],
)  # fmt: skip
def test_a_number_is_a_float_or_the_word_for_what_is_none(value: float, plain: Any):
    written = to_plain(value, float, "it")
    assert repr(written) == repr(plain) and type(written) is type(plain)
    assert repr(from_plain(written, float, "it")) == repr(float(value))


@pytest.mark.parametrize("value", [0, -7, LARGEST, -LARGEST])
def test_whole_numbers_are_kept_to_the_last_digit(value: int):
    assert to_plain(value, int, "it") == value == from_plain(value, int, "it")


@pytest.mark.parametrize(
    ("convert", "value", "hint", "sentence"),
    [
        (to_plain, 2**53 + 1, float, "it is of type int, expected float"),
        (to_plain, "1", float, "it is of type str, expected float"),
        (to_plain, True, float, "it is of type bool, expected float"),
        (from_plain, 1, float, "it is of type int, expected float"),
        (from_plain, "nan", float, "it is of type str, expected float"),
        (from_plain, None, float, "it is of type NoneType, expected float"),
        (from_plain, [], float, "it is of type list, expected float"),
        (to_plain, LARGEST + 1, int, "it is beyond 1e+30"),
        (from_plain, -LARGEST - 1, int, "it is beyond 1e+30"),
        (from_plain, 1.0, int, "it is of type float, expected int"),
        (from_plain, True, int, "it is of type bool, expected int"),
        (to_plain, 1, bool, "it is of type int, expected bool"),
        (to_plain, 1, str, "it is of type int, expected str"),
        (from_plain, "c", Literal["a", "b"], "it is 'c', expected one of ('a', 'b')"),
        (to_plain, WHOLE.pair, Outer, "it is of type tuple, expected Outer"),
        (to_plain, replace(WHOLE, maybe=Inner(1.5, 0.0)), Outer, "it.maybe.size is of type float, expected int"),
        (to_plain, replace(WHOLE, many=[Inner(1, 1.0)]), Outer, "it.many is of type list, expected tuple"),
        (to_plain, replace(WHOLE, many=(Inner(1, 1.0), 2)), Outer, "it.many[1] is of type int, expected Inner"),
        (to_plain, replace(WHOLE, pair=("one",)), Outer, "it.pair has 1 parts, expected 2"),
        (to_plain, replace(WHOLE, pair=["one", 2.0]), Outer, "it.pair is of type list, expected tuple"),
        (to_plain, replace(WHOLE, pair=("one", "two")), Outer, "it.pair[1] is of type str, expected float"),
        (from_plain, [], Outer, "it is of type list, expected dict"),
        (from_plain, {**PLAIN, "pair": ["one", 2.0, 3.0]}, Outer, "it.pair has 3 parts, expected 2"),
        (from_plain, {**PLAIN, "pair": {"0": "one"}}, Outer, "it.pair is of type dict, expected list"),
        (from_plain, {**PLAIN, "many": "no"}, Outer, "it.many is of type str, expected list"),
        (from_plain, {**PLAIN, "many": [PLAIN["maybe"], None]}, Outer, "it.many[1] is of type NoneType, expected dict"),
        (from_plain, {**PLAIN, "maybe": {"share": 1.0, "more": 1}}, Outer,
         "it.maybe has the fields ['more', 'share'], expected ['share', 'size']"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(convert: Any, value: Any, hint: Any, sentence: str):
    with pytest.raises(TypeError) as caught:
        convert(value, hint, "it")
    assert str(caught.value) == sentence


def test_a_long_choice_is_cut():
    with pytest.raises(TypeError, match=r"^it is '.{59}, expected one of \('a',\)$"):
        to_plain("x" * 1000, Literal["a"], "it")
