"""Read what a pickle of torch describes, tables of names and tensors, without running anything that it asks for.

Used by :mod:`~emoclim.encoders.checkpoints.torch_files`. Invariants: every name of a pickle is looked up in
:data:`STAND_INS` and nowhere else; no number, string or table is larger than the bytes that spell it out; no tensor is
made here, only described. Python's own pickle is not used: it takes the memory that an index asks for, and sets the
attributes of whatever it finds.
"""

import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch

STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 NONE NEWTRUE NEWFALSE".split()
)  # operations that put a value of their own on the stack
TRUTH = {"NEWTRUE": True, "NEWFALSE": False}
MAX_NESTING = 16  # of tables within tables
MAX_KEY = 512  # characters; longer ones name no parameter
MAX_NAMES = 10**7  # characters of all names together


class Inert:
    """Stands in for an object that a file names: keeps its state and does nothing."""

    state: object = None

    def __init__(self, *arguments: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers that lie elsewhere in a file."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Description:
    """Where in a storage the numbers of a tensor are."""

    storage: Storage
    offset: int
    size: Sequence[int]
    stride: Sequence[int]
    dtype: torch.dtype


def named_tensors(content: object, seen: set[int]) -> Iterator[tuple[str, Description]]:
    """Find all tensors in tables within tables not `seen` yet, once each, by names that are joined by dots."""
    length = 0
    for name, found in _walk("", content, 0, seen):
        length += len(name)
        if length > MAX_NAMES:
            raise pickle.UnpicklingError("the names of its tensors are too long")
        yield name, found


def _walk(name: str, value: object, depth: int, seen: set[int]) -> Iterator[tuple[str, Description]]:
    if isinstance(value, Description):
        yield name, value
    table = value.state if isinstance(value, Inert) else value
    if isinstance(table, dict) and depth < MAX_NESTING and id(table) not in seen:
        seen.add(id(table))
        for key, inner in table.items():
            if len(key) <= MAX_KEY:
                yield from _walk(f"{name}.{key}" if name else key, inner, depth + 1, seen)


def _describe(storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Description:
    return Description(storage, offset, size, stride, storage.dtype)


def _describe_typed(
    storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], _grad: object, _hooks: object,
    dtype: torch.dtype, *_: object,
) -> Description:  # fmt: skip
    return Description(storage, offset, size, stride, dtype)


def _first(value: object, *_: object) -> object:
    return value


def _table(pairs: Sequence[Sequence[object]] = ()) -> dict[str, object]:
    return {key: value for key, value in pairs if isinstance(key, str)}


APPLY = object()  # stands in for a call of its first argument with its third
STAND_INS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _table,
    ("torch._utils", "_rebuild_tensor"): _describe,
    ("torch._utils", "_rebuild_tensor_v2"): _describe,
    ("torch._utils", "_rebuild_tensor_v3"): _describe_typed,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): APPLY,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
    ("torch.storage", "UntypedStorage"): torch.uint8,
    **{("torch", name): kind for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)},
    **{("torch", name): Inert for name in ("Size", "Tensor", "device")},
    ("torch.nn.parameter", "Parameter"): Inert,
    ("torch.torch_version", "TorchVersion"): Inert,
    **{("torch.jit._pickle", f"build_{kind}list"): Inert for kind in ("int", "bool", "double", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): Inert,
    **{("collections", name): Inert for name in ("Counter", "defaultdict")},
    **{(f"numpy.{core}.multiarray", name): Inert for core in ("core", "_core") for name in ("scalar", "_reconstruct")},
    **{("numpy", name): Inert for name in ("dtype", "ndarray")},
    ("_codecs", "encode"): Inert,
    **{("builtins", name): Inert for name in ("set", "bytearray", "complex", "dict", "list", "int")},
    **{("pathlib", name): Inert for name in ("Path", "PosixPath", "WindowsPath")},
    ("argparse", "Namespace"): Inert,
}


