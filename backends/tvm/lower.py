"""From TVM functions to plain C: the one place that calls TVM's lowering and C printer.

``tvm.compile`` wraps every function into a packed call with a run-time library behind it. A
microcontroller wants ``void kernel(const int8_t *x, int8_t *y)``, so the passes are run by hand,
each buffer parameter becomes a typed pointer, and the text of the C printer is taken apart into
functions. Nothing here knows the compiler's own IR.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

_FLOAT_CALL = "tcnn_float"
_FLOAT_TEXT = re.compile(_FLOAT_CALL + r"\((\d+), (\d+)\)")
_SIGNATURE = re.compile(r"^(?:TVM_DLL )?void (\w+)\((.*)\) \{$")
_PARAMETER = re.compile(r"^(\w+)(\*?) (?:restrict )?(\w+)$")


@contextmanager
def _without_torch() -> Iterator[None]:
    """TVM imports torch, if it is there, only to exchange tensors: a second at every start."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


@cache
def load_tvm() -> ModuleType:
    """The module ``tvm``, imported on the first call (0.7 s): only an emitted kernel pays for it."""
    with _without_torch():
        import tvm
    # Its schedule tuner would import this module: 15 s of parsing intrinsics for other machines.
    name = "tvm.s_tir.tensor_intrin"
    sys.modules.setdefault(name, ModuleType(name))
    return tvm  # type: ignore[no-any-return]


def emit_c(
    funcs: Mapping[str, Any],
    *,
    aliased: Collection[str] = (),
    written: Collection[str] = ("y", "scratch"),
    qualifier: str = "static",
) -> dict[str, str]:
    """The text of one C function for each TVM ``PrimFunc``, by name; the same input, the same text.

    ``funcs``: function name -> ``PrimFunc`` whose parameters are buffers (they become pointers to
    the buffer's element type, in the same order) or int32 scalars. A pointer is to const unless the
    function stores to the buffer or its name is in ``written`` (external functions write there).
    All pointers are ``restrict`` except in the functions named in ``aliased``, whose input and
    output may share memory. ``qualifier`` stands before ``void``. Functions of one call are lowered
    together, which is faster than one by one. Local buffers become arrays on the stack; external
    functions are called but not declared. Raises ``KeyError`` for an ``aliased`` unknown name.
    """
    if unknown := set(aliased) - set(funcs):
        raise KeyError(f"no such functions: {sorted(unknown)}")
    if not funcs:
        return {}
    tvm = load_tvm()
    target = tvm.target.Target("c")
    module = tvm.IRModule({name: f.with_attr("global_symbol", name) for name, f in funcs.items()})
    module = tvm.tirx.transform.BindTarget(target.with_host(target))(module)
    module = tvm.ir.transform.Sequential(_passes())(module)
    text = tvm.get_global_func("target.build.c")(module, target).inspect_source()
    found = dict(_functions(text))
    texts = {}
    for name, f in funcs.items():
        parameters, body = found[name]
        mutable = {*written, *_stored(f)}
        head = _parameters(parameters, mutable, "" if name in aliased else "restrict ")
        texts[name] = "\n".join([f"{qualifier} void {name}({head}) {{", *body, "}"]) + "\n"
    return texts


def _stored(f: Any) -> set[str]:
    """Names of the parameters that the function stores to itself."""
    tvm = load_tvm()
    import tvm_ffi

    names: set[str] = set()

    def visit(store: Any) -> None:
        names.add(str(store.buffer.name))

    tvm_ffi.structural_walk(f.body, (tvm.tirx.BufferStore, visit))
    return names


@cache
def _passes() -> tuple[Any, ...]:
    plain = load_tvm().transform.module_pass(_plain_module, opt_level=0, name="PlainParameters")
    return (*lowering(vectorize=False), plain)  # vectors would be printed as invalid C


