"""What every entry owes, as tests for pytest.

    from seethrough.contracts import *

in a test module runs them on all entries that other packages add and that are installed. Names of the module steer them:
`PARAMETERS = {"defenses": {"mine": {"share": 0.5}}}` gives values to parameters without a default, or smaller ones;
`LEFT_OUT = {"data": ("mine",)}` leaves some out. seethrough's own entries are run with `BUILT_IN = True`.
"""

import pytest

CONTRACTS = ("attacks", "data", "defenses", "metrics", "models", "weights")
pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in CONTRACTS))

from .attacks import *  # noqa: E402, F403
from .data import *  # noqa: E402, F403
from .defenses import *  # noqa: E402, F403
from .entries import FIXTURES, names_of  # noqa: E402
from .metrics import *  # noqa: E402, F403
from .models import *  # noqa: E402, F403
from .weights import *  # noqa: E402, F403


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each contract on the entries of its kind."""
    for fixture, kind in FIXTURES.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, names_of(kind, metafunc.module))
