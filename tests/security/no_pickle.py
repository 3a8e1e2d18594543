"""Read hostile files while a hook watches what the interpreter does; print what it saw.

    python -m tests.security.no_pickle FOLDER

Every reader first reads sound files, so that nothing is left to import; after that, nothing at all may be unpickled,
compiled, executed, started or connected. As a control, the payloads are unpickled for good at the end.
"""

import io
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seethrough.audit.untrusted import UntrustedFileError
from tests.security import bombs
from tests.security.samples import READERS, samples

FORBIDDEN = (
    *("pickle.", "marshal.", "exec", "compile", "import", "ctypes."),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "subprocess.", "socket."),
    *("os.remove", "os.rename", "os.chmod", "os.mkdir", "shutil."),
)


class Payload:
    """Calls `function` when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def payloads(canary: str) -> Iterator[bytes]:
    harm = [
        Payload(os.system, f"touch {canary}"),
        Payload(subprocess.check_call, ["touch", canary]),
        Payload(eval, f"open({canary!r}, 'w').close()"),
        Payload(exec, f"open({canary!r}, 'w').close()"),
        Payload(open, canary, "w"),
        Payload(os.mkdir, canary),
    ]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for payload in harm:
            yield pickle.dumps(payload, protocol)


def disguises(payload: bytes) -> Iterator[bytes]:
    """The pickle as it is, and wherever some loader would look for one."""
    yield payload
    yield bombs.zipped({"x.npy": bombs.npy(bombs.header("'|O'", "(1,)"), payload)})
    yield bombs.zipped({"x.npy": payload, "data.pkl": payload})
    yield bombs.zipped({"archive/data.pkl": payload, "archive/version": b"3\n"})
    yield bombs.npy(bombs.header("'|O'", "(1,)"), payload)
    yield len(payload).to_bytes(8, "little") + payload
    # names pickle.loads for a YAML reader to fall for; nothing is loaded here
    yield b"!!python/object/apply:pickle.loads [!!binary " + payload.hex().encode() + b"]"
    yield b"\x89PNG\r\n\x1a\n" + bombs.chunk(b"IHDR", bytes(13)) + payload


def legacy_torch_file(canary: str) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": Payload(os.system, f"touch {canary}")}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def corpus(canary: str) -> list[bytes]:
    files = [file for payload in payloads(canary) for file in disguises(payload)]
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([Payload(os.system, f"touch {canary}")], dtype=object))
    torch_file = io.BytesIO()
    torch.save({"w": Payload(os.system, f"touch {canary}")}, torch_file)
    return [*files, buffer.getvalue(), torch_file.getvalue(), legacy_torch_file(canary)]


def read_all(folder: Path, files: list[bytes]) -> Counter[str]:
    """How many of the files each reader refused."""
    refused: Counter[str] = Counter()
    for data in files:
        for form, reader in READERS.items():
            path = folder / f"file.{form}"
            path.write_bytes(data)
            try:
                reader(path)
            except UntrustedFileError:
                refused[form] += 1
    return refused


def main(folder: Path) -> dict[str, Any]:
    seen: Counter[str] = Counter()
    watching = [False]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event.startswith(FORBIDDEN):
            seen[event] += 1

    sys.addaudithook(hook)
    canary = str(folder / "canary")
    files = corpus(canary)
    read_all(folder, [data for forms in samples().values() for data in forms] + files[-20:])
    watching[0] = True
    refused = read_all(folder, files)
    found, harmed = dict(seen), os.path.exists(canary)
    seen.clear()
    for payload in payloads(canary):
        with suppress(Exception):  # the positive control: our own payloads, whose harm the watch must see
            pickle.loads(payload)
    return {"files": len(files), "refused": refused, "seen": found, "harmed": harmed, "control": dict(seen)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
