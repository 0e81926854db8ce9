"""Lowering of TVM functions to plain C: the text, and what a host compiler makes of it."""

from __future__ import annotations

import ctypes
import math
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.backends.tvm.lower import emit_c, float_literal, load_tvm

tvm = load_tvm()
from tvm import te  # noqa: E402
from tvm.s_tir import Schedule, TensorIntrin  # noqa: E402
from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.tirx.script import builder as T  # noqa: E402

HEADER = "#include <stdint.h>\n"
needs_cc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on PATH")


def scale() -> Any:
    x = te.placeholder((4,), "int8", name="x")
    k = te.var("k", "int32")
    factor = tvm.tirx.const(0.123456789, "float32")
    y = te.compute((4,), lambda i: x[i].astype("float32") * factor + k.astype("float32"), name="y")
    return te.create_prim_func([x, k, y])


def through_pointer() -> Any:
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((4,), "int8"))
        y = T.arg("y", T.Buffer((4,), "int8"))
        line = T.alloc_buffer((64,), "int8")
        T.evaluate(T.call_extern("int32", "fill", T.address_of(line[0]), T.address_of(x[0])))
        with T.serial(4) as i:
            T.buffer_store(y, line[i * 16], [i])
    return builder.get()


def test_inputs_are_const_and_restrict_and_outputs_only_restrict() -> None:
    text = emit_c({"f": scale()}, qualifier="static NOINLINE")["f"]
    first = "static NOINLINE void f(const int8_t *restrict x, int32_t k, float *restrict y) {"
    assert text.splitlines()[0] == first


def test_in_place_functions_do_not_promise_restrict() -> None:
    text = emit_c({"f": scale()}, aliased={"f"})["f"]
    assert "restrict" not in text


def test_nothing_of_the_run_time_library_is_left() -> None:
    texts = emit_c({"f": scale(), "g": through_pointer()})
    assert list(texts) == ["f", "g"]
    for text in texts.values():
        assert "tvm" not in text.lower()
        assert "Workspace" not in text
        assert "#" not in text


def test_an_array_seen_only_by_address_keeps_its_size() -> None:
    text = emit_c({"g": through_pointer()})["g"]
    assert "[64];" in text


def test_a_function_has_the_same_text_alone_and_among_others() -> None:
    both = emit_c({"f": scale(), "g": through_pointer()})
    assert emit_c({"f": scale()})["f"] == both["f"]


def test_pointers_written_by_external_functions_are_named_by_the_caller() -> None:
    text = emit_c({"g": through_pointer()}, written=["x"])["g"]
    assert text.startswith("static void g(int8_t *restrict x, int8_t *restrict y) {")


def test_an_unknown_aliased_function_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"no such functions: \['h'\]"):
        emit_c({"f": scale()}, aliased=["h"])


def test_nothing_to_emit() -> None:
    assert emit_c({}) == {}


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_float_literals_keep_every_bit(low: int, high: int) -> None:
    bits = struct.pack("<HH", low, high)
    (value,) = struct.unpack("<f", bits)
    text = float_literal(low, high)
    if math.isnan(value):
        assert text == '__builtin_nanf("")'
    elif math.isinf(value):
        assert text == f"({'-' if value < 0 else ''}__builtin_inff())"
    else:
        assert struct.pack("<f", float.fromhex(text.strip("()f"))) == bits


@needs_cc
def test_the_text_compiles_and_computes_with_exact_constants(tmp_path: Path) -> None:
    text = emit_c({"f": scale()}, qualifier="")["f"]
    source, library = tmp_path / "f.c", tmp_path / "f.so"
    source.write_text(HEADER + text)
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", library],
        check=True,
    )
    x, y = np.array([-128, -1, 1, 127], np.int8), np.zeros(4, np.float32)
    ctypes.CDLL(str(library)).f(
        x.ctypes.data_as(ctypes.c_void_p), 0, y.ctypes.data_as(ctypes.c_void_p)
    )
    np.testing.assert_array_equal(y, x.astype(np.float32) * np.float32(0.123456789))


def sum4(body: bool) -> Any:
    """Adds four int8 to an int32: as loops (what tensorize looks for), or as an external call."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        a = T.arg("a", T.Buffer((4,), "int8", offset_factor=1))
        c = T.arg("c", T.Buffer((1,), "int32", offset_factor=1))
        with T.sblock("root"):
            T.reads(c[0:1], a[0:4])
            T.writes(c[0:1])
            if body:
                with T.serial(4) as k, T.sblock("update"):
                    vk = T.axis.remap("R", [k])
                    T.buffer_store(c, c[0] + T.cast(a[vk], "int32"), [0])
            else:
                call = T.call_pure_extern("int32", "sum4", c[0], T.address_of(a[0]))
                T.buffer_store(c, call, [0])
    return builder.get()


def test_tensorize_works_with_the_installed_pair_of_packages() -> None:
    """Schedule.tensorize crashes when apache-tvm-ffi is newer than the wheel it was built with."""
    TensorIntrin.register("test_sum4", sum4(True), sum4(False), override=True)
    x = te.placeholder((16,), "int8", name="x")
    k = te.reduce_axis((0, 16), "k")
    y = te.compute((1,), lambda i: te.sum(x[k].astype("int32"), axis=k), name="y")
    schedule = Schedule(te.create_prim_func([x, y]))
    block = schedule.get_sblock("y")
    _, axis = schedule.get_loops(block)
    outer, inner = schedule.split(axis, [None, 4])
    schedule.decompose_reduction(block, outer)
    schedule.tensorize(inner, "test_sum4")
    assert "sum4(" in emit_c({"f": schedule.mod["main"]})["f"]
