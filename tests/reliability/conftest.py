"""Workers that start fast: a server imports everything once, and every worker is forked from it."""

import pytest

from seethrough.common.processes import afresh


@pytest.fixture(autouse=True, scope="session")
def _imports_once() -> None:
    afresh(gpu=False)
