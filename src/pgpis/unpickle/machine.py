"""A pickle's instructions carried out on plain values: nothing is imported, nothing is hashed but plain keys."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeAlias

UNPICKLING_ERRORS = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError,
)  # fmt: skip
"""What reading a damaged pickle may raise."""

MOST_STEPS = 2_000_000
"""Instructions, and items passed to stand-ins, of one file; the largest published checkpoints need a tenth."""
FREE_BYTES = 2**26
"""What the arrays of any file may come to, however small the file is."""
MOST_SHOWN = 80
MOST_DIMENSIONS = 16

_CONSTANTS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "BINBYTES", "BINBYTES8",
    "SHORT_BINBYTES", "BYTEARRAY8",
))  # fmt: skip


class Budget:
    """What the reading of one file may cost; whatever goes beyond raises ``pickle.UnpicklingError``.

    Args:
        file_bytes: Size of the file. Arrays may come to three times as much: old protocols hold bytes as text, which is
            converted, and views of one storage may overlap.
    """

    def __init__(self, file_bytes: int) -> None:
        self.steps = MOST_STEPS
        self.bytes = max(FREE_BYTES, 3 * file_bytes)

    def spend_steps(self, count: int) -> None:
        """Account for instructions or items."""
        self.steps -= count
        if self.steps < 0:
            raise pickle.UnpicklingError(f"more than {MOST_STEPS} instructions")

    def spend_bytes(self, count: int) -> None:
        """Account for the memory of an array, before it is taken."""
        self.bytes -= count
        if self.bytes < 0:
            raise pickle.UnpicklingError("its arrays add up to far more bytes than the file has")


class InertStub:
    """Stands for any object of a pickle that has no meaning here; what would fill it is thrown away."""

    __slots__ = ()


class StandIn:
    """Stands for a function or class of the file: may be called by it, and be changed in no way."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


Names: TypeAlias = Mapping[tuple[str, str], Any]