def lowering(*, vectorize: bool) -> tuple[Any, ...]:
    """The passes from TIR to loops over flat buffers; vectorized loops become vector operations, or
    plain loops."""
    tvm = load_tvm()
    s, t = tvm.s_tir.transform, tvm.tirx.transform
    # Left out on purpose: CompactBufferAllocation shrinks buffers that are seen only through
    # address_of in an external call; LowerTVMBuiltin turns arrays into run-time workspaces.
    return (
        s.CanonicalizeLoop(),
        s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(),
        s.ConvertBlocksToOpaque(),
        s.LowerMatchBuffer(),
        s.StmtSimplify(),
        s.LowerOpaqueBlock(),
        t.FlattenBuffer(),
        t.NarrowDataType(32),
        s.LoopPartition(),
        t.VectorizeLoop(vectorize),
        t.StorageRewrite(),
        s.HoistIfThenElse(),
        t.UnrollLoop(),
        s.RenormalizeSplitPattern(),
        s.StmtSimplify(),
        t.RemoveNoOp(),
        s.RewriteUnsafeSelect(),
        t.CommonSubexprElim(),
        t.LowerIntrin(),
    )


def _plain_module(module: Any, _context: Any) -> Any:
    tvm = load_tvm()
    return tvm.IRModule({var: _plain(f) for var, f in module.functions.items()})


def _plain(f: Any) -> Any:
    """Buffer parameters as typed pointers, float constants as calls that carry their text."""
    import tvm_ffi

    return as_pointers(f, tvm_ffi.structural_map(f.body, (load_tvm().tirx.FloatImm, _exact_float)))


def as_pointers(f: Any, body: Any) -> Any:
    """The function with this body and, for buffer parameters, typed pointers."""
    tvm = load_tvm()
    parameters, statements = [], []
    for parameter in f.params:
        if not tvm.tirx.buffer.is_buffer_var(parameter):
            parameters.append(parameter)
            continue
        element = tvm.ir.PrimType(str(parameter.ty.dtype.dtype))
        pointer = tvm.ir.Var(parameter.name, tvm.ir.PointerType(element))
        parameters.append(pointer)
        statements.append(tvm.tirx.DeclBuffer(parameter, data=pointer))
    body = tvm.tirx.SeqStmt([*statements, body]) if statements else body
    return tvm.tirx.PrimFunc(parameters, body, tvm.ir.TupleType([]), f.attrs)


def _exact_float(constant: Any) -> Any:
    """The C printer rounds float constants to 7 digits; small integers it prints whole."""
    tvm = load_tvm()
    if str(constant.ty) != "float32":
        return constant
    halves = struct.unpack("<HH", struct.pack("<f", constant.value))
    words = [tvm.tirx.const(h, "int32") for h in halves]
    return tvm.tirx.call_pure_extern("float32", _FLOAT_CALL, *words)


def float_literal(low: int, high: int) -> str:
    """The C99 expression of the float32 with these bits (two 16-bit halves), exactly."""
    (value,) = struct.unpack("<f", struct.pack("<HH", low, high))
    if math.isnan(value):
        return '__builtin_nanf("")'
    if math.isinf(value):
        return f"({'-' if value < 0 else ''}__builtin_inff())"
    return f"({float(value).hex()}f)"


def _functions(text: str) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Name, parameter text and body lines of each function definition in the printed module."""
    lines = iter(text.splitlines())
    for line in lines:
        match = _SIGNATURE.match(line)
        if match is None:
            continue
        body = []
        for inner in lines:
            if inner == "}":
                break
            body.append(_FLOAT_TEXT.sub(lambda m: float_literal(int(m[1]), int(m[2])), inner))
        yield match[1], (match[2], body)


def _parameters(text: str, mutable: Collection[str], restrict: str) -> str:
    parts = []
    for parameter in text.split(", "):
        match = _PARAMETER.match(parameter)
        assert match is not None, f"the C printer wrote a parameter that is not known: {text}"
        element, star, name = match.groups()
        const = "const " if star and name not in mutable else ""
        parts.append(f"{const}{element} {'*' + restrict if star else ''}{name}")
    return ", ".join(parts)
