"""The code that a user's module is made of: what it imports counts, wherever it is imported; what is installed does not."""

import importlib
import sys
from pathlib import Path

import pytest

from seethrough.common.user_sources import code_of

FILES = {
    "mine/__init__.py": "",
    "mine/models.py": "from . import layers\nimport torch\ndef build():\n    from mine.deep.late import LATE\n",
    "mine/layers.py": "try:\n    import broken\nexcept SyntaxError:\n    pass\n",
    "mine/deep/__init__.py": "from ..consts import *\n",
    "mine/deep/late.py": "LATE = 1\n",
    "mine/consts.py": "X = 1\n",
    "broken.py": "def (\n",
    "unrelated.py": "X = 1\n",
}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The hash of mine.models with one file changed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def changed(name: str = "", text: str = "") -> str:
        for file, content in {**FILES, **({name: text} if name else {})}.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        importlib.invalidate_caches()
        code_of.cache_clear()
        return code_of("mine.models")

    return changed


@pytest.mark.parametrize("file", [name for name in FILES if name != "unrelated.py"])
def test_every_file_that_is_imported_enters_and_none_is_run(code, file):
    assert code(file, FILES[file] + "Y = 2\n") != code()
    assert not {"mine", "mine.models", "broken"} & set(sys.modules)


def test_what_is_not_imported_does_not_enter_nor_do_comments_and_layout(code):
    assert code("unrelated.py", "X = 2\n") == code()
    assert code("mine/consts.py", "# one\nX = (\n    1\n)\n") == code()


def test_what_is_installed_or_ours_is_not_followed():
    reached = code_of("seethrough.attacks.dlg")  # one of ours, given by name, counts with its own file alone
    assert reached == code_of("seethrough.attacks.dlg") != code_of("seethrough.attacks.layerwise_cosine")
    assert Path(sys.modules["seethrough.attacks"].__file__ or "").exists()