class Reader:
    """Reads one file's pickles.

    Args:
        names: What stands for each function or class of the file, by module and name: a :class:`StandIn`, or any value.
        budget: Shared by all pickles of the file.
        persistent: Makes a value of a persistent id; None: there may be none.
        content: What the file should hold, if a name that is not in ``names`` is an error; None: it becomes inert.
    """

    def __init__(
        self,
        names: Names,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
        content: str | None = None,
    ) -> None:
        self.names, self.budget, self.persistent, self.content = names, budget, persistent, content
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self, source: bytes | BinaryIO) -> Any:
        """Read one pickle; a stream is left behind its end.

        Returns:
            Dicts, lists, tuples, numbers and text as they are; what the stand-ins made; else :class:`InertStub`.
            Containers may be nested deeply, and may contain themselves: do not walk, compare or hash them.

        Raises:
            Exception: One of :data:`UNPICKLING_ERRORS`: the pickle is damaged, or asks for what it may not.
        """
        self.stack, self.marks, self.memo = [], [], {}
        for code, argument, _ in pickletools.genops(io.BytesIO(source) if isinstance(source, bytes) else source):
            self.budget.spend_steps(1)
            if code.name == "STOP":
                return self.stack.pop()
            if code.name in _CONSTANTS:
                self.stack.append(argument)
            elif code.name in _MAKERS:
                self.stack.append(_MAKERS[code.name](self, argument))
            else:
                act: Instruction = _ACTIONS.get(code.name, _refuse)
                act(self, argument)
        raise EOFError("the pickle is cut off")

    def look_up(self, module: Any, name: Any) -> Any:
        """Return what stands for a name of the file."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name that is not text")
        if (module, name) in self.names:
            return self.names[module, name]
        if self.content is not None:
            dotted = f"{module}.{name}"[:MOST_SHOWN]
            raise pickle.UnpicklingError(f"it names {dotted}, which has no place in {self.content}")
        return InertStub()

    def call(self, function: Any, arguments: Any) -> Any:
        """Call a stand-in; calls of anything else make a stub."""
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("a call without a tuple of arguments")
        if not isinstance(function, StandIn):
            return InertStub()
        self.budget.spend_steps(len(arguments))
        return function.function(*arguments)

    def since_mark(self) -> list[Any]:
        """Take what came since the last mark."""
        return self._taken(self.marks.pop())

    def last(self, count: int) -> list[Any]:
        """Take the last values of the stack."""
        if len(self.stack) < count:
            raise pickle.UnpicklingError("the stack is empty")
        return self._taken(len(self.stack) - count)

    def _taken(self, start: int) -> list[Any]:
        items = self.stack[start:]
        del self.stack[start:]
        return items


def filled(pairs: list[Any]) -> dict[Any, Any]:
    """Return a dict of ``[key, value, key, value, ...]``.

    A key that is not plain becomes a stub: a few bytes make nested tuples that take years to hash.
    """
    return dict(zip((key if _is_plain(key) else InertStub() for key in pairs[::2]), pairs[1::2], strict=True))


def is_shape(value: Any) -> bool:
    """Whether a value is a tuple of sizes, no longer than the shapes of arrays are."""
    return isinstance(value, tuple) and len(value) <= MOST_DIMENSIONS and all(map(is_size, value))


def is_size(value: Any) -> bool:
    """Whether a value is a number that a size or place in a file can be."""
    return type(value) is int and 0 <= value < 2**63


def _is_plain(key: Any) -> bool:
    """Whether a key is hashed at once; large whole numbers are not, and can be chosen so that all hashes are equal."""
    return key is None or isinstance(key, (str, bytes)) or (isinstance(key, int) and abs(key) < 2**32)


def ordered_dict(budget: Budget) -> StandIn:
    """Return what stands for ``OrderedDict``: a dict, made of nothing or of pairs."""

    def make(pairs: Any = ()) -> dict[Any, Any]:
        budget.spend_steps(len(pairs))
        if isinstance(pairs, dict):
            return dict(pairs)
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
            raise pickle.UnpicklingError("a pair that is not a pair")
        return filled([item for pair in pairs for item in pair])

    return StandIn(make)


def _extend(reader: Reader, items: list[Any]) -> None:
    target = reader.stack[-1]
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, InertStub):
        raise pickle.UnpicklingError("items for what is not a list")


def _update(reader: Reader, pairs: list[Any]) -> None:
    target = reader.stack[-1]
    if isinstance(target, dict):
        target.update(filled(pairs))
    elif not isinstance(target, InertStub):
        raise pickle.UnpicklingError("items for what is not a dict")


def _build(reader: Reader, _: Any) -> None:
    (content,) = reader.last(1)
    target = reader.stack[-1]
    if isinstance(target, StandIn):
        raise pickle.UnpicklingError("a function with a state")
    if hasattr(target, "fill"):
        target.fill(content)


def _refuse(_reader: Reader, _: Any) -> None:
    raise pickle.UnpicklingError("it refers to registered extensions or to buffers outside the file")


def _pop(reader: Reader, _: Any) -> None:
    if reader.marks and reader.marks[-1] == len(reader.stack):
        reader.marks.pop()
    else:
        reader.last(1)


def _persistent(reader: Reader, identity: Any) -> Any:
    if reader.persistent is None:
        raise pickle.UnpicklingError("it names a persistent object")
    return reader.persistent(identity)


def _inert_items(reader: Reader, _: Any) -> InertStub:
    reader.since_mark()
    return InertStub()


def _object(reader: Reader, _: Any) -> Any:
    function, *arguments = reader.since_mark()
    return reader.call(function, tuple(arguments))


def _new_object(reader: Reader, _: Any) -> Any:
    function, arguments, named = reader.last(3)
    if named != {} and isinstance(function, StandIn):
        raise pickle.UnpicklingError("a call with named arguments")
    return reader.call(function, arguments)


Instruction: TypeAlias = Callable[[Reader, Any], Any]
_MAKERS: dict[str, Instruction] = {
    "NONE": lambda *_: None,
    "NEWTRUE": lambda *_: True,
    "NEWFALSE": lambda *_: False,
    "DUP": lambda reader, _: reader.stack[-1],
    "EMPTY_LIST": lambda *_: [],
    "LIST": lambda reader, _: reader.since_mark(),
    "EMPTY_TUPLE": lambda *_: (),
    "TUPLE": lambda reader, _: tuple(reader.since_mark()),
    "TUPLE1": lambda reader, _: tuple(reader.last(1)),
    "TUPLE2": lambda reader, _: tuple(reader.last(2)),
    "TUPLE3": lambda reader, _: tuple(reader.last(3)),
    "EMPTY_DICT": lambda *_: {},
    "DICT": lambda reader, _: filled(reader.since_mark()),
    "EMPTY_SET": lambda *_: InertStub(),
    "FROZENSET": _inert_items,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda reader, key: reader.memo[key]),
    "GLOBAL": lambda reader, name: reader.look_up(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda reader, _: reader.look_up(*reader.last(2)),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda reader, _: reader.call(*reader.last(2))),
    "NEWOBJ_EX": _new_object,
    "INST": lambda reader, name: reader.call(reader.look_up(*name.split(" ", 1)), tuple(reader.since_mark())),
    "OBJ": _object,
    "PERSID": _persistent,
    "BINPERSID": lambda reader, _: _persistent(reader, reader.stack.pop()),
}
"""Instructions that push what they return."""
_ACTIONS: dict[str, Instruction] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda *_: None),
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    "POP": _pop,
    "POP_MARK": lambda reader, _: reader.since_mark(),
    "APPEND": lambda reader, _: _extend(reader, reader.last(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda reader, _: _extend(reader, reader.since_mark())),
    "SETITEM": lambda reader, _: _update(reader, reader.last(2)),
    "SETITEMS": lambda reader, _: _update(reader, reader.since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda reader, key: reader.memo.update({key: reader.stack[-1]})),
    "MEMOIZE": lambda reader, _: reader.memo.update({len(reader.memo): reader.stack[-1]}),
    "BUILD": _build,
}
