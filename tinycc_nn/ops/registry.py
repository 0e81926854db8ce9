"""Operators by name, found by file; typed access to attributes; building ops with inferred types."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import ModuleType

import tinycc_nn.ops
from tinycc_nn.diagnostics import TinyccError, Where, nearest
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import Quant, TensorType
from tinycc_nn.ops.definition import Int8, OpDef
from tinycc_nn.reader import Reader


def _modules() -> Iterator[ModuleType]:
    for m in pkgutil.iter_modules(tinycc_nn.ops.__path__):
        if m.name not in ("definition", "registry", "verify"):
            yield importlib.import_module(f"tinycc_nn.ops.{m.name}")


@cache
def opdefs() -> Mapping[str, OpDef]:
    """Every operator of the IR by name."""
    found: dict[str, OpDef] = {}
    for module in _modules():
        for d in getattr(module, "OPS", ()):
            if found.setdefault(d.name, d) is not d:
                raise ValueError(f"operator '{d.name}' is defined twice")
    return found


@cache
def readers() -> Mapping[str, Reader]:
    """The readers of ONNX operators by op_type."""
    found: dict[str, Reader] = {}
    for module in _modules():
        for r in getattr(module, "READERS", ()):
            for name in r.op_types:
                if found.setdefault(name, r) is not r:
                    raise ValueError(f"ONNX operator '{name}' has two readers")
    return found


def opdef(name: str, loc: Where = None) -> OpDef:
    """The definition of an operator; TinyccError if there is none."""
    if (d := opdefs().get(name)) is None:
        raise TinyccError(f"unknown operator '{name}'", loc, nearest(name, opdefs()))
    return d


def _attr(op: Op, name: str) -> Attr:
    if name in op.attrs:
        return op.attrs[name]
    a = opdef(op.name).attribute(name)
    if a is None or isinstance(a.default, type):
        raise TinyccError(f"{op.name} needs the attribute '{name}'", op.loc)
    return a.default


def ints(op: Op, name: str) -> tuple[int, ...]:
    """An attribute that is a list of integers, or its default."""
    v = _attr(op, name)
    assert isinstance(v, tuple)
    if not all(isinstance(i, int) for i in v):
        raise TinyccError(f"{op.name}: '{name}' must be a list of integers", op.loc or op.name)
    return tuple(int(i) for i in v)


def number(op: Op, name: str) -> float:
    """An attribute that is a number, or its default."""
    v = _attr(op, name)
    assert isinstance(v, int | float)
    return v


def word(op: Op, name: str) -> str:
    """An attribute that is a word, or its default."""
    v = _attr(op, name)
    assert isinstance(v, str)
    return v


def flag(op: Op, name: str) -> bool:
    """An attribute that is true or false, or its default."""
    v = _attr(op, name)
    assert isinstance(v, bool)
    return v


def emit(
    graph: Graph,
    name: str,
    operands: Sequence[Value],
    attrs: Mapping[str, Attr] | None = None,
    *,
    result: str = "",
    quant: Quant | None = None,
    before: Op | None = None,
    loc: Where = None,
) -> Value:
    """Add an op with one result whose type is inferred, and return the result.

    `result` is the wished name; attributes equal to their default are left out. `quant` is the
    quantization of an int8 result (storage operators take their operand's, and operators with a
    fixed one take that).
    """
    d = opdef(name, loc)
    kept = {k: v for k, v in (attrs or {}).items() if _differs(d, k, v)}
    draft = Op(name, tuple(operands), kept, loc=loc)
    (t,) = d.infer(draft)
    if not t.dtype.is_float and t.quant is None:
        t = TensorType(t.dtype, t.shape, quant or (d.output if t.dtype.name == "i8" else None))
    return graph.add(
        name, operands, [t], kept, names=[result or name], loc=loc, before=before
    ).result


def _differs(d: OpDef, name: str, value: Attr) -> bool:
    a = d.attribute(name)
    return a is None or a.required or a.default != value


def is_storage(op: Op) -> bool:
    """Whether the op moves stored elements and keeps their quantization."""
    return opdef(op.name).int8 is Int8.STORAGE
