"""What several test modules share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep trained artifacts out of the user's cache, and the user's out of the tests."""
    os.environ["SEETHROUGH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; tests that use it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED / "data"


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[int, str], None]:
    """A function that records how many times something was tried, and what came of it: a row of docs/reliability.md."""

    def record(n: int, words: str) -> None:
        record_property("n", n)
        record_property("measured", words)
        print(f"{n}: {words}")

    return record
