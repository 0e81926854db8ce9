"""The verifier: every rule that holds between passes."""

from __future__ import annotations

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import I8, I16, Blob, TensorType
from tinycc_nn.numeric.codes import buckets
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import opdef


def verify(graph: Graph) -> None:
    """Raise TinyccError at the first op that breaks a rule."""
    known = set(graph.inputs)
    for v in graph.inputs:
        if v.type.dtype.book is not None:
            raise TinyccError(f"the input {v} can't be {v.type.dtype}", hint="only weights can")
    for op in graph.ops:
        d = opdef(op.name, op.loc)
        _check_attributes(op, d)
        _check_operand_count(op, d)
        for i, v in enumerate(op.operands):
            if v not in known:
                raise TinyccError(f"{v} is used before it is defined", op.loc or str(op.result))
            if (op, i) not in v.uses:
                raise TinyccError(f"{v} does not know its user {op.name}", op.loc)
        _check_codes(op, d)
        _check_wide(op, d)
        types = d.infer(op)
        if len(types) != len(op.results):
            raise TinyccError(f"{op.name} makes {len(types)} results", op.loc)
        for r, t in zip(op.results, types, strict=True):
            _check_result(op, d, r, t)
        known.update(op.results)
    for v in graph.outputs:
        if v not in known:
            raise TinyccError(f"the output {v} is not defined")


def _check_attributes(op: Op, d: OpDef) -> None:
    where = op.loc or op.name
    for name, value in op.attrs.items():
        a = d.attribute(name)
        if a is None:
            hint = nearest(name, [x.name for x in d.attrs]) if d.attrs else "it has none"
            raise TinyccError(f"{op.name} has no attribute '{name}'", where, hint)
        fits = isinstance(value, a.kind) or (a.kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and a.kind is not bool):
            raise TinyccError(
                f"{op.name}: '{name}' must be of type {a.kind.__name__}, not {value}", where, a.doc
            )
        if isinstance(a.default, tuple) and isinstance(value, tuple) and a.default:
            _check_list(op, a, value)
    for a in d.attrs:
        if a.required and a.name not in op.attrs:
            raise TinyccError(f"{op.name} needs the attribute '{a.name}'", where, a.doc)


def _check_list(op: Op, a: Attribute, value: tuple[float, ...]) -> None:
    assert isinstance(a.default, tuple)
    if len(value) != len(a.default):
        message = f"{op.name}: '{a.name}' must have {len(a.default)} numbers, not {len(value)}"
        raise TinyccError(message, op.loc or op.name, a.doc)


def _check_operand_count(op: Op, d: OpDef) -> None:
    least, most = d.arity
    if not least <= len(op.operands) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise TinyccError(f"{op.name} takes {wanted} operands, not {len(op.operands)}", op.loc)


def _check_codes(op: Op, d: OpDef) -> None:
    """Codes are weights of int8 layers, or are dequantized; nothing else reads or makes them."""
    where = op.loc or (str(op.result) if op.results else op.name)
    for r in op.results:
        if (book := r.type.dtype.book) is None:
            continue
        if op.name != "const":
            raise TinyccError(f"{op.name} can't make {r.type.dtype}", where, "only a const can")
        if r.type.quant is None or r.type.quant.zero != 0:
            message = f"{r} of {r.type.dtype} needs a scale and the zero point 0"
            raise TinyccError(message, where, "write q(scale, 0)")
        codes = r.constant
        assert codes is not None
        if book.hashed and (codes.ravel() != buckets(codes.size, book.bits)).any():
            message = f"{r}: the codes of {r.type.dtype.name} are not the hash of their positions"
            raise TinyccError(message, where, "see numeric.codes.buckets")
    for i, v in enumerate(op.operands):
        if v.type.dtype.book is None:
            continue
        stored = op.type.dtype in (I8, I16)
        layer = d.role(i) == "weight" and d.int8 is Int8.REQUANTIZE and stored
        if not layer and op.name != "dequantize":
            message = f"{op.name} can't read {v} of {v.type.dtype}"
            raise TinyccError(message, where, "codes are weights of int8 layers")


def _check_wide(op: Op, d: OpDef) -> None:
    """int16 activations only where they have a meaning."""
    if d.int8 is Int8.STORAGE or d.int16 or op.name == "const":
        return
    for v in (*op.operands, *op.results):
        if v.type.dtype == I16 and v.type.quant is not None:
            message = f"{op.name} does not work on int16 activations, as {v}"
            raise TinyccError(message, op.loc or str(v), "put requantize before and behind it")


def _check_result(op: Op, d: OpDef, r: Value, t: TensorType) -> None:
    where = op.loc or str(r)
    if (r.type.dtype, r.type.shape) != (t.dtype, t.shape):
        bare = TensorType(t.dtype, t.shape)
        raise TinyccError(f"{op.name} makes {bare}, but {r} is declared {r.type}", where)
    q = r.type.quant
    if t.quant is not None and q != t.quant:
        raise TinyccError(f"{op.name} keeps {t.quant}, but {r} is declared {q}", where)
    if r.type.dtype in (I8, I16) and q is None and op.name != "const" and d.int8 is not Int8.NONE:
        raise TinyccError(
            f"{r} is {r.type.dtype.numpy} but has no quantization", where, "write q(scale, zero)"
        )
    if q is not None and isinstance(q.scale, Blob):
        axis = q.axis if q.axis is not None else -1
        if not 0 <= axis < t.rank or q.scale.array.shape != (t.shape[axis],):
            raise TinyccError(f"{r}: {q} does not fit the shape {list(t.shape)}", where)
