"""Processes that are started afresh, and what of this one they are not to run again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_main() -> Iterator[None]:
    """Within, a process that is spawned does not run the user's main script anew, which would start the audit once more
    wherever a script has no `if __name__ == "__main__"`. Nothing that it is handed may be defined there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
