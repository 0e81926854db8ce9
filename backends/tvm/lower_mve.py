"""From TVM functions to assembly text for Cortex-M55, by the LLVM that TVM brings along.

LLVM turns plain loops over int8 into MVE instructions (Armv8.1-M Architecture Reference Manual) with
tail predication, which GCC does not. The same TIR printed as C is what other cores run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any

from tinycc_nn.backends.tvm.lower import as_pointers, load_tvm, lowering

_TARGET = {
    "kind": "llvm",
    "mtriple": "thumbv8.1m.main-none-eabihf",
    "mcpu": "cortex-m55",
    "mfloat-abi": "hard",
    "opt-level": 3,
    "vector-width": 128,
}
_DROPPED = re.compile(
    r"\s+\.(cfi_\w+|loc|file|eabi_attribute|cpu|fpu|arch_extension|syntax|text|section|ident"
    r"|fnstart|fnend|cantunwind|save|vsave|pad|setfp|handlerdata|globl|code|thumb_func)\b"
    r"|\.L(tmp|func_begin)\d+:"
)
"""Debugging and unwinding; and what the assembler is told by its flags, so that the text goes with
those of either compiler."""
_COMMENT = re.compile(r"\s*@.*$")
_LOCAL = re.compile(r"\.L(\w+)")
_SIGNLESS = re.compile(r"\b(vmlas?)\.i(?=\d)")
"""LLVM prints no sign where it doesn't matter; GNU as wants one."""
_END = re.compile(r"\s+\.size\s")


def emit_mve(funcs: Mapping[str, Any], *, aliased: Collection[str] = ()) -> dict[str, str]:
    """The assembly of each TVM ``PrimFunc`` by name: a global function in a section of its own.

    ``funcs``, ``aliased``: as in `emit_c`, with the same order of arguments. External functions
    are those of `_HELPERS` only (``KeyError`` for others), with sums below 2^30 in magnitude.
    """
    if not funcs:
        return {}
    tvm = load_tvm()
    target = tvm.target.Target(_TARGET)
    named = {}
    for name, f in funcs.items():
        named[name] = f.with_attr("global_symbol", name).with_attr(
            "tirx.noalias", name not in aliased
        )
    module = tvm.tirx.transform.BindTarget(target.with_host(target))(tvm.IRModule(named))
    module = tvm.ir.transform.Sequential(_passes())(module)
    text = tvm.get_global_func("target.build.llvm")(module, target).inspect_source("s")
    return {name: "\n".join(_function(text, name)) + "\n" for name in funcs}


def _function(text: str, name: str) -> Iterator[str]:
    """The lines of one function; its local labels hold its name."""
    lines = iter(text.splitlines())
    for line in lines:
        if line == f"{name}:":
            break
    yield ".syntax unified"
    yield f'.pushsection .text.{name}, \\"ax\\", %progbits'
    yield from (f".global {name}", f".type {name}, %function", ".thumb_func", ".p2align 2")
    yield f"{name}:"
    for line in lines:
        bare = _COMMENT.sub("", line).strip().replace("\t", " ")
        if bare and not _DROPPED.match(line):
            yield _LOCAL.sub(rf".L{name}_\1", _SIGNLESS.sub(r"\1.s", bare))
        if _END.match(line):
            break
    yield ".popsection"


@cache
def _passes() -> tuple[Any, ...]:
    tvm = load_tvm()
    as_pass = tvm.transform.module_pass
    return (
        as_pass(_without_helpers, opt_level=0, name="Helpers"),
        *lowering(vectorize=True),
        as_pass(_plain_module, opt_level=0, name="PlainParameters"),
    )


def _plain_module(module: Any, _context: Any) -> Any:
    tvm = load_tvm()
    return tvm.IRModule({var: as_pointers(f, f.body) for var, f in module.functions.items()})


def _without_helpers(module: Any, _context: Any) -> Any:
    """Helpers of the prelude as the arithmetic that they stand for."""
    tvm = load_tvm()
    import tvm_ffi

    extern = tvm.ir.Op.get("tirx.call_pure_extern")

    def expand(call: Any) -> Any:
        if not call.op.same_as(extern):
            return call
        name, *arguments = call.args
        return _HELPERS[str(name.value)](*arguments)

    functions = {}
    for var, f in module.functions.items():
        body = tvm_ffi.structural_map(f.body, (tvm.ir.Call, expand))
        functions[var] = tvm.tirx.PrimFunc(f.params, body, f.ret_type, f.attrs)
    return tvm.IRModule(functions)


def _requantize32(acc: Any, m: Any, zero: Any) -> Any:
    """Half up, for |acc| < 2^30: the upper word of 2 * acc * m, and half of that with one added.

    LLVM knows the upper word as VMULH. It has no pattern for VRMULH, and the lower word of the
    product, which would say whether to round up, it computes one element at a time.
    """
    tirx = load_tvm().tirx
    one, word = tirx.const(1, "int32"), tirx.const(32, "int64")
    product = (acc << one).astype("int64") * m.astype("int64")
    return (((product >> word).astype("int32") + one) >> one) + zero


def _requantize64(acc: Any, m: Any, shift: Any, zero: Any, low: Any, high: Any) -> Any:
    tirx = load_tvm().tirx
    half = tirx.const(1 << (int(shift) - 1), "int64")
    product = acc.astype("int64") * m.astype("int64") + half
    value = (product >> shift.astype("int64")) + zero.astype("int64")
    limited = tirx.min(tirx.max(value, low.astype("int64")), high.astype("int64"))
    return limited.astype("int8")


def _clamp(value: Any, low: Any, high: Any) -> Any:
    tirx = load_tvm().tirx
    return tirx.min(tirx.max(value, low), high).astype("int8")


_HELPERS: Mapping[str, Callable[..., Any]] = {
    "tcnn_requantize32": _requantize32,
    "tcnn_requantize64": _requantize64,
    "tcnn_clamp": _clamp,
}