class PickleReader:
    """Describe one pickle; what it asks for beyond :data:`STAND_INS` raises UnpicklingError, damage any error.

    What is read lies in `content`, and all storages that it names in `storages`.
    """

    def __init__(self, file: BytesIO) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []  # places on the stack
        self._memo: dict[int, Any] = {}
        self._left = len(file.getbuffer())  # values that calls may still be given
        for operation, argument, _ in pickletools.genops(file):
            if operation.name in LITERALS:
                self._stack.append(TRUTH.get(operation.name, argument))
            elif operation.name not in {"PROTO", "FRAME", "STOP"}:
                self._run(operation.name, argument)
        self.content = self._stack.pop()

    def _run(self, name: str, argument: Any) -> None:
        stack, memo = self._stack, self._memo
        match name:
            case "MARK":
                self._marks.append(len(stack))
            case "POP":
                del stack[-1]
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "APPEND" | "APPENDS" | "ADDITEMS" | "SETITEM" | "SETITEMS":
                items = self._pop_mark() if name.endswith("S") else self._pop(1 + name.startswith("SET"))
                _add(stack[-1], items)
            case "LIST" | "DICT" | "TUPLE" | "FROZENSET":
                stack.append(_collected(name, self._pop_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE" | "EMPTY_SET":
                stack.append(_collected(name.removeprefix("EMPTY_"), []))
            case _:
                self._run_named(name, argument)

    def _run_named(self, name: str, argument: Any) -> None:
        """Do what stands in for a thing that the pickle names."""
        match name:
            case "GLOBAL":
                self._stack.append(_find(*argument.split(" ")))
            case "STACK_GLOBAL":
                self._stack.append(_find(*self._pop(2)))
            case "BINPERSID":
                self._stack.append(self._storage(*self._pop(1)))
            case "REDUCE":
                self._stack.append(self._call(*self._pop(2)))
            case "NEWOBJ":
                self._stack.append(_make(*self._pop(2)))
            case "BUILD":
                _set_state(self._stack[-2], self._stack.pop())
            case _:
                raise pickle.UnpicklingError(f"it asks for {name}, which torch does not use")

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _pop_mark(self) -> list[Any]:
        return self._pop(len(self._stack) - place) if (place := self._marks.pop()) < len(self._stack) else []

    def _storage(self, pid: Sequence[Any]) -> Storage:
        kind, dtype, key, _location, _count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str) or any(view):
            raise pickle.UnpicklingError("it names something else than a storage")
        return self.storages.setdefault(key, Storage(key, dtype))

    def _call(self, function: Any, arguments: Sequence[Any]) -> object:
        self._left -= len(arguments) + sum(len(one) for one in arguments if isinstance(one, list | tuple | dict))
        if self._left < 0:  # one list may be given any number of times, for a byte or two each
            raise pickle.UnpicklingError("it copies more than it holds")
        if function is APPLY:
            inner, _kind, given, _state = arguments
            return self._call(inner, given)
        return function(*arguments)


def _find(module: object, name: object) -> object:
    if not isinstance(module, str) or not isinstance(name, str):
        raise pickle.UnpicklingError("it asks for what has no name")
    if module == "__torch__" or module.startswith("__torch__."):
        return Inert
    if (module, name) not in STAND_INS:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
    return STAND_INS[module, name]


def _make(kind: object, _arguments: object) -> Inert:
    if kind is not Inert:
        raise pickle.UnpicklingError("it makes an object of a type that holds no parameters")
    return Inert()


def _set_state(target: object, state: object) -> None:
    if isinstance(target, Inert):
        target.state = state
    elif not isinstance(target, dict):  # a state dict is given its metadata, which count for nothing
        raise pickle.UnpicklingError(f"it sets the state of a {type(target).__name__}, which has none")


def _collected(kind: str, items: list[Any]) -> object:
    makers: Mapping[str, Callable[[list[Any]], object]] = {"LIST": list, "TUPLE": tuple, "DICT": _paired}
    return makers.get(kind, Inert)(items)


def _paired(items: list[Any]) -> dict[str, object]:
    return _table(list(zip(items[::2], items[1::2], strict=True)))


def _add(target: object, items: list[Any]) -> None:
    """Add to a list or a table; what is added to anything else holds no parameter."""
    if isinstance(target, dict):
        target.update(_paired(items))
    elif isinstance(target, list):
        target.extend(items)
