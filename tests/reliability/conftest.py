"""Workers that start fast: a server imports everything once, and every worker is forked from it."""

import multiprocessing

import pytest


@pytest.fixture(autouse=True, scope="session")
def _imports_once() -> None:
    tests = ("toys", "test_workers", "test_two_runs", "test_determinism")
    multiprocessing.set_forkserver_preload([f"tests.reliability.{name}" for name in tests])
