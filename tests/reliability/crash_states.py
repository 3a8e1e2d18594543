"""What a disk may hold after the power went: the log of a process's writes, replayed in every way that a file system may.

As in ALICE (Pillai et al., OSDI 2014): the data of a file are on disk for sure once the file was synced, and a name once its
folder was. Before that, each change of a name may have reached the disk or not, whatever became of the others, and data may be
missing, cut or zeros, also under a name that did reach it. A rename is one change, which happens whole or not at all.
"""

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any
from unittest import mock

Tree = dict[str, bytes | None]
"""Path below the root: the content of a file, None for a folder."""


AT_MOST = 5  # names that changed, and files, that may not be on disk at a time

Call = tuple[str, tuple[Any, ...]]
"""A method of `Disk` that follows a call of a process, and its arguments."""


@dataclass(eq=False)
class Node:
    """A file or a folder, with what is sure to be on disk."""

    folder: bool
    data: bytes = b""
    synced: bytes = b""
    durable: dict[str, "Node"] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Names that come, go or move in one step: folder, name, and what it then stands for."""

    parts: tuple[tuple[Node, str, Node | None], ...]


class Disk:
    """Follows the calls of a process below `root`, an empty folder; `look` is called after each of them."""

    def __init__(self, root: Path, look: Callable[[], None]) -> None:
        self.root, self.look, self.top = root.resolve(), look, Node(True)
        self.now = {"": self.top}  # what a process sees, by path
        self.pending: list[Change] = []
        self.log: list[Call] = []

    def place(self, path: Any) -> str | None:
        """The path below the root; None elsewhere."""
        whole = os.path.abspath(os.fspath(path))
        return whole[len(str(self.root)) + 1 :] if f"{whole}/".startswith(f"{self.root}/") else None

    def appears(self, place: str, folder: bool) -> None:
        self.log.append(("appears", (place, folder)))
        node = self.now[place] = Node(folder)
        self._change((place, node))

    def vanishes(self, place: str) -> None:
        self.log.append(("vanishes", (place,)))
        del self.now[place]
        self._change((place, None))

    def moves(self, source: str, target: str) -> None:
        self.log.append(("moves", (source, target)))
        node = self.now[target] = self.now.pop(source)
        self._change((target, node), (source, None))

    def _change(self, *parts: tuple[str, Node | None]) -> None:
        places = ((*os.path.split(place), node) for place, node in parts)
        self.pending.append(Change(tuple((self.now[folder], name, node) for folder, name, node in places)))
        self.look()

    def grows(self, place: str, data: bytes) -> None:
        self.log.append(("grows", (place, data)))
        self.now[place].data += data
        self.look()

    def syncs(self, place: str) -> None:
        self.log.append(("syncs", (place,)))
        node = self.now[place]
        node.synced = node.data
        for change in [each for each in self.pending if any(folder is node for folder, _, _ in each.parts)]:
            self.pending.remove(change)
            for folder, name, target in change.parts:
                _put(folder.durable, name, target)
        self.look()

    def states(self) -> Iterator[Tree]:
        """Everything that may be found after the power goes now.

        Raises: AssertionError, where so much is not synced that it cannot be gone through.
        """
        unsure = sum(not node.folder and node.data != node.synced for node in self.now.values())
        assert len(self.pending) <= AT_MOST and unsure <= AT_MOST, (
            f"{len(self.pending)} names, {unsure} files not synced"
        )
        for size in range(len(self.pending) + 1):
            for survived in combinations(self.pending, size):
                names: dict[Node, dict[str, Node]] = {}
                for change in survived:
                    for folder, name, node in change.parts:
                        _put(names.setdefault(folder, dict(folder.durable)), name, node)
                yield from _with_contents(_reached(self.top, names))


def _put(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _reached(top: Node, names: dict[Node, dict[str, Node]], path: str = "") -> dict[str, Node]:
    found = {}
    for name, node in names.get(top, top.durable).items():
        place = f"{path}/{name}".lstrip("/")
        found[place] = node
        if node.folder:
            found |= _reached(node, names, place)
    return found


def _with_contents(found: dict[str, Node]) -> Iterator[Tree]:
    for contents in product(*(_contents(node) for node in found.values())):
        yield dict(zip(found, contents, strict=True))


def _contents(node: Node) -> list[bytes | None]:
    if node.folder:
        return [None]
    data = node.data
    if data == node.synced:
        return [data]
    return [
        data,
        node.synced,
        bytes(len(data)),
        *(data[:size] for size in range(0, len(data), max(512, len(data) // 8))),
    ]


@contextmanager
def followed(disk: Disk) -> Iterator[None]:
    """Within, what this process does below the disk's root is followed, call by call."""
    real_open, real_os = io.open, {name: getattr(os, name) for name in ("open", "fsync", "replace", "unlink", "mkdir")}

    def opens(path: Any, flags: int, mode: int = 0o777) -> int:
        place = disk.place(path)
        if place is not None and place not in disk.now and flags & os.O_CREAT:
            disk.appears(place, folder=False)
        return real_os["open"](path, flags, mode)

    def syncs(descriptor: int) -> None:
        place = disk.place(os.readlink(f"/proc/self/fd/{descriptor}"))
        if place is not None:
            disk.syncs(place)

    def moves(source: Any, target: Any) -> None:
        real_os["replace"](source, target)
        disk.moves(str(disk.place(source)), str(disk.place(target)))

    def vanishes(path: Any) -> None:
        real_os["unlink"](path)
        disk.vanishes(str(disk.place(path)))

    def makes(path: Any, mode: int = 0o777) -> None:
        real_os["mkdir"](path, mode)
        disk.appears(str(disk.place(path)), folder=True)

    class Followed(io.FileIO):
        def write(self, data: Any) -> int:
            disk.grows(str(disk.place(os.readlink(f"/proc/self/fd/{self.fileno()}"))), bytes(data))
            return super().write(data)

    def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return io.BufferedWriter(Followed(file, mode)) if mode == "wb" else real_open(file, mode, *rest, **options)

    calls = {"open": opens, "fsync": syncs, "replace": moves, "rename": moves, "unlink": vanishes, "mkdir": makes}
    patches = (
        mock.patch.multiple(os, **calls),
        mock.patch.object(io, "open", opened),
        mock.patch.object(builtins, "open", opened),
    )
    with patches[0], patches[1], patches[2]:
        yield
