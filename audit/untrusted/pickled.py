"""What a pickle of tensors says, by its grammar: nothing is unpickled, imported or called.

torch.load with weights_only=True runs no code of the file's, but allocates what the file asks for: bytearray(2**40) is among
what it calls. Here the few operations that plain data are written with are followed on a stack of descriptions, and tensors
are left as what they claim to be.
"""

import math
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from .files import FilePath, refusal, shown

MAX_OPERATIONS = 1_000_000

STATE_DICT = "tensors by name, as torch.save(model.state_dict(), 'w.pt') writes them"

_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_TENSORS = {"torch._utils._rebuild_tensor_v2"}
_PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
_STORAGES = {f"torch.{name}": dtype for name, dtype in _DTYPES.items()}
_BESIDE = {
    *("torch.Size", "torch.device", "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "_codecs.encode"),
    *(
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "__builtin__.set",
        "builtins.set",
        "numpy.dtype",
        "numpy.ndarray",
    ),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64")),
}
"""What checkpoints carry beside tensors: numbers of the training, and its settings. Nobody looks into them."""
_KEYS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Claim:
    """A tensor as the pickle describes it: some elements of the storage `key`."""

    key: str
    dtype: torch.dtype
    stored: int  # elements in the storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    elements: int


@dataclass(frozen=True)
class _Named:
    """What the pickle wants to have imported."""

    name: str


class _Beside:
    """A value that nobody looks into."""


class _DamagedError(Exception):
    """The operations do not add up."""


def read_pickle(path: FilePath, data: bytes) -> Any:
    """What the pickle of a zip archive by torch.save says: dicts, lists, tuples, text, numbers and Claims.

    Raises: UntrustedFileError, for anything that names more than tensors and the plain values around them.
    """
    machine = _Machine(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in text that is refused below
            for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
                if number >= MAX_OPERATIONS:
                    raise refusal(
                        path, f"a pickle of more than {MAX_OPERATIONS} operations", f"at most {MAX_OPERATIONS}"
                    )
                machine.step(operation.name, argument)
        return machine.pop()
    except (_DamagedError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise refusal(path, f"a damaged pickle ({shown(str(error))})", STATE_DICT) from error


class _Machine:
    """The stack that a pickle's operations work on."""

    def __init__(self, path: FilePath) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def step(self, operation: str, argument: Any) -> None:
        stack = self._stack
        match operation:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "SHORT_BINBYTES" | "BINBYTES" | "SHORT_BINSTRING":
                stack.append(_Beside())
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_SET":
                empty: dict[str, Any] = {"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": (), "EMPTY_SET": _Beside()}
                stack.append(empty[operation])
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._popped(int(operation[-1]))))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "SETITEM" | "SETITEMS":
                self._set_items(self._popped(2) if operation == "SETITEM" else self._marked())
            case "APPEND" | "APPENDS":
                self._append(self._popped(1) if operation == "APPEND" else self._marked())
            case "GLOBAL":
                stack.append(self._named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                stack.append(self._named(".".join(map(str, self._popped(2)))))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE" | "NEWOBJ":
                stack.append(_made(*self._popped(2)))
            case "BUILD":
                self._popped(2, keep=1)
            case _:
                raise _DamagedError(f"the operation {operation}")

    def _named(self, name: str) -> _Named:
        if name not in {*_TENSORS, *_PARAMETERS, *_DICTS, *_STORAGES, *_BESIDE}:
            raise refusal(self._path, f"a pickle of {shown(name)}", f"{STATE_DICT}, instead of whole objects")
        return _Named(name)

    def _popped(self, count: int, keep: int = 0) -> list[Any]:
        """The last values, of which all but the first `keep` leave the stack."""
        if len(self._stack) < count:
            raise _DamagedError("a stack that is too short")
        values = self._stack[-count:]
        del self._stack[len(self._stack) - count + keep :]
        return values

    def _marked(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, _Beside):
            return
        keys = values[::2]
        if not isinstance(target, dict) or not all(type(key) in _KEYS for key in keys):
            raise _DamagedError("items of no dict, or with keys that are neither text nor numbers")
        target.update(zip(keys, values[1::2], strict=True))

    def _append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, _Beside):
            return
        if not isinstance(target, list):
            raise _DamagedError("values appended to no list")
        target.extend(values)


def _storage(told: Any) -> _Storage:
    match told:
        case ("storage", _Named(name=name), str(key), str(), int(elements)) if name in _STORAGES and elements >= 0:
            return _Storage(key, _STORAGES[name], elements)
    raise _DamagedError("a storage that is described otherwise than torch.save does")


def _made(function: Any, arguments: Any) -> Any:
    """What is said of the value that Python would make by calling the function."""
    if not isinstance(function, _Named) or not isinstance(arguments, tuple):
        raise _DamagedError("a call of something without a name")
    if function.name in _TENSORS:
        return _claim(arguments)
    if function.name in _PARAMETERS:
        if not arguments or not isinstance(arguments[0], Claim):
            raise _DamagedError("a parameter without a tensor")
        return arguments[0]
    return {} if function.name in _DICTS else _Beside()


def _claim(arguments: tuple[Any, ...]) -> Claim:
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if len(shape) == len(strides):
            if all(type(value) is int and value >= 0 for value in (offset, *shape, *strides)):
                return Claim(storage.key, storage.dtype, storage.elements, offset, shape, strides)
    raise _DamagedError("a tensor that is described otherwise than torch.save does")
