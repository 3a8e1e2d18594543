"""Who watches, what is scored and kept, and the command line.

The package can be called: `seethrough.audit(spec)` runs an audit.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Results


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> "Results":
        from .api import audit  # what it needs takes seconds to import

        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
